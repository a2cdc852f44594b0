//! From a client's bytes to commands, and from plain commands to the shared connection. This is where time goes: plain
//! commands that stand next to each other are found, counted and copied as one.

use super::client::{Again, Client, Mute, Wait};
use super::link::{After, Purpose};
use super::{Core, Key, OUTPUT_LOW};
use crate::commands::{Class, kind};
use crate::family::Family;
use crate::scan::{Request, RequestScan, Violation};

/// Commands of one client that are under way at once. The next ones wait until these are answered: how long their
/// replies are is not known before, and a client that does not fetch them may be owed so many.
pub(super) const IN_FLIGHT_MAX: u32 = 1024;
/// Bytes under way on one connection, past which the next commands wait: a client's for the answers to its own, and if it
/// has none under way, for those to anybody's.
pub(super) const UNDER_WAY_MAX: usize = 64 << 20;

/// The longest request of somebody who has not signed in.
const STRANGERS_BYTES_MAX: usize = 16 * 1024;

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is sent on or answered.
    Done,
    /// It is answered in place of a server that would have taken it: nothing of it has come to be.
    Refused,
    /// It is to be offered again later; the client's `wait` says when.
    Waits,
    /// The client wants nothing more.
    Ends,
}

impl Taken {
    /// It needs not be offered again.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Refused)
    }
}

enum Stop {
    /// More bytes are needed.
    Short,
    /// A command that is not plain.
    Other(Request),
    Wrong(Violation),
}

impl Core {
    /// Bytes of a client.
    pub(crate) fn client_read(&mut self, key: Key, data: &[u8]) {
        self.account(data.len());
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.active = self.now;
        super::add(&self.endpoints[client.endpoint].traffic.bytes_in, data.len() as u64);
        let restores = client.special.as_ref().is_some_and(|special| special.restore);
        if client.wait != Wait::No || !client.input.is_empty() || !client.requeued.is_empty() || restores {
            client.input.extend_from_slice(data);
            if client.wait == Wait::No {
                self.run(key);
            }
            return;
        }
        let taken = self.take_all(key, data);
        if let Some(client) = self.clients.get_mut(key)
            && taken < data.len()
        {
            client.input.extend_from_slice(&data[taken..]);
        }
        self.whole(key, taken);
        self.taken(key);
    }

    /// Goes on with a client whose wait is over.
    pub(super) fn run(&mut self, key: Key) {
        if self.clients.get(key).is_none_or(|client| client.wait != Wait::No) {
            return;
        }
        if self.has_ended(key) {
            return self.end_client(key);
        }
        if self.restore(key) && self.take_requeued(key) {
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            let mut input = std::mem::take(&mut client.input);
            let taken = self.take_all(key, &input);
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            if taken < input.len() {
                input.drain(..taken);
                client.input = input;
            }
            self.whole(key, taken);
        }
        self.taken(key);
    }

    /// So many bytes of whole requests were taken: what is begun now was not begun before.
    fn whole(&mut self, key: Key, taken: usize) {
        if let Some(client) = self.clients.get_mut(key)
            && taken > 0
        {
            client.begun = None;
        }
    }

    /// Keeps account of a client after its bytes were looked at.
    fn taken(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let endpoint = &self.endpoints[client.endpoint];
        match client.wait {
            Wait::Server => return self.hold(key),
            Wait::Room => return self.await_room(key),
            Wait::Answers | Wait::Output | Wait::Turn | Wait::Rate => {
                client.begun = None;
                client.paused_at.get_or_insert(self.now);
            }
            Wait::No if client.eof || client.ending => {
                // What is begun stays so.
                client.input = Vec::new();
                client.ending = true;
                if self.has_ended(key) {
                    return self.end_client(key);
                }
            }
            Wait::No => {
                client.paused_at = None;
                client.begun = (!client.input.is_empty()).then(|| client.begun.unwrap_or(self.now));
                let max = endpoint.settings.limits.request_bytes_max;
                let max = if client.authenticated { max } else { max.min(STRANGERS_BYTES_MAX) };
                if client.input.len() > max && client.in_flight > 0 {
                    client.wait = Wait::Answers;
                } else if client.input.len() > max {
                    return self.refuse_bytes(
                        key,
                        b"-ERR Protocol error: the request is longer than this gateway allows\r\n",
                    );
                }
                self.readable.push(key);
            }
        }
        self.no_longer_held(key);
    }

