//! Gateways: the real leases around a small data plane. Client connections send numbered reads and writes; they are
//! forwarded to the primary on one connection while the lease lasts, and wait otherwise; one more client reads at a reader
//! endpoint. A gateway may be stopped between
//! any two of its acts, and wakes with old replies and old orders in its sockets. In some worlds the operator
//! lets gateways go on without a lease: what is acknowledged then may be lost.

mod failsafe;
mod faults;
mod plane;
mod reader;

use super::{Event, Place, World};
use crate::redis::{ConnectionId, WriteId};
use backstay_lease::{Leases, MARGIN, Standing};
use backstay_model::{
    Address, Epoch, GatewayId, GatewayLoad, GatewayName, GatewayOrders, LEASE_ASKED_EVERY, PrimaryOrder, Time,
};
use backstay_node::Input;
use std::collections::VecDeque;
use std::time::Duration;

/// One run of a gateway: which one, and its how manieth start.
pub(crate) type GatewayRun = (usize, u64);
/// One connection of a client to a run of a gateway.
pub(crate) type ClientRun = (usize, u64, usize);

const CLIENTS: usize = 3;
/// The client of the reader endpoint; the others' commands go to the primary.
const READER: usize = 2;
/// How many commands of a client are under way at most.
const PIPELINE: usize = 3;
/// How often what may be done is looked at without a cause.
const LOOK: Duration = Duration::from_millis(20);
/// A command that waits for longer once everything is mended was forgotten.
const FORGOTTEN: Duration = Duration::from_secs(2);

/// One gateway's host, and the process while there is one.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) name: GatewayName,
    /// Parts per thousand that its clock runs fast.
    skew: i64,
    pub(crate) starts: u64,
    plane: Option<Plane>,
    /// The process is stopped until then.
    stopped_until: Time,
    /// What came while it was stopped.
    unread: Vec<Event>,
}

/// The running process.
#[derive(Debug)]
struct Plane {
    id: GatewayId,
    leases: Leases,
    /// When it asks again.
    asks_at: Time,
    /// When it looks at the primary again, for its failsafe.
    samples_at: Time,
    clients: Vec<VecDeque<Command>>,
    /// How many commands each client sent.
    sent: Vec<u64>,
    /// The connections to the primary and to what is read from.
    primary: Option<Backend>,
    reader: Option<Backend>,
    /// The last epoch in which it confirmed to hold.
    confirmed: Option<Epoch>,
}

/// Which endpoint of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Primary,
    Reader,
}

impl Door {
    const BOTH: [Self; 2] = [Self::Primary, Self::Reader];

    const fn of(client: usize) -> Self {
        if client == READER { Self::Reader } else { Self::Primary }
    }
}

impl Plane {
    const fn backend(&mut self, door: Door) -> &mut Option<Backend> {
        match door {
            Door::Primary => &mut self.primary,
            Door::Reader => &mut self.reader,
        }
    }
}

/// The connection to a server.
#[derive(Debug)]
struct Backend {
    epoch: Epoch,
    target: Address,
    server: usize,
    /// Once it is made.
    connection: Option<ConnectionId>,
    /// The client and number of each command whose reply was not read.
    in_flight: VecDeque<(usize, u64)>,
}

#[derive(Debug)]
struct Command {
    number: u64,
    id: WriteId,
    reads: bool,
    since: Time,
    state: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// It waits for a primary.
    Held,
    /// On its way, its reply unread.
    Forwarded,
    /// Done, with its result read in time.
    Done { server: usize, connection: ConnectionId },
    /// The server refused it.
    Refused,
    /// Nobody knows whether it was done.
    Unknown,
}

impl Gateway {
    pub(crate) const fn new(name: GatewayName, skew: i64) -> Self {
        Self { name, skew, starts: 0, plane: None, stopped_until: Time::ZERO, unread: Vec::new() }
    }

    /// Something is owed to a client, or there is no process that could give it.
    fn owes(&self, now: Time) -> bool {
        let old = |command: &Command| now.since(command.since) > FORGOTTEN;
        self.plane.as_ref().is_none_or(|plane| plane.clients.iter().flatten().any(old))
    }
}

impl World {
    /// What the gateway's clock shows.
    fn gateway_clock(&self, gateway: usize) -> Time {
        let micros = self.now.as_micros() as i64;
        Time::from_micros((micros + micros / 1000 * self.gateways[gateway].skew) as u64)
    }

