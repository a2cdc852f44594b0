//! Connections that belong to one client for as long as a state lives that must not be shared, and no longer.

use super::client::{Special, Wait};
use super::intake::{Taken, wait_for_answers};
use super::link::{After, Greeting, Link, Purpose, Run};
use super::route::TRANSACTION_GRACE;
use super::{Again, Core, Effect, Key, add};
use crate::commands::Channels;
use crate::core::connect::request;
use crate::family::Family;

pub(super) const OK: &[u8] = b"+OK\r\n";
/// What a client is told that must forget everything it has cached.
const INVALIDATE_ALL: &[u8] = b">2\r\n$10\r\ninvalidate\r\n_\r\n";

impl Core {
    /// The client's own connection, ready to be used; it is taken from the pool or opened if need be.
    pub(super) fn own(&mut self, key: Key) -> Result<Key, Taken> {
        let Some(client) = self.clients.get_mut(key) else {
            return Err(Taken::Ends);
        };
        let endpoint = &self.endpoints[client.endpoint];
        if let Some(own) = client.own {
            let graced = endpoint.draining.as_ref().is_some_and(|it| self.now < it.since + TRANSACTION_GRACE)
                && client.special.as_ref().is_some_and(|special| special.multi)
                && !endpoint.is_expired(self.now + backstay_lease::MARGIN);
            // It may lead to the primary while other commands are read elsewhere.
            let allowed = |link: &Link| !link.primary || graced || endpoint.is_leased(self.now);
            if self.links.get(own).is_some_and(|link| link.is_ready() && allowed(link)) {
                return Ok(own);
            }
            return Err(if client.in_flight > 0 {
                wait_for_answers(client)
            } else {
                self.wait(key, Wait::Server)
            });
        }
        if client.in_flight > 0 {
            return Err(wait_for_answers(client));
        }
        if !endpoint.open {
            return Err(self.no_server(key, 1));
        }
        let (number, login) = (client.endpoint, client.login);
        let name = (login, client.database, client.resp3);
        let fitting = |own: &Key| self.links.get(*own).is_some_and(|link| link.login == login);
        if let Some(at) = endpoint.idle.iter().rposition(fitting) {
            let own = self.endpoints[number].idle.swap_remove(at);
            self.lend(own, key);
            return Ok(own);
        }
        if endpoint.owns < endpoint.settings.limits.own_connections_max
            && let Some(own) = self.open_link(number, Purpose::Own(key), name)
        {
            self.endpoints[number].owns += 1;
            if let Some(client) = self.clients.get_mut(key) {
                client.own = Some(own);
            }
        }
        Err(self.wait(key, Wait::Server))
    }

    /// Gives a client a connection from the pool, turned to its database and protocol.
    fn lend(&mut self, own: Key, key: Key) {
        let (Some(link), Some(client)) = (self.links.get_mut(own), self.clients.get_mut(key)) else {
            return;
        };
        client.own = Some(own);
        link.purpose = Purpose::Own(key);
        if link.resp3 != client.resp3 {
            link.resp3 = client.resp3;
            let version: &[u8] = if link.resp3 { b"3" } else { b"2" };
            link.push(Key::NONE, &request(&[b"HELLO", version]), 1, After::Greeting(Greeting::Hello), false);
        }
        if link.database != client.database {
            link.database = client.database;
            let database = link.database.to_string();
            let select = request(&[b"SELECT", database.as_bytes()]);
            link.push(Key::NONE, &select, 1, After::Greeting(Greeting::Select), false);
        }
    }

    /// Sends a command on the client's own connection.
    pub(super) fn send_own(&mut self, key: Key, bytes: &[u8], after: After, mute: bool) -> Taken {
        let own = match self.own(key) {
            Ok(own) => own,
            Err(taken) => return taken,
        };
        let (Some(link), Some(client)) = (self.links.get_mut(own), self.clients.get_mut(key)) else {
            return Taken::Waits;
        };
        let waits = matches!(after, After::Blocking | After::Wait);
        let family = if waits { Some(Family::Blocking) } else { self.families.first().copied() };
        let families = [family.unwrap_or(Family::Other)];
        link.push_counted(key, bytes, &families, after, mute, client.timing(self.now));
        link.used = self.now;
        client.in_flight += 1;
        Self::soil_link(&mut self.dirty_links, link, own);
        Taken::Done
    }

