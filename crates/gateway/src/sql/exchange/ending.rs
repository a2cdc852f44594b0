//! How pairs end: what one side says last reaches the other, and a connection that breaks breaks the other one.

use super::pair::{How, Pair, Side, Stage};
use super::{Effect, Exchange, add};
use crate::core::Key;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A server that has said its last has closed the connection, as far as MySQL goes; a client that goes on gets no further.
pub(super) const SERVED_MAX: Duration = Duration::from_secs(2);

impl Exchange {
    /// This side has said everything. The other one is told so once it has all of it.
    pub(crate) fn ended(&mut self, key: Key, from: Side) {
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        if pair.stage != Stage::Linked {
            return match from {
                Side::Client => self.close(key, How::End, How::Reset),
                Side::Server => self.server_failed(key, "it ended the connection before it said a word"),
            };
        }
        if from == Side::Server && self.move_on(key, "it ended the connection during a login") {
            return;
        }
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        if from == Side::Server {
            pair.served.get_or_insert(self.now);
        }
        let to = from.other();
        let pipe = pair.pipe_mut(to);
        pipe.ended = true;
        if pipe.is_empty() {
            self.pass_end(key, to);
        }
    }

    /// A side has taken everything that the other one has ever said.
    pub(super) fn pass_end(&mut self, key: Key, to: Side) {
        let Some(pair) = self.pairs.get(key) else {
            return;
        };
        let done = |side| pair.pipe(side).ended && pair.pipe(side).is_empty();
        if done(Side::Client) && done(Side::Server) {
            self.close(key, How::End, How::End);
        } else {
            self.effects.push_back(Effect::Shut { pair: key, side: to });
        }
    }

    /// This side's connection broke.
    pub(crate) fn broke(&mut self, key: Key, side: Side, why: &str) {
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        if pair.stage != Stage::Linked {
            return match side {
                Side::Client => self.close(key, How::End, How::Reset),
                Side::Server => self.server_failed(key, why),
            };
        }
        if side == Side::Server && self.move_on(key, why) {
            return;
        }
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        if pair.pipe(side.other()).is_empty() {
            // The other side sees the same as without a gateway.
            return self.close(key, How::Reset, How::Reset);
        }
        // What was said before still arrives, and then the end.
        let state = &mut self.endpoints[pair.endpoint];
        state.kept -= pair.pipe(side).kept().len();
        let dead = pair.pipe(side).kept().len();
        pair.pipe_mut(side).wrote(dead);
        pair.pipe_mut(side).ended = true;
        pair.pipe_mut(side.other()).ended = true;
        pair.served.get_or_insert(self.now);
    }

    /// A client that has no server yet does not listen any more.
    pub(crate) fn hung_up(&mut self, key: Key) {
        if self.pairs.get(key).is_some_and(|pair| pair.stage != Stage::Linked) {
            self.close(key, How::End, How::Reset);
        }
    }

    /// Ends both connections.
    pub(crate) fn close(&mut self, key: Key, client: How, server: How) {
        if self.remove(key).is_some() {
            self.effects.push_back(Effect::Close { pair: key, client, server });
        }
    }

    /// The outcome of what the client has under way cannot be told any more: that is what a closed connection means.
    pub(super) fn cut(&mut self, key: Key) {
        let Some(pair) = self.pairs.get(key) else {
            return;
        };
        if pair.talk.awaits_answer() {
            add(&self.endpoints[pair.endpoint].traffic.unknown, 1);
        }
        self.close(key, How::End, How::Reset);
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<Pair> {
        self.forget_server(key);
        let pair = self.pairs.remove(key)?;
        self.parting -= usize::from(pair.parting.is_some());
        let state = &mut self.endpoints[pair.endpoint];
        state.kept -= pair.kept();
        state.clients -= 1;
        state.traffic.clients.store(state.clients as u64, Relaxed);
        state.waiting -= usize::from(pair.stage == Stage::Waiting);
        state.traffic.held.store(state.waiting as u64, Relaxed);
        Some(pair)
    }

    /// The client's server is none of its any more.
    pub(super) fn forget_server(&mut self, key: Key) {
        let Some(pair) = self.pairs.get_mut(key) else {
            return;
        };
        let Some(server) = pair.server.take() else {
            return;
        };
        let state = &mut self.endpoints[pair.endpoint];
        add(&state.traffic.own.closed, 1);
        state.primary_links -= usize::from(server.primary);
        if let Some(place) = state.places.get_mut(&server.address) {
            place.links -= 1;
            place.ungreeted -= usize::from(pair.stage != Stage::Linked);
            // A server's trouble is of interest while somebody could go there.
            if place.links == 0 && place.trouble.is_none() {
                state.places.remove(&server.address);
            }
        }
    }
}