    fn no_longer_held(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            let endpoint = &mut self.endpoints[client.endpoint];
            client.end_hold(&endpoint.traffic, self.now);
            endpoint.held_bytes -= std::mem::take(&mut client.held_bytes);
        }
    }

    /// Offers again what came back from a lost connection. False: some of it waits.
    fn take_requeued(&mut self, key: Key) -> bool {
        loop {
            let Some(client) = self.clients.get_mut(key) else {
                return false;
            };
            client.requeued_now = 0;
            // What comes back as an answer was counted when it was lost.
            self.families.clear();
            let Some(front) = client.requeued.pop_front() else {
                return true;
            };
            let asked = client.mute;
            if front.mute {
                client.mute = Mute::All;
            }
            let taken = match &front.what {
                Again::Answer(text) => self.answer(key, text),
                Again::Command(bytes) => match RequestScan::default().next(bytes) {
                    Ok(Some(request)) => self.take(key, request, bytes),
                    _ => Taken::Done,
                },
            };
            let Some(client) = self.clients.get_mut(key) else {
                return false;
            };
            if front.mute {
                client.mute = asked;
            }
            match taken {
                Taken::Done | Taken::Refused => {}
                Taken::Waits => {
                    client.requeued.push_front(front);
                    return false;
                }
                Taken::Ends => return true,
            }
        }
    }

    /// Takes commands until something must wait; returns how many bytes they had.
    fn take_all(&mut self, key: Key, data: &[u8]) -> usize {
        let mut at = 0;
        loop {
            let Some(client) = self.clients.get_mut(key) else {
                return data.len();
            };
            if client.ending {
                return data.len();
            }
            if client.unsent() > OUTPUT_LOW {
                client.wait = Wait::Output;
                return at;
            }
            let plain = client.special.is_none() && client.mute == Mute::No && client.authenticated;
            let mut scan = std::mem::take(&mut client.scan);
            let endpoint = client.endpoint;
            let reads_only = self.endpoints[endpoint].reads_only();
            let allowed = self.allowance(endpoint);
            let most = if plain { allowed.min(IN_FLIGHT_MAX) } else { 0 };
            self.families.clear();
            let (end, commands, writes, stop) =
                plain_commands(&data[at..], &mut scan, most, reads_only, &mut self.families);
            if commands > 0 {
                let bytes = &data[at..at + end];
                if !self.send_plain(key, bytes, commands, writes, false).is_over() {
                    return at;
                }
                at += end;
                self.spend(endpoint, commands);
            }
            match stop {
                Stop::Short => {
                    if let Some(client) = self.clients.get_mut(key) {
                        client.scan = scan;
                    }
                    return at;
                }
                Stop::Other(_) if commands >= allowed => {
                    self.await_turn(key);
                    return at;
                }
                Stop::Other(request) => match self.take(key, request, &data[at..at + request.len]) {
                    Taken::Done | Taken::Refused => {
                        at += request.len;
                        self.spend(endpoint, 1);
                        self.work(key, 1);
                        if self.is_sated(key) {
                            return at;
                        }
                    }
                    Taken::Waits => return at,
                    Taken::Ends => return data.len(),
                },
                Stop::Wrong(violation) => {
                    if self.clients.get(key).is_some_and(|client| client.in_flight > 0) {
                        self.wait(key, Wait::Answers);
                        return at;
                    }
                    let text = format!("-ERR Protocol error: {violation}\r\n");
                    self.refuse_bytes(key, text.as_bytes());
                    return data.len();
                }
            }
        }
    }

    /// Answers bytes that cannot be understood, and ends their client.
    fn refuse_bytes(&mut self, key: Key, text: &[u8]) {
        if let Some(client) = self.clients.get_mut(key) {
            client.output.extend_from_slice(text);
            client.ending = true;
            client.input = Vec::new();
            client.wait = Wait::No;
            Self::soil_client(&mut self.dirty_clients, client, key);
        }
    }

    /// Sends commands that need no connection of their own.
    #[inline]
    pub(super) fn send_plain(
        &mut self,
        key: Key,
        bytes: &[u8],
        commands: u32,
        writes: bool,
        mute: bool,
    ) -> Taken {
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        if client.own.is_some() {
            if client.in_flight > 0 {
                return wait_for_answers(client);
            }
            // What it was opened for was given up before it could be used.
            self.release_own(key);
        }
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        let endpoint = &self.endpoints[client.endpoint];
        let usable = endpoint.open
            && self
                .links
                .get(client.lane)
                .is_some_and(|lane| lane.is_ready() && lane.purpose == Purpose::Shared);
        if !usable {
            if client.in_flight > 0 {
                return wait_for_answers(client);
            }
            let Some(lane) = self.find_lane(key) else {
                return self.no_server(key, commands);
            };
            if let Some(client) = self.clients.get_mut(key) {
                client.lane = lane;
            }
        }
        let (Some(client), now) = (self.clients.get_mut(key), self.now) else {
            return Taken::Ends;
        };
        let Some(lane) = self.links.get_mut(client.lane) else {
            return Taken::Waits;
        };
        let max = self.endpoints[client.endpoint].lane_max(self.under_way_max);
        let full = lane.unanswered_bytes() > max;
        if client.in_flight > 0 && (full || client.in_flight >= IN_FLIGHT_MAX) {
            return wait_for_answers(client);
        }
        if full {
            lane.waiting.push(key);
            return self.wait(key, Wait::Room);
        }
        lane.push_counted(key, bytes, &self.families, After::Plain, mute, client.timing(now));
        lane.used = now;
        Self::soil_link(&mut self.dirty_links, lane, client.lane);
        client.in_flight += commands;
        if writes {
            client.wrote = self.endpoints[client.endpoint].direction.epoch();
        }
        Taken::Done
    }

    pub(super) fn wait(&mut self, key: Key, wait: Wait) -> Taken {
        if let Some(client) = self.clients.get_mut(key) {
            client.wait = wait;
        }
        Taken::Waits
    }
}

pub(super) fn wait_for_answers(client: &mut Client) -> Taken {
    client.wait = Wait::Answers;
    Taken::Waits
}

/// The end of the plain commands that `data` begins with, `most` of them at most, their number, whether a write is among
/// them, and what follows.
#[inline]
fn plain_commands(
    data: &[u8],
    scan: &mut RequestScan,
    most: u32,
    reads_only: bool,
    families: &mut Vec<Family>,
) -> (usize, u32, bool, Stop) {
    let (mut end, mut commands, mut writes) = (0, 0, false);
    let stop = loop {
        let rest = &data[end..];
        match scan.next(rest) {
            Ok(None) => break Stop::Short,
            Err(violation) => break Stop::Wrong(violation),
            Ok(Some(request)) => {
                if commands >= most || request.inline || request.name_at == 0 {
                    break Stop::Other(request);
                }
                let name = &rest[request.name_at..request.name_at + request.name_len];
                let (class, family) = kind(name);
                match class {
                    Class::Read => {}
                    Class::Write if !reads_only => writes = true,
                    _ => break Stop::Other(request),
                }
                families.push(family);
                end += request.len;
                commands += 1;
            }
        }
    };
    (end, commands, writes, stop)
}
