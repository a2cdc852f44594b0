//! No gateway acknowledges a write that the primary of an older epoch took after the newer one was opened.

use crate::redis::WriteId;
use backstay_model::{Epoch, InstanceName};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The newest epoch whose primary was opened.
    opened: Epoch,
    /// Writes that an older one took since.
    stale: BTreeSet<WriteId>,
}

impl Memory {
    /// The instance became writable; these have reigned so far.
    pub(super) fn opened(&mut self, instance: &InstanceName, reigns: &BTreeMap<Epoch, InstanceName>) {
        self.opened = self.opened.max(newest(instance, reigns));
    }

    pub(super) fn accepted(
        &mut self,
        instance: &InstanceName,
        reigns: &BTreeMap<Epoch, InstanceName>,
        write: WriteId,
    ) {
        if newest(instance, reigns) < self.opened {
            self.stale.insert(write);
        }
    }

    pub(crate) fn acknowledged(&self, write: WriteId) -> Option<(&'static str, String)> {
        self.stale.contains(&write).then(|| {
            (
                "no gateway acknowledges what an old primary takes",
                format!("write {write} was taken after the primary of epoch {} was opened", self.opened),
            )
        })
    }
}

fn newest(instance: &InstanceName, reigns: &BTreeMap<Epoch, InstanceName>) -> Epoch {
    let mine = reigns.iter().filter(|(_, reigning)| *reigning == instance);
    mine.map(|(epoch, _)| *epoch).next_back().unwrap_or_default()
}
