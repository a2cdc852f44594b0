//! Every command of a client connection is answered exactly once, in the order in which they were sent.

use crate::world::ClientRun;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// The number of the last command that was answered.
    answered: BTreeMap<ClientRun, u64>,
}

impl Memory {
    pub(crate) fn answered(&mut self, client: ClientRun, number: u64) -> Option<(&'static str, String)> {
        let last = self.answered.insert(client, number).unwrap_or_default();
        (number != last + 1).then(|| {
            (
                "a held command is answered exactly once",
                format!("{client:?} got an answer to command {number} after one to {last}"),
            )
        })
    }
}
