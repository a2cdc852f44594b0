//! Clients without a server: they wait, bounded in time and number, and are linked as soon as a server speaks to them.

use super::endpoint::{Choice, EndpointState};
use super::pair::{Pair, Server, Side, Stage};
use super::{Effect, Exchange, add};
use crate::core::Key;
use crate::plane::proxied::announcement;
use crate::sql::refusal::Refusal;
use crate::traffic::raise;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How long a connection to a server may take. That the server then speaks is waited for like a server itself: one that
/// looks names up takes its time.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(2);

impl Exchange {
    /// A client came. `Err`: send it this and close.
    pub(crate) fn client_opened(&mut self, endpoint: usize, peer: &str) -> Result<Key, Vec<u8>> {
        let state = &mut self.endpoints[endpoint];
        let max = state.settings.limits.clients_max;
        if state.clients >= max {
            add(&state.traffic.refused, 1);
            let text = format!(
                "Too many connections: {max} clients are connected to this gateway's endpoint \
                 already (clients_max); close some, or raise the limit"
            );
            return Err(Refusal::TooMany.packet(0, &text));
        }
        state.clients += 1;
        state.traffic.clients.store(state.clients as u64, Relaxed);
        Ok(self.pairs.insert(Pair::new(endpoint, peer, self.now)))
    }

    /// It is known who the client is: it wants a server. `from`: where it is, and which address it called.
    pub(crate) fn client_introduced(&mut self, key: Key, from: Option<(SocketAddr, SocketAddr)>) {
        let Some(pair) = self.pairs.get_mut(key).filter(|pair| pair.stage == Stage::Arriving) else {
            return;
        };
        let number = pair.endpoint;
        (pair.from, pair.stage) = (from, Stage::Waiting);
        self.enqueue(number, key);
        self.seek(number);
        self.wait_on(key);
    }

    /// A load balancer says who the client is.
    pub(crate) fn client_named(&mut self, key: Key, peer: &str) {
        if let Some(pair) = self.pairs.get_mut(key) {
            pair.peer = peer.into();
        }
    }

    fn enqueue(&mut self, number: usize, key: Key) {
        let state = &mut self.endpoints[number];
        state.queue.push_back(key);
        state.waiting += 1;
    }

    /// Begins to connect those who wait, as far as there is somewhere to connect to.
    pub(super) fn seek(&mut self, number: usize) {
        loop {
            let Some(key) = self.first_in_queue(number) else {
                return;
            };
            let state = &mut self.endpoints[number];
            match state.choose(&self.zone, self.now) {
                Choice::Wait => return,
                Choice::Refuse => {
                    let text = "No replica is near enough to its primary to be read from; ask again later, \
                                or let the endpoint read elsewhere (otherwise)";
                    self.refuse(key, Refusal::NoServer, text);
                }
                Choice::To { address, primary } => {
                    state.queue.pop_front();
                    state.waiting -= 1;
                    state.primary_links += usize::from(primary);
                    let place = state.places.entry(address).or_default();
                    (place.links, place.ungreeted) = (place.links + 1, place.ungreeted + 1);
                    add(&state.traffic.own.opened, 1);
                    if let Some(pair) = self.pairs.get_mut(key) {
                        pair.stage = Stage::Connecting;
                        pair.server = Some(Server { address, primary, since: self.now });
                    }
                    self.effects.push_back(Effect::Connect { pair: key, address });
                }
            }
        }
    }

    /// The client that waits longest. Whoever does not wait any more is forgotten.
    fn first_in_queue(&mut self, number: usize) -> Option<Key> {
        let state = &mut self.endpoints[number];
        while let Some(key) = state.queue.front().copied() {
            if self.pairs.get(key).is_some_and(|pair| pair.stage == Stage::Waiting) {
                return Some(key);
            }
            state.queue.pop_front();
        }
        None
    }

    /// There was no server for it at once: it waits, if it may.
    fn wait_on(&mut self, key: Key) {
        let Some(pair) = self.pairs.get_mut(key).filter(|pair| pair.stage == Stage::Waiting) else {
            return;
        };
        let number = pair.endpoint;
        let state = &self.endpoints[number];
        note_held(pair, state);
        state.traffic.held.store(state.waiting as u64, Relaxed);
        let max = state.settings.limits.held_commands_max;
        if state.waiting > max {
            let text = format!(
                "Too many connections: {max} clients wait for a server already (held_max); {}",
                self.reason(number)
            );
            self.refuse(key, Refusal::TooMany, &text);
        }
    }

    /// Forgets who left the queue otherwise than at its head.
    pub(super) fn tidy_queue(&mut self, number: usize) {
        let state = &mut self.endpoints[number];
        if state.queue.len() > state.waiting * 2 {
            let pairs = &self.pairs;
            state.queue.retain(|key| pairs.get(*key).is_some_and(|pair| pair.stage == Stage::Waiting));
        }
    }

