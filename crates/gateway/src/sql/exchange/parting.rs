//! How connections are closed when their server is not to be used any more but still may be for a moment: a planned move
//! of the primary, a replica that is not listed any more. Decision 15 has the reasons.
//!
//! - Who has been quiet for a third of the grace, between two commands, is closed at once.
//! - For two thirds of it the others go on as if nothing were the matter: a page ends by itself.
//! - In the last third each is closed between two commands, outside of a transaction; a command that comes then is not
//!   forwarded.
//! - At the end whoever is left is closed with whatever it has under way.

use super::pair::{How, Stage};
use super::{Exchange, add};
use crate::core::Key;
use backstay_model::Time;
use std::time::Duration;

/// How often it is looked who can go.
pub(super) const SWEEP_EVERY: Duration = Duration::from_millis(5);
/// After so long without a byte an answer that cannot be read is taken for whole.
const BLIND_QUIET: Duration = Duration::from_millis(20);

/// When a pair ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parting {
    /// Quiet for so long is for good.
    pub(super) quiet: Duration,
    /// From now on between two commands.
    pub(super) soft_at: Time,
    /// Now.
    pub(super) end_at: Time,
}

impl Parting {
    /// One that begins now, and is over before the lease is.
    pub(super) fn new(now: Time, grace: Duration, until: Time) -> Self {
        let grace = grace.min(until.since(now));
        Self { quiet: grace / 3, soft_at: now + grace / 3 * 2, end_at: now + grace }
    }
}

impl Exchange {
    /// These are to end soon.
    pub(super) fn begin_parting(&mut self, keys: &[Key], parting: &Parting) {
        for key in keys {
            let Some(pair) = self.pairs.get_mut(*key).filter(|pair| pair.stage == Stage::Linked) else {
                continue;
            };
            if pair.parting.is_none() {
                pair.parting = Some(parting.clone());
                self.parting += 1;
            }
            self.look(*key);
        }
    }

    /// It may stay after all.
    pub(super) fn end_parting(&mut self, key: Key) {
        if let Some(pair) = self.pairs.get_mut(key) {
            self.parting -= usize::from(pair.parting.take().is_some());
        }
    }

    /// Whether a pair that is to end can do so now.
    pub(super) fn look(&mut self, key: Key) {
        let Some(pair) = self.pairs.get(key) else {
            return;
        };
        let Some(parting) = &pair.parting else {
            return;
        };
        if self.now >= parting.end_at {
            return self.cut(key);
        }
        let quiet = self.now.since(pair.active);
        let soft = self.now >= parting.soft_at && (!pair.talk.is_blind() || quiet >= BLIND_QUIET);
        if pair.is_idle() && (soft || quiet >= parting.quiet) {
            self.part(key);
        }
    }

    /// Ends a pair between two commands.
    pub(super) fn part(&mut self, key: Key) {
        if let Some(pair) = self.pairs.get(key) {
            add(&self.endpoints[pair.endpoint].traffic.sql.parted, 1);
            self.close(key, How::End, How::End);
        }
    }

    /// Looks at all that are to end.
    pub(super) fn sweep(&mut self) {
        if self.parting == 0 || self.now < self.sweep_at {
            return;
        }
        self.sweep_at = self.now + SWEEP_EVERY;
        let parting = self.pairs.iter().filter(|(_, pair)| pair.parting.is_some());
        for key in parting.map(|(key, _)| key).collect::<Vec<_>>() {
            self.look(key);
        }
    }
}
