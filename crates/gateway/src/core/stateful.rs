//! Commands that are not simply sent on: what each does to the client's state, and on which connection it goes.

use super::answer;
use super::client::{Blocked, Client, Mute, Wait};
use super::intake::{IN_FLIGHT_MAX, Taken, UNDER_WAY_MAX, wait_for_answers};
use super::link::{After, Link};
use super::loss::WAIT_UNKNOWN;
use super::own::subscribe_word;
use super::{Core, Key, secrets};
use crate::commands::{Channels, Class, TimeoutAt, kind};
use crate::core::connect::request;
use crate::scan::{Request, Words};
use backstay_model::Epoch;
use std::time::Duration;

/// The names of all channels that one client subscribes to.
const SUBSCRIBED_BYTES_MAX: usize = 4 << 20;
/// Less is not asked for: a server takes zero for "for ever".
const REMAINING_MIN: Duration = Duration::from_millis(1);

/// A command that no server accepts: the transaction that it stands in is not executed.
pub(super) const SPOILER: &[u8] = b"*1\r\n$3\r\nGET\r\n";

impl Core {
    /// Takes one command of whatever kind.
    pub(super) fn take(&mut self, key: Key, found: Request, bytes: &[u8]) -> Taken {
        if found.is_empty() {
            return Taken::Done;
        }
        self.families.clear();
        if found.inline {
            let Some(words) = answer::split_line(&bytes[..found.len]) else {
                return self.end_with(key, b"-ERR Protocol error: unbalanced quotes in request\r\n");
            };
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let bytes = request(&words);
            return self.dispatch(key, words[0], &bytes);
        }
        let name = &bytes[found.name_at..found.name_at + found.name_len];
        self.dispatch(key, name, bytes)
    }

    fn dispatch(&mut self, key: Key, name: &[u8], bytes: &[u8]) -> Taken {
        let (class, family) = kind(name);
        self.families.push(family);
        let Some(client) = self.clients.get(key) else {
            return Taken::Ends;
        };
        let open = matches!(class, Class::Auth | Class::Hello | Class::Quit | Class::Reset);
        if !client.authenticated && !open {
            return self.answer(key, b"-NOAUTH Authentication required.\r\n");
        }
        let under_way = client.own.and_then(|own| self.links.get(own)).map_or(0, Link::unanswered_bytes);
        if client.in_flight >= IN_FLIGHT_MAX || (client.in_flight > 0 && under_way > UNDER_WAY_MAX) {
            return self.wait(key, Wait::Answers);
        }
        if client.special.is_some() {
            self.end_refused(key, class);
        }
        let Some(client) = self.clients.get(key) else {
            return Taken::Ends;
        };
        let skips = client.mute == Mute::Next;
        let mute = client.mute != Mute::No;
        let multi = client.special.as_ref().is_some_and(|special| special.multi);
        let taken = match (class.may_write() && self.endpoints[client.endpoint].reads_only(), multi) {
            (false, false) => self.one(key, class, bytes, mute),
            (false, true) => self.in_transaction(key, class, bytes, mute),
            (true, false) => self.answer(key, b"-READONLY this address is for reads alone\r\n"),
            // The transaction must not be executed without it.
            (true, true) => self.send_own(key, SPOILER, After::Spoiled, mute),
        };
        if let Some(client) = self.clients.get_mut(key)
            && skips
            && taken.is_over()
            && client.mute == Mute::Next
            && (multi || !answer::is_reply(bytes, b"SKIP"))
        {
            client.mute = Mute::No;
        }
        taken
    }

