//! What the gateway answers itself.

use super::client::{Client, Mute};
use super::intake::{Taken, wait_for_answers};
use super::link::After;
use super::{Core, Key};
use crate::scan::Words;
use std::fmt::Write as _;

pub(super) const NOT_IN_TRANSACTION: &[u8] = b"-ERR not allowed in a transaction through a gateway\r\n";

const BAD_NAME: &[u8] = b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n";
const LONG_NAME: &[u8] = b"-ERR Client names cannot be longer than 1024 bytes through a gateway\r\n";
/// A client's name is kept for as long as the client is here, and shown to everybody.
const NAME_BYTES_MAX: usize = 1024;

impl Core {
    /// Answers a command, once everything before it is answered.
    pub(super) fn answer(&mut self, key: Key, text: &[u8]) -> Taken {
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        if client.in_flight > 0 {
            return wait_for_answers(client);
        }
        if client.mute == Mute::No {
            client.output.extend_from_slice(text);
            Self::soil_client(&mut self.dirty_clients, client, key);
        }
        let overfull = client.unsent() > self.endpoints[client.endpoint].settings.limits.output_bytes_max;
        self.answered_itself(key, text);
        if overfull {
            self.end_overfull(key);
            return Taken::Ends;
        }
        Taken::Done
    }

    /// Answers a command and lets its client go.
    pub(super) fn end_with(&mut self, key: Key, text: &[u8]) -> Taken {
        let taken = self.answer(key, text);
        if let Some(client) = self.clients.get_mut(key)
            && taken == Taken::Done
        {
            client.ending = true;
            return Taken::Ends;
        }
        taken
    }

    pub(super) fn client_command(&mut self, key: Key, bytes: &[u8], mute: bool) -> Taken {
        let words: Vec<&[u8]> = Words::of(bytes).skip(1).collect();
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        if client.in_flight > 0 {
            return wait_for_answers(client);
        }
        let upper: Vec<Vec<u8>> = words.iter().take(2).map(|word| word.to_ascii_uppercase()).collect();
        let upper: Vec<&[u8]> = upper.iter().map(Vec::as_slice).collect();
        match upper[..] {
            [b"SETNAME", _] if words.len() == 2 => {
                let wrong = wrong_name(words[1]);
                if wrong.is_none() {
                    client.name = words[1].into();
                }
                self.answer(key, wrong.unwrap_or(b"+OK\r\n"))
            }
            [b"GETNAME"] => {
                let text = value(&client.name.clone(), client.resp3);
                self.answer(key, &text)
            }
            [b"ID"] => {
                let text = format!(":{}\r\n", client.id);
                self.answer(key, text.as_bytes())
            }
            [b"SETINFO", b"LIB-NAME" | b"LIB-VER"] if words.len() == 3 => self.answer(key, b"+OK\r\n"),
            [b"NO-EVICT" | b"NO-TOUCH", b"ON" | b"OFF"] if words.len() == 2 => self.answer(key, b"+OK\r\n"),
            [b"INFO"] => {
                let text = self.line_of(key);
                self.answer(key, &value(text.as_bytes(), false))
            }
            [b"LIST", ..] => {
                let text = self.lines_of(key);
                self.work(key, self.clients.len());
                // Nothing is read for it, and it may be much.
                self.memory.produced(text.len());
                self.answer(key, &value(text.as_bytes(), false))
            }
            [b"KILL", ..] => self.kill(key, &words[1..]),
            [b"REPLY", mode @ (b"ON" | b"OFF" | b"SKIP")] if words.len() == 2 => {
                client.mute = match mode {
                    b"ON" => Mute::No,
                    b"SKIP" if client.mute != Mute::All => Mute::Next,
                    _ => Mute::All,
                };
                if client.mute == Mute::No { self.answer(key, b"+OK\r\n") } else { Taken::Done }
            }
            [b"MAINT_NOTIFICATIONS", ..] => self.maint_notifications(key, &words[1..]),
            [b"TRACKING", ..] => self.tracking(key, bytes, &words[1..], mute),
            [b"CACHING" | b"GETREDIR" | b"TRACKINGINFO", ..] => {
                if client.special.as_ref().is_some_and(|special| special.tracking.is_some()) {
                    return self.send_own(key, bytes, After::Plain, mute);
                }
                self.plain(key, bytes, false, mute)
            }
            [b"HELP"] => self.plain(key, bytes, false, mute),
            _ => self.refused(key, bytes),
        }
    }

