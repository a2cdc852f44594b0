//! What the bytes mean: a value that is told what was read and what time it is, and that says what is to be written.
//! It knows no socket and no clock, so that every sequence of events can be played to it.
//!
//! A client's commands are sent on in order. Whatever they must not mix with (another connection, an answer of the
//! gateway's own) waits until what the client has under way is answered; that one rule keeps its replies in order.

mod account;
mod answer;
mod auth;
mod client;
mod connect;
mod ending;
mod endpoint;
mod held;
mod intake;
mod link;
mod loss;
mod memory;
mod notices;
mod own;
mod peer;
mod rate;
mod readers;
mod replies;
mod route;
mod secrets;
mod stateful;
mod table;
mod transaction;
mod turn;

#[cfg(any(test, fuzzing))]
pub(crate) mod play;
#[cfg(test)]
mod shop;

pub(crate) use notices::Here;
pub(crate) use table::{Key, Table};

use crate::direction::Unconfirmed;
use crate::family::Family;
use crate::settings::Settings;
use crate::traffic::add;
use backstay_lease::MARGIN;
use backstay_model::{Epoch, ServiceName, Time};
use client::{Again, Client, Mute, Wait};
use endpoint::EndpointState;
use link::Link;
use memory::Memory;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How often timeouts are looked at that nobody waits for to the millisecond.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// Replies that a client has not fetched before its next commands wait for it to do so.
const OUTPUT_LOW: usize = 256 * 1024;

pub(crate) struct Core {
    now: Time,
    zone: String,
    endpoints: Vec<EndpointState>,
    clients: Table<Client>,
    links: Table<Link>,
    /// Clients whose wait is over.
    runnable: VecDeque<Key>,
    /// Clients that had their share of this turn.
    sated: Vec<Key>,
    /// Counts the turns of the loop.
    turn: u64,
    /// What one client may have of each.
    work_max: usize,
    /// So many bytes may be under way on one connection before the next commands wait.
    under_way_max: usize,
    dirty_clients: Vec<Key>,
    dirty_links: Vec<Key>,
    /// Clients that may be read again.
    readable: Vec<Key>,
    effects: VecDeque<Effect>,
    /// Drains and holds that were not confirmed yet.
    unconfirmed: Unconfirmed,
    memory: Memory,
    /// What the commands that are being taken are about.
    families: Vec<Family>,
    ids: u64,
    /// Counts what clients are told. It begins where no earlier gateway of this machine was, because clients drop what
    /// they believe to know already.
    notice: u64,
    tick_at: Time,
    /// Before that it is not looked who has nothing under way when the gateway stops.
    settled_at: Time,
}

/// What must be done with sockets, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Open this connection to a server.
    Connect { link: Key, endpoint: usize, address: SocketAddr, host: Arc<str> },
    /// Close it; with `drop_unsent` what the kernel has not sent yet is not sent any more.
    CloseLink { link: Key, drop_unsent: bool },
    /// Close this client's connection.
    CloseClient(Key),
    /// What this epoch's `Hold` or `Drain` demands is done.
    Held(ServiceName, Epoch),
}

impl Core {
    pub(crate) fn new(settings: Settings, now: Time) -> Self {
        Self {
            memory: Memory::new(&settings),
            now,
            zone: settings.zone,
            endpoints: settings.endpoints.into_iter().map(EndpointState::new).collect(),
            clients: Table::new(),
            links: Table::new(),
            runnable: VecDeque::new(),
            sated: Vec::new(),
            turn: 0,
            work_max: turn::WORK_MAX,
            under_way_max: intake::UNDER_WAY_MAX,
            dirty_clients: Vec::new(),
            dirty_links: Vec::new(),
            readable: Vec::new(),
            effects: VecDeque::new(),
            unconfirmed: Unconfirmed::default(),
            families: Vec::new(),
            ids: 0,
            notice: now.as_micros() / 1000,
            tick_at: now,
            settled_at: now,
        }
    }

    /// The time of everything that follows. Must be called before each read from a server is handed in.
    pub(crate) fn set_now(&mut self, now: Time) {
        self.now = self.now.max(now);
        for endpoint in &mut self.endpoints {
            endpoint.look_at_lease(now);
        }
    }

