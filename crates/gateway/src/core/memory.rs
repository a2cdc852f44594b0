//! What an endpoint's clients and connections hold in memory, bounded in sum: each may be within its own bounds, and all of
//! them together still be too much. It is counted when a tenth of a second has passed, and whenever so much was read that
//! the sum may have grown by a part of the bound: nothing grows but by what is read.
//!
//! Above four fifths of the bound nothing new is read from who has not fetched what it asked for; above the bound those who
//! hold most are let go. Who fetches its replies is served all the same: somebody who does not could keep everybody waiting.
//!
//! What is under way on shared connections is nobody's, and is freed by no client's end: when that is much, because a
//! server is slow, the next commands wait.

use super::client::{Again, Client, Requeued, Special, Wait};
use super::endpoint::EndpointState;
use super::link::{Link, Purpose, Run};
use super::{Core, Key, add};
use crate::commands::Channels;
use crate::settings::Settings;

/// It is counted after so large a part of the bound was read.
const PART: usize = 16;
/// To count after less would cost more than it tells.
const READ_MIN: usize = 1 << 20;
const READ_MAX: usize = 64 << 20;
/// One shared connection may keep so large a part of the bound.
const LANE_PART: usize = 8;
/// And when nearly all of it is used, so much.
const LANE_FULL: usize = 1 << 20;

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

impl Memory {
    /// So much was written though nothing was read.
    pub(super) fn produced(&mut self, bytes: usize) {
        self.read += bytes;
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

    /// Lets go who holds most, until the rest is within what others leave of the bound, which is half of it at least.
    fn shed(&mut self, number: usize, max: usize) {
        let owned = |link: &Link| matches!(link.purpose, Purpose::Own(client) if client != Key::NONE);
        let others = self.links.iter().filter(|(_, link)| link.endpoint == number && !owned(link));
        let others: usize = others.map(|(_, link)| link.memory()).sum();
        let max = max - others.min(max / 2);
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
            if self.endpoints[number].memory.saturating_sub(others) <= max || held == 0 {
                break;
            }
            self.endpoints[number].memory -= held.min(self.endpoints[number].memory);
            dropped += 1;
            self.end_client(key);
        }
        if dropped == 0 {
            return;
        }
        add(&self.endpoints[number].traffic.refused, dropped);
        tracing::warn!(
            endpoint = self.endpoints[number].settings.name,
            held = before,
            shared = others,
            dropped,
            "clients together hold more than memory_max; those that hold most are dropped"
        );
    }
}

impl Core {
    /// A server has taken some of what waited for it: those whose commands did not fit go on.
    pub(super) fn make_room(&mut self, lane: Key) {
        let Some(link) = self.links.get_mut(lane) else {
            return;
        };
        // Not one by one: they come with what is read at once.
        if link.unanswered_bytes() <= self.endpoints[link.endpoint].lane_max(self.under_way_max) / 2 {
            let waiting = std::mem::take(&mut link.waiting);
            self.end_crowd(&waiting);
        }
    }

    /// The client's next command does not fit on the connection to the server. What it waits counts as if there were none.
    pub(super) fn await_room(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            client.begun = None;
            client.paused_at.get_or_insert(self.now);
            client.waits_since.get_or_insert(self.now);
            // Its bytes count for the memory alone.
            self.endpoints[client.endpoint].held_bytes -= std::mem::take(&mut client.held_bytes);
        }
    }

    /// Refuses what waited for room for too long: a server may hang for as long as nobody calls it down.
    pub(super) fn end_crowds(&mut self) {
        let (clients, now, mut late) = (&self.clients, self.now, Vec::new());
        for key in self.links.keys() {
            let Some(link) = self.links.get_mut(key).filter(|link| !link.waiting.is_empty()) else {
                continue;
            };
            let max = self.endpoints[link.endpoint].settings.limits.hold_max;
            link.waiting.retain(|key| {
                let Some(client) = clients.get(*key).filter(|client| client.wait == Wait::Room) else {
                    return false;
                };
                let over = client.waits_since.is_some_and(|since| since + max <= now);
                if over {
                    late.push((*key, max));
                }
                !over
            });
        }
        for (key, max) in late {
            // It may have been listed twice.
            if self.clients.get(key).is_some_and(|client| client.wait == Wait::Room) {
                let waited = max.as_millis();
                let text = format!(
                    "-HOLDTIMEOUT waited {waited} ms for room: the server does not take what is under way to it\r\n"
                );
                self.give_up(key, &text);
            }
        }
    }

    /// These need not wait for room on a connection any more.
    pub(super) fn end_crowd(&mut self, waiting: &[Key]) {
        for key in waiting {
            if let Some(client) = self.clients.get_mut(*key)
                && client.wait == Wait::Room
            {
                client.wait = Wait::No;
                self.runnable.push_back(*key);
            }
        }
    }
}

impl EndpointState {
    /// So many bytes may be under way on one of its shared connections, of `most` at all.
    #[inline]
    pub(super) fn lane_max(&self, most: usize) -> usize {
        let max = most.min(self.settings.limits.memory_max / LANE_PART);
        if self.full { max.min(LANE_FULL) } else { max }
    }
}

impl Client {
    /// What it holds, in bytes; small and bounded things are not counted.
    fn memory(&self) -> usize {
        let requeued = self.requeued.iter().map(|requeued| match &requeued.what {
            Again::Command(bytes) => bytes.capacity(),
            Again::Answer(_) => 0,
        });
        let special = self.special.as_ref().map_or(0, |special| special.memory());
        let requeued = requeued.sum::<usize>() + self.requeued.capacity() * size_of::<Requeued>();
        self.input.capacity() + self.output.capacity() + self.name.len() + requeued + special
    }
}

impl Special {
    fn memory(&self) -> usize {
        let requests = [&self.tracking, &self.tracking_before].into_iter().flatten();
        let requests = requests.chain(self.blocked.as_ref().map(|blocked| &blocked.request));
        let subscriptions = self.subscriptions.len() * size_of::<(Channels, Box<[u8]>)>();
        self.subscribed_bytes + subscriptions + requests.map(Vec::capacity).sum::<usize>()
    }
}

impl Link {
    /// What it holds, in bytes.
    fn memory(&self) -> usize {
        let runs = self.runs.capacity() * size_of::<Run>();
        self.output.capacity() + self.partial.capacity() + runs + self.families.capacity()
    }
}

#[cfg(test)]
mod tests;
