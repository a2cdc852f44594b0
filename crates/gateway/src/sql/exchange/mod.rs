//! Who is connected to whom: a value that is told what happened on sockets and what time it is, and that says what is to be
//! done with them. It sees every byte once, on its way, and keeps only what the other side did not take.
//!
//! A client is linked to a server when that server's greeting was passed on to it. Until then it waits, and may be given
//! another server at any time. Until it is let in it still may be, if its login can be told to the next one; from then on the
//! two stay together and end together.

mod ending;
mod endpoint;
mod hold;
mod orders;
mod pair;
mod parting;
mod signing_in;
mod time;

pub(crate) use pair::{How, Side};

use crate::core::{Key, Table};
use crate::direction::Unconfirmed;
use crate::settings::Settings;
use crate::traffic::{Traffic, add};
use backstay_model::{Epoch, ServiceName, Time};
use endpoint::EndpointState;
use pair::{Pair, Stage};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// See the module's head.
pub(crate) struct Exchange {
    now: Time,
    zone: String,
    endpoints: Vec<EndpointState>,
    pairs: Table<Pair>,
    effects: VecDeque<Effect>,
    /// Pairs of which either side may be read or written to again.
    ready: Vec<Key>,
    /// Holds and drains that were not confirmed yet.
    unconfirmed: Unconfirmed,
    /// How many pairs are to end soon.
    parting: usize,
    /// These are looked at next.
    tick_at: Time,
    sweep_at: Time,
}

/// What must be done with sockets, in this order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Open a connection to this server for the client.
    Connect { pair: Key, address: SocketAddr },
    /// Close the connection to the server, whatever is unsent; the client stays.
    Disconnect(Key),
    /// Tell this side that the other one has said everything.
    Shut { pair: Key, side: Side },
    /// Send this to the client, and close its connection.
    Refuse { pair: Key, packet: Vec<u8> },
    /// Close both connections.
    Close { pair: Key, client: How, server: How },
    /// What this epoch's `Hold` or `Drain` demands is done.
    Held(ServiceName, Epoch),
}

/// What is to be done with bytes that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Verdict {
    /// Write them to the other side, and say with `passed` what it did not take.
    Pass,
    /// They are kept, or of no use any more.
    Done,
}

impl Exchange {
    pub(crate) fn new(settings: Settings, now: Time) -> Self {
        Self {
            now,
            zone: settings.zone,
            endpoints: settings.endpoints.into_iter().map(EndpointState::new).collect(),
            pairs: Table::new(),
            effects: VecDeque::new(),
            ready: Vec::new(),
            unconfirmed: Unconfirmed::default(),
            parting: 0,
            tick_at: now,
            sweep_at: now,
        }
    }

    /// The time of everything that follows. To be called when bytes were read, before they are handed in, and before kept ones
    /// are written.
    #[inline]
    pub(crate) fn set_now(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    /// The next thing to do with sockets. To be emptied after every call that takes a key.
    #[inline]
    pub(crate) fn effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// A pair of which both sides are to be written to, and read again if there was more to read.
    pub(crate) fn ready(&mut self) -> Option<Key> {
        self.ready.pop()
    }

    /// What each endpoint counts, for other threads to read.
    pub(crate) fn traffic(&self) -> Vec<Arc<Traffic>> {
        self.endpoints.iter().map(|endpoint| endpoint.traffic.clone()).collect()
    }

    /// Nobody is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.len() == 0
    }

    /// The client's endpoint, and where it comes from, for logs.
    pub(crate) fn whence(&self, key: Key) -> Option<(&str, &str)> {
        let pair = self.pairs.get(key)?;
        Some((&self.endpoints[pair.endpoint].settings.name, &pair.peer))
    }

    /// Bytes of this side are wanted now. If not, the pair is `ready` when they are.
    #[inline]
    pub(crate) fn wants(&mut self, key: Key, from: Side) -> bool {
        let Some(pair) = self.pairs.get(key) else {
            return false;
        };
        let passes = match (from, pair.stage) {
            (_, Stage::Linked) | (Side::Server, Stage::Connected) => true,
            // What it says is kept until there is a server.
            (Side::Client, _) => return pair.owes_word(),
            (Side::Server, _) => false,
        };
        let pipe = pair.pipe(from.other());
        if !passes || pipe.ended || !pipe.is_empty() {
            return false;
        }
        from == Side::Server || !self.is_stalled(key)
    }

    /// Nothing may be sent to the primary now; the pair is `ready` when that may change.
    fn is_stalled(&mut self, key: Key) -> bool {
        let Some(pair) = self.pairs.get(key) else {
            return true;
        };
        let state = &mut self.endpoints[pair.endpoint];
        let stalled = pair.is_to_primary() && state.lapses(self.now);
        if stalled {
            state.stalled.push(key);
        }
        stalled
    }

