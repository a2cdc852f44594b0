//! A connection to a server is gone: who waited for an answer on it is told what is known about it. What was not sent is
//! sent later, reads are sent again, and a write whose reply is lost has an unknown outcome.

use super::account;
use super::client::{Again, Wait};
use super::link::{After, Link, Purpose, Run};
use super::own::nil;
use super::{Core, Effect, Key, add};
use crate::commands::{Class, class};
use crate::scan::{RequestScan, Words};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const UNKNOWN: &[u8] = b"-UNKNOWNOUTCOME the primary changed before its reply came; \
    the write may or may not have been done\r\n";
const READ_UNKNOWN: &[u8] = b"-UNKNOWNOUTCOME the primary changed before its reply came; \
    it is not read again, for a later write of this connection may have been done\r\n";
const READ_TOO_OFTEN: &[u8] =
    b"-UNKNOWNOUTCOME the connection to the server was lost each time that this was read\r\n";
pub(super) const WAIT_UNKNOWN: &[u8] = b"-UNKNOWNOUTCOME the primary changed; \
    how many replicas have the write cannot be told\r\n";
const QUEUED: &[u8] = b"+QUEUED\r\n";
pub(super) const TRANSACTION_LOST: &[u8] =
    b"-ERR the primary changed; this transaction cannot be executed, begin it again\r\n";
pub(super) const ABORTED: &[u8] = b"-EXECABORT Transaction discarded because the primary changed\r\n";

/// How many times in a row what a client had under way may be lost until it is not sent again: it may be the cause.
const LOST_MAX: u8 = 3;

/// Where each client's last write that was sent ends: what stands before it must not be done after it.
fn last_writes(link: &Link) -> BTreeMap<Key, usize> {
    let mut last = BTreeMap::new();
    let mut at = link.answered;
    for run in &link.runs {
        let (start, end) = (at, at + run.bytes as usize);
        at = end;
        let sent = &link.output[start..end.min(link.sent).max(start)];
        let write = match run.after {
            After::Plain | After::Blocking => last_write(sent),
            After::Exec => (end <= link.sent).then_some(end - start),
            _ => None,
        };
        if let Some(write) = write {
            last.insert(run.client, start + write);
        }
    }
    last
}

/// Where the last write among plain commands ends.
fn last_write(sent: &[u8]) -> Option<usize> {
    let mut at = 0;
    let ends = commands(sent).map(|command| {
        at += command.len();
        is_write(command).then_some(at)
    });
    ends.flatten().last()
}

/// The whole commands that these bytes begin with.
pub(super) fn commands(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let request = RequestScan::default().next(rest).ok().flatten()?;
        let (command, behind) = rest.split_at(request.len);
        rest = behind;
        Some(command)
    })
}

impl Core {
    /// The connection to a server failed or was closed by it.
    pub(crate) fn link_lost(&mut self, key: Key, why: &str) {
        self.lose(key, why);
    }

    /// Gives up a connection; the next one is tried after a back-off.
    pub(super) fn lose(&mut self, key: Key, why: &str) {
        if let Some(link) = self.links.get(key) {
            let endpoint = &mut self.endpoints[link.endpoint];
            endpoint.failed(self.now, why);
            tracing::info!(endpoint = endpoint.settings.name, server = %link.address, why, "lost a connection");
        }
        self.forget(key, true);
    }

    /// Gives up every connection of an endpoint to the primary.
    pub(super) fn lose_primary(&mut self, endpoint: usize, why: &str, drop_unsent: bool) {
        let links = self.links.iter().filter(|(_, link)| link.endpoint == endpoint && link.primary);
        let lost: Vec<Key> = links.map(|(key, _)| key).collect();
        if !lost.is_empty() {
            let name = &self.endpoints[endpoint].settings.name;
            tracing::info!(
                endpoint = name,
                connections = lost.len(),
                why,
                "closes what leads to the primary"
            );
        }
        for key in lost {
            self.forget(key, drop_unsent);
        }
        self.endpoints[endpoint].draining = None;
        self.endpoints[endpoint].retry_at = self.now;
        if self.endpoints[endpoint].open {
            // Others are read from: whoever waited for its own connection to the primary need not.
            self.wake(endpoint);
        }
    }

    pub(super) fn forget(&mut self, key: Key, drop_unsent: bool) {
        let Some(link) = self.links.remove(key) else {
            return;
        };
        self.effects.push_back(Effect::CloseLink { link: key, drop_unsent });
        let endpoint = &mut self.endpoints[link.endpoint];
        account::closed(&endpoint.traffic, link.purpose);
        endpoint.lanes.retain(|_, lane| *lane != key);
        if let Purpose::Own(_) = link.purpose {
            self.forget_own(key, link.endpoint);
        }
        self.end_crowd(&link.waiting);
        let last_writes = last_writes(&link);
        self.note_loss(&link);
        let mut at = link.answered;
        for run in &link.runs {
            let end = at + run.bytes as usize;
            let later = last_writes.get(&run.client).map_or(0, |last| last.saturating_sub(at));
            let lost = Lost { bytes: &link.output[at..end], written: link.sent.saturating_sub(at), later };
            self.forget_run(*run, &lost);
            at = end;
        }
        if let Purpose::Own(owner) = link.purpose
            && let Some(client) = self.clients.get_mut(owner)
        {
            client.own = None;
            if let Some(special) = &mut client.special {
                special.own_lost();
                if special.is_idle() {
                    client.special = None;
                }
            }
            self.go_on(owner);
        }
    }

