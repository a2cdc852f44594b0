//! From a server's bytes to replies, and to the clients that wait for them.

use super::account;
use super::client::Wait;
use super::link::{After, Purpose, Run};
use super::loss::{commands, is_write};
use super::{Core, Key, add};
use crate::commands::Channels;
use crate::scan::{Violation, Words};

/// The part of a longer reply that has arrived is given to its client at once.
const STREAM_MIN: usize = 16 * 1024;

/// Why a connection to a server is given up.
#[derive(Debug, thiserror::Error)]
enum Bad {
    #[error("it sent what is no reply: {0}")]
    Violation(#[from] Violation),
    #[error("it answered what was not asked")]
    Unasked,
    #[error("it sent a reply that is too long")]
    TooLong,
    #[error("it sent a message that is too long")]
    LongPush,
}

impl Core {
    /// Bytes of a server. `set_now` must be told the time after they were read.
    pub(crate) fn link_read(&mut self, key: Key, data: &[u8]) {
        self.account(data.len());
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let endpoint = link.endpoint;
        if link.primary && self.endpoints[endpoint].is_expired(self.now) {
            return self.lose_primary(endpoint, "the lease ended", true);
        }
        let mut joined = std::mem::take(&mut link.partial);
        let result = if joined.is_empty() {
            self.replies(key, data)
        } else {
            joined.extend_from_slice(data);
            self.replies(key, &joined)
        };
        match result {
            Err(bad) => {
                self.refuse_reply(key, &bad);
                self.lose(key, &bad.to_string());
            }
            Ok(taken) => {
                let Some(link) = self.links.get_mut(key) else {
                    return;
                };
                // What has gathered meanwhile may go.
                if link.sent < link.output.len() {
                    Self::soil_link(&mut self.dirty_links, link, key);
                }
                let crowded = !link.waiting.is_empty();
                if !joined.is_empty() {
                    if taken < joined.len() {
                        joined.drain(..taken);
                        link.partial = joined;
                    }
                } else if taken < data.len() {
                    link.partial = data[taken..].to_vec();
                }
                if crowded {
                    self.make_room(key);
                }
            }
        }
    }

    /// A reply that is too long takes its connection with it, and would come again: what it answers is not asked again. Nor is
    /// what took something away.
    #[cold]
    fn refuse_reply(&mut self, key: Key, bad: &Bad) {
        let Some((link, run)) = self.links.get(key).and_then(|link| Some((link, *link.runs.front()?))) else {
            return;
        };
        let sent = &link.output[link.answered..link.sent.max(link.answered)];
        let Some(command) = commands(sent).nth(run.answered as usize) else {
            return;
        };
        let too_long = matches!(bad, Bad::TooLong | Bad::Violation(Violation::LongLine));
        let text = match run.after {
            _ if run.begun || matches!(bad, Bad::LongPush) => return,
            After::Blocking => "-UNKNOWNOUTCOME it was done",
            After::Plain if too_long && !is_write(command) => "-ERR it was read",
            _ => return,
        };
        if let Some(client) = self.clients.get_mut(run.client)
            && run.after == After::Blocking
        {
            client.special().blocked = None;
        }
        let text = format!("{text}, and its reply cannot be passed on by a gateway: {bad}\r\n");
        // The connection is given up anyhow.
        let _ = self.frame(key, text.as_bytes());
    }

    fn replies(&mut self, key: Key, bytes: &[u8]) -> Result<usize, Bad> {
        let mut at = 0;
        while at < bytes.len() {
            let Some(link) = self.links.get_mut(key) else {
                return Ok(bytes.len());
            };
            let pushed = link.resp3 && bytes[at] == b'>';
            match link.runs.front().copied() {
                Some(run)
                    if run.after == After::Plain
                        && !matches!(link.purpose, Purpose::Own(_))
                        && (run.begun || !pushed) =>
                {
                    let (taken, whole) = self.plain_replies(key, run, &bytes[at..])?;
                    at += taken;
                    if !whole {
                        return Ok(at);
                    }
                }
                _ => {
                    let rest = &bytes[at..];
                    let Some(length) = link.scan.next(rest)? else {
                        let max = self.endpoints[link.endpoint].settings.limits.output_bytes_max;
                        let bad = if pushed { Bad::LongPush } else { Bad::TooLong };
                        return if rest.len() > max { Err(bad) } else { Ok(at) };
                    };
                    at += length;
                    self.frame(key, &rest[..length])?;
                }
            }
        }
        Ok(at)
    }

    /// Gives a client replies to its run of plain commands, up to what is none. False: the last one is not whole.
    #[inline]
    fn plain_replies(&mut self, key: Key, run: Run, bytes: &[u8]) -> Result<(usize, bool), Bad> {
        let Some(link) = self.links.get_mut(key) else {
            return Ok((bytes.len(), true));
        };
        let (mut at, mut replies, mut pushed, mut erred) = (0, 0, false, false);
        // What the client is to be told comes right after a reply that it has a part of.
        let most = if run.begun { 1 } else { run.left };
        while replies < most {
            // What nobody asked for stands between replies, never within one.
            pushed = link.resp3 && !run.begun && bytes.get(at) == Some(&b'>');
            if pushed {
                break;
            }
            let Some(length) = link.scan.next(&bytes[at..])? else {
                break;
            };
            if bytes[at] == b'-' && !(run.begun && replies == 0) {
                erred = true;
                account::erred(link, &self.endpoints[link.endpoint].traffic, replies);
            }
            at += length;
            replies += 1;
        }
        let whole = replies == most || pushed;
        if replies > 0 {
            let traffic = &self.endpoints[link.endpoint].traffic;
            account::replied(link, traffic, &self.clients, replies, erred, self.now);
            if !link.answered(replies) {
                return Err(Bad::Unasked);
            }
        }
        if !whole && bytes.len() - at >= STREAM_MIN {
            let certain = link.scan.certain(bytes.len() - at);
            link.scan.passed(certain);
            at += certain;
            if let Some(run) = link.runs.front_mut() {
                run.begun |= certain > 0;
            }
        }
        self.deliver(run.client, &bytes[..at], replies, run.mute);
        if run.begun && whole {
            self.tell_late(run.client);
        }
        Ok((at, whole))
    }