    /// A command outside of a transaction.
    fn one(&mut self, key: Key, class: Class, bytes: &[u8], mute: bool) -> Taken {
        match class {
            Class::Read => self.plain(key, bytes, false, mute),
            Class::Write => self.plain(key, bytes, true, mute),
            Class::Limited { .. } if secrets::asked_for(bytes) => {
                let taken = self.answer(key, secrets::REFUSED);
                if taken == Taken::Done {
                    self.refused_at_endpoint(key);
                }
                taken
            }
            Class::Limited { allowed, write } if answer::is_allowed(bytes, allowed) => {
                self.plain(key, bytes, write, mute)
            }
            Class::Limited { .. } | Class::Refused => self.refused(key, bytes),
            Class::Blocking(at) => self.block(key, bytes, at, mute),
            Class::BlockOption { write } => match block_word(bytes) {
                Some(word) => self.block_at(key, bytes, word, true, mute),
                None => self.plain(key, bytes, write, mute),
            },
            Class::Multi => self.begin(key, bytes, After::Multi, mute),
            Class::Watch => self.begin(key, bytes, After::Watch, mute),
            Class::Exec => self.answer(key, b"-ERR EXEC without MULTI\r\n"),
            Class::Discard => self.answer(key, b"-ERR DISCARD without MULTI\r\n"),
            Class::Unwatch => self.unwatch(key, bytes, mute),
            Class::Subscribe(kind) => self.subscribe(key, bytes, kind, mute),
            Class::Unsubscribe(kind) => self.unsubscribe(key, bytes, kind, mute),
            Class::Monitor => self.monitor(key, bytes, mute),
            Class::Wait => self.wait_for_replicas(key, bytes, mute),
            Class::Select => self.select(key, bytes, mute),
            Class::Hello => self.hello(key, bytes),
            Class::Auth => self.auth(key, bytes),
            Class::Reset => self.reset(key),
            Class::Quit => self.quit(key),
            Class::Client => self.client_command(key, bytes, mute),
        }
    }

    /// A plain command goes where the client's state is.
    pub(super) fn plain(&mut self, key: Key, bytes: &[u8], write: bool, mute: bool) -> Taken {
        if self.clients.get(key).is_some_and(Client::keeps_own) {
            let taken = self.send_own(key, bytes, After::Plain, mute);
            if let Some(client) = self.clients.get_mut(key)
                && write
                && taken == Taken::Done
            {
                client.wrote = self.endpoints[client.endpoint].direction.epoch();
            }
            return taken;
        }
        self.send_plain(key, bytes, 1, write, mute)
    }

