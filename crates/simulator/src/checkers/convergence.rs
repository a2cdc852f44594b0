//! Convergence: when everything is mended, there is one open primary that all follow with the same data, all
//! controllers agree, and clients write again.

use crate::scenario::FaultKind;
use crate::world::World;
use backstay_controller::Phase;
use std::time::Duration;

/// How long after everything was mended.
const PATIENCE: Duration = Duration::from_secs(25);
const STEP: Duration = Duration::from_millis(100);

impl World {
    /// Runs on until everything is well, and complains if that does not happen in time.
    pub(crate) fn converge(&mut self) {
        let deadline = self.now + self.patience();
        let acknowledged = self.checkers.acknowledged();
        loop {
            let next = self.now + STEP;
            self.run_until(next);
            if self.checkers.violation().is_some() {
                return;
            }
            match self.unwell(acknowledged) {
                None => return self.check_surviving_writes(),
                Some(why) if self.now >= deadline => return self.violate("convergence", why),
                Some(_) => self.operator_helps(),
            }
        }
    }

    /// A wait between plans, and one that a wrong clock wrote down, may last longer.
    fn patience(&self) -> Duration {
        let long = [FaultKind::Flap, FaultKind::Clock];
        let waits = self.scenario.kinds.iter().any(|kind| long.contains(kind));
        if waits { PATIENCE + Duration::from_secs(70) } else { PATIENCE }
    }

    fn unwell(&self, acknowledged: u64) -> Option<String> {
        let nodes: Vec<_> = self.controllers.iter().filter_map(|controller| controller.node()).collect();
        if !nodes.iter().any(|node| node.brain().leads()) {
            return (nodes.len() * 2 > self.controllers.len()).then(|| "nobody leads".to_owned());
        }
        if self.controllers.iter().any(|it| it.joined) && !self.all_vote() {
            return Some("a controller that lost its folder has no vote yet".to_owned());
        }
        for node in &nodes {
            let state = node.brain().state().service(&self.service);
            if state.phase != Phase::Stable {
                return Some(format!("a plan is still {:?}", state.phase));
            }
        }
        let Some(primary) = self.primary() else {
            return Some("there is no primary".to_owned());
        };
        let Some(reigning) = self.servers[primary].redis.as_ref() else {
            return Some(format!("{} reigns but does not run", self.servers[primary].name));
        };
        if !reigning.is_writable() {
            return Some(format!("{} reigns but takes no writes", self.servers[primary].name));
        }
        let recorded =
            nodes[0].brain().state().service(&self.service).reign.as_ref().map(|reign| &reign.run_id);
        if recorded != Some(&reigning.run_id) {
            return Some(format!("{} reigns but was restarted", self.servers[primary].name));
        }
        for (_, server) in self.servers.iter().enumerate().filter(|(index, _)| *index != primary) {
            let Some(redis) = server.redis.as_ref() else {
                return Some(format!("{} does not run", server.name));
            };
            if redis.follows.as_ref() != Some(&reigning.address) || !redis.link_up {
                return Some(format!(
                    "{} follows {:?}, link up: {}",
                    server.name, redis.follows, redis.link_up
                ));
            }
            let behind = reigning.data.len().abs_diff(redis.data.len());
            if behind > 50 || reigning.data.iter().zip(&redis.data).any(|(a, b)| a != b) {
                let first = reigning.data.iter().zip(&redis.data).position(|(a, b)| a != b);
                return Some(format!(
                    "{} holds {} writes and {} holds {}; the first that differs is {first:?}",
                    server.name,
                    redis.data.len(),
                    self.servers[primary].name,
                    reigning.data.len()
                ));
            }
        }
        if let Some(why) = self.gateway_unwell() {
            return Some(why);
        }
        (self.checkers.acknowledged() == acknowledged).then(|| "no client wrote".to_owned())
    }
}
