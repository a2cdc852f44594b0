//! Follows what the controllers say: where commands go, when they must wait, and when that is confirmed.

use super::endpoint::Draining;
use super::link::{After, Link, Purpose};
use super::rate::Rate;
use super::{Core, Effect, Key};
use crate::core::connect::request;
use crate::direction::{Direction, Source, Turn};
use backstay_model::{ServiceName, Time};
use std::time::Duration;

/// How long an open transaction may go on when the primary is about to move.
pub(super) const TRANSACTION_GRACE: Duration = Duration::from_millis(50);

/// How often blocked connections are asked for during a drain.
const UNBLOCK_EVERY: Duration = Duration::from_millis(5);

impl Core {
    /// Where a service's commands go from now on.
    pub(crate) fn route(&mut self, service: &ServiceName, direction: &Direction, sources: &[Source]) {
        let mut changed = false;
        let mut known = false;
        for number in 0..self.endpoints.len() {
            if self.endpoints[number].settings.service == *service {
                known = true;
                changed |= self.turn(number, direction);
                sources.clone_into(&mut self.endpoints[number].sources);
                self.note_lag(number);
                self.retarget(number);
            }
        }
        self.unconfirmed.note(service, direction, changed || !known);
        self.drain();
    }

    /// True: it is a new order, not a longer lease.
    fn turn(&mut self, number: usize, direction: &Direction) -> bool {
        let turn = self.endpoints[number].direction.follow(direction);
        match turn {
            Turn::Same | Turn::First => {}
            Turn::Drain => self.begin_drain(number),
            Turn::Leave => self.lose_primary(number, "the primary changes", true),
        }
        turn != Turn::Same
    }

    fn begin_drain(&mut self, number: usize) {
        self.endpoints[number].draining = Some(Draining { since: self.now, unblock_at: self.now });
    }

    /// Looks again where an endpoint's commands go.
    fn retarget(&mut self, number: usize) {
        let state = &mut self.endpoints[number];
        let (target, primary, refuses) = state.choose(&self.zone);
        let moved = target != state.target || primary != state.primary;
        // Until there is somewhere else to go, a drain ends what leads to the primary.
        if moved && (state.draining.is_none() || target.is_some()) {
            self.retire(number);
        }
        let state = &mut self.endpoints[number];
        (state.target, state.primary, state.refuses) = (target, primary, refuses);
        state.look_at_lease(self.now);
        self.send_on(number);
        self.follow_sources(number);
        let state = &self.endpoints[number];
        if state.open || state.refuses {
            self.wake(number);
        }
    }

    /// What a lease that was about to end held back goes on in the next one.
    fn send_on(&mut self, number: usize) {
        let to_primary: Vec<Key> = self.links.keys();
        for key in to_primary {
            if self.links.get(key).is_some_and(|link| link.primary && link.endpoint == number) {
                self.link_writable(key);
            }
        }
    }

    /// Commands go elsewhere from now on. What is under way is still answered.
    fn retire(&mut self, number: usize) {
        let state = &mut self.endpoints[number];
        state.refused_databases.clear();
        state.retry_at = self.now;
        let draining = state.draining.is_some();
        let (lanes, idle) = (std::mem::take(&mut state.lanes), std::mem::take(&mut state.idle));
        for lane in lanes.into_values() {
            if let Some(link) = self.links.get_mut(lane) {
                link.purpose = Purpose::Retired;
                let waiting = std::mem::take(&mut link.waiting);
                self.end_crowd(&waiting);
            }
        }
        for own in idle {
            // The end of the drain closes it; until then others can be unblocked from it.
            if !(draining && self.links.get(own).is_some_and(|link| link.primary)) {
                self.close_own(own);
            }
        }
    }

