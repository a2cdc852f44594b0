//! Reader endpoints and the states that live on replicas: subscriptions, what is watched, what is waited for. A state
//! stays where it is as long as its replica may be read from; then it moves as it would in a failover.

use super::link::Purpose;
use super::{Core, Key};
use crate::settings::EndpointKind;
use std::time::Duration;

/// A replica that was too far behind for less is not left by states: moving disturbs them more.
const FAR_MAX: Duration = Duration::from_secs(5);

impl Core {
    /// Remembers since when replicas are too far behind.
    pub(super) fn note_lag(&mut self, number: usize) {
        let (state, now) = (&mut self.endpoints[number], self.now);
        let EndpointKind::Reader { max_lag_bytes, .. } = state.settings.kind else {
            return;
        };
        let far = state.sources.iter().filter(|source| source.lag_bytes > max_lag_bytes);
        let far = far.map(|source| source.target.address);
        state.far_since = far.map(|at| (at, state.far_since.get(&at).copied().unwrap_or(now))).collect();
    }

    /// Closes own connections to replicas that are not to be read from any more. While there is nowhere else to go they
    /// stay: in a failover replicas are not listed for a moment, and then they are again.
    pub(super) fn follow_sources(&mut self, number: usize) {
        let state = &self.endpoints[number];
        let Some(target) = state.target.as_ref().filter(|_| state.reads_only() && state.open) else {
            return;
        };
        let stays = |at| {
            let near = || state.far_since.get(&at).is_none_or(|since| self.now < *since + FAR_MAX);
            let listed = || state.sources.iter().any(|source| source.target.address == at);
            (at == target.address && !state.primary) || (listed() && near())
        };
        let owned = |purpose| matches!(purpose, Purpose::Own(client) if client != Key::NONE);
        let links = self.links.iter().filter(|(_, link)| link.endpoint == number && owned(link.purpose));
        let left: Vec<Key> =
            links.filter(|(_, link)| !link.primary && !stays(link.address)).map(|(key, _)| key).collect();
        if left.is_empty() {
            return;
        }
        let name = &self.endpoints[number].settings.name;
        tracing::info!(
            endpoint = name,
            connections = left.len(),
            "leaves a replica that is not to be read from"
        );
        for key in left {
            self.forget(key, true);
        }
        self.wake(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::Effect;
    use crate::direction::{Direction, Source, Target};
    use crate::settings::{Endpoint, Otherwise, Settings};
    use backstay_model::{Epoch, Time};
    use std::net::SocketAddr;

    /// A gateway with a subscriber, and what it does with connections.
    struct Scene {
        core: Core,
        now: Time,
        open: Vec<(Key, SocketAddr)>,
    }

    fn source(host: u8, lag_bytes: u64) -> Source {
        let target = Target { address: ([127, 0, 0, host], 1).into(), host: "replica".into() };
        Source { target, zone: String::new(), lag_bytes }
    }

    impl Scene {
        fn new() -> Self {
            let endpoint = Endpoint::new(
                "shop",
                "shop".into(),
                EndpointKind::Reader { max_lag_bytes: 1000, otherwise: Otherwise::Any },
            );
            let settings = Settings { zone: String::new(), endpoints: vec![endpoint] };
            let now = Time::from_micros(1_000_000);
            let core = Core::new(settings, now);
            Self { core, now, open: Vec::new() }
        }

        fn sources(&mut self, sources: &[Source]) {
            self.core.route(&"shop".into(), &Direction::Hold { epoch: Epoch(1) }, sources);
            self.settle();
        }

        fn pass(&mut self, time: Duration) {
            self.now = self.now + time;
            self.core.set_now(self.now);
            self.core.tick();
            self.settle();
        }

        /// Every server answers at once.
        fn settle(&mut self) {
            self.core.settle();
            while let Some(effect) = self.core.effect() {
                match effect {
                    Effect::Connect { link, address, .. } => {
                        self.open.push((link, address));
                        self.core.link_connected(link);
                    }
                    Effect::CloseLink { link, .. } => self.open.retain(|open| open.0 != link),
                    Effect::CloseClient(_) | Effect::Held(..) => {}
                }
                self.core.settle();
            }
            while let Some(key) = self.core.dirty_links() {
                let Some((output, sent)) = self.core.link_output(key) else {
                    continue;
                };
                let heard = String::from_utf8(output[sent..].to_vec()).unwrap();
                let written = output.len() - sent;
                self.core.link_wrote(key, written);
                if heard.contains("HELLO") {
                    self.core.link_read(key, b"*0\r\n+OK\r\n:1\r\n");
                } else if heard.contains("SUBSCRIBE") {
                    self.core.link_read(key, b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
                }
                self.core.settle();
            }
        }

        fn hosts(&self) -> Vec<SocketAddr> {
            self.open.iter().map(|open| open.1).collect()
        }
    }

    #[test]
    fn a_subscription_leaves_a_replica_that_is_too_far_behind_for_long_and_none_that_is_so_for_a_moment() {
        let mut scene = Scene::new();
        scene.sources(&[source(1, 0)]);
        let key = scene.core.client_opened(0, "somewhere").unwrap();
        scene.core.client_read(key, b"SUBSCRIBE a\r\n");
        scene.settle();
        scene.settle();
        let (first, second) = (source(1, 0).target.address, source(2, 0).target.address);
        assert_eq!(scene.hosts(), [first]);
        // Other commands are read elsewhere at once.
        scene.sources(&[source(1, 2000), source(2, 0)]);
        scene.pass(FAR_MAX / 2);
        scene.sources(&[source(1, 1000), source(2, 0)]);
        scene.sources(&[source(1, 2000), source(2, 0)]);
        scene.pass(FAR_MAX / 2);
        scene.sources(&[source(1, 3000), source(2, 0)]);
        scene.pass(FAR_MAX / 4);
        assert_eq!(scene.hosts(), [first]);
        scene.pass(FAR_MAX / 2);
        scene.settle();
        assert_eq!(scene.hosts(), [second]);
        // There is nowhere else to go.
        scene.sources(&[source(2, 2000)]);
        scene.pass(FAR_MAX * 2);
        scene.sources(&[]);
        scene.pass(FAR_MAX * 2);
        assert_eq!(scene.hosts(), [second]);
        scene.sources(&[source(1, 5000)]);
        scene.settle();
        assert_eq!(scene.hosts(), [first]);
    }
}