    /// One side has sent this.
    #[inline]
    pub(crate) fn read(&mut self, key: Key, from: Side, bytes: &[u8]) -> Verdict {
        match from {
            Side::Client => self.client_read(key, bytes),
            Side::Server => self.server_read(key, bytes),
        }
    }

    fn client_read(&mut self, key: Key, bytes: &[u8]) -> Verdict {
        let now = self.now;
        let linked = |pair: &&mut Pair| pair.stage == Stage::Linked || pair.owes_word();
        let Some(pair) = self.pairs.get_mut(key).filter(linked) else {
            return Verdict::Done;
        };
        if pair.parting.as_ref().is_some_and(|parting| now >= parting.soft_at) && pair.is_idle() {
            // A command that is not begun can be sent again elsewhere; it is not forwarded.
            self.part(key);
            return Verdict::Done;
        }
        let state = &mut self.endpoints[pair.endpoint];
        add(&state.traffic.bytes_in, bytes.len() as u64);
        pair.active = now;
        if pair.login.is_some() && !self.hear_login(key, Side::Client, bytes) {
            return Verdict::Done;
        }
        let Some(pair) = self.pairs.get_mut(key) else {
            return Verdict::Done;
        };
        let state = &mut self.endpoints[pair.endpoint];
        pair.talk.client_said(bytes);
        add(&state.traffic.sql.commands, pair.talk.take_commands());
        if pair.is_to_primary() && state.lapses(now) {
            state.stalled.push(key);
            self.keep(key, Side::Server, bytes);
            return Verdict::Done;
        }
        Verdict::Pass
    }

    fn server_read(&mut self, key: Key, bytes: &[u8]) -> Verdict {
        let now = self.now;
        let Some(pair) = self.pairs.get_mut(key) else {
            return Verdict::Done;
        };
        let state = &mut self.endpoints[pair.endpoint];
        if pair.is_to_primary() && state.is_expired(now) {
            // It is no answer any more.
            let number = pair.endpoint;
            self.lose_primary(number, "the lease ended");
            return Verdict::Done;
        }
        pair.active = now;
        pair.talk.server_said(bytes);
        if let Some(number) = pair.talk.take_refusal() {
            state.traffic.sql.count_refusal(number);
        }
        match pair.stage {
            Stage::Linked | Stage::Connected => {}
            Stage::Arriving | Stage::Waiting | Stage::Connecting => return Verdict::Done,
        }
        if pair.login.is_some() && !self.hear_login(key, Side::Server, bytes) {
            return Verdict::Done;
        }
        Verdict::Pass
    }

    /// Bytes that were to be passed were written to this side, but for the rest.
    #[inline]
    pub(crate) fn passed(&mut self, key: Key, to: Side, rest: &[u8], written: usize) {
        let Some(pair) = self.pairs.get(key) else {
            return;
        };
        if to == Side::Client {
            add(&self.endpoints[pair.endpoint].traffic.bytes_out, written as u64);
        }
        if !rest.is_empty() {
            self.keep(key, to, rest);
        } else if pair.parting.is_some() {
            self.look(key);
        }
    }

    /// What is to be written to this side. Nothing that comes from or goes to a primary whose lease is over.
    pub(crate) fn output(&mut self, key: Key, to: Side) -> Option<&[u8]> {
        let pair = self.pairs.get(key).filter(|pair| !pair.pipe(to).is_empty())?;
        let held_back = match to {
            Side::Client => pair.is_to_primary() && self.endpoints[pair.endpoint].is_expired(self.now),
            Side::Server => self.is_stalled(key),
        };
        self.pairs.get(key).filter(|_| !held_back).map(|pair| pair.pipe(to).kept())
    }

    /// So much of the output was written. True: all of it, and the other side is to be read again.
    pub(crate) fn wrote(&mut self, key: Key, to: Side, written: usize) -> bool {
        let Some(pair) = self.pairs.get_mut(key) else {
            return false;
        };
        let state = &mut self.endpoints[pair.endpoint];
        if to == Side::Client {
            add(&state.traffic.bytes_out, written as u64);
        }
        state.kept -= written;
        let pipe = pair.pipe_mut(to);
        pipe.wrote(written);
        if !pipe.is_empty() {
            return false;
        }
        if pipe.ended {
            self.pass_end(key, to);
        } else if pair.parting.is_some() {
            self.look(key);
        }
        true
    }

    /// Keeps what a side did not take; it was shown to `read` already.
    fn keep(&mut self, key: Key, to: Side, rest: &[u8]) {
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        let state = &mut self.endpoints[pair.endpoint];
        pair.pipe_mut(to).keep(rest);
        state.kept += rest.len();
        if state.kept > state.settings.limits.memory_max {
            add(&state.traffic.refused, 1);
            tracing::warn!(
                endpoint = state.settings.name,
                client = &*pair.peer,
                "clients together hold more than memory_max; one that takes its results slowly is dropped"
            );
            self.close(key, How::Reset, How::Reset);
        }
    }
}

#[cfg(test)]
mod tests;
