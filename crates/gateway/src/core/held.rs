//! Clients that wait for a server: bounded in time, number and bytes. And every other thing that time alone brings.

use super::account::gave_up;
use super::answer::is_reply;
use super::client::{Again, Mute, Wait};
use super::connect::CONNECT_MAX;
use super::link::{Purpose, Stage};
use super::own::OK;
use super::{Core, HOUSEKEEPING, Key, add};
use crate::commands::{Class, class};
use crate::scan::{RequestScan, Words};
use std::time::Duration;

/// A connection that nobody used for so long is closed.
const UNUSED_MAX: Duration = Duration::from_secs(60);

/// What of transactions is among commands that are refused together.
#[derive(Default)]
struct Transactions {
    /// The end of one.
    ended: bool,
    /// The beginning of one, and not its end.
    open: bool,
}

impl Transactions {
    fn see(&mut self, name: &[u8]) {
        match class(name) {
            Class::Multi => self.open = true,
            Class::Exec | Class::Discard => (self.ended, self.open) = (true, false),
            _ => {}
        }
    }
}

impl Core {
    /// The client's next command waits for a server.
    pub(super) fn hold(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let endpoint = &mut self.endpoints[client.endpoint];
        if client.waits_since.is_none() {
            client.waits_since = Some(self.now);
            add(&endpoint.traffic.held_total, 1);
        }
        client.paused_at.get_or_insert(self.now);
        client.begun = None;
        let requeued = client.requeued.iter().map(|requeued| match &requeued.what {
            Again::Command(bytes) => bytes.len(),
            Again::Answer(_) => 0,
        });
        let bytes = client.input.len() + requeued.sum::<usize>();
        endpoint.held_bytes = endpoint.held_bytes - client.held_bytes + bytes;
        client.held_bytes = bytes;
        let limits = &endpoint.settings.limits;
        if endpoint.waiting.len() >= limits.held_commands_max {
            let text =
                format!("-HOLDFULL {} commands wait for a primary already\r\n", limits.held_commands_max);
            return self.give_up(key, &text);
        }
        if endpoint.held_bytes > limits.held_bytes_max {
            let text = format!(
                "-HOLDFULL commands of {} bytes wait for a primary already\r\n",
                limits.held_bytes_max
            );
            return self.give_up(key, &text);
        }
        endpoint.waiting.push_back(key);
    }

