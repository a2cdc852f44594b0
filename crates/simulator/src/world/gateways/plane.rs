//! The small data plane: client connections, what waits, what is on its way, and what each is answered.

use super::{Backend, CLIENTS, ClientRun, Command, Door, PIPELINE, Plane, Progress, READER};
use crate::redis::{ConnectionId, Request, Response};
use crate::scenario::Mistake;
use crate::world::{Event, Place, World};
use backstay_lease::Standing;
use backstay_model::{Address, Epoch};
use std::collections::VecDeque;
use std::time::Duration;

/// Between the look at the lease and the packet.
const TO_THE_WIRE: Duration = Duration::from_micros(10);
const BETWEEN_COMMANDS: Duration = Duration::from_millis(6);
/// While nothing happened for a while.
const BETWEEN_QUIET_COMMANDS: Duration = Duration::from_millis(60);

impl World {
    /// Sends what waits at this endpoint, in each client's order; makes the connection first if need be.
    pub(super) fn forward(&mut self, gateway: usize, start: u64, door: Door, epoch: Epoch, target: Address) {
        let Some(server) = self.spec.services[0].instances.iter().position(|it| it.address == target) else {
            return;
        };
        let stalls = !self.healed && self.random.chance(self.scenario.stall_per_mille);
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        let waits = |it: &Command| it.state == Progress::Held;
        let Some(backend) = plane.backend(door) else {
            if door == Door::Primary || plane.clients[READER].iter().any(waits) {
                let in_flight = VecDeque::new();
                *plane.backend(door) = Some(Backend { epoch, target, server, connection: None, in_flight });
                self.gateway_dials(gateway, start, door, server);
            }
            return;
        };
        let Some(connection) = backend.connection else {
            return;
        };
        let (mut requests, mut sent) = (Vec::new(), Vec::new());
        let clients = plane.clients.iter_mut().enumerate().filter(|(client, _)| Door::of(*client) == door);
        for (client, commands) in clients {
            for command in commands.iter_mut().filter(|command| waits(command)) {
                command.state = Progress::Forwarded;
                sent.push((client, command.number));
                let read = Request::Read(command.id);
                requests.push(if command.reads { read } else { Request::Write(command.id) });
            }
        }
        let sends = !requests.is_empty();
        if let Some(backend) = plane.backend(door) {
            backend.in_flight.extend(sent);
        }
        if sends && (door == Door::Primary || epoch > Epoch(0)) {
            let now = self.gateway_clock(gateway);
            self.check_permission((gateway, start), now, (epoch, &target), None);
        }
        if sends && door == Door::Reader {
            self.note_source(gateway, start, &target);
        }
        for request in requests {
            self.schedule(TO_THE_WIRE, Event::GatewaySends { gateway, start, connection, request });
        }
        if sends && stalls {
            // Between the look at the lease and the packet.
            let stop = self.random.micros(10_000, 1_500_000);
            self.stop_gateway(gateway, stop);
        }
    }

    fn gateway_dials(&mut self, gateway: usize, start: u64, door: Door, server: usize) {
        let (here, there) = (Place::Gateway(gateway), Place::Server(server));
        let open = self.network.passes(here, there) && self.network.passes(there, here);
        let delay = self.network.one_way(&mut self.random) * 2;
        let connection =
            (open && self.servers[server].redis.is_some()).then(|| self.open_connection(here, start, server));
        self.schedule(delay, Event::GatewayDialled { gateway, start, door, connection });
    }

    pub(super) fn gateway_dialled(&mut self, gateway: usize, door: Door, connection: Option<ConnectionId>) {
        let leads_to = connection.and_then(|id| Some(self.connections.get(&id)?.server));
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        let waits = plane.backend(door).as_mut().filter(|backend| backend.connection.is_none());
        match (waits, leads_to) {
            (Some(backend), Some(server)) if backend.server == server => backend.connection = connection,
            (Some(_), None) => *plane.backend(door) = None,
            // Of an attempt that was given up.
            _ => connection.into_iter().for_each(|id| self.close_from_client(id)),
        }
    }

