//! Nothing automatic begins for a service on whose settings no majority agrees, once that had time to be known.

use crate::world::World;
use backstay_controller::{Cause, Phase, ServiceState};
use std::time::Duration;

/// How long news of a file may take: reports carry everything every two seconds.
const KNOWN: Duration = Duration::from_secs(3);

impl World {
    /// A controller holds a new epoch; the leader's file must be a majority's.
    pub(crate) fn check_agreement(&mut self, state: &ServiceState) {
        let Phase::Fencing { cause } = &state.phase else {
            return;
        };
        // A plan that goes on, and what an operator orders.
        let asked = matches!(
            cause,
            Cause::CandidateLost { .. } | Cause::Ordered { .. } | Cause::SwitchoverFailed { .. }
        );
        if asked || !self.everybody_hears() {
            return;
        }
        let mut leaders = self.controllers.iter().filter(|it| it.node().is_some_and(|it| it.brain().leads()));
        let (Some(leader), None) = (leaders.next(), leaders.next()) else {
            return;
        };
        let agree = self.controllers.iter().filter(|other| other.digest == leader.digest).count();
        if agree * 2 <= self.controllers.len() {
            let what = format!("epoch {} began with {agree} who hold {}'s file", state.epoch, leader.name);
            self.violate("nothing automatic without agreement", what);
        }
    }

    /// Files, ways and processes were the same for long enough that every controller knows every other one's file.
    fn everybody_hears(&self) -> bool {
        let awake =
            self.controllers.iter().all(|it| it.process.is_some() && it.paused_until + KNOWN < self.now);
        awake
            && self.scenario.loss_per_mille == 0
            && self.network.blocked.is_empty()
            && self.now.since(self.agreement_disturbed) > KNOWN
    }
}