    /// Why nobody can be connected now, and what to do.
    fn reason(&self, number: usize) -> String {
        let state = &self.endpoints[number];
        match state.trouble() {
            Some((server, why)) => {
                format!("the server {server} cannot be connected to: {why}; see whether it runs")
            }
            None if state.primary_links > 0 => {
                "the server took the connection and says nothing; see whether it hangs".to_owned()
            }
            None => "there is no primary now; see `backstay status`".to_owned(),
        }
    }

    /// The connection to the server is there.
    pub(crate) fn server_connected(&mut self, key: Key) {
        let Some(pair) = self.pairs.get_mut(key).filter(|pair| pair.stage == Stage::Connecting) else {
            return;
        };
        pair.stage = Stage::Connected;
        let state = &self.endpoints[pair.endpoint];
        if state.settings.send_proxy {
            let header = announcement(pair.from);
            self.keep(key, Side::Server, &header);
        }
        self.ready.push(key);
    }

    /// It could not be made, or it ended before the server had said a word. The client waits for the next one.
    pub(crate) fn server_failed(&mut self, key: Key, why: &str) {
        let Some(pair) = self.pairs.get(key) else {
            return;
        };
        if !matches!(pair.stage, Stage::Connecting | Stage::Connected) {
            return;
        }
        self.leave_failed(key, why);
    }

    /// The client waits for the next server, and others for a moment before they try this one.
    pub(super) fn leave_failed(&mut self, key: Key, why: &str) {
        let Some(pair) = self.pairs.get(key) else {
            return;
        };
        let (number, address) = (pair.endpoint, pair.server.as_ref().map(|server| server.address));
        let state = &mut self.endpoints[number];
        add(&state.traffic.sql.connects_failed, 1);
        if let Some(place) = address.and_then(|address| state.places.get_mut(&address)) {
            if place.trouble.is_none() {
                let (endpoint, server) = (&state.settings.name, address);
                tracing::warn!(endpoint, ?server, why, "cannot connect to a server; clients wait");
            }
            place.failed(why, self.now);
        }
        self.unlink(key);
        self.seek(number);
        self.wait_on(key);
    }

    /// Takes the server from a client that it has not let in. It waits, before those who came later.
    pub(super) fn unlink(&mut self, key: Key) {
        self.end_parting(key);
        self.forget_server(key);
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        let state = &mut self.endpoints[pair.endpoint];
        state.kept -= pair.unlink(self.now);
        note_held(pair, state);
        let since = pair.since;
        let younger = |other: &Key| self.pairs.get(*other).is_some_and(|other| other.since > since);
        let at = state.queue.iter().position(younger).unwrap_or(state.queue.len());
        state.queue.insert(at, key);
        state.waiting += 1;
        self.effects.push_back(Effect::Disconnect(key));
        self.ready.push(key);
    }

    /// The server speaks to the client for the first time: from now on they stay together.
    pub(super) fn link(&mut self, key: Key) {
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        pair.stage = Stage::Linked;
        let number = pair.endpoint;
        let state = &mut self.endpoints[number];
        if pair.held {
            raise(&state.traffic.held_longest_us, self.now.since(pair.since).as_micros() as u64);
        }
        if let Some(place) = pair.server.as_ref().and_then(|server| state.places.get_mut(&server.address)) {
            place.ungreeted -= 1;
            place.trouble = None;
        }
        // It may have spoken out of turn.
        self.ready.push(key);
        self.seek(number);
    }

    /// Refuses those who waited for too long.
    pub(super) fn end_waits(&mut self, late: Vec<Key>) {
        for key in late {
            let Some(pair) = self.pairs.get(key) else {
                continue;
            };
            let max = self.endpoints[pair.endpoint].settings.limits.hold_max;
            let text = format!("Waited {} ms for a server: {}", max.as_millis(), self.reason(pair.endpoint));
            self.refuse(key, Refusal::NoServer, &text);
        }
    }

    /// Those who wait are told that this gateway stops.
    pub(crate) fn refuse_waiting(&mut self) {
        let waits = self.pairs.iter().filter(|(_, pair)| pair.stage != Stage::Linked);
        for key in waits.map(|(key, _)| key).collect::<Vec<_>>() {
            self.refuse(key, Refusal::NoServer, "This gateway stops; connect again");
        }
    }

    /// Tells a client why it is not connected, and lets it go.
    fn refuse(&mut self, key: Key, refusal: Refusal, text: &str) {
        if let Some(pair) = self.remove(key) {
            add(&self.endpoints[pair.endpoint].traffic.refused, 1);
            // Who was greeted counts packets.
            let number = pair.login.as_ref().map_or(0, |login| login.next());
            self.effects.push_back(Effect::Refuse { pair: key, packet: refusal.packet(number, text) });
        }
    }
}

/// The client has to wait: that is counted once.
fn note_held(pair: &mut Pair, state: &EndpointState) {
    if !std::mem::replace(&mut pair.held, true) {
        add(&state.traffic.held_total, 1);
    }
}
