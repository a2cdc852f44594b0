//! What time alone brings.

use super::hold::CONNECT_MAX;
use super::pair::{How, Side, Stage};
use super::parting::SWEEP_EVERY;
use super::{Exchange, Key};
use crate::sql::exchange::ending::SERVED_MAX;
use backstay_model::Time;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How often timeouts are looked at that nobody waits for to the millisecond.
const HOUSEKEEPING: Duration = Duration::from_millis(100);

/// Pairs whose time is over, by what becomes of them.
#[derive(Default)]
struct Late {
    unconnected: Vec<Key>,
    waiting: Vec<Key>,
    silent: Vec<Key>,
}

impl Exchange {
    /// Does what time alone brings. To be called at `next_wakeup`, or at any other time.
    pub(crate) fn tick(&mut self) {
        for number in 0..self.endpoints.len() {
            let state = &self.endpoints[number];
            if state.primary_links > 0 && state.is_expired(self.now) {
                self.lose_primary(number, "the lease ended");
            }
            if self.endpoints[number].waiting > 0 {
                self.seek(number);
            }
        }
        self.sweep();
        if self.now >= self.tick_at {
            self.tick_at = self.now + HOUSEKEEPING;
            for number in 0..self.endpoints.len() {
                self.follow_sources(number);
                self.tidy_queue(number);
            }
            self.end_late();
            for state in &mut self.endpoints {
                state.traffic.held.store(state.waiting as u64, Relaxed);
                let listed = |at| state.sources.iter().any(|source| source.target.address == at);
                let primary = state.direction.target().map(|target| target.address);
                state.places.retain(|at, place| place.links > 0 || listed(*at) || primary == Some(*at));
            }
        }
        self.confirm();
    }

    fn end_late(&mut self) {
        let late = self.late();
        for key in late.unconnected {
            self.server_failed(key, "it did not answer in time");
        }
        self.end_waits(late.waiting);
        for key in late.silent {
            self.close(key, How::End, How::End);
        }
    }

    fn late(&self) -> Late {
        let (now, mut late) = (self.now, Late::default());
        for (key, pair) in self.pairs.iter() {
            let limits = &self.endpoints[pair.endpoint].settings.limits;
            let over = |since: Time, max: Duration| now >= since + max;
            match pair.stage {
                Stage::Arriving => {}
                Stage::Linked => {
                    let silent = limits.idle_timeout.is_some_and(|max| over(pair.active, max));
                    let heard = pair.pipe(Side::Client).is_empty();
                    let served = heard && pair.served.is_some_and(|since| over(since, SERVED_MAX));
                    if (silent && pair.is_idle()) || served {
                        late.silent.push(key);
                    }
                }
                _ if over(pair.since, limits.hold_max) => late.waiting.push(key),
                Stage::Connecting
                    if pair.server.as_ref().is_some_and(|server| over(server.since, CONNECT_MAX)) =>
                {
                    late.unconnected.push(key);
                }
                Stage::Waiting | Stage::Connecting | Stage::Connected => {}
            }
        }
        late
    }

    /// When something is to be done though nothing is read.
    pub(crate) fn next_wakeup(&self) -> Time {
        let mut at = self.tick_at;
        if self.parting > 0 {
            at = at.min(self.now + SWEEP_EVERY);
        }
        for state in &self.endpoints {
            if state.primary_links > 0 {
                at = at.min(state.direction.until());
            }
            if state.waiting > 0 {
                let retries =
                    state.places.values().filter_map(|place| Some(place.trouble.as_ref()?.retry_at));
                at = retries.filter(|retry| *retry > self.now).fold(at, Time::min);
            }
        }
        at
    }

    /// Lets those go that are between two commands and have said nothing for so long: the gateway stops.
    pub(crate) fn end_settled(&mut self, quiet: Duration) {
        let goes = self.pairs.iter().filter(|(_, pair)| pair.is_idle() && pair.active + quiet <= self.now);
        for key in goes.map(|(key, _)| key).collect::<Vec<_>>() {
            self.part(key);
        }
    }
}
