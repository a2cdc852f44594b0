//! Transactions and what is watched for them: `MULTI`, `EXEC`, `DISCARD`, `WATCH` and `UNWATCH`.
//!
//! Each changes the client's state when it is sent, because more may be sent before it is answered; what the server then
//! refuses is taken back.

use super::answer;
use super::client::Client;
use super::intake::Taken;
use super::link::{After, Run};
use super::loss::{ABORTED, TRANSACTION_LOST};
use super::own::{OK, nil};
use super::stateful::SPOILER;
use super::{Core, Key, secrets};
use crate::commands::Class;
use crate::core::connect::request;
use crate::scan::Words;
use std::time::Duration;

/// The rest of a transaction whose `MULTI` was refused is on its way already. A client that heard of the refusal before it
/// sent more has no transaction, and may go on.
const REFUSED_MAX: Duration = Duration::from_secs(1);
impl Core {
    /// A command between `MULTI` and `EXEC`.
    pub(super) fn in_transaction(&mut self, key: Key, class: Class, bytes: &[u8], mute: bool) -> Taken {
        let (broken, lost) = self
            .clients
            .get(key)
            .and_then(|client| client.special.as_ref())
            .map_or((false, false), |special| (special.broken, special.watch_lost));
        let taken = match class {
            Class::Quit => return self.quit(key),
            Class::Reset => return self.reset(key),
            Class::Exec if broken => self.answer(key, ABORTED),
            Class::Discard if broken => self.answer(key, b"+OK\r\n"),
            Class::Exec if lost => self.send_own(key, &request(&[b"DISCARD"]), After::ExecWatchLost, mute),
            Class::Exec => self.send_own(key, bytes, After::Exec, mute),
            Class::Discard if Words::of(bytes).count() == 1 => self.send_own(key, bytes, After::Undone, mute),
            _ if broken => return self.answer(key, TRANSACTION_LOST),
            Class::Select
            | Class::Hello
            | Class::Auth
            | Class::Subscribe(_)
            | Class::Unsubscribe(_)
            | Class::Monitor
            | Class::Refused => {
                // The transaction must not be executed without it.
                return self.send_own(key, SPOILER, After::Spoiled, mute);
            }
            Class::Client if answer::changes_connection(bytes) => {
                return self.send_own(key, SPOILER, After::Spoiled, mute);
            }
            Class::Limited { allowed, .. }
                if !answer::is_allowed(bytes, allowed) || secrets::asked_for(bytes) =>
            {
                return self.send_own(key, SPOILER, After::Spoiled, mute);
            }
            _ => return self.send_own(key, bytes, After::Queued, mute),
        };
        if taken.is_over()
            && let Some(client) = self.clients.get_mut(key)
        {
            client.wrote = self.endpoints[client.endpoint].direction.epoch();
            client.special().end_transaction();
            self.forget_state(key);
        }
        taken
    }

    /// What follows upon a `MULTI` that was refused may be the rest of that transaction, and not for long.
    pub(super) fn end_refused(&mut self, key: Key, class: Class) {
        let special = self.clients.get_mut(key).and_then(|client| client.special.as_mut());
        if let Some(special) = special
            && let Some(at) = special.refused_at
            && (class == Class::Multi || self.now >= at + REFUSED_MAX)
        {
            (special.multi, special.broken, special.refused_at) = (false, false, None);
            self.forget_state(key);
        }
    }

    /// `MULTI` and `WATCH`.
    pub(super) fn begin(&mut self, key: Key, bytes: &[u8], after: After, mute: bool) -> Taken {
        let lost =
            self.clients.get(key).and_then(|client| client.special.as_ref()).is_some_and(|it| it.watch_lost);
        if lost && after == After::Watch {
            // Nothing that is watched from now on makes up for what was missed.
            return self.answer(key, b"+OK\r\n");
        }
        let taken = self.send_own(key, bytes, after, mute);
        if let Some(client) = self.clients.get_mut(key)
            && taken == Taken::Done
        {
            match after {
                After::Multi => client.special().multi = true,
                _ => client.special().watching = true,
            }
        }
        taken
    }

    pub(super) fn unwatch(&mut self, key: Key, bytes: &[u8], mute: bool) -> Taken {
        if Words::of(bytes).count() > 1 {
            // The server finds the words for it.
            return self.plain(key, bytes, false, mute);
        }
        let keeps = self.clients.get(key).is_some_and(Client::keeps_own);
        let taken =
            if keeps { self.send_own(key, bytes, After::Undone, mute) } else { self.answer(key, b"+OK\r\n") };
        if taken == Taken::Done
            && let Some(special) = self.clients.get_mut(key).and_then(|client| client.special.as_mut())
        {
            (special.watching, special.watched, special.watch_lost) = (false, false, false);
            self.forget_state(key);
        }
        taken
    }

    /// The server's answer to `MULTI` or `WATCH`. Who was refused is in no transaction, and watches no more than before.
    pub(super) fn begun(&mut self, link: Key, run: &Run, frame: &[u8]) {
        let client = self.clients.get_mut(run.client);
        let (Some(link), Some(special)) =
            (self.links.get_mut(link), client.and_then(|client| client.special.as_mut()))
        else {
            return;
        };
        if !frame.starts_with(b"-") {
            special.watched |= run.after == After::Watch;
            return;
        }
        let ended = link.runs.iter().any(Run::ends_transaction);
        if run.after == After::Multi {
            // What stands behind it was executed at once.
            for queued in link.runs.iter_mut().take_while(|run| !run.ends_transaction()) {
                if queued.after == After::Queued {
                    queued.after = After::Plain;
                }
            }
            // If it has ended, the state is that of what was sent since.
            special.multi &= ended;
        } else {
            let others = special.watched || link.runs.iter().any(|run| run.after == After::Watch);
            special.watching &= others || ended;
        }
    }

    /// The server's answer to what ends a transaction, or what is watched. Where that was refused, the connection still has
    /// what its client has not any more: nobody else must have it.
    pub(super) fn ended(&mut self, link: Key, run: &Run, frame: &[u8]) {
        let Some(client) = self.clients.get_mut(run.client) else {
            return;
        };
        let refused = frame.starts_with(b"-");
        let text = match run.after {
            After::ExecWatchLost => nil(client.resp3),
            After::Undone if !refused => OK,
            _ => frame,
        };
        let over = [&b"-EXECABORT"[..], b"-ERR EXEC without", b"-ERR DISCARD without"];
        let remains = refused && !over.iter().any(|known| frame.starts_with(known));
        if let Some(special) = &mut client.special {
            special.watched = false;
            if remains && run.after == After::Undone {
                (special.watching, special.watch_lost) = (true, true);
            }
        }
        self.deliver(run.client, text, 1, run.mute);
        if remains {
            self.forget(link, true);
        }
    }
}

impl Run {
    /// What is watched is not watched any more behind it.
    fn ends_transaction(&self) -> bool {
        matches!(self.after, After::Exec | After::ExecWatchLost | After::Undone)
    }
}
