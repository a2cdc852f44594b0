//! The world: controllers, instances, clients, and the network between them, driven by one queue of events. Whatever
//! is not decided here is decided by the code under test; the world only carries and breaks things.

mod agents;
mod ailments;
mod canaries;
mod clients;
mod controllers;
mod faults;
mod founding;
mod gateways;
mod network;
mod operators;
mod queue;
mod servers;
mod settings;
mod sql;
mod strangers;

use crate::checkers::Checkers;
use crate::coverage::Coverage;
use crate::instance::Instance;
use crate::mariadb::{MariaDb, Transaction};
use crate::random::Random;
use crate::redis::{ConnectionId, Item, Redis, Request, Response, Sync};
use crate::scenario::{FaultKind, Scenario};
use crate::trace::Trace;
use backstay_consensus::Durable;
use backstay_controller::link::{Link, LinkInput};
use backstay_lease::Sample;
use backstay_model::{
    ClusterSpec, Digest, GatewayOrders, Generation, InstanceName, NodeId, NodeName, Now, Order, RunId,
    ServiceName, Term, Time, UnixMicros,
};
use backstay_node::{Effect, Input, Node, PeerMessage};
use gateways::Door;
use queue::Queue;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub(crate) use clients::Client;
pub(crate) use faults::Fault;
pub(crate) use gateways::{ClientRun, GatewayRun};
pub(crate) use network::{Connection, Network, Place};
pub(crate) use sql::SqlEvent;

/// What wall clocks show, in microseconds, when the world's time is 0.
pub(crate) const UNIX_START: u64 = 1_700_000_000_000_000;

/// One world.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) random: Random,
    pub(crate) scenario: Scenario,
    pub(crate) spec: ClusterSpec,
    pub(crate) service: ServiceName,
    queue: Queue,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) servers: Vec<Server>,
    pub(crate) clients: Vec<Client>,
    pub(crate) gateways: Vec<gateways::Gateway>,
    /// Beside each MariaDB, if there are any.
    pub(crate) agents: Vec<agents::Agent>,
    pub(crate) network: Network,
    pub(crate) connections: BTreeMap<ConnectionId, Connection>,
    next_connection: ConnectionId,
    /// Connections on which controllers write to a MariaDB.
    pub(crate) canaries: BTreeMap<ConnectionId, canaries::Canary>,
    pub(crate) runs: u64,
    pub(crate) checkers: Checkers,
    pub(crate) trace: Trace,
    pub(crate) coverage: Coverage,
    pub(crate) healed: bool,
    /// When something happened last, so that clients write quickly then.
    stirred: Time,
    /// When last a controller's file, process or way to another changed.
    pub(crate) agreement_disturbed: Time,
}

/// One controller's machine: its disk, its clock, and the process while there is one.
pub(crate) struct Controller {
    pub(crate) name: NodeName,
    pub(crate) id: NodeId,
    pub(crate) disk: Durable,
    pub(crate) generation: Generation,
    /// Parts per thousand that its clock runs fast.
    pub(crate) skew: i64,
    pub(crate) unix_offset: i64,
    /// What its file says.
    pub(crate) digest: Digest,
    pub(crate) process: Option<Process>,
    /// Nothing runs before this.
    pub(crate) paused_until: Time,
    /// It stopped for good: its state folder is not the one it had.
    pub(crate) halted: bool,
    /// Its folder was made after the first start of the cluster.
    pub(crate) joined: bool,
    pub(crate) starts: u64,
}

/// A running controller.
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) links: Vec<LinkState>,
    /// When it is to be woken; other wakeups are void.
    pub(crate) wake_at: Time,
}

/// A link and the connection it has now.
pub(crate) struct LinkState {
    pub(crate) link: Link,
    pub(crate) connection: Option<ConnectionId>,
    /// When it is to be woken; other wakeups are void.
    pub(crate) wake_at: Time,
    /// Orders on their way to it, each with the term in which it was given.
    pub(crate) ordered: VecDeque<Sent>,
    /// The last one that reached it.
    pub(crate) obeys: Option<Sent>,
}

/// An order, and the term of the leader that gave it.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) order: Order,
    pub(crate) term: Term,
}

/// One instance's host, and the process while there is one.
pub(crate) struct Server {
    pub(crate) name: InstanceName,
    pub(crate) process: Option<Instance>,
    /// What its last save holds; of a MariaDB, what its disk holds.
    pub(crate) file: Option<Instance>,
    /// The replication link that it has as a replica: a number that makes messages of older links void.
    pub(crate) link: u64,
    /// The server that this link leads to, once the primary knows of it.
    pub(crate) linked_to: Option<usize>,
    /// What arrived on the link while the process was stopped.
    pub(crate) held: Vec<Event>,
    /// When the last item was put on the way to each replica, so that the stream stays in order.
    pub(crate) stream_until: BTreeMap<usize, Time>,
    /// Replicas whose stream does not flow yet: a full copy is linked up before it is served.
    pub(crate) unserved_until: BTreeMap<usize, Time>,
    /// How far each of its replicas said to be, and when one last said more than before.
    pub(crate) acknowledged: BTreeMap<usize, u64>,
    pub(crate) acknowledged_at: Time,
    /// When something last happened to the process or its network.
    pub(crate) disturbed: Time,
    /// When something last came on its link (MariaDB).
    pub(crate) fed: Time,
    /// What is under way on it, by the number of the link (MariaDB).
    pub(crate) in_flight: VecDeque<(u64, Transaction)>,
}

