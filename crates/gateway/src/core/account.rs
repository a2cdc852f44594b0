//! Keeps account of what goes through: how long commands took, which ones failed, what is open and who waits. Nothing is
//! decided by it.

use super::client::{Client, Wait};
use super::link::{After, Link, Purpose, Run};
use super::loss::{UNKNOWN, WAIT_UNKNOWN};
use super::{Core, Key, Table, add};
use crate::commands::{Class, kind};
use crate::scan::{RequestScan, Words};
use crate::slow::{NAME_BYTES_MAX, Slow, name_and_key};
use crate::traffic::{Connections, Traffic, raise};
use backstay_model::{SlowOutcome, Time};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// When a command was read, and how long it was held before it was sent on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    pub(crate) since: Time,
    pub(crate) held_us: u32,
}

impl Timing {
    /// Of what the gateway says itself: that is not counted.
    pub(crate) const NONE: Self = Self { since: Time::ZERO, held_us: 0 };
}

impl Client {
    /// Of the next command that is taken.
    #[inline]
    pub(crate) fn timing(&self, now: Time) -> Timing {
        let held = self.waits_since.map_or(Duration::ZERO, |since| now.since(since));
        Timing { since: self.paused_at.unwrap_or(now), held_us: held.as_micros() as u32 }
    }

    /// Commands of this run are to be taken again: they were read when they were.
    pub(super) fn comes_back(&mut self, run: &Run) {
        if run.timing.since != Time::ZERO {
            self.paused_at = Some(self.paused_at.map_or(run.timing.since, |at| at.min(run.timing.since)));
        }
    }

    /// Its wait for a server is over, if it had to wait.
    pub(super) fn end_hold(&mut self, traffic: &Traffic, now: Time) {
        if let Some(since) = self.waits_since.take() {
            raise(&traffic.held_longest_us, now.since(since).as_micros() as u64);
        }
    }
}

/// So many commands of the connection's first run are answered.
#[inline]
pub(super) fn replied(
    link: &mut Link,
    traffic: &Traffic,
    clients: &Table<Client>,
    replies: u32,
    erred: bool,
    now: Time,
) {
    let Some(run) = link.runs.front().copied() else {
        return;
    };
    let took = now.since(run.timing.since);
    let counts = run.timing.since != Time::ZERO;
    let mut left = replies;
    while let Some(family) = (left > 0).then(|| link.families.pop_front()).flatten() {
        let mut alike = 1;
        left -= 1;
        while left > 0 && link.families.front() == Some(&family) {
            link.families.pop_front();
            (alike, left) = (alike + 1, left - 1);
        }
        if counts {
            traffic.answered(family, took, alike);
        }
    }
    if counts && is_noted(traffic, &run, u64::from(replies), now) {
        let outcome = if erred { SlowOutcome::Error } else { SlowOutcome::Answered };
        let bytes = &link.output[link.answered..link.answered + run.bytes as usize];
        if let (Some(client), Some(command)) = (clients.get(run.client), command_at(bytes, run.answered)) {
            note(traffic, client, &run, command, u64::from(replies), outcome, now);
        }
    }
}

/// The reply before which so many of the first run's stand in the same bytes is an error.
#[cold]
pub(super) fn erred(link: &Link, traffic: &Traffic, before: u32) {
    if let Some(family) = link.families.get(before as usize) {
        traffic.erred(*family);
    }
}

/// A command whose reply is lost is answered with this.
pub(super) fn lost(traffic: &Traffic, client: &Client, run: &Run, command: &[u8], text: &[u8], now: Time) {
    if run.timing.since == Time::ZERO {
        return;
    }
    let took = now.since(run.timing.since);
    let family = kind(Words::of(command).next().unwrap_or_default()).1;
    traffic.answered(family, took, 1);
    let outcome = match text {
        UNKNOWN | WAIT_UNKNOWN => SlowOutcome::Unknown,
        [b'-', ..] => SlowOutcome::Error,
        _ => SlowOutcome::Answered,
    };
    if outcome != SlowOutcome::Answered {
        traffic.erred(family);
    }
    if is_noted(traffic, run, 1, now) {
        note(traffic, client, run, command, 1, outcome, now);
    }
}