    pub(crate) fn start_gateway(&mut self, gateway: usize) {
        let (process, leases) = (self.random.next(), self.new_leases());
        let it = &mut self.gateways[gateway];
        if it.plane.is_some() {
            return;
        }
        it.starts += 1;
        it.stopped_until = Time::ZERO;
        it.unread.clear();
        it.plane = Some(Plane {
            id: GatewayId { name: it.name.clone(), process },
            leases,
            asks_at: Time::ZERO,
            samples_at: Time::ZERO,
            clients: (0..CLIENTS).map(|_| VecDeque::new()).collect(),
            sent: vec![0; CLIENTS],
            primary: None,
            reader: None,
            confirmed: None,
        });
        let start = it.starts;
        self.trace.line(self.now, "start", || self.gateways[gateway].name.to_string());
        self.schedule(Duration::ZERO, Event::GatewayLook { gateway, start });
        for client in 0..CLIENTS {
            let after = self.random.micros(0, 20_000);
            self.schedule(after, Event::GatewayClient { gateway, start, client });
        }
    }

    /// The process ends, wherever it is. What it sent stays sent; controllers may learn that its connections are gone.
    pub(crate) fn crash_gateway(&mut self, gateway: usize) {
        let Some(plane) = self.gateways[gateway].plane.take() else {
            return;
        };
        self.trace.line(self.now, "crash", || self.gateways[gateway].name.to_string());
        for backend in [plane.primary, plane.reader].into_iter().flatten() {
            backend.connection.into_iter().for_each(|connection| self.close_from_client(connection));
        }
        for node in 0..self.controllers.len() {
            let (here, there) = (Place::Gateway(gateway), Place::Controller(node));
            for delay in self.network.datagram(&mut self.random, here, there) {
                let input = Box::new(Input::Gateway { gateway: plane.id.clone(), report: None });
                self.schedule(delay, Event::FromGateway { node, input });
            }
        }
    }

    /// SIGSTOP, until it is resumed.
    pub(crate) fn stop_gateway(&mut self, gateway: usize, stop: Duration) {
        let it = &mut self.gateways[gateway];
        if it.plane.is_none() {
            return;
        }
        it.stopped_until = it.stopped_until.max(self.now + stop);
        let start = it.starts;
        self.trace.line(self.now, "stop", || format!("{} for {stop:?}", self.gateways[gateway].name));
        self.schedule(stop, Event::GatewayWakes { gateway, start });
    }

    /// SIGCONT: what lies in its sockets is read, of which first is chance.
    pub(crate) fn wake_gateway(&mut self, gateway: usize, start: u64) {
        let it = &mut self.gateways[gateway];
        if it.starts != start || it.stopped_until > self.now {
            return;
        }
        let mut unread = std::mem::take(&mut it.unread);
        if self.random.chance(500) {
            unread.sort_by_key(|event| !matches!(event, Event::GatewayHears { .. }));
        }
        for event in unread {
            self.gateway_event(event);
        }
    }

    /// Something happens to a gateway, at once or when it goes on.
    pub(crate) fn gateway_event(&mut self, event: Event) {
        let (gateway, start) = match &event {
            Event::GatewayLook { gateway, start }
            | Event::GatewayClient { gateway, start, .. }
            | Event::GatewayTold { gateway, start, .. }
            | Event::GatewayDialled { gateway, start, .. }
            | Event::GatewaySends { gateway, start, .. }
            | Event::GatewaySampled { gateway, start, .. }
            | Event::GatewayHears { gateway, start, .. } => (*gateway, *start),
            _ => return,
        };
        let it = &mut self.gateways[gateway];
        if it.starts != start || it.plane.is_none() {
            if let Event::GatewayDialled { connection: Some(id), .. } = event {
                self.close_from_client(id);
            }
            return;
        }
        if it.stopped_until > self.now {
            return it.unread.push(event);
        }
        self.tell_alarms(gateway, start);
        match event {
            Event::GatewayLook { .. } => self.gateway_looks(gateway, start),
            Event::GatewayClient { client, .. } => self.gateway_client_acts(gateway, start, client),
            Event::GatewaySampled { sample, .. } => self.gateway_sampled(gateway, *sample),
            Event::GatewayTold { orders, .. } => self.gateway_told(gateway, start, *orders),
            Event::GatewayDialled { door, connection, .. } => {
                self.gateway_dialled(gateway, door, connection);
            }
            Event::GatewaySends { connection, request, .. } => self.send_request(connection, vec![request]),
            Event::GatewayHears { connection, response, .. } => {
                self.gateway_hears(gateway, start, connection, response.as_ref());
            }
            _ => {}
        }
        self.tell_alarms(gateway, start);
        self.tend_gateway(gateway, start);
        self.tend_reader(gateway, start);
        self.release_answers(gateway, start);
    }

    fn gateway_looks(&mut self, gateway: usize, start: u64) {
        self.schedule(LOOK, Event::GatewayLook { gateway, start });
        self.gateway_samples(gateway, start);
        let now = self.gateway_clock(gateway);
        if self.gateways[gateway].plane.as_ref().is_some_and(|plane| plane.asks_at <= now) {
            self.gateway_reports(gateway, start);
        }
    }

