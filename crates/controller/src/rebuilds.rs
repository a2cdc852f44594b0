//! Rebuilds as all controllers agree on them: which instance is to get rid of what only it holds, whose data it gets, and
//! how far that is (safety, section 5). What cannot be taken back, that its data may be discarded, is an entry of its own:
//! before that is committed nobody says so to an agent, and from then on the instance counts for nothing until it ends.

use crate::counted::Counted;
use crate::entry::Decided;
use crate::state::{Phase, ServiceState};
use backstay_model::{Epoch, InstanceName, Method, RebuildOutcome, SavedSurplus, UnixMicros};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// One service's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuilds {
    /// The number of the last one that was agreed on.
    pub last: u64,
    /// The one that runs: one at a time, because each takes an instance and a part of another one's strength away.
    pub running: Option<Agreed>,
    /// How the last one of each instance ended.
    pub ended: BTreeMap<InstanceName, Ended>,
    /// Instances whose data may be gone, or be a part of a copy: they are no candidates.
    pub discarded: BTreeSet<InstanceName>,
}

/// Who wants a rebuild that is begun by itself.
pub(crate) const THE_FILE: &str = "the file (rebuild = \"auto\")";

/// A rebuild that was agreed on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreed {
    /// Its number.
    pub number: u64,
    /// Whose data is replaced.
    pub instance: InstanceName,
    /// The epoch in which it was agreed on.
    pub epoch: Epoch,
    /// Whose data it gets, or is compared with.
    pub donor: InstanceName,
    /// How.
    pub method: Method,
    /// Why this donor, as a clause.
    pub because: String,
    /// Who wants it.
    pub by: String,
    /// When.
    pub at: UnixMicros,
    /// What only it held is saved.
    pub saved: Option<SavedSurplus>,
    /// Its data may be discarded.
    pub discards: bool,
}

/// How a rebuild ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// What it was.
    pub rebuild: Agreed,
    /// How.
    pub outcome: RebuildOutcome,
    /// When.
    pub at: UnixMicros,
    /// Nobody decided against it, and it did not fail: another primary was to be chosen first. It may be repeated by
    /// itself.
    pub again: bool,
    /// The instance was in step since, so that what was wrong then is over.
    pub in_step: bool,
}

impl Agreed {
    /// Nobody asked for it but the file.
    pub(crate) fn is_automatic(&self) -> bool {
        self.by == THE_FILE
    }
}

impl Rebuilds {
    /// The one of this number, while it runs.
    fn is(&self, instance: &InstanceName, number: u64) -> Option<&Agreed> {
        self.running.as_ref().filter(|it| it.number == number && it.instance == *instance)
    }

    /// Whether this instance is being rebuilt.
    pub fn runs_for(&self, instance: &InstanceName) -> bool {
        self.running.as_ref().is_some_and(|it| it.instance == *instance)
    }

