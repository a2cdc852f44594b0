//! How clients end: what they asked for is done and answered first, unless nobody can know how long that takes.

use super::client::{Client, Wait};
use super::link::{After, Run};
use super::{Core, Effect, HOUSEKEEPING, Key};
use std::time::Duration;

/// How often it is looked who can go, when nobody is waited for longer than that takes.
const HURRY: Duration = Duration::from_millis(10);

impl Core {
    /// The client sent its last byte, and may still listen: it hears what it has asked for, and then it ends.
    pub(crate) fn client_eof(&mut self, key: Key) {
        if let Some(client) = self.clients.get_mut(key) {
            client.eof = true;
            self.run(key);
        }
    }

    /// Nobody listens to the client's answers any more, and its last bytes are not wanted yet. Whatever it waits for, if
    /// that may take long, it does not wait any longer; else what it sent is still done, as a server would.
    pub(crate) fn client_hung_up(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        let waits = matches!(client.wait, Wait::Server | Wait::Rate | Wait::Room);
        if waits || (client.lingers() && self.only_lingers(key)) {
            self.end_client(key);
        }
    }

    /// Nothing of the client is under way but what may wait for ever.
    fn only_lingers(&self, key: Key) -> bool {
        let Some(client) = self.clients.get(key).filter(|client| client.in_flight > 0) else {
            return true;
        };
        let waits = |run: &Run| run.client != key || matches!(run.after, After::Blocking | After::Monitor);
        client.own.and_then(|own| self.links.get(own)).is_some_and(|own| own.runs.iter().all(waits))
    }

    /// Nothing more is taken from the client, and it has everything that it waited for.
    pub(super) fn has_ended(&self, key: Key) -> bool {
        self.clients.get(key).is_some_and(|client| {
            let waits = client.wait != Wait::No || !client.requeued.is_empty();
            let done = client.in_flight == 0 || (client.eof && self.only_lingers(key));
            client.ending && client.unsent() == 0 && !waits && done
        })
    }

    /// Lets clients go that have nothing under way, have said nothing for so long, and do not go by themselves: the
    /// gateway stops.
    pub(crate) fn end_settled_clients(&mut self, quiet: Duration) {
        // Everybody is looked at: not in every turn of the loop.
        if self.now < self.settled_at {
            return;
        }
        self.settled_at = self.now + if quiet.is_zero() { HURRY } else { HOUSEKEEPING };
        let goes = |client: &Client| {
            let transaction = client.special.as_ref().is_some_and(|it| it.multi && it.refused_at.is_none());
            let settled = client.is_settled() && client.unsent() == 0 && !transaction;
            settled && !client.is_moving() && client.active + quiet <= self.now
        };
        let settled = self.clients.iter().filter(|(_, client)| goes(client));
        for key in settled.map(|(key, _)| key).collect::<Vec<_>>() {
            self.end_client(key);
        }
    }

    /// No client is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.clients.len() == 0
    }

    /// The client's connection is gone, or must go at once.
    pub(crate) fn end_client(&mut self, key: Key) {
        let Some(client) = self.clients.remove(key) else {
            return;
        };
        let endpoint = &mut self.endpoints[client.endpoint];
        endpoint.clients -= 1;
        endpoint.count_clients();
        endpoint.held_bytes -= client.held_bytes;
        if let Some(own) = client.own {
            self.close_own(own);
        }
        self.effects.push_back(Effect::CloseClient(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::shop::Shop;
    use crate::settings::EndpointLimits;

    fn shop() -> Shop {
        let mut shop = Shop::new(2, EndpointLimits::default());
        shop.ask(0, "PING", 1);
        shop.heard(0);
        shop
    }

    fn is_here(shop: &Shop) -> bool {
        shop.core.whence(shop.clients[0]).is_some()
    }

    #[test]
    fn who_keeps_a_state_and_has_said_everything_still_hears_what_it_asked_for() {
        for state in [&["HELLO 3", "CLIENT TRACKING ON"][..], &["WATCH a"]] {
            for hangs_up in [false, true] {
                let mut shop = shop();
                shop.say(0, state);
                shop.heard(0);
                shop.stalled = true;
                shop.say(0, &["SET a"]);
                if hangs_up {
                    shop.core.client_hung_up(shop.clients[0]);
                } else {
                    shop.core.client_eof(shop.clients[0]);
                }
                shop.settle();
                assert!(is_here(&shop), "{state:?}");
                shop.stalled = false;
                shop.settle();
                assert_eq!(shop.heard(0), ":7\r\n", "{state:?}");
                assert_eq!(is_here(&shop), hangs_up, "{state:?}");
            }
        }
    }

    #[test]
    fn who_has_said_everything_and_waits_for_what_may_never_come_is_gone_at_once() {
        for waits in [&["BLPOP a 0"][..], &["WATCH a", "BLPOP a 0"], &["MONITOR"]] {
            for hangs_up in [false, true] {
                let mut shop = shop();
                shop.stalled = waits.len() == 1;
                shop.say(0, &waits[..1]);
                shop.heard(0);
                shop.stalled = true;
                shop.say(0, &waits[1..]);
                if hangs_up && waits[0] != "MONITOR" {
                    shop.core.client_hung_up(shop.clients[0]);
                } else {
                    shop.core.client_eof(shop.clients[0]);
                }
                assert!(!is_here(&shop), "{waits:?}");
            }
        }
    }

    #[test]
    fn who_can_go_is_not_looked_for_in_every_turn() {
        let is_there = |shop: &Shop, client: usize| shop.core.whence(shop.clients[client]).is_some();
        for (quiet, pause) in [(Duration::ZERO, HURRY), (Duration::from_nanos(1), HOUSEKEEPING)] {
            let mut shop = shop();
            shop.say(1, &["PING"]);
            shop.heard(0);
            shop.pass(HOUSEKEEPING);
            shop.core.end_settled_clients(quiet);
            assert_eq!([0, 1].map(|client| is_there(&shop, client)), [false, true]);
            shop.heard(1);
            shop.pass(pause / 2);
            shop.core.end_settled_clients(quiet);
            assert!(is_there(&shop, 1));
            shop.pass(pause / 2);
            shop.core.end_settled_clients(quiet);
            assert!(!is_there(&shop, 1));
        }
    }

    #[test]
    fn a_state_of_who_has_said_everything_is_not_restored() {
        let mut shop = shop();
        shop.say(0, &["HELLO 3", "CLIENT TRACKING ON"]);
        shop.heard(0);
        shop.stalled = true;
        shop.say(0, &["SET a"]);
        shop.core.client_eof(shop.clients[0]);
        shop.hold(2);
        assert_eq!(shop.heard(0), "");
        shop.stalled = false;
        shop.serve(3);
        shop.settle();
        // Without being told that what it has cached may be old.
        assert_eq!(shop.heard(0), ":7\r\n");
        assert!(!is_here(&shop));
    }
}
