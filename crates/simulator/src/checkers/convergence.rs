//! Convergence: when everything is mended, there is one open primary that all follow with the same data, all
//! controllers agree, and clients write again.

use crate::instance::Instance;
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
                None => {
                    self.note_diverged();
                    return self.check_surviving_writes();
                }
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

    /// A MariaDB that wrote what its primary never had is refused there (1236), and stays out of step until it is built
    /// anew.
    fn is_diverged(primary: &Instance, replica: &Instance) -> bool {
        let pair = primary.mariadb().zip(replica.mariadb());
        pair.is_some_and(|(primary, replica)| primary.missing(replica.position()).is_none())
    }

    fn note_diverged(&mut self) {
        let Some(reigning) = self.primary().and_then(|primary| self.servers[primary].process.clone()) else {
            return;
        };
        let processes = self.servers.iter().filter_map(|server| server.process.as_ref());
        let diverged = processes.filter(|it| Self::is_diverged(&reigning, it)).count();
        for _ in 0..diverged {
            self.coverage.fault("diverged MariaDB left out of step to the end");
        }
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
        let Some(reigning) = self.servers[primary].process.as_ref() else {
            return Some(format!("{} reigns but does not run", self.servers[primary].name));
        };
        if !reigning.is_writable() {
            return Some(format!("{} reigns but takes no writes", self.servers[primary].name));
        }
        let recorded =
            nodes[0].brain().state().service(&self.service).reign.as_ref().map(|reign| &reign.run_id);
        if recorded != Some(reigning.run_id()) {
            return Some(format!("{} reigns but was restarted", self.servers[primary].name));
        }
        for (_, server) in self.servers.iter().enumerate().filter(|(index, _)| *index != primary) {
            let Some(process) = server.process.as_ref() else {
                return Some(format!("{} does not run", server.name));
            };
            let (follows, link_up) = process.follows();
            if follows == Some(reigning.address()) && Self::is_diverged(reigning, process) {
                continue;
            }
            if follows != Some(reigning.address()) || !link_up {
                return Some(format!("{} follows {follows:?}, link up: {link_up}", server.name));
            }
            let (there, here) = (reigning.data(), process.data());
            // Whom an operator chose although another held more writes anew what that one holds under the same names, and
            // nobody can tell: server and number are all that a replica is asked for.
            if self.scenario.mariadb.is_some() && !self.checkers.decided.is_empty() {
                continue;
            }
            let first = there.iter().zip(&here).position(|(a, b)| a != b);
            if there.len().abs_diff(here.len()) > 50 || first.is_some() {
                return Some(format!(
                    "{} holds {} writes and {} holds {}; the first that differs is {first:?}",
                    server.name,
                    here.len(),
                    self.servers[primary].name,
                    there.len()
                ));
            }
        }
        if let Some(why) = self.gateway_unwell() {
            return Some(why);
        }
        (self.checkers.acknowledged() == acknowledged).then(|| "no client wrote".to_owned())
    }
}