    fn gateway_reports(&mut self, gateway: usize, start: u64) {
        let now = self.gateway_clock(gateway);
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        plane.asks_at = now + LEASE_ASKED_EVERY;
        let report = plane.leases.report(now, GatewayLoad::default());
        let id = plane.id.clone();
        self.checkers.lease_at_reply.asked((gateway, start), report.number, now);
        for node in 0..self.controllers.len() {
            let (here, there) = (Place::Gateway(gateway), Place::Controller(node));
            for delay in self.network.datagram(&mut self.random, here, there) {
                let input = Input::Gateway { gateway: id.clone(), report: Some(report.clone()) };
                self.schedule(delay, Event::FromGateway { node, input: Box::new(input) });
            }
        }
    }

    /// A controller says something to a gateway.
    pub(crate) fn tell_gateway(&mut self, node: usize, id: &GatewayId, orders: &GatewayOrders) {
        let runs = |it: &Gateway| it.plane.as_ref().is_some_and(|plane| plane.id == *id);
        let Some(gateway) = self.gateways.iter().position(runs) else {
            return;
        };
        let served = orders.services.iter().any(|it| matches!(it.primary, PrimaryOrder::Serve(_)));
        if served && orders.answers.is_some() {
            self.coverage.gateway("lease granted");
        }
        let start = self.gateways[gateway].starts;
        let (here, there) = (Place::Controller(node), Place::Gateway(gateway));
        for delay in self.network.datagram(&mut self.random, here, there) {
            self.schedule(delay, Event::GatewayTold { gateway, start, orders: Box::new(orders.clone()) });
        }
    }

    fn gateway_told(&mut self, gateway: usize, start: u64, orders: GatewayOrders) {
        let now = self.gateway_clock(gateway);
        self.checkers.lease_at_reply.told((gateway, start), now, &orders);
        self.checkers.readers.told((gateway, start), &orders);
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        let says: Vec<_> = orders.services.iter().map(|it| (it.epoch, it.primary.clone())).collect();
        if plane.leases.told(now, orders) {
            self.trace.line(self.now, "told", || format!("{}: {says:?}", self.gateways[gateway].name));
            self.gateway_reports(gateway, start);
        }
    }

    /// Brings what is done in line with what may be done now.
    fn tend_gateway(&mut self, gateway: usize, start: u64) {
        let now = self.gateway_clock(gateway);
        let Some(plane) = &self.gateways[gateway].plane else {
            return;
        };
        let is_idle = plane.primary.as_ref().is_none_or(|backend| backend.in_flight.is_empty());
        match plane.leases.standing(&self.service, now) {
            Some(Standing::Serve { epoch, primary, until }) => {
                let other = |backend: &Backend| backend.epoch != epoch || backend.target != primary;
                if plane.primary.as_ref().is_some_and(other) {
                    self.drop_backend(gateway, Door::Primary);
                }
                if now + MARGIN < until {
                    self.forward(gateway, start, Door::Primary, epoch, primary);
                }
            }
            Some(Standing::Drain { epoch, .. }) if is_idle => {
                self.drop_backend(gateway, Door::Primary);
                self.confirm(gateway, start, epoch, "drained");
            }
            Some(Standing::Drain { .. }) => {}
            Some(Standing::Hold { epoch }) => {
                self.drop_backend(gateway, Door::Primary);
                self.confirm(gateway, start, epoch, "hold confirmed");
            }
            None => self.drop_backend(gateway, Door::Primary),
        }
    }

    fn confirm(&mut self, gateway: usize, start: u64, epoch: Epoch, how: &'static str) {
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        plane.leases.held(&self.service, epoch);
        if plane.confirmed.replace(epoch) != Some(epoch) {
            self.coverage.gateway(how);
            self.gateway_reports(gateway, start);
        }
    }

    /// Everything goes on.
    pub(crate) fn mend_gateways(&mut self) {
        for gateway in 0..self.gateways.len() {
            self.gateways[gateway].stopped_until = self.now;
            let start = self.gateways[gateway].starts;
            self.wake_gateway(gateway, start);
            self.start_gateway(gateway);
        }
    }

    /// A gateway that serves nobody, or owes an answer for long.
    pub(crate) fn gateway_unwell(&self) -> Option<String> {
        self.gateways.iter().enumerate().find_map(|(index, it)| {
            let standing = it.plane.as_ref()?.leases.standing(&self.service, self.gateway_clock(index));
            let serves = matches!(standing, Some(Standing::Serve { .. }));
            (!serves || it.owes(self.now)).then(|| format!("{} serves: {serves}, or owes an answer", it.name))
        })
    }
}