    /// Nothing is under way on the client's own connection: returns it to the pool if no state needs it.
    pub(super) fn release_own(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let Some(own) = client.own.filter(|_| client.in_flight == 0 && !client.keeps_own()) else {
            return;
        };
        client.own = None;
        if client.special.as_ref().is_some_and(|special| special.is_idle()) {
            client.special = None;
        }
        let number = client.endpoint;
        let endpoint = &mut self.endpoints[number];
        let Some(link) = self.links.get_mut(own) else {
            return;
        };
        let current = endpoint.target.as_ref().is_some_and(|target| target.address == link.address)
            && endpoint.primary == link.primary;
        if current && link.is_ready() {
            link.purpose = Purpose::Own(Key::NONE);
            link.used = self.now;
            endpoint.idle.push(own);
        } else if endpoint.draining.is_some() {
            // The end of the drain closes it.
            link.purpose = Purpose::Own(Key::NONE);
        } else {
            self.close_own(own);
        }
        self.own_is_free(number);
    }

    /// Of as many own connections as there may be, one belongs to nobody any more, or is gone: somebody may wait for it.
    fn own_is_free(&mut self, endpoint: usize) {
        let state = &self.endpoints[endpoint];
        if state.owns >= state.settings.limits.own_connections_max {
            self.wake(endpoint);
        }
    }

    /// An own connection is gone.
    pub(super) fn forget_own(&mut self, own: Key, endpoint: usize) {
        self.endpoints[endpoint].idle.retain(|idle| *idle != own);
        self.own_is_free(endpoint);
        self.endpoints[endpoint].owns -= 1;
    }

    /// Closes a connection that nobody can use any more.
    pub(super) fn close_own(&mut self, own: Key) {
        let Some(link) = self.links.remove(own) else {
            return;
        };
        self.forget_own(own, link.endpoint);
        super::account::closed(&self.endpoints[link.endpoint].traffic, link.purpose);
        self.effects.push_back(Effect::CloseLink { link: own, drop_unsent: false });
    }

    /// Says again on a new own connection what the lost one knew. False: it waits.
    pub(super) fn restore(&mut self, key: Key) -> bool {
        let Some(client) = self.clients.get(key) else {
            return false;
        };
        // Who ends needs its state no more.
        if client.ending || !client.special.as_ref().is_some_and(|special| special.restore) {
            return true;
        }
        if client.own.is_none() && self.endpoints[client.endpoint].refuses {
            // Nobody asked: there is nothing to refuse.
            self.wait(key, Wait::Server);
            return false;
        }
        let Ok(own) = self.own(key) else {
            return false;
        };
        let (Some(client), Some(link)) = (self.clients.get_mut(key), self.links.get_mut(own)) else {
            return false;
        };
        let special = client.special();
        special.restore = false;
        for (kind, channel) in &special.subscriptions {
            let bytes = request(&[subscribe_word(*kind), channel]);
            link.push(Key::NONE, &bytes, 1, After::Restored, false);
        }
        if let Some(tracking) = &special.tracking {
            link.push(Key::NONE, tracking, 1, After::Swallow, false);
            client.output.extend_from_slice(INVALIDATE_ALL);
            Self::soil_client(&mut self.dirty_clients, client, key);
        }
        if client.special().monitor {
            link.push(Key::NONE, &request(&[b"MONITOR"]), 1, After::Swallow, false);
        }
        Self::soil_link(&mut self.dirty_links, link, own);
        true
    }

