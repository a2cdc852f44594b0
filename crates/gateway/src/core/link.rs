//! A connection to a server: what is under way on it, in order, with the bytes that were sent, so that what was not
//! answered can be sent again.

use crate::core::account::Timing;
use crate::core::table::Key;
use crate::family::Family;
use crate::scan::ReplyScan;
use backstay_model::Time;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Commands of one client that follow each other count as one up to so many bytes: what is kept until a reply is freed
/// by whole runs.
const RUN_BYTES_MAX: u32 = 64 * 1024;
/// Bytes that were answered are dropped at the latest when they are so many.
const ANSWERED_MAX: usize = 256 * 1024;
/// A larger buffer is given back when it is empty.
const KEPT_MAX: usize = 4 << 20;
/// While so many commands are under way on a shared connection, new ones wait for an answer and then go together: a
/// server takes one connection's commands in order anyway, and every batch costs both sides a wakeup.
const FLYING_MAX: u32 = 8;
/// So many bytes go at once.
const BATCH_BYTES: usize = 64 * 1024;

pub(crate) struct Link {
    pub(crate) endpoint: usize,
    pub(crate) address: SocketAddr,
    /// It leads to a primary: the lease counts.
    pub(crate) primary: bool,
    pub(crate) purpose: Purpose,
    pub(crate) stage: Stage,
    pub(crate) login: u16,
    pub(crate) database: u32,
    pub(crate) resp3: bool,
    /// The server's number for it.
    pub(crate) server_id: Option<u64>,
    /// When it was opened, and later when it was last used.
    pub(crate) used: Time,

    /// What was not answered yet, and in front of it what was.
    pub(crate) output: Vec<u8>,
    /// How much of it was written.
    pub(crate) sent: usize,
    /// How much of it was answered.
    pub(crate) answered: usize,
    /// Commands that were not answered.
    pub(crate) unanswered: u32,
    /// Of these, as many as were written when everything was.
    pub(crate) flying: u32,
    pub(crate) dirty: bool,
    pub(crate) runs: VecDeque<Run>,
    /// What each command of the runs that is not answered is about.
    pub(crate) families: VecDeque<Family>,

    /// Clients whose commands do not fit now.
    pub(crate) waiting: Vec<Key>,

    /// The beginning of a reply.
    pub(crate) partial: Vec<u8>,
    pub(crate) scan: ReplyScan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Plain commands of many clients.
    Shared,
    /// As `Shared`, until what is under way is answered: commands go elsewhere now.
    Retired,
    /// It belongs to one client for a while. `Key::NONE`: to nobody now.
    Own(Key),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Connecting,
    /// Signing in.
    Greeting,
    Ready,
}

/// Commands of one client that follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Whose; `Key::NONE`: the gateway's.
    pub(crate) client: Key,
    /// How many are not answered.
    pub(crate) left: u32,
    /// How many are.
    pub(crate) answered: u32,
    pub(crate) bytes: u32,
    pub(crate) after: After,
    /// The client does not want the replies.
    pub(crate) mute: bool,
    /// A part of the next reply was given to the client already.
    pub(crate) begun: bool,
    /// Of all of them: they were read at the same time.
    pub(crate) timing: Timing,
}

impl Run {
    pub(crate) const fn of(
        client: Key,
        left: u32,
        bytes: u32,
        after: After,
        mute: bool,
        timing: Timing,
    ) -> Self {
        Self { client, left, answered: 0, bytes, after, mute, begun: false, timing }
    }
}

/// What a reply means beyond itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing.
    Plain,
    /// It is not for the client.
    Swallow,
    /// Signing in: an error ends the connection.
    Greeting(Greeting),
    Multi,
    /// A command within a transaction.
    Queued,
    /// A command that must spoil the transaction, and is answered with an error of ours.
    Spoiled,
    Exec,
    /// The transaction is given up; the client is told that what it watched has changed.
    ExecWatchLost,
    /// Answered with OK, whatever happens.
    Undone,
    Watch,
    Blocking,
    /// A subscription to one channel, or its end.
    Confirmed,
    /// The same, from one request with the one before it: its error was told already.
    ConfirmedToo,
    /// A subscription that the client was told of long ago.
    Restored,
    Monitor,
    Tracking,
    TrackingOff,
    Wait,
    Selected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    Auth,
    Hello,
    Select,
    Id,
    Name,
}

impl Link {
    /// One that is being opened, for the first user without `AUTH`, database 0 and RESP2.
    pub(crate) fn new(endpoint: usize, address: SocketAddr, purpose: Purpose) -> Self {
        Self {
            endpoint,
            address,
            primary: true,
            purpose,
            stage: Stage::Connecting,
            login: 0,
            database: 0,
            resp3: false,
            server_id: None,
            used: Time::ZERO,
            output: Vec::new(),
            sent: 0,
            answered: 0,
            unanswered: 0,
            flying: 0,
            dirty: false,
            runs: VecDeque::new(),
            families: VecDeque::new(),
            waiting: Vec::new(),
            partial: Vec::new(),
            scan: ReplyScan::default(),
        }
    }