    /// Drops a state that says nothing any more.
    pub(super) fn forget_state(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key)
            && client.own.is_none()
            && client.special.as_ref().is_some_and(|special| special.is_idle())
        {
            client.special = None;
        }
    }

    fn block(&mut self, key: Key, bytes: &[u8], at: TimeoutAt, mute: bool) -> Taken {
        let words = Words::of(bytes).count();
        let word = match at {
            TimeoutAt::First => 1,
            TimeoutAt::Last => words.saturating_sub(1),
        };
        self.block_at(key, bytes, word, false, mute)
    }

    /// A command whose timeout stands at `word`, in seconds or in milliseconds.
    fn block_at(&mut self, key: Key, bytes: &[u8], word: usize, millis: bool, mute: bool) -> Taken {
        let timeout = Words::of(bytes).nth(word).and_then(|word| timeout(word, millis));
        let Some(timeout) = timeout else {
            // The server finds the words for what is wrong with it, or reads it otherwise, and waits.
            return self.send_own(key, bytes, After::Plain, mute);
        };
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        let known = client.special.as_ref().and_then(|special| special.blocked.as_ref());
        if known.is_some() && client.in_flight > 0 {
            // What one waits for is remembered.
            return wait_for_answers(client);
        }
        let until = match known {
            Some(blocked) => blocked.until,
            None => (!timeout.is_zero()).then(|| self.now + timeout),
        };
        let again = known.is_some();
        let sent = match until {
            Some(until) if again => with_timeout(bytes, word, millis, until.since(self.now)),
            _ => bytes.to_vec(),
        };
        let taken = self.send_own(key, &sent, After::Blocking, mute);
        if taken == Taken::Refused {
            if let Some(special) = self.clients.get_mut(key).and_then(|client| client.special.as_mut()) {
                special.blocked = None;
            }
            self.forget_state(key);
        }
        if taken == Taken::Done
            && let Some(client) = self.clients.get_mut(key)
        {
            client.wrote = self.endpoints[client.endpoint].direction.epoch();
            client.special().blocked = Some(Blocked { until, request: bytes.to_vec() });
            // A drain unblocks it from another connection.
            self.find_lane(key);
        }
        taken
    }

    fn subscribe(&mut self, key: Key, bytes: &[u8], kind: Channels, mute: bool) -> Taken {
        let channels: Vec<&[u8]> = Words::of(bytes).skip(1).collect();
        let known = self
            .clients
            .get(key)
            .and_then(|client| client.special.as_ref())
            .map_or(0, |it| it.subscribed_bytes);
        if known + bytes.len() > SUBSCRIBED_BYTES_MAX {
            self.refused_at_endpoint(key);
            return self
                .answer(key, b"-ERR this gateway does not remember so many channels for one client\r\n");
        }
        if channels.is_empty() {
            return self.plain(key, bytes, false, mute);
        }
        self.say_each(key, subscribe_word(kind), &channels, mute)
    }

    fn unsubscribe(&mut self, key: Key, bytes: &[u8], kind: Channels, mute: bool) -> Taken {
        let word = Words::of(bytes).next().unwrap_or_default();
        let channels: Vec<&[u8]> = Words::of(bytes).skip(1).collect();
        if !channels.is_empty() {
            return self.say_each(key, word, &channels, mute);
        }
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        if client.in_flight > 0 {
            // Which channels there are is known when everything is confirmed.
            return wait_for_answers(client);
        }
        let special = client.special.as_ref();
        let all = special.into_iter().flat_map(|special| special.subscriptions.iter());
        let all: Vec<Box<[u8]>> = all.filter(|it| it.0 == kind).map(|it| it.1.clone()).collect();
        if all.is_empty() {
            return self.send_own(key, bytes, After::Confirmed, mute);
        }
        let all: Vec<&[u8]> = all.iter().map(|channel| &**channel).collect();
        self.say_each(key, word, &all, mute)
    }

    /// One command per channel: each has one answer, and the answers are the same.
    fn say_each(&mut self, key: Key, word: &[u8], channels: &[&[u8]], mute: bool) -> Taken {
        let mut after = After::Confirmed;
        for channel in channels {
            let taken = self.send_own(key, &request(&[word, channel]), after, mute);
            if taken != Taken::Done {
                // Only the first can fail: the own connection is ready from then on.
                return taken;
            }
            after = After::ConfirmedToo;
        }
        Taken::Done
    }

    fn monitor(&mut self, key: Key, bytes: &[u8], mute: bool) -> Taken {
        let taken = self.send_own(key, bytes, After::Monitor, mute);
        if let Some(client) = self.clients.get_mut(key)
            && taken == Taken::Done
        {
            client.special().monitor = true;
        }
        taken
    }

    /// `WAIT` covers what its own connection wrote. A `PING` before it makes that everything until now.
    fn wait_for_replicas(&mut self, key: Key, bytes: &[u8], mute: bool) -> Taken {
        let own = match self.own(key) {
            Ok(own) => own,
            Err(taken) => return taken,
        };
        let (Some(client), Some(link)) = (self.clients.get_mut(key), self.links.get_mut(own)) else {
            return Taken::Ends;
        };
        if client.wrote != Epoch(0) && client.wrote != self.endpoints[client.endpoint].direction.epoch() {
            let taken = self.answer(key, WAIT_UNKNOWN);
            self.release_own(key);
            return taken;
        }
        client.special();
        link.push(Key::NONE, &request(&[b"PING"]), 1, After::Swallow, false);
        let taken = self.send_own(key, bytes, After::Wait, mute);
        self.find_lane(key);
        taken
    }

    fn select(&mut self, key: Key, bytes: &[u8], mute: bool) -> Taken {
        let mut words = Words::of(bytes).skip(1);
        let (Some(word), None) = (words.next(), words.next()) else {
            return self.answer(key, b"-ERR wrong number of arguments for 'select' command\r\n");
        };
        let Some(database) = std::str::from_utf8(word).ok().and_then(|word| word.parse::<u32>().ok()) else {
            return self.answer(key, b"-ERR value is not an integer or out of range\r\n");
        };
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        if client.in_flight > 0 {
            return wait_for_answers(client);
        }
        if client.keeps_own() {
            client.special().selecting = database;
            return self.send_own(key, bytes, After::Selected, mute);
        }
        let (number, name) = (client.endpoint, (client.login, database, client.resp3));
        if let Some(refusal) = self.endpoints[number].refused_databases.get(&database).cloned() {
            return self.answer(key, &refusal);
        }
        // The server says whether it has this database when a connection is opened for it.
        let Some(lane) = self.lane(number, name) else {
            return self.no_server(key, 1);
        };
        if let Some(client) = self.clients.get_mut(key) {
            client.database = database;
            client.lane = lane;
        }
        self.answer(key, b"+OK\r\n")
    }

    /// `RESET`: as if it had just connected.
    pub(super) fn reset(&mut self, key: Key) -> Taken {
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        if client.in_flight > 0 {
            return wait_for_answers(client);
        }
        client.special = None;
        client.notices = None;
        client.resp3 = false;
        client.mute = Mute::No;
        client.database = 0;
        client.lane = Key::NONE;
        client.name = Box::default();
        client.user = None;
        client.login = 0;
        client.authenticated = self.endpoints[client.endpoint].settings.users.is_empty();
        client.stranger_since = self.now;
        if let Some(own) = client.own.take() {
            self.close_own(own);
        }
        self.answer(key, b"+RESET\r\n")
    }

    pub(super) fn quit(&mut self, key: Key) -> Taken {
        let taken = self.answer(key, b"+OK\r\n");
        if let Some(client) = self.clients.get_mut(key)
            && taken == Taken::Done
        {
            client.ending = true;
            return Taken::Ends;
        }
        taken
    }

    pub(super) fn refused(&mut self, key: Key, bytes: &[u8]) -> Taken {
        let words: Vec<_> = Words::of(bytes)
            .take(2)
            .map(|word| String::from_utf8_lossy(&word[..word.len().min(40)]))
            .collect();
        let text = words.join(" ").to_ascii_uppercase();
        let text: String = text.chars().filter(|character| !character.is_control()).collect();
        let taken = self.answer(
            key,
            format!(
                "-ERR '{text}' is not allowed through a gateway; connect to the server itself for it\r\n"
            )
            .as_bytes(),
        );
        if taken == Taken::Done {
            self.refused_at_endpoint(key);
        }
        taken
    }
}

