//! A client: what it sent and waits for, what it is to be sent, and the state that Redis would keep for it.

use crate::commands::Channels;
use crate::core::notices::Notices;
use crate::core::table::Key;
use crate::scan::RequestScan;
use backstay_model::{Epoch, Time};
use std::collections::{BTreeSet, VecDeque};

#[allow(clippy::struct_excessive_bools, reason = "properties of a client that do not depend on each other")]
pub(crate) struct Client {
    /// What `CLIENT ID` says.
    pub(crate) id: u64,
    pub(crate) endpoint: usize,
    /// Where it comes from, for `CLIENT LIST` and logs.
    pub(crate) peer: Box<str>,
    pub(crate) name: Box<[u8]>,
    pub(crate) connected: Time,
    /// When it last said something.
    pub(crate) active: Time,
    /// Since when a request is begun and not whole.
    pub(crate) begun: Option<Time>,

    /// Bytes that were not taken yet.
    pub(crate) input: Vec<u8>,
    pub(crate) scan: RequestScan,
    /// Commands that came back from a lost connection: they come before the input.
    pub(crate) requeued: VecDeque<Requeued>,
    /// How many of them came back since any was taken.
    pub(crate) requeued_now: usize,
    pub(crate) wait: Wait,
    /// The work that was done for it, in which turn of the loop.
    pub(crate) work: (u64, usize),
    /// Since when the first command waits for a server, or for room on the way to it; kept over several waits.
    pub(crate) waits_since: Option<Time>,
    /// When its next command was read, if that has waited since, for whatever reason.
    pub(crate) paused_at: Option<Time>,
    /// How many bytes it counts for in its endpoint's held bytes.
    pub(crate) held_bytes: usize,

    /// Replies that were not fetched yet.
    pub(crate) output: Vec<u8>,
    /// How much of them was.
    pub(crate) sent: usize,
    /// It is on the list of those with new output.
    pub(crate) dirty: bool,

    /// The shared connection that it used last.
    pub(crate) lane: Key,
    /// Its own connection.
    pub(crate) own: Option<Key>,
    /// Commands sent on, and not answered; all on one connection.
    pub(crate) in_flight: u32,
    /// When its last write was sent on.
    pub(crate) wrote: Epoch,
    /// How many times in a row what it had under way was lost.
    pub(crate) lost: u8,

    pub(crate) authenticated: bool,
    /// Since when it could have signed in.
    pub(crate) stranger_since: Time,
    /// Which user, by number in the settings.
    pub(crate) user: Option<usize>,
    /// As whom it speaks to servers.
    pub(crate) login: u16,
    pub(crate) database: u32,
    pub(crate) resp3: bool,
    pub(crate) mute: Mute,
    pub(crate) special: Option<Box<Special>>,
    /// It wants to be told what is about to happen.
    pub(crate) notices: Option<Box<Notices>>,
    /// It has sent its last byte: when everything before it was taken, it is `ending`.
    pub(crate) eof: bool,
    /// Nothing more is taken from it; it ends when everything was answered and fetched.
    pub(crate) ending: bool,
}

/// Why the next command is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    No,
    /// Until everything that was sent on is answered.
    Answers,
    /// Until a server can take it.
    Server,
    /// Until its replies are fetched.
    Output,
    /// Until the others had their turn.
    Turn,
    /// Until the endpoint's rate allows its next command.
    Rate,
    /// Until a server has taken some of what is under way to it.
    Room,
}

/// What `CLIENT REPLY` asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mute {
    No,
    Next,
    All,
}

/// What a lost connection left to do.
pub(crate) struct Requeued {
    pub(crate) what: Again,
    pub(crate) mute: bool,
}

pub(crate) enum Again {
    /// Take it once more.
    Command(Vec<u8>),
    /// Answer it with this.
    Answer(&'static [u8]),
}

/// State that most clients never have.
#[derive(Default)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "states of Redis that a client is in independently of each other"
)]
pub(crate) struct Special {
    /// `MULTI` was sent, `EXEC` not yet.
    pub(crate) multi: bool,
    /// The open transaction cannot be executed any more.
    pub(crate) broken: bool,
    /// When its `MULTI` was refused. The client may have sent more of it by then, or nothing.
    pub(crate) refused_at: Option<Time>,
    /// A `WATCH` was sent, and not refused since.
    pub(crate) watching: bool,
    /// One was answered with OK.
    pub(crate) watched: bool,
    /// What was watched may have changed unseen.
    pub(crate) watch_lost: bool,
    pub(crate) subscriptions: BTreeSet<(Channels, Box<[u8]>)>,
    /// Bytes of all their names.
    pub(crate) subscribed_bytes: usize,
    pub(crate) monitor: bool,
    /// The request that switched tracking on.
    pub(crate) tracking: Option<Vec<u8>>,
    /// The one before it, which goes on if the newer one is refused.
    pub(crate) tracking_before: Option<Vec<u8>>,
    /// The blocking command that is under way.
    pub(crate) blocked: Option<Blocked>,
    /// The database that was asked for on the own connection.
    pub(crate) selecting: u32,
    /// The own connection was lost and what it knew must be said again.
    pub(crate) restore: bool,
}

/// A command that waits on the server.
pub(crate) struct Blocked {
    /// When it ends. `None`: never.
    pub(crate) until: Option<Time>,
    /// As the client sent it.
    pub(crate) request: Vec<u8>,
}

impl Special {
    /// An own connection is needed even when nothing is under way.
    pub(crate) fn keeps_own(&self) -> bool {
        (self.multi && !self.broken)
            || (self.watching && !self.watch_lost)
            || !self.subscriptions.is_empty()
            || self.monitor
            || self.tracking.is_some()
    }

    /// A transaction has ended, and what was watched for it.
    pub(crate) fn end_transaction(&mut self) {
        (self.multi, self.broken) = (false, false);
        (self.watching, self.watched, self.watch_lost) = (false, false, false);
        self.refused_at = None;
    }

    pub(crate) fn is_idle(&self) -> bool {
        !self.keeps_own() && !self.multi && !self.watching && self.blocked.is_none()
    }
}

impl Client {
    pub(crate) fn special(&mut self) -> &mut Special {
        self.special.get_or_insert_default()
    }

    pub(crate) fn keeps_own(&self) -> bool {
        self.special.as_ref().is_some_and(|special| special.keeps_own())
    }

    /// To be taken again: before what was to be taken again already and had not been sent, in the order of these calls.
    pub(crate) fn requeue(&mut self, what: Again, mute: bool) {
        self.requeued.insert(self.requeued_now, Requeued { what, mute });
        self.requeued_now += 1;
    }

    /// It waits for what may never come, or keeps a state that is of no use to somebody who is gone.
    pub(crate) fn lingers(&self) -> bool {
        self.keeps_own() || self.special.as_ref().is_some_and(|special| special.blocked.is_some())
    }

    pub(crate) fn unsent(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Nothing of it is under way or waits.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight == 0 && self.requeued.is_empty() && self.wait == Wait::No
    }
}