/// A command that waited in vain is answered with an error; the first of a client's is remembered.
pub(super) fn gave_up(traffic: &Traffic, client: &Client, command: &[u8], first: bool, now: Time) {
    let timing = client.timing(now);
    let family = kind(Words::of(command).next().unwrap_or_default()).1;
    traffic.answered(family, now.since(timing.since), 1);
    traffic.erred(family);
    let run = Run::of(Key::NONE, 1, 0, After::Plain, false, timing);
    if first && is_noted(traffic, &run, 1, now) {
        note(traffic, client, &run, command, 1, SlowOutcome::Error, now);
    }
}

/// Whether so many commands are slow, and are to be remembered. Those that wait because their clients want it are not.
#[inline]
fn is_noted(traffic: &Traffic, run: &Run, commands: u64, now: Time) -> bool {
    now.since(run.timing.since).as_micros() as u64 >= traffic.slow_us
        && !matches!(run.after, After::Blocking | After::Wait)
        && traffic.slow.admits(now, commands)
}

#[cold]
fn note(
    traffic: &Traffic,
    client: &Client,
    run: &Run,
    command: &[u8],
    together: u64,
    outcome: SlowOutcome,
    now: Time,
) {
    let (class, family) = kind(Words::of(command).next().unwrap_or_default());
    if matches!(class, Class::Blocking(_) | Class::Wait) {
        return;
    }
    let (name, key) = name_and_key(command, family);
    traffic.slow.push(Slow {
        at: now,
        took: now.since(run.timing.since),
        held: Duration::from_micros(u64::from(run.timing.held_us)),
        peer: client.peer.clone(),
        client: client.name[..client.name.len().min(NAME_BYTES_MAX)].into(),
        family,
        command: name,
        key,
        together,
        outcome,
    });
}

/// The request before which so many others stand.
fn command_at(bytes: &[u8], before: u32) -> Option<&[u8]> {
    let mut rest = bytes;
    for _ in 0..before {
        rest = &rest[RequestScan::default().next(rest).ok()??.len..];
    }
    let request = RequestScan::default().next(rest).ok()??;
    Some(&rest[..request.len])
}

fn kind_of(traffic: &Traffic, purpose: Purpose) -> &Connections {
    match purpose {
        Purpose::Shared | Purpose::Retired => &traffic.shared,
        Purpose::Own(_) => &traffic.own,
    }
}

pub(super) fn opened(traffic: &Traffic, purpose: Purpose) {
    add(&kind_of(traffic, purpose).opened, 1);
}

pub(super) fn closed(traffic: &Traffic, purpose: Purpose) {
    add(&kind_of(traffic, purpose).closed, 1);
}

impl Core {
    /// What each endpoint counts, for other threads to read.
    pub(crate) fn traffic(&self) -> Vec<Arc<Traffic>> {
        self.endpoints.iter().map(|endpoint| endpoint.traffic.clone()).collect()
    }

    /// An answer of the gateway's own to the command that is being taken.
    pub(super) fn answered_itself(&self, key: Key, text: &[u8]) {
        if let (Some(client), Some(family)) = (self.clients.get(key), self.families.first()) {
            let traffic = &self.endpoints[client.endpoint].traffic;
            traffic.answered(*family, self.now.since(client.timing(self.now).since), 1);
            if text.starts_with(b"-") {
                traffic.erred(*family);
            }
        }
    }

    /// A command of this client is refused.
    pub(super) fn refused_at_endpoint(&self, key: Key) {
        if let Some(client) = self.clients.get(key) {
            add(&self.endpoints[client.endpoint].traffic.refused, 1);
        }
    }

    /// Counts what is open now. Called a few times a second.
    pub(super) fn take_stock(&self) {
        for endpoint in &self.endpoints {
            let traffic = &endpoint.traffic;
            traffic.own_idle.store(endpoint.idle.len() as u64, Relaxed);
            let waiting = endpoint.waiting.iter().filter_map(|key| self.clients.get(*key));
            let waiting = waiting.filter(|client| client.wait == Wait::Server);
            let (mut held, mut longest) = (0, Duration::ZERO);
            for since in waiting.filter_map(|client| client.waits_since) {
                held += 1;
                longest = longest.max(self.now.since(since));
            }
            traffic.held.store(held, Relaxed);
            raise(&traffic.held_longest_us, longest.as_micros() as u64);
        }
    }
}
