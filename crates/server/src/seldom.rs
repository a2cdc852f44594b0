//! Complaints about strangers, once in a while: who sends garbage must not fill the log.

use crate::clock;
use backstay_model::Time;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The least time between two complaints of one kind.
const INTERVAL: Duration = Duration::from_secs(10);

/// One kind of complaint.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    /// When the next one may be said, in microseconds of the measuring clock.
    next: AtomicU64,
}

impl Seldom {
    /// Complains, unless that was done a moment ago.
    pub(crate) fn say(&self, complain: impl FnOnce()) {
        let now = clock::time();
        if now >= Time::from_micros(self.next.load(Ordering::Relaxed)) {
            self.next.store((now + INTERVAL).as_micros(), Ordering::Relaxed);
            complain();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_complaints_make_one_line() {
        let seldom = Seldom::default();
        let mut lines = 0;
        for _ in 0..1000 {
            seldom.say(|| lines += 1);
        }
        assert_eq!(lines, 1);
    }
}