/// The number of the word after `BLOCK`, if that is one of the options. A group may be called like an option.
fn block_word(bytes: &[u8]) -> Option<usize> {
    let mut words = Words::of(bytes).enumerate().skip(1);
    while let Some((at, word)) = words.next() {
        match &*word.to_ascii_uppercase() {
            b"BLOCK" => return Some(at + 1),
            b"STREAMS" => return None,
            b"GROUP" => {
                words.nth(1);
            }
            b"COUNT" => {
                words.next();
            }
            _ => {}
        }
    }
    None
}

fn timeout(word: &[u8], millis: bool) -> Option<Duration> {
    let text = std::str::from_utf8(word).ok()?;
    if millis {
        return text.parse().ok().map(Duration::from_millis);
    }
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

/// The same command with another timeout.
fn with_timeout(bytes: &[u8], word: usize, millis: bool, remaining: Duration) -> Vec<u8> {
    let remaining = remaining.max(REMAINING_MIN);
    let text =
        if millis { remaining.as_millis().to_string() } else { format!("{:.3}", remaining.as_secs_f64()) };
    let words: Vec<&[u8]> = Words::of(bytes)
        .enumerate()
        .map(|(at, old)| if at == word { text.as_bytes() } else { old })
        .collect();
    request(&words)
}
