//! The network: who cannot reach whom, how long things take, and connections, which are ordered and lose nothing while
//! both ends live.

use super::{Event, World};
use crate::random::Random;
use crate::redis::{ConnectionId, Request, Response};
use crate::scenario::Scenario;
use backstay_model::Time;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// A place on the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    Controller(usize),
    Server(usize),
    Client(usize),
    Gateway(usize),
}

/// Reachability and habits.
#[derive(Debug)]
pub(crate) struct Network {
    /// Directions in which nothing passes.
    pub(crate) blocked: BTreeSet<(Place, Place)>,
    loss: u64,
    duplication: u64,
    slow: u64,
}

/// Who dialled, and what is under way.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) from: Place,
    pub(crate) start: u64,
    pub(crate) server: usize,
    /// The dialling end is closed.
    pub(crate) client_closed: bool,
    /// The server's process is gone or closed it.
    pub(crate) server_closed: bool,
    requests: VecDeque<Request>,
    responses: VecDeque<Option<Response>>,
    request_at: Time,
    response_at: Time,
}

impl Network {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            blocked: BTreeSet::new(),
            loss: scenario.loss_per_mille,
            duplication: scenario.duplication_per_mille,
            slow: scenario.slow_per_mille,
        }
    }

    pub(crate) fn passes(&self, from: Place, to: Place) -> bool {
        !self.blocked.contains(&(from, to))
    }

    /// From now on nothing is lost, doubled or slow.
    pub(crate) fn heal(&mut self) {
        self.blocked.clear();
        (self.loss, self.duplication, self.slow) = (0, 0, 0);
    }

    fn latency(&self, random: &mut Random) -> Duration {
        if random.chance(self.slow) { random.micros(1_000, 60_000) } else { random.micros(50, 400) }
    }

    /// When the copies of a datagram arrive: none, one or two.
    pub(crate) fn datagram(&self, random: &mut Random, from: Place, to: Place) -> Vec<Duration> {
        if !self.passes(from, to) || random.chance(self.loss) {
            return Vec::new();
        }
        let copies = 1 + usize::from(random.chance(self.duplication));
        (0..copies).map(|_| self.latency(random)).collect()
    }

    pub(crate) fn one_way(&self, random: &mut Random) -> Duration {
        self.latency(random)
    }
}

/// How often a segment that found no way is sent again.
const RETRANSMISSION: Duration = Duration::from_millis(40);

impl World {
    /// A connection that the server's kernel has accepted.
    pub(crate) fn open_connection(&mut self, from: Place, start: u64, server: usize) -> ConnectionId {
        let id = self.next_connection;
        self.next_connection += 1;
        self.connections.insert(
            id,
            Connection {
                from,
                start,
                server,
                client_closed: false,
                server_closed: false,
                requests: VecDeque::new(),
                responses: VecDeque::new(),
                request_at: self.now,
                response_at: self.now,
            },
        );
        if let Some(process) = &mut self.servers[server].process {
            process.connect(id);
        }
        id
    }

    pub(crate) fn network_send_requests(&mut self, id: ConnectionId, requests: Vec<Request>) {
        let latency = self.network.one_way(&mut self.random);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.request_at = connection.request_at.max(self.now + latency);
        let at = connection.request_at;
        let count = requests.len();
        connection.requests.extend(requests);
        for _ in 0..count {
            self.schedule_at(at, Event::Request { connection: id });
        }
    }

    /// The next request reaches the server, unless the way is blocked: then it is sent again later.
    pub(crate) fn request_arrives(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let (from, to) = (connection.from, Place::Server(connection.server));
        if !self.network.passes(from, to) {
            self.schedule(RETRANSMISSION, Event::Request { connection: id });
            return;
        }
        let server = connection.server;
        if connection.server_closed {
            connection.requests.clear();
            return;
        }
        let Some(request) = connection.requests.pop_front() else {
            return;
        };
        self.note_primary_hangs(server);
        let Some(process) = &mut self.servers[server].process else {
            return;
        };
        let deeds = process.arrive(id, request);
        self.carry_out(server, deeds);
    }

    /// The server says something, or closes (`None`).
    pub(crate) fn respond(&mut self, id: ConnectionId, response: Option<Response>) {
        let latency = self.network.one_way(&mut self.random);
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        connection.response_at = connection.response_at.max(self.now + latency);
        connection.server_closed |= response.is_none();
        connection.responses.push_back(response);
        let at = connection.response_at;
        self.schedule_at(at, Event::Response { connection: id });
    }

    pub(crate) fn response_arrives(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let (from, server) = (connection.from, connection.server);
        if !self.network.passes(Place::Server(server), from) {
            self.schedule(RETRANSMISSION, Event::Response { connection: id });
            return;
        }
        let Some(response) = connection.responses.pop_front() else {
            return;
        };
        let (closed, start) = (connection.client_closed, connection.start);
        if response.is_none() {
            self.connections.remove(&id);
        }
        if closed {
            return;
        }
        match from {
            Place::Controller(node) => self.link_hears(node, start, server, id, response),
            Place::Client(client) => self.client_hears(client, id, response.as_ref()),
            Place::Gateway(gateway) => {
                self.gateway_event(Event::GatewayHears { gateway, start, connection: id, response });
            }
            Place::Server(_) => {}
        }
    }

    /// The dialling end closes. What it sent stays sent.
    pub(crate) fn close_from_client(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.client_closed
        {
            connection.client_closed = true;
            self.send_request(id, vec![Request::Close]);
        }
    }

    /// Both ends are done with it.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        self.connections.remove(&id);
    }

    /// The process is gone: its kernel closes every connection.
    pub(crate) fn close_from_server(&mut self, server: usize) {
        let open = self.connections.iter().filter(|(_, one)| one.server == server && !one.server_closed);
        for id in open.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.respond(id, None);
        }
    }
}