    /// Ends drains in which nothing is under way any more, and confirms what is done.
    pub(super) fn drain(&mut self) {
        for number in 0..self.endpoints.len() {
            if self.endpoints[number].draining.is_some() {
                self.unblock(number);
                if self.is_drained(number) {
                    self.lose_primary(number, "the primary moves", false);
                }
            }
        }
        let (links, endpoints) = (&self.links, &self.endpoints);
        let confirmed = self.unconfirmed.confirm(|service| {
            let is_its = |link: &Link| link.primary && endpoints[link.endpoint].settings.service == *service;
            !links.iter().any(|(_, link)| is_its(link))
        });
        self.effects.extend(confirmed.into_iter().map(|(service, epoch)| Effect::Held(service, epoch)));
    }

    /// Asks the server to let go of blocked connections, on any other: again and again, because it may hear of that before
    /// it reads the command that blocks, and because something else may stand before that command.
    fn unblock(&mut self, number: usize) {
        let now = self.now;
        if self.endpoints[number].draining.as_ref().is_none_or(|it| now < it.unblock_at) {
            return;
        }
        let links = || self.links.iter().filter(|(_, link)| link.endpoint == number && link.primary);
        let waits = |link: &Link| {
            link.runs.front().is_some_and(|run| matches!(run.after, After::Blocking | After::Wait))
        };
        let blocked: Vec<u64> =
            links().filter(|(_, link)| waits(link)).filter_map(|(_, link)| link.server_id).collect();
        let idle = |purpose| matches!(purpose, Purpose::Shared | Purpose::Retired | Purpose::Own(Key::NONE));
        let messenger = links().find(|(_, link)| link.is_ready() && idle(link.purpose)).map(|(key, _)| key);
        let (Some(draining), Some(messenger)) = (&mut self.endpoints[number].draining, messenger) else {
            return;
        };
        if blocked.is_empty() {
            return;
        }
        draining.unblock_at = now + UNBLOCK_EVERY;
        if let Some(link) = self.links.get_mut(messenger) {
            for id in &blocked {
                let bytes = request(&[b"CLIENT", b"UNBLOCK", id.to_string().as_bytes()]);
                link.push(Key::NONE, &bytes, 1, After::Swallow, false);
            }
            Self::soil_link(&mut self.dirty_links, link, messenger);
        }
    }

    fn is_drained(&self, number: usize) -> bool {
        let Some(draining) = &self.endpoints[number].draining else {
            return true;
        };
        let graced = self.now < draining.since + TRANSACTION_GRACE;
        let in_transaction = |client: Key| {
            let special = self.clients.get(client).and_then(|client| client.special.as_ref());
            special.is_some_and(|special| special.multi && !special.broken)
        };
        self.links.iter().filter(|(_, link)| link.endpoint == number && link.primary).all(|(_, link)| {
            let open = matches!(link.purpose, Purpose::Own(client) if in_transaction(client));
            link.runs.iter().all(|run| run.client == Key::NONE) && !(graced && open)
        })
    }