    /// Gives a client bytes that hold so many replies.
    #[inline]
    pub(super) fn deliver(&mut self, key: Key, bytes: &[u8], replies: u32, mute: bool) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.in_flight -= replies.min(client.in_flight);
        if replies > 0 {
            client.lost = 0;
        }
        if !mute {
            client.output.extend_from_slice(bytes);
            Self::soil_client(&mut self.dirty_clients, client, key);
            if client.unsent() > self.endpoints[client.endpoint].settings.limits.output_bytes_max {
                return self.end_overfull(key);
            }
        }
        if client.in_flight == 0 {
            if client.own.is_some() {
                self.release_own(key);
            }
            self.answered(key);
        } else if client.ending && self.has_ended(key) {
            self.end_client(key);
        }
    }

    /// Lets a client go that has not fetched more replies than it may be owed.
    #[cold]
    pub(super) fn end_overfull(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        let (unsent, endpoint) = (client.unsent(), &self.endpoints[client.endpoint]);
        tracing::warn!(client = %client.peer, unsent, "a client does not fetch its replies; it is dropped");
        add(&endpoint.traffic.refused, 1);
        self.end_client(key);
    }

    /// Everything that this client had under way is answered.
    fn answered(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if client.wait == Wait::Answers {
            client.wait = Wait::No;
            self.runnable.push_back(key);
        } else if client.ending && self.has_ended(key) {
            self.end_client(key);
        }
    }

    /// One reply, or something unasked, on a connection where that makes a difference.
    fn frame(&mut self, key: Key, frame: &[u8]) -> Result<(), Bad> {
        let Some(link) = self.links.get_mut(key) else {
            return Ok(());
        };
        let owner = match link.purpose {
            Purpose::Own(client) => client,
            Purpose::Shared | Purpose::Retired => Key::NONE,
        };
        if self.is_unasked(key, owner, frame) {
            // Nobody's: a shared connection subscribes to nothing.
            self.deliver(owner, frame, 0, false);
            return Ok(());
        }
        let Some(link) = self.links.get_mut(key) else {
            return Ok(());
        };
        let run = link.runs.front().copied().ok_or(Bad::Unasked)?;
        let (traffic, error) = (&self.endpoints[link.endpoint].traffic, frame.starts_with(b"-"));
        if error && run.client != Key::NONE {
            account::erred(link, traffic, 0);
        }
        account::replied(link, traffic, &self.clients, 1, error, self.now);
        if !link.answered(1) {
            return Err(Bad::Unasked);
        }
        self.reply(key, run, frame);
        Ok(())
    }

    fn is_unasked(&self, link: Key, owner: Key, frame: &[u8]) -> bool {
        let special = self.clients.get(owner).and_then(|client| client.special.as_ref());
        let Some(link) = self.links.get(link) else {
            return true;
        };
        let front = link.runs.front().map(|run| run.after);
        let confirming = matches!(front, Some(After::Confirmed | After::ConfirmedToo | After::Restored));
        if special.is_some_and(|special| special.monitor) && front != Some(After::Monitor) {
            return frame.starts_with(b"+") && front.is_none();
        }
        let message = || {
            let kind = Words::of(frame).next().unwrap_or_default();
            [&b"message"[..], b"pmessage", b"smessage"].contains(&kind)
        };
        match frame.first() {
            Some(b'>') => {
                let confirmation = [
                    &b"subscribe"[..],
                    b"unsubscribe",
                    b"psubscribe",
                    b"punsubscribe",
                    b"ssubscribe",
                    b"sunsubscribe",
                ];
                let kind = Words::of(frame).next().unwrap_or_default();
                !confirming || !confirmation.contains(&kind)
            }
            Some(b'*') if !link.resp3 => {
                let subscribed = special.is_some_and(|special| !special.subscriptions.is_empty());
                (subscribed || confirming) && message()
            }
            _ => false,
        }
    }

    /// One channel was subscribed to, or no longer is.
    pub(super) fn confirmed(&mut self, owner: Key, frame: &[u8]) {
        if frame.starts_with(b"-") {
            return;
        }
        let mut words = Words::of(frame);
        let (Some(kind), Some(channel)) = (words.next(), words.next()) else {
            return;
        };
        let Some(client) = self.clients.get_mut(owner) else {
            return;
        };
        let (kind, on) = match kind {
            b"subscribe" => (Channels::Named, true),
            b"psubscribe" => (Channels::Patterns, true),
            b"ssubscribe" => (Channels::Shards, true),
            b"unsubscribe" => (Channels::Named, false),
            b"punsubscribe" => (Channels::Patterns, false),
            _ => (Channels::Shards, false),
        };
        let special = client.special();
        let name = (kind, channel.into());
        if on {
            if special.subscriptions.insert(name) {
                special.subscribed_bytes += channel.len();
            }
        } else if special.subscriptions.remove(&name) {
            special.subscribed_bytes -= channel.len();
        }
    }
}
