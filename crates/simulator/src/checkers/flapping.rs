//! Flapping is bounded: failovers that follow each other closely wait for each other, and no window holds many.

use crate::world::UNIX_START;
use backstay_controller::{Cause, Phase, ServiceState};
use backstay_model::{Epoch, Time};
use std::collections::VecDeque;
use std::time::Duration;

/// The window, and how many failovers it may hold: three close ones, the next ones a second and more apart, and that
/// again after every quiet cooldown of two seconds.
const WINDOW: Duration = Duration::from_secs(10);
const FAILOVERS_MAX: usize = 18;
/// How many follow each other closely before the next one waits: one more than three if the last was overtaken.
const CLOSE_MAX: usize = 4;
/// How long that one waits at least, less what clocks differ.
const WAIT: Duration = Duration::from_millis(900);

#[derive(Debug, Default)]
pub(super) struct Memory {
    seen: Epoch,
    begun: VecDeque<Time>,
    /// When the last one ended, and how many in a row began within the cooldown of the one before.
    ended: Option<Time>,
    close: usize,
    running: bool,
}

impl Memory {
    /// What some controller holds now.
    pub(super) fn check(
        &mut self,
        now: Time,
        cooldown: Duration,
        state: &ServiceState,
    ) -> Option<(&'static str, String)> {
        if state.phase == Phase::Stable && state.epoch == self.seen && self.running {
            self.running = false;
            // As it was written down: some learn of it late.
            self.ended = state.ended.map(|ended| Time::from_micros(ended.0.saturating_sub(UNIX_START)));
        }
        let Phase::Fencing { cause } = &state.phase else {
            return None;
        };
        if state.epoch <= self.seen {
            return None;
        }
        self.seen = state.epoch;
        if matches!(cause, Cause::FirstStart | Cause::CandidateLost { .. }) {
            // A plan that goes on, and took its time.
            self.close = 0;
            return None;
        }
        self.running = true;
        let since = self.ended.map(|ended| now.since(ended));
        // An operator's order waits for nothing, nor does what a broken switchover leaves behind; neither is flapping.
        let automatic = !matches!(cause, Cause::Ordered { .. } | Cause::SwitchoverFailed { .. });
        if automatic {
            self.close = if since.is_some_and(|since| since < cooldown) { self.close + 1 } else { 0 };
        }
        self.begun.push_back(now);
        while self.begun.front().is_some_and(|first| now.since(*first) > WINDOW) {
            self.begun.pop_front();
        }
        let hasty = automatic && self.close >= CLOSE_MAX && since.is_some_and(|since| since < WAIT);
        if !hasty && self.begun.len() <= FAILOVERS_MAX {
            return None;
        }
        let (close, begun) = (self.close + 1, self.begun.len());
        Some((
            "flapping is bounded",
            format!(
                "{close} failovers in a row, the last one {since:?} after the one before; {begun} in {WINDOW:?}"
            ),
        ))
    }
}