    fn tracking(&mut self, key: Key, bytes: &[u8], options: &[&[u8]], mute: bool) -> Taken {
        let is = |word: &[u8]| options.iter().any(|option| option.eq_ignore_ascii_case(word));
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        let on = options.first().is_some_and(|word| word.eq_ignore_ascii_case(b"ON"));
        let off = options.first().is_some_and(|word| word.eq_ignore_ascii_case(b"OFF"));
        if off && client.special.as_ref().is_none_or(|special| special.tracking.is_none()) {
            return self.answer(key, b"+OK\r\n");
        }
        if is(b"REDIRECT") {
            return self
                .answer(key, b"-ERR CLIENT TRACKING with REDIRECT is not possible through a gateway\r\n");
        }
        if on && !client.resp3 {
            return self.answer(key, b"-ERR Client tracking needs RESP3 (HELLO 3) through a gateway\r\n");
        }
        let after = if off { After::TrackingOff } else { After::Tracking };
        let taken = self.send_own(key, bytes, after, mute);
        if let Some(client) = self.clients.get_mut(key)
            && taken == Taken::Done
            && on
        {
            let special = client.special();
            special.tracking_before = special.tracking.replace(bytes.to_vec());
        }
        taken
    }

    /// Whether a client may see and end another one: both are the same user's, at the same endpoint.
    fn are_peers(&self, key: Key, other: &Client) -> bool {
        self.clients.get(key).is_some_and(|own| (own.endpoint, own.user) == (other.endpoint, other.user))
    }

    /// Ends a client of the same user, by number or by address.
    fn kill(&mut self, key: Key, words: &[&[u8]]) -> Taken {
        self.work(key, self.clients.len());
        let (id, address, old) = match words {
            [address] => (None, Some(*address), true),
            [filter, id] if filter.eq_ignore_ascii_case(b"ID") => (Some(*id), None, false),
            [filter, address] if filter.eq_ignore_ascii_case(b"ADDR") => (None, Some(*address), false),
            _ => return self.answer(key, b"-ERR a gateway kills clients by ID or by ADDR\r\n"),
        };
        let matching = self.clients.iter().find(|(_, client)| {
            self.are_peers(key, client)
                && id.is_none_or(|id| client.id.to_string().as_bytes() == id)
                && address.is_none_or(|address| client.peer.as_bytes() == address)
        });
        let Some(found) = matching.map(|(key, _)| key) else {
            return self.answer(key, if old { b"-ERR No such client\r\n" } else { b":0\r\n" });
        };
        let answer: &[u8] = if old { b"+OK\r\n" } else { b":1\r\n" };
        if found == key {
            return self.end_with(key, answer);
        }
        let taken = self.answer(key, answer);
        self.end_client(found);
        taken
    }

    /// What `CLIENT LIST` says, up to more than a client may be owed.
    fn lines_of(&self, key: Key) -> String {
        let endpoint = self.clients.get(key).map_or(0, |client| client.endpoint);
        let max = self.endpoints[endpoint].settings.limits.output_bytes_max;
        let mut text = String::new();
        for (other, _) in self.clients.iter().filter(|(_, client)| self.are_peers(key, client)) {
            text.push_str(&self.line_of(other));
            if text.len() > max {
                break;
            }
        }
        text
    }

    /// What `CLIENT LIST` says about a client.
    fn line_of(&self, key: Key) -> String {
        let Some(client) = self.clients.get(key) else {
            return String::new();
        };
        let mut text = String::new();
        let special = client.special.as_ref();
        let user =
            client.user.map_or("default", |user| &self.endpoints[client.endpoint].settings.users[user].name);
        let subscriptions = special.map_or(0, |special| special.subscriptions.len());
        let _ = writeln!(
            text,
            "id={} addr={} name={} age={} idle={} db={} sub={subscriptions} multi={} qbuf={} omem={} resp={} user={user}",
            client.id,
            client.peer,
            String::from_utf8_lossy(&client.name),
            self.now.since(client.connected).as_secs(),
            self.now.since(client.active).as_secs(),
            client.database,
            if special.is_some_and(|special| special.multi) { 0 } else { -1 },
            client.input.len(),
            client.unsent(),
            if client.resp3 { 3 } else { 2 },
        );
        text
    }
}

