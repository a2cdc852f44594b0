//! What speaks for a primary still being one when no controller can be asked (safety, section 2.6).
//!
//! Not what it says of itself: one that is cut off takes itself for a primary and shows lost replicas as online for a
//! minute. Only that a replica of the file goes on acknowledging more and more of its stream.

use backstay_model::{Address, InstanceName, ReplOffset, RunId, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// For how long an acknowledgement speaks for the primary. A replica sends one a second, and that it did shows at the next
/// look only: with a second there would be a gap in every second.
pub const MOVED_WITHIN: Duration = Duration::from_millis(1500);
/// What moved between two looks that are further apart may have moved long ago: whoever looks stood still.
const APART_MAX: Duration = Duration::from_secs(1);

/// What a primary said of itself: `INFO replication`, with the process that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was asked.
    pub asked: Time,
    /// Who was asked.
    pub address: Address,
    /// Which process answered.
    pub run_id: RunId,
    /// It calls itself a primary.
    pub is_primary: bool,
    /// How far each replica that is linked to it has acknowledged, if it is an instance of the file.
    pub acknowledged: BTreeMap<InstanceName, ReplOffset>,
}

/// What was seen of one primary in one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Evidence {
    asked: Time,
    /// The process that served under a lease: an epoch has one.
    run_id: RunId,
    /// It was that process and a primary whenever it was asked.
    sound: bool,
    /// By replica that is linked to it: how far it acknowledged, and when that was seen to grow.
    replicas: BTreeMap<InstanceName, (ReplOffset, Option<Time>)>,
}

impl Evidence {
    /// The first look, while a lease lasts.
    pub(crate) fn new(sample: Sample) -> Self {
        let replicas = sample.acknowledged.into_iter().map(|(name, offset)| (name, (offset, None)));
        Self {
            asked: sample.asked,
            run_id: sample.run_id,
            sound: sample.is_primary,
            replicas: replicas.collect(),
        }
    }

    /// A later look.
    pub(crate) fn add(&mut self, sample: Sample) {
        let before = std::mem::take(&mut self.replicas);
        let near = sample.asked.since(self.asked) <= APART_MAX;
        self.asked = sample.asked;
        self.sound &= sample.is_primary && sample.run_id == self.run_id;
        for (name, offset) in sample.acknowledged {
            let moved = before.get(&name).filter(|_| near).and_then(|(before, moved)| {
                if offset > *before { Some(sample.asked) } else { moved.filter(|_| offset == *before) }
            });
            self.replicas.insert(name, (offset, moved));
        }
    }

    /// Until when it speaks for the primary.
    pub(crate) fn until(&self) -> Option<Time> {
        let moved = self.replicas.values().filter_map(|(_, moved)| *moved).max();
        moved.filter(|_| self.sound).map(|moved| moved + MOVED_WITHIN)
    }
}