impl Server {
    const fn new(name: InstanceName, process: Instance) -> Self {
        Self {
            name,
            process: Some(process),
            file: None,
            link: 0,
            linked_to: None,
            held: Vec::new(),
            stream_until: BTreeMap::new(),
            unserved_until: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            acknowledged_at: Time::ZERO,
            disturbed: Time::ZERO,
            fed: Time::ZERO,
            in_flight: VecDeque::new(),
        }
    }

    pub(crate) fn redis(&self) -> Option<&Redis> {
        self.process.as_ref().and_then(Instance::redis)
    }

    pub(crate) fn redis_mut(&mut self) -> Option<&mut Redis> {
        self.process.as_mut().and_then(Instance::redis_mut)
    }

    pub(crate) fn mariadb(&self) -> Option<&MariaDb> {
        self.process.as_ref().and_then(Instance::mariadb)
    }

    pub(crate) fn mariadb_mut(&mut self) -> Option<&mut MariaDb> {
        self.process.as_mut().and_then(Instance::mariadb_mut)
    }
}

/// What can happen next.
#[derive(Debug)]
pub(crate) enum Event {
    Wake { node: usize, start: u64 },
    LinkWake { node: usize, start: u64, server: usize },
    Deliver { from: usize, to: usize, message: Box<PeerMessage> },
    Link { node: usize, start: u64, server: usize, connection: Option<ConnectionId>, input: Box<LinkInput> },
    Effects { node: usize, start: u64, effects: Vec<Effect> },
    Dial { node: usize, start: u64, server: usize, check: bool },
    Request { connection: ConnectionId },
    Response { connection: ConnectionId },
    Replicate { server: usize, link: u64 },
    Synchronised { server: usize, link: u64, sync: Box<Sync>, primary: usize },
    Stream { server: usize, link: u64, item: Item },
    LinkLost { server: usize, link: u64 },
    PauseOver { server: usize, pause: u64 },
    Loaded { server: usize, run: RunId },
    ReplicationPing,
    ReplicasAcknowledge,
    AgentReports { server: usize },
    AgentCopied { server: usize },
    Acknowledged { primary: usize, replica: usize, link: u64, offset: u64 },
    Client { client: usize },
    FromGateway { node: usize, input: Box<Input> },
    GatewayLook { gateway: usize, start: u64 },
    GatewayClient { gateway: usize, start: u64, client: usize },
    GatewayTold { gateway: usize, start: u64, orders: Box<GatewayOrders> },
    GatewayDialled { gateway: usize, start: u64, door: Door, connection: Option<ConnectionId> },
    GatewaySends { gateway: usize, start: u64, connection: ConnectionId, request: Request },
    GatewayHears { gateway: usize, start: u64, connection: ConnectionId, response: Option<Response> },
    GatewaySampled { gateway: usize, start: u64, sample: Box<Sample> },
    GatewayWakes { gateway: usize, start: u64 },
    Sql(SqlEvent),
    Fault(Fault),
}