    /// Appends commands of the gateway's own.
    pub(crate) fn push(&mut self, client: Key, bytes: &[u8], commands: u32, after: After, mute: bool) {
        self.families.extend(std::iter::repeat_n(Family::Other, commands as usize));
        self.append(client, bytes, commands, after, mute, Timing::NONE);
    }

    /// Appends commands of a client: one for each of the families.
    #[inline]
    pub(crate) fn push_counted(
        &mut self,
        client: Key,
        bytes: &[u8],
        families: &[Family],
        after: After,
        mute: bool,
        timing: Timing,
    ) {
        self.families.extend(families);
        self.append(client, bytes, families.len() as u32, after, mute, timing);
    }

    #[inline]
    fn append(&mut self, client: Key, bytes: &[u8], commands: u32, after: After, mute: bool, timing: Timing) {
        self.output.extend_from_slice(bytes);
        self.unanswered += commands;
        let length = bytes.len() as u32;
        if after == After::Plain
            && let Some(last) = self.runs.back_mut()
            && last.client == client
            && last.after == After::Plain
            && last.mute == mute
            && last.timing.since == timing.since
            && last.bytes.saturating_add(length) <= RUN_BYTES_MAX
        {
            last.left += commands;
            last.bytes += length;
            return;
        }
        self.runs.push_back(Run::of(client, commands, length, after, mute, timing));
    }

    /// So many of the first run's commands are answered. False: they were not even asked.
    #[inline]
    pub(crate) fn answered(&mut self, replies: u32) -> bool {
        let Some(run) = self.runs.front_mut() else {
            return false;
        };
        self.unanswered -= replies;
        self.flying = self.flying.saturating_sub(replies);
        run.left -= replies;
        run.answered += replies;
        run.begun = false;
        if self.sent == self.answered && run.bytes > 0 {
            return false;
        }
        if run.left == 0 {
            self.answered += run.bytes as usize;
            self.runs.pop_front();
            if self.answered > self.sent {
                return false;
            }
            self.forget_answered();
        }
        true
    }

    /// So many more bytes were written.
    #[inline]
    pub(crate) fn wrote(&mut self, written: usize) {
        self.sent += written;
        if self.sent == self.output.len() {
            self.flying = self.unanswered;
        }
    }

    /// What was not written yet shall wait for the next answer.
    #[inline]
    pub(crate) fn gathers(&self) -> bool {
        self.flying >= FLYING_MAX
            && self.purpose == Purpose::Shared
            && self.output.len() - self.sent < BATCH_BYTES
    }

    fn forget_answered(&mut self) {
        if self.answered == self.output.len() {
            self.output.clear();
            debug_assert_eq!(
                self.families.len() as u32,
                self.runs.iter().map(|run| run.left).sum::<u32>(),
                "a family for each command that is not answered"
            );
            if self.output.capacity() > KEPT_MAX {
                self.output = Vec::new();
            }
        } else if self.answered > ANSWERED_MAX && self.answered > self.output.len() / 2 {
            self.output.drain(..self.answered);
            if self.output.capacity() > KEPT_MAX.max(self.output.len() * 4) {
                self.output.shrink_to(self.output.len() * 2);
            }
        } else {
            return;
        }
        self.sent -= self.answered;
        self.answered = 0;
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    pub(crate) fn unanswered_bytes(&self) -> usize {
        self.output.len() - self.answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_had_to_keep_once_is_given_back_while_more_is_under_way() {
        let mut link = Link::new(0, SocketAddr::from(([127, 0, 0, 1], 1)), Purpose::Shared);
        let (client, command) = (Key { index: 0, generation: 1 }, vec![b'x'; 64 * 1024]);
        for _ in 0..1000 {
            link.push(client, &command, 1, After::Plain, false);
        }
        link.wrote(link.output.len());
        for _ in 0..999 {
            assert!(link.answered(1));
        }
        assert!(link.output.capacity() <= KEPT_MAX, "{}", link.output.capacity());
        assert_eq!(link.unanswered_bytes(), command.len());
    }

    #[test]
    fn new_commands_gather_while_enough_are_under_way_and_go_with_the_next_answer() {
        let mut link = Link::new(0, SocketAddr::from(([127, 0, 0, 1], 1)), Purpose::Shared);
        let client = Key { index: 0, generation: 1 };
        let say = |link: &mut Link| link.push(client, b"PING\r\n", 1, After::Plain, false);
        for _ in 0..FLYING_MAX {
            say(&mut link);
            assert!(!link.gathers());
        }
        link.wrote(link.output.len());
        say(&mut link);
        assert!(link.gathers());
        assert!(link.answered(1));
        assert!(!link.gathers());
        link.wrote(6);
        say(&mut link);
        assert!(link.gathers());
        link.purpose = Purpose::Own(client);
        assert!(!link.gathers(), "nobody else's commands could go with it");
    }
}
