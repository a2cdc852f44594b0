//! A record of failover times: from a fault of the primary to the first write that the new one acknowledged.

use backstay_model::Time;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    since: Option<Time>,
    /// One each.
    pub(crate) times: Vec<Duration>,
}

impl Memory {
    pub(super) const fn fault_began(&mut self, now: Time) {
        if self.since.is_none() {
            self.since = Some(now);
        }
    }

    /// A write was acknowledged, by the current primary or by another.
    pub(super) fn acknowledged(&mut self, now: Time, by_primary: bool) {
        // What was acknowledged at once was on its way when the fault came.
        if let Some(since) = self.since
            && by_primary
            && now.since(since) > Duration::from_millis(2)
        {
            self.times.push(now.since(since));
            self.since = None;
        }
    }
}
