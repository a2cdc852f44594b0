//! Epochs only grow along the log.

use backstay_model::Epoch;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Memory {
    epochs: BTreeMap<u64, Epoch>,
}

impl Memory {
    pub(super) fn check(&mut self, applied: u64, epoch: Epoch) -> Option<(&'static str, String)> {
        self.epochs.insert(applied, epoch);
        let before = self.epochs.range(..applied).next_back().map(|(_, epoch)| *epoch);
        let after = self.epochs.range(applied + 1..).next().map(|(_, epoch)| *epoch);
        let ordered = before.is_none_or(|before| before <= epoch) && after.is_none_or(|after| epoch <= after);
        (!ordered).then(|| {
            ("epochs only grow", format!("{before:?}, then {epoch} at entry {applied}, then {after:?}"))
        })
    }
}