    /// What a reply means beyond being one.
    pub(super) fn reply(&mut self, link: Key, run: Run, frame: &[u8]) {
        let client = run.client;
        match run.after {
            After::Swallow | After::Restored => {}
            After::Greeting(step) => self.greeted(link, step, frame),
            After::Spoiled => self.deliver(client, super::answer::NOT_IN_TRANSACTION, 1, run.mute),
            After::Exec | After::ExecWatchLost | After::Undone => self.ended(link, &run, frame),
            After::Multi | After::Watch => {
                self.begun(link, &run, frame);
                self.deliver(client, frame, 1, run.mute);
            }
            After::Blocking => self.unblocked(link, run, frame),
            After::ConfirmedToo if frame.starts_with(b"-") => self.deliver(client, b"", 1, run.mute),
            After::Confirmed | After::ConfirmedToo => {
                self.confirmed(client, frame);
                self.deliver(client, frame, 1, run.mute);
            }
            After::Monitor | After::Tracking | After::TrackingOff | After::Selected => {
                self.switched(link, run, frame);
                self.deliver(client, frame, 1, run.mute);
            }
            After::Plain | After::Queued | After::Wait => self.deliver(client, frame, 1, run.mute),
        }
    }

    fn switched(&mut self, link: Key, run: Run, frame: &[u8]) {
        let done = frame == OK;
        let Some(client) = self.clients.get_mut(run.client) else {
            return;
        };
        match run.after {
            After::Monitor if !done => client.special().monitor = false,
            After::Tracking if !done => {
                let special = client.special();
                special.tracking = special.tracking_before.take();
            }
            After::TrackingOff if done => client.special().tracking = None,
            After::Selected if done => {
                client.database = client.special().selecting;
                client.lane = Key::NONE;
                if let Some(link) = self.links.get_mut(link) {
                    link.database = client.database;
                }
            }
            _ => {}
        }
    }

    /// A blocking command was answered: because something came, because its time was over, or because a drain asked for
    /// it; then it waits for the next primary.
    fn unblocked(&mut self, link: Key, run: Run, frame: &[u8]) {
        let draining =
            self.links.get(link).is_some_and(|link| self.endpoints[link.endpoint].draining.is_some());
        let Some(client) = self.clients.get_mut(run.client) else {
            return;
        };
        let Some(blocked) = client.special().blocked.take() else {
            return self.deliver(run.client, frame, 1, run.mute);
        };
        let over = blocked.until.is_some_and(|until| until <= self.now);
        // What stands behind it is on its way: its answer must not overtake this one.
        let last = client.in_flight == 1;
        if draining && last && !over && [&b"*-1\r\n"[..], b"$-1\r\n", b"_\r\n"].contains(&frame) {
            client.requeue(Again::Command(blocked.request.clone()), run.mute);
            client.special().blocked = Some(blocked);
            add(&self.endpoints[client.endpoint].traffic.replayed, 1);
            client.in_flight -= 1;
            client.wait = Wait::No;
            self.runnable.push_back(run.client);
            self.release_own_blocked(run.client);
            return;
        }
        self.deliver(run.client, frame, 1, run.mute);
    }

    /// As `release_own`, for a client whose blocking command goes on elsewhere.
    fn release_own_blocked(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key).filter(|client| !client.keeps_own()) else {
            return;
        };
        if let Some(link) = client.own.take().and_then(|own| self.links.get_mut(own)) {
            link.purpose = Purpose::Own(Key::NONE);
        }
    }
}

impl Special {
    /// The own connection is lost, and what it knew with it.
    pub(super) fn own_lost(&mut self) {
        self.broken |= self.multi;
        self.watch_lost |= self.watching;
        self.restore = !self.subscriptions.is_empty() || self.monitor || self.tracking.is_some();
    }
}

pub(super) fn subscribe_word(kind: Channels) -> &'static [u8] {
    match kind {
        Channels::Named => b"SUBSCRIBE",
        Channels::Patterns => b"PSUBSCRIBE",
        Channels::Shards => b"SSUBSCRIBE",
    }
}

pub(super) fn nil(resp3: bool) -> &'static [u8] {
    if resp3 { b"_\r\n" } else { b"*-1\r\n" }
}