/// Why a client may not be called so, if that is so.
pub(super) fn wrong_name(text: &[u8]) -> Option<&'static [u8]> {
    if text.len() > NAME_BYTES_MAX {
        return Some(LONG_NAME);
    }
    (!text.iter().all(|byte| (b'!'..=b'~').contains(byte))).then_some(BAD_NAME)
}

/// A value, or nil if it is empty.
fn value(bytes: &[u8], resp3: bool) -> Vec<u8> {
    if bytes.is_empty() {
        return if resp3 { b"_\r\n".to_vec() } else { b"$-1\r\n".to_vec() };
    }
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Whether this is `CLIENT REPLY` with this word.
pub(super) fn is_reply(bytes: &[u8], mode: &[u8]) -> bool {
    let mut words = Words::of(bytes);
    let mut is = |expected: &[u8]| words.next().is_some_and(|word| word.eq_ignore_ascii_case(expected));
    is(b"CLIENT") && is(b"REPLY") && is(mode) && words.next().is_none()
}

/// Whether the second word is one of these.
pub(super) fn is_allowed(bytes: &[u8], allowed: &[&str]) -> bool {
    // Without a second word the server finds the words for what is wrong.
    Words::of(bytes)
        .nth(1)
        .is_none_or(|word| allowed.iter().any(|it| it.as_bytes().eq_ignore_ascii_case(word)))
}

/// Whether this `CLIENT` command would change a connection that its client only borrows.
pub(super) fn changes_connection(bytes: &[u8]) -> bool {
    const HARMLESS: [&[u8]; 4] = [b"ID", b"GETNAME", b"INFO", b"LIST"];
    Words::of(bytes).nth(1).is_none_or(|word| !HARMLESS.iter().any(|it| it.eq_ignore_ascii_case(word)))
}

/// The words of an inline request, quoted as Redis reads them. `None`: a quote is not closed, or stands inside a word.
pub(super) fn split_line(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii();
    while !rest.is_empty() {
        let mut word = Vec::new();
        while let Some((first, tail)) = rest.split_first().filter(|(first, _)| !first.is_ascii_whitespace()) {
            rest = tail;
            match first {
                b'"' | b'\'' => {
                    rest = quoted(rest, *first, &mut word)?;
                    if rest.first().is_some_and(|next| !next.is_ascii_whitespace()) {
                        return None;
                    }
                }
                other => word.push(*other),
            }
        }
        words.push(word);
        rest = rest.trim_ascii_start();
    }
    Some(words)
}

/// Reads up to the closing quote; returns what follows it.
fn quoted<'a>(mut rest: &'a [u8], quote: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let hex = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    loop {
        let (first, tail) = rest.split_first()?;
        rest = tail;
        if *first == quote {
            return Some(rest);
        }
        match (*first, tail) {
            (b'\\', [b'x', high, low, after @ ..])
                if quote == b'"' && hex(*high).is_some() && hex(*low).is_some() =>
            {
                word.push(hex(*high)? << 4 | hex(*low)?);
                rest = after;
            }
            (b'\\', [escaped, after @ ..]) if quote == b'"' => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = after;
            }
            (b'\\', [b'\'', after @ ..]) if quote == b'\'' => {
                word.push(b'\'');
                rest = after;
            }
            (other, _) => word.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_split_as_redis_splits_it() {
        let words = |line: &[u8]| split_line(line);
        assert_eq!(words(b"SET  a b\r\n"), Some(vec![b"SET".to_vec(), b"a".to_vec(), b"b".to_vec()]));
        assert_eq!(
            words(b"SET a \"b \\x41\\n\"\n"),
            Some(vec![b"SET".to_vec(), b"a".to_vec(), b"b A\n".to_vec()])
        );
        assert_eq!(words(b"SET '' 'it\\'s'"), Some(vec![b"SET".to_vec(), Vec::new(), b"it's".to_vec()]));
        for wrong in [&b"SET \"a"[..], b"SET \"a\"b", b"SET 'a"] {
            assert_eq!(words(wrong), None, "{wrong:?}");
        }
    }
}