impl World {
    /// A world as the scenario describes it, before anything happened.
    pub(crate) fn new(scenario: Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let spec = scenario.spec();
        let service = spec.services[0].name.clone();
        let mut world = Self {
            now: Time::from_micros(1_000_000),
            queue: Queue::default(),
            controllers: Vec::new(),
            servers: Vec::new(),
            clients: Vec::new(),
            gateways: Vec::new(),
            agents: Vec::new(),
            network: Network::new(&scenario),
            connections: BTreeMap::new(),
            next_connection: 1,
            canaries: BTreeMap::new(),
            runs: 0,
            checkers: Checkers::new(&scenario),
            trace: Trace::new(scenario.trace),
            coverage: Coverage::default(),
            healed: false,
            stirred: Time::ZERO,
            agreement_disturbed: Time::ZERO,
            service,
            spec,
            random: Random::new(random.next()),
            scenario,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        self.found();
        for controller in self.spec.controllers.clone() {
            let (skew, offset) =
                (self.random.range(0, 60) as i64 - 30, self.random.range(0, 2_000_000) as i64);
            self.controllers.push(Controller {
                id: controller.id(),
                name: controller.name,
                disk: Durable::default(),
                generation: Generation(self.random.next() | 1),
                skew: if self.scenario.skewed_clocks { skew } else { 0 },
                unix_offset: if self.scenario.skewed_clocks { offset } else { 0 },
                digest: settings::AGREED.into(),
                process: None,
                paused_until: Time::ZERO,
                halted: false,
                joined: false,
                starts: 0,
            });
        }
        for node in 0..self.controllers.len() {
            self.start_controller(node);
        }
        for client in 0..self.scenario.clients {
            self.clients.push(Client::new(client));
            let start = self.random.micros(0, 5000);
            self.schedule(start, Event::Client { client });
        }
        for gateway in 0..self.scenario.gateways {
            let skew = if self.scenario.skewed_clocks { self.random.range(0, 60) as i64 - 30 } else { 0 };
            self.gateways.push(gateways::Gateway::new(format!("g{gateway}").into(), skew));
            self.start_gateway(gateway);
        }
        if self.scenario.gateways > 0 {
            self.schedule(Duration::from_millis(1300), Event::ReplicasAcknowledge);
        }
        if self.scenario.kinds.contains(&FaultKind::Rebuild) {
            self.start_agents();
        }
        self.begin_pings();
        self.schedule_faults();
    }

    /// Lets something happen after a while.
    pub(crate) fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    pub(crate) fn schedule_at(&mut self, at: Time, event: Event) {
        self.queue.push(at.max(self.now), event);
    }

    /// Runs until the moment or a violation.
    pub(crate) fn run_until(&mut self, end: Time) {
        while self.checkers.violation().is_none()
            && let Some((at, event)) = self.queue.pop_until(end)
        {
            self.now = at;
            self.happen(event);
        }
        self.now = self.now.max(end);
    }

    pub(crate) fn happen(&mut self, event: Event) {
        match event {
            Event::Wake { node, start } => self.wake_controller(node, start),
            Event::LinkWake { node, start, server } => self.wake_link(node, start, server),
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Link { node, start, server, connection, input } => {
                self.link_input(node, start, server, connection, *input);
            }
            Event::Effects { node, start, effects } if self.controllers[node].starts == start => {
                self.run_effects(node, effects);
            }
            Event::Effects { .. } => {}
            Event::Dial { node, start, server, check } => self.dial(node, start, server, check),
            Event::Request { connection } => self.request_arrives(connection),
            Event::Response { connection } => self.response_arrives(connection),
            Event::Replicate { .. }
            | Event::Synchronised { .. }
            | Event::Stream { .. }
            | Event::LinkLost { .. } => {
                self.replication(event);
            }
            Event::PauseOver { server, pause } => self.pause_over(server, pause),
            Event::Loaded { server, run } => self.loaded(server, &run),
            Event::ReplicationPing => self.replication_pings(),
            Event::ReplicasAcknowledge => self.replicas_acknowledge(),
            Event::AgentReports { server } => self.agent_reports(server),
            Event::AgentCopied { server } => self.agent_copied(server),
            Event::Acknowledged { primary, replica, link, offset } => {
                self.acknowledged_by(primary, replica, link, offset);
            }
            Event::Client { client } => self.client_acts(client),
            Event::FromGateway { node, input } => self.controller_hears(node, input),
            Event::GatewayWakes { gateway, start } => self.wake_gateway(gateway, start),
            gateways @ (Event::GatewayLook { .. }
            | Event::GatewayClient { .. }
            | Event::GatewayTold { .. }
            | Event::GatewayDialled { .. }
            | Event::GatewaySends { .. }
            | Event::GatewaySampled { .. }
            | Event::GatewayHears { .. }) => self.gateway_event(gateways),
            Event::Sql(event) => self.sql_event(event),
            Event::Fault(fault) => self.fault(fault),
        }
    }

    /// What a controller's clocks show.
    pub(crate) fn clock(&self, node: usize) -> Now {
        let controller = &self.controllers[node];
        let micros = self.now.as_micros();
        let skewed = micros as i64 + micros as i64 / 1000 * controller.skew;
        Now {
            time: Time::from_micros(skewed as u64),
            unix: UnixMicros((UNIX_START + micros).saturating_add_signed(controller.unix_offset)),
        }
    }

    /// The moment at which a controller's clock will show `local`.
    pub(crate) fn moment(&self, node: usize, local: Time) -> Time {
        let wait = local.since(self.clock(node).time);
        let factor = 1000 + self.controllers[node].skew;
        self.now + wait * 1000 / factor as u32 + Duration::from_micros(2)
    }

    pub(crate) fn violate(&mut self, property: &'static str, what: String) {
        self.trace.line(self.now, "VIOLATION", || format!("{property}: {what}"));
        self.checkers.violate(property, what);
    }

    pub(crate) fn send_request(&mut self, connection: ConnectionId, requests: Vec<Request>) {
        self.network_send_requests(connection, requests);
    }
}
