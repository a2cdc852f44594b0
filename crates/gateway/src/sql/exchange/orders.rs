//! Follows what the controllers say: where clients are connected to, when they must wait, and when that is confirmed.

use super::parting::Parting;
use super::{Effect, Exchange};
use crate::core::Key;
use crate::direction::{Direction, Source, Turn};
use crate::settings::EndpointKind;
use crate::sql::exchange::pair::Stage;
use backstay_lease::MARGIN;
use backstay_model::{ServiceName, Time};
use std::time::Duration;

/// A replica that was too far behind for less is not left by who is connected to it: moving disturbs them more.
const FAR_MAX: Duration = Duration::from_secs(5);

impl Exchange {
    /// Where a service's clients are connected to from now on. A longer lease is told in the same way.
    pub(crate) fn route(&mut self, service: &ServiceName, direction: &Direction, sources: &[Source]) {
        let (mut changed, mut known) = (false, false);
        for number in 0..self.endpoints.len() {
            if self.endpoints[number].settings.service == *service {
                known = true;
                changed |= self.turn(number, direction);
                let now = self.now;
                let state = &mut self.endpoints[number];
                sources.clone_into(&mut state.sources);
                state.told = true;
                state.note_lag(now);
                self.ready.append(&mut state.stalled);
                self.follow_sources(number);
                self.seek(number);
            }
        }
        self.unconfirmed.note(service, direction, changed || !known);
        self.confirm();
    }

    /// True: it is a new order, not a longer lease.
    fn turn(&mut self, number: usize, direction: &Direction) -> bool {
        let turn = self.endpoints[number].direction.follow(direction);
        match turn {
            Turn::Same | Turn::First => {}
            Turn::Drain => self.begin_drain(number),
            Turn::Leave => self.lose_primary(number, "the primary changes"),
        }
        turn != Turn::Same
    }

    /// The primary is about to move: who is not linked to it yet waits for the next one.
    fn begin_drain(&mut self, number: usize) {
        let state = &self.endpoints[number];
        let before = Time::ZERO + state.direction.until().since(Time::ZERO + MARGIN);
        let parting = Parting::new(self.now, state.settings.limits.drain_grace, before);
        let keys = self.at_primary(number);
        for key in &keys {
            self.unlink_if_signing_in(*key);
        }
        self.begin_parting(&keys, &parting);
    }

    /// Who was not let in by a server that is to be left waits for another one.
    fn unlink_if_signing_in(&mut self, key: Key) {
        let unlinked = self.pairs.get(key).is_some_and(|pair| pair.stage != Stage::Linked);
        if unlinked || self.can_move(key) {
            self.unlink(key);
        }
    }

    /// Who is connected to an endpoint's primary, or about to be; the oldest first.
    fn at_primary(&self, number: usize) -> Vec<Key> {
        let here = self.pairs.iter().filter(|(_, pair)| pair.endpoint == number && pair.is_to_primary());
        here.map(|(key, _)| key).collect()
    }

    /// Closes everything that leads to an endpoint's primary, at once. Who was not let in by it waits for the next one.
    pub(super) fn lose_primary(&mut self, number: usize, why: &str) {
        let keys = self.at_primary(number);
        if !keys.is_empty() {
            let name = &self.endpoints[number].settings.name;
            tracing::info!(
                endpoint = name,
                connections = keys.len(),
                why,
                "closes what leads to the primary"
            );
        }
        for key in keys {
            match self.pairs.get(key).map(|pair| pair.stage) {
                Some(Stage::Linked) if !self.can_move(key) => self.cut(key),
                Some(_) => self.unlink(key),
                None => {}
            }
        }
        // Nothing of the next one's is known.
        let state = &mut self.endpoints[number];
        state.places.retain(|_, place| place.links > 0);
        state.stalled.clear();
    }

    /// Leaves replicas that are not to be read from any more. While there is nowhere else to go their clients stay: in a
    /// failover replicas are not listed for a moment, and then they are again.
    pub(super) fn follow_sources(&mut self, number: usize) {
        let now = self.now;
        let state = &self.endpoints[number];
        if !matches!(state.settings.kind, EndpointKind::Reader { .. }) {
            return;
        }
        let elsewhere = matches!(state.choose(&self.zone, now), super::endpoint::Choice::To { .. });
        let (mut leave, mut stay) = (Vec::new(), Vec::new());
        for (key, pair) in self.pairs.iter().filter(|(_, pair)| pair.endpoint == number) {
            let Some(server) = pair.server.as_ref().filter(|server| !server.primary) else {
                continue;
            };
            if state.lists(server.address, FAR_MAX, now) {
                stay.push(key);
            } else if elsewhere {
                leave.push(key);
            }
        }
        let parting = Parting::new(now, state.settings.limits.drain_grace, Time::MAX);
        for key in &leave {
            self.unlink_if_signing_in(*key);
        }
        self.begin_parting(&leave, &parting);
        for key in stay {
            self.end_parting(key);
        }
    }

    /// Says which holds and drains are carried out.
    pub(super) fn confirm(&mut self) {
        let endpoints = &self.endpoints;
        let confirmed = self.unconfirmed.confirm(|service| {
            let mut its = endpoints.iter().filter(|endpoint| endpoint.settings.service == *service);
            its.all(|endpoint| endpoint.primary_links == 0)
        });
        self.effects.extend(confirmed.into_iter().map(|(service, epoch)| Effect::Held(service, epoch)));
    }
}