    /// A client connected. `Err`: send it this and close.
    pub(crate) fn client_opened(&mut self, endpoint: usize, peer: &str) -> Result<Key, &'static [u8]> {
        let state = &mut self.endpoints[endpoint];
        if state.clients >= state.settings.limits.clients_max {
            add(&state.traffic.refused, 1);
            return Err(b"-ERR max number of clients reached\r\n");
        }
        state.clients += 1;
        state.count_clients();
        self.ids += 1;
        let key = self.clients.insert(Client {
            id: self.ids,
            endpoint,
            peer: peer.into(),
            name: Box::default(),
            connected: self.now,
            active: self.now,
            begun: None,
            lost: 0,
            input: Vec::new(),
            scan: crate::scan::RequestScan::default(),
            requeued: VecDeque::new(),
            requeued_now: 0,
            wait: Wait::No,
            work: (0, 0),
            waits_since: None,
            paused_at: None,
            held_bytes: 0,
            output: Vec::new(),
            sent: 0,
            dirty: false,
            lane: Key::NONE,
            own: None,
            in_flight: 0,
            wrote: Epoch(0),
            authenticated: state.settings.users.is_empty(),
            stranger_since: self.now,
            user: None,
            login: 0,
            database: 0,
            resp3: false,
            mute: Mute::No,
            special: None,
            notices: None,
            eof: false,
            ending: false,
        });
        Ok(key)
    }

    /// Whether the client's bytes are wanted now. If not, it is among `readable` when they are.
    #[inline]
    pub(crate) fn wants_input(&self, key: Key) -> bool {
        self.clients.get(key).is_some_and(|client| {
            // A request that is begun can be answered once it is whole, and is no longer held then.
            let room =
                client.unsent() == 0 || client.begun.is_some() || !self.endpoints[client.endpoint].full;
            client.wait == Wait::No && !client.eof && !client.ending && room
        })
    }

    /// What is to be written to the client, from the second on.
    pub(crate) fn client_output(&mut self, key: Key) -> Option<(&[u8], usize)> {
        self.clients.get(key).map(|client| (&client.output[..], client.sent))
    }

    /// So much of the output was written.
    pub(crate) fn client_wrote(&mut self, key: Key, written: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.sent += written;
        add(&self.endpoints[client.endpoint].traffic.bytes_out, written as u64);
        if client.sent < client.output.len() {
            if client.sent > OUTPUT_LOW && client.sent > client.output.len() / 2 {
                client.output.drain(..client.sent);
                client.sent = 0;
            }
        } else {
            client.output.clear();
            client.sent = 0;
            if client.output.capacity() > 4096 {
                client.output = Vec::new();
            }
            if self.endpoints[client.endpoint].full {
                self.readable.push(key);
            }
            if client.ending {
                if self.has_ended(key) {
                    self.end_client(key);
                }
                return;
            }
        }
        if client.wait == Wait::Output && client.unsent() <= OUTPUT_LOW {
            client.wait = Wait::No;
            self.runnable.push_back(key);
        }
    }

    /// What is to be written to the server, from the second on. Nothing to a primary whose lease is about to end: what was
    /// admitted in time may have waited since. It goes when the lease is renewed, or elsewhere.
    pub(crate) fn link_output(&mut self, key: Key) -> Option<(&[u8], usize)> {
        let link = self.links.get(key)?;
        let lapses = link.primary && self.endpoints[link.endpoint].is_expired(self.now + MARGIN);
        (!lapses).then_some((&link.output[..], link.sent))
    }

    /// The connection to a server takes bytes again.
    pub(crate) fn link_writable(&mut self, key: Key) {
        if let Some(link) = self.links.get_mut(key).filter(|link| link.sent < link.output.len()) {
            Self::soil_link(&mut self.dirty_links, link, key);
        }
    }

    pub(crate) fn link_wrote(&mut self, key: Key, written: usize) {
        if let Some(link) = self.links.get_mut(key) {
            link.wrote(written);
        }
    }

    /// The next thing to do with a socket. To be emptied after every call that takes a key.
    pub(crate) fn effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// A connection to a server that something is to be written to.
    pub(crate) fn dirty_links(&mut self) -> Option<Key> {
        loop {
            let key = self.dirty_links.pop()?;
            if let Some(link) = self.links.get_mut(key) {
                link.dirty = false;
                if !link.gathers() {
                    return Some(key);
                }
            }
        }
    }

    pub(crate) fn dirty_clients(&mut self) -> Option<Key> {
        let key = self.dirty_clients.pop()?;
        if let Some(client) = self.clients.get_mut(key) {
            client.dirty = false;
        }
        Some(key)
    }

    /// Clients whose bytes are wanted again.
    pub(crate) fn readable(&mut self) -> Option<Key> {
        self.readable.pop()
    }

    /// Takes the next commands of clients whose wait is over. To be called after everything that was read was handed in.
    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(key) = self.runnable.pop_front() {
                self.run(key);
            }
            self.drain();
            if self.runnable.is_empty() {
                return;
            }
        }
    }

    /// Whether `settle` has something to do.
    pub(crate) fn is_unsettled(&self) -> bool {
        !self.runnable.is_empty()
    }

    #[inline]
    fn soil_client(dirty: &mut Vec<Key>, client: &mut Client, key: Key) {
        if !client.dirty {
            client.dirty = true;
            dirty.push(key);
        }
    }

    #[inline]
    fn soil_link(dirty: &mut Vec<Key>, link: &mut Link, key: Key) {
        if !link.dirty {
            link.dirty = true;
            dirty.push(key);
        }
    }
}
