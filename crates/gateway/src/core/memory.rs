//! What an endpoint's clients and connections hold in memory, bounded in sum: each may be within its own bounds, and all of
//! them together still be too much. It is counted when a tenth of a second has passed, and whenever so much was read that
//! the sum may have grown by a part of the bound: nothing grows but by what is read.
//!
//! Above four fifths of the bound nothing new is read from who has not fetched what it asked for; above the bound those who
//! hold most are let go. Who fetches its replies is served all the same: somebody who does not could keep everybody waiting.

use super::client::{Again, Client};
use super::link::{Link, Run};
use super::{Core, Key, add};
use crate::settings::Settings;

/// It is counted after so large a part of the bound was read.
const PART: usize = 16;
/// To count after less would cost more than it tells.
const READ_MIN: usize = 1 << 20;
const READ_MAX: usize = 64 << 20;

pub(crate) struct Memory {
    /// How much was read since it was counted.
    read: usize,
    /// When it is counted again.
    read_max: usize,
}

impl Memory {
    pub(crate) fn new(settings: &Settings) -> Self {
        let bounds = settings.endpoints.iter().map(|endpoint| endpoint.limits.memory_max);
        let read_max = (bounds.min().unwrap_or(usize::MAX) / PART).clamp(READ_MIN, READ_MAX);
        Self { read: 0, read_max }
    }
}

impl Core {
    /// So much was read, from whomever. Clients and connections may be gone afterwards.
    #[inline]
    pub(super) fn account(&mut self, read: usize) {
        self.memory.read += read;
        if self.memory.read >= self.memory.read_max {
            self.count_memory();
        }
    }

    /// Counts what is held, and does what that demands.
    pub(super) fn count_memory(&mut self) {
        self.memory.read = 0;
        for endpoint in &mut self.endpoints {
            endpoint.memory = 0;
        }
        for (_, client) in self.clients.iter() {
            self.endpoints[client.endpoint].memory += client.memory();
        }
        for (_, link) in self.links.iter() {
            self.endpoints[link.endpoint].memory += link.memory();
        }
        for number in 0..self.endpoints.len() {
            let max = self.endpoints[number].settings.limits.memory_max;
            if self.endpoints[number].memory > max {
                self.shed(number, max);
            }
            let endpoint = &mut self.endpoints[number];
            let was_full = std::mem::replace(&mut endpoint.full, endpoint.memory > max / 5 * 4);
            if was_full && !endpoint.full {
                let of_endpoint = self.clients.iter().filter(|(_, client)| client.endpoint == number);
                self.readable.extend(of_endpoint.map(|(key, _)| key));
            }
        }
    }

    /// Lets go who holds most, until the rest is within the bound.
    fn shed(&mut self, number: usize, max: usize) {
        let of_endpoint = self.clients.iter().filter(|(_, client)| client.endpoint == number);
        let mut holders: Vec<(usize, Key)> = of_endpoint
            .map(|(key, client)| {
                let own = client.own.and_then(|own| self.links.get(own)).map_or(0, Link::memory);
                (client.memory() + own, key)
            })
            .collect();
        holders.sort_unstable_by(|one, other| other.cmp(one));
        let (before, mut dropped) = (self.endpoints[number].memory, 0);
        for (held, key) in holders {
            if self.endpoints[number].memory <= max || held == 0 {
                break;
            }
            self.endpoints[number].memory -= held.min(self.endpoints[number].memory);
            dropped += 1;
            self.end_client(key);
        }
        add(&self.counters.refused, dropped);
        add(&self.endpoints[number].traffic.refused, dropped);
        tracing::warn!(
            endpoint = self.endpoints[number].settings.name,
            held = before,
            max,
            dropped,
            "clients together hold more than memory_max; those that hold most are dropped"
        );
    }
}

impl Client {
    /// What it holds, in bytes; small and bounded things are not counted.
    fn memory(&self) -> usize {
        let requeued = self.requeued.iter().map(|requeued| match &requeued.what {
            Again::Command(bytes) => bytes.capacity(),
            Again::Answer(_) => 0,
        });
        let special = self.special.as_ref().map_or(0, |special| special.subscribed_bytes);
        self.input.capacity() + self.output.capacity() + requeued.sum::<usize>() + special
    }
}

impl Link {
    /// What it holds, in bytes.
    fn memory(&self) -> usize {
        let runs = self.runs.capacity() * size_of::<Run>();
        self.output.capacity() + self.partial.capacity() + runs
    }
}

#[cfg(test)]
mod tests;
