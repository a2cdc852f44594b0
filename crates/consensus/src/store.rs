//! The Raft library's view of `Durable`. It holds what the `Persist` effects of earlier steps have made durable, so
//! the library never reads what could still be lost.

use crate::{Durable, Membership, translate};
use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

/// Storage in memory.
pub(crate) struct Store {
    pub(crate) durable: Durable,
    /// The members where the library begins: after the snapshot.
    base: Membership,
}

impl Store {
    pub(crate) const fn new(durable: Durable, base: Membership) -> Self {
        Self { durable, base }
    }
}

impl Storage for Store {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let mut hard = HardState::default();
        hard.term = self.durable.hard.term.0;
        hard.vote = self.durable.hard.vote.map_or(0, |member| member.0);
        hard.commit = self.durable.hard.commit;
        Ok(RaftState::new(hard, translate::conf_state(&self.base)))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let first = self.durable.first_index();
        if low < first {
            return Err(Error::Store(StorageError::Compacted));
        }
        if low > high || high > self.durable.last_index() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let from = self.durable.entries.partition_point(|entry| entry.index < low);
        let mut room = max_size.into().unwrap_or(u64::MAX);
        let mut found = Vec::new();
        for entry in self.durable.entries[from..].iter().take_while(|entry| entry.index < high) {
            let size = entry.data.len() as u64 + 32;
            if size > room && !found.is_empty() {
                break;
            }
            room = room.saturating_sub(size);
            found.push(translate::entry_out(entry.clone()));
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index + 1 < self.durable.first_index() {
            return Err(Error::Store(StorageError::Compacted));
        }
        self.durable.term_at(index).map(|term| term.0).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.durable.first_index())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.durable.last_index())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        match &self.durable.snapshot {
            Some(snapshot) if snapshot.index >= request_index => {
                Ok(translate::snapshot_out(snapshot.clone(), None))
            }
            _ => Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable)),
        }
    }
}
