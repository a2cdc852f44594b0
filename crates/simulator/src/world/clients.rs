//! Clients that write: each asks a controller where the primary is, keeps one connection, writes one thing at a time,
//! and after an error or 50 ms of silence asks again. Some are patient and never give a connection up.

use super::{Event, Place, World};
use crate::redis::{ConnectionId, Request, Response, WriteId};
use backstay_model::Time;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_millis(50);
const BETWEEN_WRITES: Duration = Duration::from_millis(4);
/// While nothing happened for a while.
const BETWEEN_QUIET_WRITES: Duration = Duration::from_millis(25);
/// How long after something happened clients write quickly.
const UNREST: Duration = Duration::from_secs(1);
const BETWEEN_TRIES: Duration = Duration::from_millis(2);

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    /// Keeps waiting on its connection, however long.
    patient: bool,
    connection: Option<(ConnectionId, usize)>,
    waiting: Option<(WriteId, Time)>,
}

impl Client {
    pub(crate) const fn new(number: usize) -> Self {
        Self { patient: number % 3 == 2, connection: None, waiting: None }
    }
}

impl World {
    /// Something happened that a write in the same moment could meet.
    pub(crate) const fn stir(&mut self) {
        self.stirred = self.now;
    }

    /// Nothing happened for a while.
    pub(crate) fn is_quiet(&self) -> bool {
        self.now.since(self.stirred) > UNREST
    }

    /// A client's turn: give up what took too long, connect if need be, write.
    pub(crate) fn client_acts(&mut self, number: usize) {
        let client = &self.clients[number];
        let mut wait = if self.is_quiet() { BETWEEN_QUIET_WRITES } else { BETWEEN_WRITES };
        if let Some((_, since)) = client.waiting {
            let late = self.now.since(since) > TIMEOUT;
            if late && (!client.patient || self.healed) {
                self.hang_up(number);
            }
            wait = BETWEEN_TRIES;
        } else if let Some((connection, _)) = client.connection {
            let write = self.checkers.next_write();
            self.clients[number].waiting = Some((write, self.now));
            self.send_request(connection, vec![Request::Write(write)]);
        } else {
            self.client_connects(number);
            wait = BETWEEN_TRIES;
        }
        let jitter = self.random.micros(0, 500);
        self.schedule(wait + jitter, Event::Client { client: number });
    }

    /// Asks some controller, as a client of the Sentinel API would, and connects where it is told.
    fn client_connects(&mut self, number: usize) {
        let node = self.random.range(0, self.controllers.len() as u64 - 1) as usize;
        let here = Place::Client(number);
        if !self.network.passes(here, Place::Controller(node))
            || self.controllers[node].paused_until > self.now
        {
            return;
        }
        let Some(address) =
            self.controllers[node].node().and_then(|node| node.brain().address(&self.service))
        else {
            return;
        };
        let instances = &self.spec.services[0].instances;
        let Some(server) = instances.iter().position(|instance| instance.address == *address) else {
            return;
        };
        let there = Place::Server(server);
        let open = self.network.passes(here, there) && self.network.passes(there, here);
        if open && self.servers[server].process.is_some() {
            let connection = self.open_connection(here, 0, server);
            self.clients[number].connection = Some((connection, server));
        }
    }

    pub(crate) fn client_hears(
        &mut self,
        number: usize,
        connection: ConnectionId,
        response: Option<&Response>,
    ) {
        if self.clients[number].connection.map(|(id, _)| id) != Some(connection) {
            return;
        }
        match response {
            Some(&Response::Written(write)) => {
                self.clients[number].waiting = None;
                if let Some((_, server)) = self.clients[number].connection {
                    self.check_acknowledged(write, server);
                }
            }
            Some(Response::Rejected(_)) => {
                self.clients[number].waiting = None;
                self.hang_up(number);
            }
            Some(Response::Reply(_) | Response::Value(_)) => {}
            None => {
                self.hang_up(number);
            }
        }
    }

    fn hang_up(&mut self, number: usize) {
        self.clients[number].waiting = None;
        if let Some((connection, _)) = self.clients[number].connection.take() {
            self.close_from_client(connection);
        }
    }
}