    /// When something is to be done though nothing is read.
    pub(crate) fn next_wakeup(&self) -> Time {
        let leased =
            |number: usize| self.links.iter().any(|(_, link)| link.primary && link.endpoint == number);
        let mut at = self.tick_at;
        for (number, endpoint) in self.endpoints.iter().enumerate() {
            if endpoint.direction.until() < at && endpoint.direction.until() > self.now && leased(number) {
                at = endpoint.direction.until();
            }
            if endpoint.open && endpoint.retries && endpoint.retry_at > self.now {
                at = at.min(endpoint.retry_at);
            }
            if let Some(turn) = endpoint.rate.as_ref().and_then(Rate::next_turn) {
                at = at.min(turn);
            }
            if let Some(draining) = &endpoint.draining {
                for end in [draining.since + TRANSACTION_GRACE, draining.unblock_at] {
                    at = if end > self.now { at.min(end) } else { at };
                }
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::shop::Shop;
    use crate::direction::Target;
    use crate::settings::{Endpoint, EndpointKind, EndpointLimits, Settings};
    use backstay_model::Epoch;

    fn core() -> (Core, Key) {
        let endpoint = Endpoint::new("shop", "shop".into(), EndpointKind::Primary);
        let settings = Settings { zone: String::new(), endpoints: vec![endpoint] };
        let mut core = Core::new(settings, Time::from_micros(1_000_000));
        core.tick();
        let client = core.client_opened(0, "somewhere").unwrap();
        core.route(
            &"shop".into(),
            &Direction::Serve { epoch: Epoch(1), target: target(), until: Time::MAX },
            &[],
        );
        (core, client)
    }

    fn target() -> Target {
        Target { address: "127.0.0.1:1".parse().unwrap(), host: "127.0.0.1".into() }
    }

    /// What is sent to the server.
    fn sent(core: &mut Core, link: Key) -> String {
        core.settle();
        let (output, sent) = core.link_output(link).unwrap();
        let text = String::from_utf8(output[sent..].to_vec()).unwrap();
        core.link_wrote(link, text.len());
        text
    }

    /// The connection that is being opened is there, and has this number.
    fn connected(core: &mut Core, id: u64) -> Key {
        core.settle();
        let Some(Effect::Connect { link, .. }) = core.effect() else { panic!("none is opened") };
        core.link_connected(link);
        sent(core, link);
        core.link_read(link, format!("*0\r\n+OK\r\n:{id}\r\n").as_bytes());
        core.settle();
        link
    }

    #[test]
    fn a_drain_asks_for_what_blocks_until_it_is_let_go() {
        let (mut core, client) = core();
        core.client_read(client, b"HELLO 3\r\nCLIENT TRACKING ON\r\n");
        let own = connected(&mut core, 7);
        assert!(sent(&mut core, own).contains("TRACKING"));
        core.link_read(own, b"+OK\r\n");
        core.client_read(client, b"GET a\r\nBLPOP b 0\r\n");
        let other = connected(&mut core, 8);
        assert!(sent(&mut core, own).contains("BLPOP"));
        core.route(&"shop".into(), &Direction::Drain { epoch: Epoch(2), until: Time::MAX }, &[]);
        // Something stands before it.
        assert_eq!(sent(&mut core, other), "");
        core.link_read(own, b"_\r\n");
        let asked = request(&[b"CLIENT", b"UNBLOCK", b"7"]);
        assert_eq!(sent(&mut core, other).as_bytes(), asked);
        // The server has not read it when it hears of that.
        core.link_read(other, b":0\r\n");
        assert_eq!(sent(&mut core, other), "");
        let next = core.now + UNBLOCK_EVERY;
        assert_eq!(core.next_wakeup(), next);
        core.set_now(next);
        assert_eq!(sent(&mut core, other).as_bytes(), asked);
        core.link_read(own, b"_\r\n");
        core.link_read(other, b":1\r\n");
        core.settle();
        let held = std::iter::from_fn(|| core.effect()).last();
        assert_eq!(held, Some(Effect::Held("shop".into(), Epoch(2))));
    }

    #[test]
    fn what_was_admitted_in_time_is_not_sent_once_the_lease_is_about_to_end_and_goes_when_it_is_renewed() {
        let mut shop = Shop::new(1, EndpointLimits::default());
        shop.ask(0, "PING", 1);
        let start = shop.now;
        let lease = |shop: &mut Shop, ms| {
            let target = Target { address: "127.0.0.1:1".parse().unwrap(), host: "127.0.0.1".into() };
            let until = start + Duration::from_millis(ms);
            shop.core.route(&"shop".into(), &Direction::Serve { epoch: Epoch(1), target, until }, &[]);
        };
        lease(&mut shop, 400);
        shop.core.client_read(shop.clients[0], b"*1\r\n$4\r\nPING\r\n");
        while shop.core.dirty_links().is_some() {}
        shop.core.set_now(start + Duration::from_millis(380));
        shop.settle();
        assert_eq!(shop.served, 1);
        lease(&mut shop, 800);
        assert!(shop.core.dirty_links().is_some());
        shop.settle();
        assert_eq!((shop.served, &*shop.heard(0)), (2, "+PONG\r\n+PONG\r\n"));
    }
}