    /// The primary's reply, or the end of the connection to it.
    pub(super) fn gateway_hears(
        &mut self,
        gateway: usize,
        start: u64,
        id: ConnectionId,
        response: Option<&Response>,
    ) {
        let now = self.gateway_clock(gateway);
        let mistaken = self.scenario.mistake == Some(Mistake::LeaseCheckedOnlyBefore);
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        let leads_there =
            |door: &Door| plane.backend(*door).as_ref().is_some_and(|backend| backend.connection == Some(id));
        let Some(door) = Door::BOTH.into_iter().find(leads_there) else {
            return;
        };
        let Some(response) = response else {
            return self.drop_backend(gateway, door);
        };
        let Some(backend) = plane.backend(door) else {
            return;
        };
        let Some((client, number)) = backend.in_flight.pop_front() else {
            return;
        };
        let (epoch, primary, server) = (backend.epoch, backend.target.clone(), backend.server);
        let holds_lease = match plane.leases.standing(&self.service, now) {
            Some(Standing::Serve { epoch: of, primary: to, .. }) => of == epoch && to == primary,
            Some(Standing::Drain { .. }) => true,
            _ => false,
        };
        let Some(command) = plane.clients[client].iter_mut().find(|command| command.number == number) else {
            return;
        };
        let (reads, written) = (command.reads, command.id);
        command.state = match response {
            Response::Rejected(_) => Progress::Refused,
            _ if reads || holds_lease || mistaken => Progress::Done { server, connection: id },
            _ => Progress::Unknown,
        };
        if !holds_lease && door == Door::Primary {
            self.coverage.gateway("reply read after the lease");
        }
        if !reads && command.state == (Progress::Done { server, connection: id }) {
            self.check_permission((gateway, start), now, (epoch, &primary), Some(written));
        }
    }

    /// The connection of this endpoint is closed. Of writes without a reply nobody knows; reads are sent again, unless a
    /// later write of the same client may have run.
    pub(super) fn drop_backend(&mut self, gateway: usize, door: Door) {
        let mistaken = self.scenario.mistake == Some(Mistake::ReadSentAgainBehindWrite);
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        let Some(backend) = plane.backend(door).take() else {
            return;
        };
        let clients = plane.clients.iter_mut().enumerate().filter(|(client, _)| Door::of(*client) == door);
        for (_, commands) in clients {
            let mut wrote = false;
            for command in commands.iter_mut().rev().filter(|it| it.state == Progress::Forwarded) {
                wrote = !command.reads || (wrote && !mistaken);
                command.state = if wrote { Progress::Unknown } else { Progress::Held };
                self.coverage.gateway(if wrote { "outcome unknown" } else { "read sent again" });
            }
        }
        if let Some(connection) = backend.connection {
            self.close_from_client(connection);
        }
    }

    /// Answers go to each client in the order of its commands.
    pub(super) fn release_answers(&mut self, gateway: usize, start: u64) {
        for client in 0..CLIENTS {
            while let Some(plane) = &mut self.gateways[gateway].plane {
                let waits = |it: &Command| matches!(it.state, Progress::Held | Progress::Forwarded);
                if plane.clients[client].front().is_none_or(waits) {
                    break;
                }
                let Some(command) = plane.clients[client].pop_front() else {
                    break;
                };
                self.answered((gateway, start, client), &command);
            }
        }
    }

    fn answered(&mut self, client: ClientRun, command: &Command) {
        let found = self.checkers.one_answer.answered(client, command.number);
        self.complain(found);
        let Progress::Done { server, connection } = command.state else {
            return;
        };
        let found = self.checkers.command_order.answered(client, connection, command.id);
        self.complain(found);
        if command.reads {
            return;
        }
        self.coverage.gateway("write acknowledged");
        if !self.checkers.failsafe.is_risked(command.id) {
            let found = self.checkers.old_primaries.acknowledged(command.id);
            self.complain(found);
        }
        self.check_acknowledged(command.id, server);
    }

    pub(super) fn complain(&mut self, violation: Option<(&'static str, String)>) {
        if let Some((property, what)) = violation {
            self.violate(property, what);
        }
    }

    /// A client sends something now and then, without waiting for every answer.
    pub(super) fn gateway_client_acts(&mut self, gateway: usize, start: u64, client: usize) {
        let quiet = self.is_quiet();
        let wait = if quiet { BETWEEN_QUIET_COMMANDS } else { BETWEEN_COMMANDS };
        let jitter = self.random.micros(0, 2000);
        self.schedule(wait + jitter, Event::GatewayClient { gateway, start, client });
        let often = if Door::of(client) == Door::Reader { 900 } else { 300 };
        let (several, reads) = (self.random.chance(300), self.random.chance(often));
        let has_room = |plane: &Plane| plane.clients[client].len() < PIPELINE;
        for reads in [reads].into_iter().chain(several.then_some(!reads)) {
            if !self.gateways[gateway].plane.as_ref().is_some_and(has_room) {
                return;
            }
            let id = self.checkers.next_write();
            if !reads {
                self.checkers.command_order.sent_write((gateway, start, client), id);
            }
            let at_reader = Door::of(client) == Door::Reader && !reads;
            let state = if at_reader { self.write_at_reader(id) } else { Progress::Held };
            if let Some(plane) = &mut self.gateways[gateway].plane {
                plane.sent[client] += 1;
                let command = Command { number: plane.sent[client], id, reads, since: self.now, state };
                plane.clients[client].push_back(command);
            }
        }
    }
}
