//! Complaints about strangers, once in a while: who sends garbage must not fill the log.

use crate::clock;
use backstay_model::Time;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The least time between two complaints of one kind.
const INTERVAL: Duration = Duration::from_secs(10);
/// How long a reason is remembered, and how many are.
const REMEMBERED: Duration = Duration::from_secs(3600);
const REASONS_MAX: usize = 64;

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

/// Complaints about callers: each reason once per address, or name, and hour.
#[derive(Debug, Default)]
pub(crate) struct PerReason {
    told: Mutex<BTreeMap<(String, String), Time>>,
    /// For what there is no room to remember.
    others: Seldom,
}

impl PerReason {
    /// Complains, unless that was done already.
    pub(crate) fn say(&self, from: &impl ToString, reason: &str, complain: impl FnOnce()) {
        let now = clock::time();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now < *at + REMEMBERED);
        let key = (from.to_string(), reason.to_owned());
        if told.contains_key(&key) {
            return;
        }
        if told.len() >= REASONS_MAX {
            self.others.say(complain);
            return;
        }
        told.insert(key, now);
        complain();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    #[test]
    fn a_thousand_complaints_make_one_line() {
        let seldom = Seldom::default();
        let mut lines = 0;
        for _ in 0..1000 {
            seldom.say(|| lines += 1);
        }
        assert_eq!(lines, 1);
    }

    #[test]
    fn each_reason_is_said_once_per_address_and_the_number_is_bounded() {
        let reasons = PerReason::default();
        let mut lines = 0;
        for _ in 0..10 {
            for last in 1..=3 {
                reasons.say(&IpAddr::from([10, 0, 0, last]), "it shows no certificate", || lines += 1);
            }
            reasons.say(&IpAddr::from([10, 0, 0, 1]), "its certificate expired", || lines += 1);
        }
        assert_eq!(lines, 4);
        for number in 0..1000 {
            reasons.say(&IpAddr::from([10, 0, 0, 9]), &number.to_string(), || lines += 1);
        }
        assert_eq!(lines, REASONS_MAX + 1);
    }
}
