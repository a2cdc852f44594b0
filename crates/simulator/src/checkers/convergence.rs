//! Convergence: when everything is mended, there is one open primary that all follow with the same data, all
//! controllers agree, and clients write again.

use crate::world::World;
use backstay_controller::Phase;
use std::time::Duration;

/// How long after everything was mended.
const PATIENCE: Duration = Duration::from_secs(25);
const STEP: Duration = Duration::from_millis(500);

impl World {
    /// Runs on until everything is well, and complains if that does not happen in time.
    pub(crate) fn converge(&mut self) {
        let deadline = self.now + PATIENCE;
        let acknowledged = self.checkers.acknowledged();
        loop {
            let next = self.now + STEP;
            self.run_until(next);
            if self.checkers.violation().is_some() {
                return;
            }
            match self.unwell(acknowledged) {
                None => return self.check_surviving_writes(),
                // Nobody can tell which of several restarted files is the newest: that waits for the operator.
                Some(_) if self.waits_for_operator() => return,
                Some(why) if self.now >= deadline => return self.violate("convergence", why),
                Some(_) => {}
            }
        }
    }

    fn waits_for_operator(&self) -> bool {
        let waits = |reason: &String| reason.contains("backstay decide");
        self.controllers
            .iter()
            .filter_map(|controller| controller.node())
            .filter(|node| node.brain().leads())
            .any(|node| {
                let problems =
                    node.brain().status(self.clock(0)).services.into_iter().flat_map(|it| it.problems);
                problems.map(|problem| problem.sentence).any(|sentence| waits(&sentence))
            })
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
        for (index, server) in self.servers.iter().enumerate().filter(|(index, _)| *index != primary) {
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
                return Some(format!("server {index} holds other data than the primary"));
            }
        }
        (self.checkers.acknowledged() == acknowledged).then(|| "no client wrote".to_owned())
    }
}
