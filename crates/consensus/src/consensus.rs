//! The node: one step function around Raft.

use crate::{Durable, Effect, Input, Settings, StartError, Status};
use backstay_model::Time;

/// One controller's part in the consensus. Its whole outside world is `step`, `next_wakeup` and `status`.
pub struct Consensus {
    settings: Settings,
}

impl Consensus {
    /// Starts a node from what storage gave back. The effects come first: they restore the state as far as it is known
    /// to be committed.
    pub fn new(settings: Settings, _durable: Durable, _now: Time) -> Result<(Self, Vec<Effect>), StartError> {
        settings.check()?;
        Ok((Self { settings }, Vec::new()))
    }

    /// Takes one input. All effects of a step must have run before the next step.
    pub fn step(&mut self, _now: Time, _input: Input) -> Vec<Effect> {
        Vec::new()
    }

    /// When to call `step` with `Input::Wake` at the latest. It changes with every step.
    pub fn next_wakeup(&self) -> Time {
        Time::MAX
    }

    /// A look at the node.
    pub fn status(&self) -> Status {
        Status {
            me: self.settings.me,
            term: backstay_model::Term(0),
            vote: None,
            leader: None,
            me_leading: false,
            lease_until: Time::ZERO,
            commit: 0,
            applied: 0,
            last: 0,
            snapshot: 0,
            voters: self.settings.voters.clone(),
            unmet: Vec::new(),
            halted: false,
        }
    }
}