    /// Counts a loss for each client whose commands were sent.
    fn note_loss(&mut self, link: &Link) {
        let starts = link.runs.iter().scan(link.answered, |at, run| {
            *at += run.bytes as usize;
            Some((run.client, *at - run.bytes as usize))
        });
        let sent = starts.filter(|(_, start)| *start < link.sent).map(|(client, _)| client);
        for client in sent.collect::<BTreeSet<_>>() {
            if let Some(client) = self.clients.get_mut(client) {
                client.lost = client.lost.saturating_add(1);
            }
        }
    }

    /// The client has something to do other than to wait for answers.
    fn go_on(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            if client.wait == Wait::Answers && client.in_flight == 0 {
                client.wait = Wait::No;
            }
            self.runnable.push_back(key);
        }
    }

    fn forget_run(&mut self, run: Run, lost: &Lost<'_>) {
        let Lost { bytes, written, later } = *lost;
        let Some(client) = self.clients.get_mut(run.client) else {
            return;
        };
        client.in_flight -= run.left.min(client.in_flight);
        if run.begun {
            // It has the beginning of a reply whose end is lost: nothing it receives can be understood any more.
            return self.end_client(run.client);
        }
        let executed = written >= bytes.len();
        client.comes_back(&run);
        let again = match run.after {
            After::Plain => return self.forget_plain(run, lost),
            After::Swallow | After::Restored | After::Greeting(_) => return,
            // It may have been executed: who hears that it was not would do it again.
            After::Queued if later > bytes.len() => Again::Answer(QUEUED),
            After::Queued | After::Spoiled => Again::Answer(TRANSACTION_LOST),
            After::Multi | After::Undone => Again::Answer(b"+OK\r\n"),
            After::Exec if executed => Again::Answer(UNKNOWN),
            After::Exec => Again::Answer(ABORTED),
            After::ExecWatchLost => Again::Answer(nil(client.resp3)),
            After::Wait if executed => Again::Answer(WAIT_UNKNOWN),
            After::Monitor => {
                client.special().monitor = false;
                Again::Command(bytes.to_vec())
            }
            After::Tracking => {
                let special = client.special();
                special.tracking = special.tracking_before.take();
                Again::Command(bytes.to_vec())
            }
            // With the time that it still has.
            After::Blocking => match &client.special().blocked {
                Some(blocked) => Again::Command(blocked.request.clone()),
                None => Again::Command(bytes.to_vec()),
            },
            After::Watch
            | After::Wait
            | After::Confirmed
            | After::ConfirmedToo
            | After::TrackingOff
            | After::Selected => Again::Command(bytes.to_vec()),
        };
        let traffic = &self.endpoints[client.endpoint].traffic;
        let counter = match again {
            Again::Answer(text) if text == UNKNOWN => &traffic.unknown,
            _ => &traffic.replayed,
        };
        add(counter, 1);
        if let Again::Answer(text) = again {
            account::lost(traffic, client, &run, bytes, text, self.now);
        }
        client.requeue(again, run.mute);
        self.go_on(run.client);
    }

    fn forget_plain(&mut self, run: Run, lost: &Lost<'_>) {
        let Lost { bytes, written, later } = *lost;
        let Some(client) = self.clients.get_mut(run.client) else {
            return;
        };
        let traffic = &self.endpoints[client.endpoint].traffic;
        let mut at = 0;
        for (number, command) in commands(bytes).enumerate() {
            at += command.len();
            if number < run.answered as usize {
                continue;
            }
            let sent = at <= written;
            let text = match () {
                () if !sent => None,
                () if is_write(command) => Some(UNKNOWN),
                () if at < later => Some(READ_UNKNOWN),
                () if client.lost > LOST_MAX => Some(READ_TOO_OFTEN),
                () => None,
            };
            if let Some(text) = text {
                client.requeue(Again::Answer(text), run.mute);
                add(&traffic.unknown, 1);
                account::lost(traffic, client, &run, command, text, self.now);
            } else {
                client.requeue(Again::Command(command.to_vec()), run.mute);
                add(&traffic.replayed, u64::from(sent));
            }
        }
        self.go_on(run.client);
    }
}

/// What of a connection is lost that one run stands for.
#[derive(Clone, Copy)]
struct Lost<'a> {
    /// The run's commands.
    bytes: &'a [u8],
    /// How many of these bytes the kernel took, and more if what stands behind them was sent, too.
    written: usize,
    /// How far behind their beginning the last write ends that the same client had sent.
    later: usize,
}

/// Whether a command that was sent as a plain one may have changed something.
pub(super) fn is_write(command: &[u8]) -> bool {
    match Words::of(command).next().map(class) {
        Some(Class::Read) => false,
        Some(Class::BlockOption { write } | Class::Limited { write, .. }) => write,
        _ => true,
    }
}
