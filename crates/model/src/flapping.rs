//! What begins and ends so often that to tell it each time would drown everything else.

use crate::time::Time;
use std::num::NonZeroU32;
use std::time::Duration;

/// How often a sum is told.
const SUMMED_EVERY: Duration = Duration::from_secs(60);

/// Decides what of something that comes and goes is told: where that is rare, every beginning and every end; where it is
/// not, the first of them, and then once a minute how often it began since. Nothing is left out, but some of it comes late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flapping {
    /// When a beginning was told last, or a sum.
    told: Option<Time>,
    /// How often it began since, which nobody was told.
    untold: u32,
    /// It was told to go on, so its end is told, too.
    goes_on: bool,
}

impl Flapping {
    /// It begins. True: tell it now; otherwise it is part of the next sum.
    #[must_use]
    pub fn begins(&mut self, now: Time) -> bool {
        self.goes_on = self.untold == 0 && self.is_due(now);
        if self.goes_on {
            self.told = Some(now);
        } else {
            self.untold = self.untold.saturating_add(1);
        }
        self.goes_on
    }

    /// It ends. True: tell it now.
    #[must_use]
    pub const fn ends(&mut self) -> bool {
        std::mem::replace(&mut self.goes_on, false)
    }

    /// How often it began within the last minute untold, if that is to be told now, and with it whether it goes on. Ask
    /// every second or so.
    #[must_use]
    pub fn sum(&mut self, now: Time, goes_on: bool) -> Option<NonZeroU32> {
        if self.is_due(now) { self.rest(now, goes_on) } else { None }
    }

    /// As `sum`, before the minute is over: nobody will ask again.
    #[must_use]
    pub fn rest(&mut self, now: Time, goes_on: bool) -> Option<NonZeroU32> {
        let untold = NonZeroU32::new(std::mem::take(&mut self.untold))?;
        (self.told, self.goes_on) = (Some(now), goes_on);
        Some(untold)
    }

    fn is_due(&self, now: Time) -> bool {
        self.told.is_none_or(|told| now.since(told) >= SUMMED_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_micros(1_000_000 * (1000 + seconds))
    }

    #[test]
    fn what_is_rare_is_told_each_time() {
        let mut it = Flapping::default();
        for minute in 0..5 {
            assert!(it.begins(at(minute * 60)));
            assert_eq!(it.sum(at(minute * 60 + 1), true), None);
            assert!(it.ends());
            assert_eq!(it.sum(at(minute * 60 + 59), false), None);
        }
    }

    #[test]
    fn what_flaps_is_told_once_and_then_summed_up_every_minute() {
        let mut it = Flapping::default();
        let (mut told, mut sums) = (0, Vec::new());
        for second in 0..200 {
            told += u32::from(it.begins(at(second)));
            told += u32::from(it.ends());
            sums.extend(it.sum(at(second), false).map(|times| (second, times.get())));
        }
        assert_eq!((told, sums), (2, vec![(60, 60), (120, 60), (180, 60)]));
        assert_eq!(it.rest(at(200), false).map(NonZeroU32::get), Some(19), "nothing is left out");
    }

    #[test]
    fn who_is_told_in_a_sum_that_it_goes_on_is_told_its_end() {
        let mut it = Flapping::default();
        assert!(it.begins(at(0)) && it.ends());
        assert!(!it.begins(at(10)));
        assert_eq!(it.sum(at(59), true), None);
        assert_eq!(it.sum(at(60), true).map(NonZeroU32::get), Some(1));
        assert!(it.ends());
        assert!(!it.ends(), "once");
    }
}