    /// Answers everything of the client that waits with this error.
    pub(super) fn give_up(&mut self, key: Key, text: &str) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let (mut errors, mut at) = (0, 0);
        let mut refused = Transactions::default();
        let traffic = self.endpoints[client.endpoint].traffic.clone();
        client.requeued_now = 0;
        for requeued in std::mem::take(&mut client.requeued) {
            let (answer, mute) = match requeued.what {
                Again::Command(bytes) => {
                    refused.see(Words::of(&bytes).next().unwrap_or_default());
                    gave_up(&traffic, client, &bytes, errors == 0, self.now);
                    (text.as_bytes(), requeued.mute)
                }
                Again::Answer(answer) => (answer, requeued.mute),
            };
            errors += 1;
            if !mute {
                client.output.extend_from_slice(answer);
            }
        }
        while let Ok(Some(request)) = RequestScan::default().next(&client.input[at..]) {
            let command = &client.input[at..at + request.len];
            at += request.len;
            if client.mute == Mute::All && is_reply(command, b"ON") {
                // No server is needed for it, and nothing else would ever be heard.
                client.mute = Mute::No;
                client.output.extend_from_slice(OK);
            } else if !request.is_empty() {
                refused.see(&command[request.name_at..][..request.name_len]);
                gave_up(&traffic, client, command, errors == 0, self.now);
                errors += 1;
                match client.mute {
                    Mute::No => client.output.extend_from_slice(text.as_bytes()),
                    // `SKIP` was about this one alone.
                    Mute::Next => client.mute = Mute::No,
                    Mute::All => {}
                }
            }
        }
        client.input.drain(..at);
        client.scan = RequestScan::default();
        client.wait = Wait::No;
        client.end_hold(&traffic, self.now);
        client.paused_at = None;
        if let Some(special) = &mut client.special {
            special.blocked = None;
        }
        self.endpoints[client.endpoint].held_bytes -= std::mem::take(&mut client.held_bytes);
        Self::soil_client(&mut self.dirty_clients, client, key);
        add(&traffic.refused, errors);
        self.runnable.push_back(key);
        self.give_up_transaction(key, &refused);
    }

    /// A part of a transaction was refused: what else of it comes must not be executed without that part.
    fn give_up_transaction(&mut self, key: Key, refused: &Transactions) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let multi = client.special.as_ref().is_some_and(|special| special.multi);
        if !multi && !refused.open {
            return;
        }
        let special = client.special();
        special.multi = true;
        special.own_lost();
        if refused.ended {
            special.end_transaction();
        }
        if refused.open && (refused.ended || !multi) {
            (special.multi, special.broken, special.refused_at) = (true, true, Some(self.now));
        }
        if let Some(own) = client.own.take() {
            self.close_own(own);
        }
        self.forget_state(key);
    }

    /// Does what time alone brings. To be called at `next_wakeup`, or at any other time.
    pub(crate) fn tick(&mut self) {
        for number in 0..self.endpoints.len() {
            let endpoint = &self.endpoints[number];
            if endpoint.is_expired(self.now)
                && self.links.iter().any(|(_, link)| link.primary && link.endpoint == number)
            {
                self.lose_primary(number, "the lease ended", true);
            }
            let endpoint = &mut self.endpoints[number];
            if endpoint.open && endpoint.retries && self.now >= endpoint.retry_at {
                endpoint.retries = false;
                self.wake(number);
            }
            self.herald(number);
            self.give_turns(number);
        }
        if self.now >= self.tick_at {
            self.tick_at = self.now + HOUSEKEEPING;
            for number in 0..self.endpoints.len() {
                self.follow_sources(number);
            }
            self.end_waits();
            self.end_crowds();
            for number in 0..self.endpoints.len() {
                self.end_late_turns(number);
            }
            self.take_stock();
            self.end_silent_clients();
            self.end_unused_links();
            self.count_memory();
        }
    }

    fn end_waits(&mut self) {
        for number in 0..self.endpoints.len() {
            let endpoint = &mut self.endpoints[number];
            let (mut late, mut waiting) = (Vec::new(), std::mem::take(&mut endpoint.waiting));
            let max = endpoint.settings.limits.hold_max;
            waiting.retain(|key| {
                let Some(client) = self.clients.get(*key).filter(|client| client.wait == Wait::Server) else {
                    return false;
                };
                let over = client.waits_since.is_some_and(|since| since + max <= self.now);
                if over {
                    late.push(*key);
                }
                !over
            });
            endpoint.waiting = waiting;
            if late.is_empty() {
                continue;
            }
            let why = match &*endpoint.trouble {
                "" if endpoint.open => "every connection that this endpoint may open is in use",
                "" => "there is no primary now",
                trouble => trouble,
            };
            let text = format!("-HOLDTIMEOUT waited {} ms for a primary: {why}\r\n", max.as_millis());
            for key in late {
                self.give_up(key, &text);
            }
        }
    }

    fn end_silent_clients(&mut self) {
        let mut ended = Vec::new();
        for (key, client) in self.clients.iter() {
            let limits = &self.endpoints[client.endpoint].settings.limits;
            let over = |since, max| self.now >= since + max;
            let idle = limits.idle_timeout.is_some_and(|max| over(client.active, max))
                && client.is_settled()
                && client.unsent() == 0
                && !client.special.as_ref().is_some_and(|special| special.restore || special.keeps_own());
            let slow = client.begun.is_some_and(|since| over(since, limits.request_timeout));
            let stranger = !client.authenticated && over(client.stranger_since, limits.sign_in_timeout);
            if idle || slow || stranger {
                tracing::debug!(client = %client.peer, idle, slow, stranger, "a client said nothing for too long");
                ended.push(key);
            }
        }
        for key in ended {
            self.end_client(key);
        }
    }

    fn end_unused_links(&mut self) {
        for key in self.links.keys() {
            let Some(link) = self.links.get(key) else {
                continue;
            };
            let unused = link.runs.is_empty() && self.now >= link.used + UNUSED_MAX;
            let endpoint = &self.endpoints[link.endpoint];
            let silent = !link.primary && self.now >= link.used + CONNECT_MAX;
            match (link.stage, link.purpose) {
                (Stage::Connecting | Stage::Greeting, _) if self.now >= link.used + CONNECT_MAX => {
                    self.lose(key, "the server did not answer in time");
                }
                (Stage::Ready, Purpose::Own(Key::NONE)) if unused => self.close_own(key),
                // Within a drain others may be unblocked from it.
                (Stage::Ready, Purpose::Retired) if link.runs.is_empty() && endpoint.draining.is_none() => {
                    self.forget(key, false);
                }
                // A replica that hangs: it is read elsewhere.
                (Stage::Ready, Purpose::Retired) if silent => self.forget(key, true),
                // Blocked connections need another one to be unblocked from.
                (Stage::Ready, Purpose::Shared) if unused && endpoint.owns == 0 => self.forget(key, false),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
