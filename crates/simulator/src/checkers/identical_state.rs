//! Committed state identical: after the same entry, every controller holds the same state.

use backstay_controller::State;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct Memory {
    states: BTreeMap<u64, u64>,
    seen: Vec<u64>,
}

impl Memory {
    pub(super) fn new(controllers: usize) -> Self {
        Self { states: BTreeMap::new(), seen: vec![0; controllers] }
    }

    /// The node applied something since it was looked at last.
    pub(super) fn is_new(&mut self, node: usize, applied: u64) -> bool {
        std::mem::replace(&mut self.seen[node], applied) != applied
    }

    pub(super) fn check(
        &mut self,
        node: usize,
        applied: u64,
        state: &State,
    ) -> Option<(&'static str, String)> {
        let text = format!("{state:?}");
        let digest = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let known = *self.states.entry(applied).or_insert(digest);
        (known != digest).then(|| {
            ("committed state identical", format!("controller {node} differs after entry {applied}: {text}"))
        })
    }
}
