//! The small data plane: client connections, what waits, what is on its way, and what each is answered.

use super::{Backend, CLIENTS, ClientRun, Command, PIPELINE, Progress};
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
    /// Sends what waits, in each client's order; makes the connection first if need be.
    pub(super) fn forward(&mut self, gateway: usize, start: u64, epoch: Epoch, primary: Address) {
        let Some(server) = self.spec.services[0].instances.iter().position(|it| it.address == primary) else {
            return;
        };
        let stalls = !self.healed && self.random.chance(self.scenario.stall_per_mille);
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        let Some(backend) = &mut plane.backend else {
            let in_flight = VecDeque::new();
            plane.backend = Some(Backend { epoch, primary, server, connection: None, in_flight });
            return self.gateway_dials(gateway, start, server);
        };
        let Some(connection) = backend.connection else {
            return;
        };
        let mut requests = Vec::new();
        for (client, commands) in plane.clients.iter_mut().enumerate() {
            for command in commands.iter_mut().filter(|command| command.state == Progress::Held) {
                command.state = Progress::Forwarded;
                backend.in_flight.push_back((client, command.number));
                let read = Request::Read(command.id);
                requests.push(if command.reads { read } else { Request::Write(command.id) });
            }
        }
        let sends = !requests.is_empty();
        for request in requests {
            self.schedule(TO_THE_WIRE, Event::GatewaySends { gateway, start, connection, request });
        }
        if sends && stalls {
            // Between the look at the lease and the packet.
            let stop = self.random.micros(10_000, 1_500_000);
            self.stop_gateway(gateway, stop);
        }
    }

    fn gateway_dials(&mut self, gateway: usize, start: u64, server: usize) {
        let (here, there) = (Place::Gateway(gateway), Place::Server(server));
        let open = self.network.passes(here, there) && self.network.passes(there, here);
        let delay = self.network.one_way(&mut self.random) * 2;
        let connection = (open && self.servers[server].process.is_some())
            .then(|| self.open_connection(here, start, server));
        self.schedule(delay, Event::GatewayDialled { gateway, start, connection });
    }

    pub(super) fn gateway_dialled(&mut self, gateway: usize, connection: Option<ConnectionId>) {
        let leads_to = connection.and_then(|id| Some(self.connections.get(&id)?.server));
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        let waits = plane.backend.as_mut().filter(|backend| backend.connection.is_none());
        match (waits, leads_to) {
            (Some(backend), Some(server)) if backend.server == server => backend.connection = connection,
            (Some(_), None) => plane.backend = None,
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
        let Some(backend) = plane.backend.as_mut().filter(|backend| backend.connection == Some(id)) else {
            return;
        };
        let Some(response) = response else {
            return self.drop_backend(gateway);
        };
        let Some((client, number)) = backend.in_flight.pop_front() else {
            return;
        };
        let (epoch, primary, server) = (backend.epoch, backend.primary.clone(), backend.server);
        let holds_lease = match plane.leases.standing(&self.service, now) {
            Some(Standing::Serve { epoch: of, primary: to, .. }) => of == epoch && to == primary,
            Some(Standing::Drain { .. }) => true,
            _ => false,
        };
        let Some(command) = plane.clients[client].iter_mut().find(|command| command.number == number) else {
            return;
        };
        let reads = command.reads;
        command.state = match response {
            Response::Rejected(_) => Progress::Refused,
            _ if reads || holds_lease || mistaken => Progress::Done { server, connection: id },
            _ => Progress::Unknown,
        };
        if !holds_lease {
            self.coverage.gateway("reply read after the lease");
        }
        if !reads && command.state == (Progress::Done { server, connection: id }) {
            let found = self.checkers.lease_at_reply.acknowledged((gateway, start), now, epoch, &primary);
            self.complain(found);
        }
    }

    /// The connection to the primary is closed. Of writes without a reply nobody knows; reads are sent again, unless a
    /// later write of the same client may have run.
    pub(super) fn drop_backend(&mut self, gateway: usize) {
        let mistaken = self.scenario.mistake == Some(Mistake::ReadSentAgainBehindWrite);
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        let Some(backend) = plane.backend.take() else {
            return;
        };
        for commands in &mut plane.clients {
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
        let found = self.checkers.old_primaries.acknowledged(command.id);
        self.complain(found);
        self.check_acknowledged(command.id, server);
    }

    fn complain(&mut self, violation: Option<(&'static str, String)>) {
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
        let (several, reads) = (self.random.chance(300), self.random.chance(300));
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        for reads in [reads].into_iter().chain(several.then_some(!reads)) {
            if plane.clients[client].len() < PIPELINE {
                plane.sent[client] += 1;
                let (number, id) = (plane.sent[client], self.checkers.next_write());
                let command = Command { number, id, reads, since: self.now, state: Progress::Held };
                plane.clients[client].push_back(command);
                if !reads {
                    self.checkers.command_order.sent_write((gateway, start, client), id);
                }
            }
        }
    }
}