    /// Whether the entry fits what was agreed on: it begins, goes on with or ends a rebuild as that stands, or gives no
    /// part to an instance that has no data of its own.
    pub(crate) fn admits(&self, state: &ServiceState, counted: Option<&Counted>, decision: &Decided) -> bool {
        let reigns = |name: &InstanceName| state.reign.as_ref().is_some_and(|it| it.instance == *name);
        match decision {
            Decided::Rebuild { epoch, instance, number, donor, .. } => {
                *epoch == state.epoch
                    && state.phase == Phase::Stable
                    && !reigns(instance)
                    && instance != donor
                    && self.running.is_none()
                    && *number == self.last + 1
            }
            Decided::RebuildSaved { instance, number, .. } => {
                self.is(instance, *number).is_some_and(|running| running.saved.is_none())
            }
            Decided::Discard { epoch, instance, number } => {
                self.is(instance, *number).is_some_and(|running| {
                    *epoch == state.epoch
                        && running.epoch == state.epoch
                        && state.phase == Phase::Stable
                        && running.saved.is_some()
                        && !running.discards
                        && !reigns(instance)
                }) && !counted.is_some_and(|counted| counted.ackers.contains(instance))
            }
            Decided::RebuildEnded { instance, number, outcome, .. } => {
                let done = matches!(outcome, RebuildOutcome::Done { .. });
                // Nothing is done before it was let be: another one of this number was, of a cluster of before.
                self.is(instance, *number).is_some_and(|running| running.discards || !done)
                    || self.fails_late(instance, *number, outcome)
            }
            // Those who count stay until they can be dropped, but nobody joins them while it is rebuilt.
            Decided::Ackers { ackers, .. } => self.running.as_ref().is_none_or(|running| {
                let counts = counted.is_some_and(|counted| counted.ackers.contains(&running.instance));
                counts || !ackers.contains(&running.instance)
            }),
            Decided::Choose { candidate: name, .. } | Decided::Decide { instance: name, .. } => {
                !self.discarded.contains(name)
            }
            Decided::SwitchOver { to, .. } => !self.runs_for(to) && !self.discarded.contains(to),
            Decided::Trust { instance, .. } => !self.runs_for(instance),
            _ => true,
        }
    }

    /// Takes up an entry that was admitted.
    pub(crate) fn apply(&mut self, decision: &Decided) {
        match decision.clone() {
            Decided::Rebuild { epoch, instance, number, donor, method, because, by, at } => {
                self.last = number;
                let (saved, discards) = (None, false);
                self.running =
                    Some(Agreed { number, instance, epoch, donor, method, because, by, at, saved, discards });
            }
            Decided::RebuildSaved { saved, .. } => {
                if let Some(running) = &mut self.running {
                    running.saved = Some(saved);
                }
            }
            Decided::Discard { instance, .. } => {
                if let Some(running) = &mut self.running {
                    running.discards = true;
                }
                self.discarded.insert(instance);
            }
            Decided::RebuildEnded { instance, number, outcome, at } => match self.ended.get_mut(&instance) {
                Some(ended) if ended.rebuild.number == number => {
                    (ended.outcome, ended.at, ended.again) = (outcome, at, false);
                }
                _ => self.end(outcome, at, false),
            },
            // Nothing was taken away yet: what the instance holds may be wanted for the comparison.
            Decided::Begin { verdict: at, .. } | Decided::SwitchOver { at, .. }
                if self.running.as_ref().is_some_and(|running| !running.discards) =>
            {
                let why = "another primary was to be chosen, and nothing was discarded yet".to_owned();
                self.end(RebuildOutcome::CalledOff { why }, at, true);
            }
            Decided::Trust { instance, .. } => {
                self.discarded.remove(&instance);
                if let Some(ended) = self.ended.get_mut(&instance) {
                    ended.in_step = true;
                }
            }
            _ => {}
        }
    }

    /// What was called off could not be put back.
    fn fails_late(&self, instance: &InstanceName, number: u64, outcome: &RebuildOutcome) -> bool {
        matches!(outcome, RebuildOutcome::Failed { .. }) && self.was_called_off(instance, number)
    }

    /// Whether the last one of this instance was this one, and called off.
    pub(crate) fn was_called_off(&self, instance: &InstanceName, number: u64) -> bool {
        self.ended.get(instance).is_some_and(|ended| {
            ended.rebuild.number == number && matches!(ended.outcome, RebuildOutcome::CalledOff { .. })
        })
    }

    fn end(&mut self, outcome: RebuildOutcome, at: UnixMicros, again: bool) {
        let Some(rebuild) = self.running.take() else {
            return;
        };
        let instance = rebuild.instance.clone();
        if matches!(outcome, RebuildOutcome::Done { .. }) {
            self.discarded.remove(&instance);
        }
        self.ended.insert(instance, Ended { rebuild, outcome, at, again, in_step: false });
    }
}
