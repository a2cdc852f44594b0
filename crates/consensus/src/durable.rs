//! What must survive a crash: the model of a node's disk. Real storage mirrors `Durable::apply`; the simulator and the
//! tests use it as it is.

use crate::{MemberId, Membership, StartError};
use backstay_model::{Generation, NodeId, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An entry of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its position, from 1.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: Term,
    /// What was proposed; empty for Raft's own.
    pub data: Vec<u8>,
    /// From here on these are the members. Its `index` means nothing before it is applied.
    pub change: Option<Membership>,
}

/// The whole replicated state after an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// That entry's position.
    pub index: u64,
    /// That entry's term.
    pub term: Term,
    /// The state, as the caller wrote it.
    pub data: Vec<u8>,
    /// The members after that entry.
    pub membership: Membership,
}

/// Term, vote and commit index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term that this node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<MemberId>,
    /// A lower bound of what is committed.
    pub commit: u64,
}

/// One atomic write. Applied in the order of the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persist {
    /// Remember this peer's generation.
    pub known: Option<(NodeId, Generation)>,
    /// Replace term, vote and commit index.
    pub hard: Option<HardState>,
    /// Replace the snapshot.
    pub snapshot: Option<Snapshot>,
    /// Drop every entry before this index.
    pub drop_before: Option<u64>,
    /// Drop every entry from this index on.
    pub truncate_from: Option<u64>,
    /// Then append these; they begin directly behind what is left.
    pub entries: Vec<Entry>,
}

/// What storage gives back at a start; the default is a new, empty state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durable {
    /// Term, vote and commit index.
    pub hard: HardState,
    /// The latest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The log, without gaps. It may begin before the snapshot's index: a tail for followers that are a little behind,
    /// of which the oldest entry only lends its term.
    pub entries: Vec<Entry>,
    /// The generations of the peers, each as it was first heard.
    pub known: BTreeMap<NodeId, Generation>,
}

impl Durable {
    /// Carries out one write.
    pub fn apply(&mut self, persist: &Persist) {
        if let Some((peer, generation)) = persist.known {
            self.known.insert(peer, generation);
        }
        if let Some(hard) = persist.hard {
            self.hard = hard;
        }
        if let Some(snapshot) = &persist.snapshot {
            self.snapshot = Some(snapshot.clone());
        }
        if let Some(index) = persist.drop_before {
            let older = self.entries.partition_point(|entry| entry.index < index);
            self.entries.drain(..older);
        }
        if let Some(index) = persist.truncate_from {
            let kept = self.entries.partition_point(|entry| entry.index < index);
            self.entries.truncate(kept);
        }
        self.entries.extend_from_slice(&persist.entries);
    }

    /// The last entry that was ever in the log.
    pub fn last_index(&self) -> u64 {
        self.entries.last().map_or(self.snapshot_index(), |entry| entry.index)
    }

    /// The last entry that the snapshot holds; zero without one.
    pub fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |snapshot| snapshot.index)
    }

    /// The first entry that can be read; the one before it still has a term.
    pub(crate) fn first_index(&self) -> u64 {
        match self.entries.first() {
            Some(entry) if entry.index <= self.snapshot_index() => entry.index + 1,
            _ => self.snapshot_index() + 1,
        }
    }

    /// The term of an entry between the one before `first_index` and the last one, both included.
    pub(crate) fn term_at(&self, index: u64) -> Option<Term> {
        match &self.snapshot {
            Some(snapshot) if snapshot.index == index => return Some(snapshot.term),
            None if index == 0 => return Some(Term(0)),
            _ => {}
        }
        let offset = index.checked_sub(self.entries.first()?.index)?;
        self.entries.get(usize::try_from(offset).ok()?).map(|entry| entry.term)
    }

    /// Names the first rule that is broken: what no sequence of writes leaves behind.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let (first, last, snapshot) = (self.entries.first(), self.last_index(), self.snapshot_index());
        let gap = |pair: &[Entry]| pair[1].index != pair[0].index + 1;
        let backwards = |pair: &[Entry]| pair[1].term < pair[0].term;
        let last_term = self.term_at(last).unwrap_or_default();
        let rule = if self.snapshot.is_some() && snapshot == 0 {
            "a snapshot holds at least one entry"
        } else if first.is_some_and(|entry| entry.index > snapshot + 1 || entry.index == 0) {
            "the log begins no later than behind the snapshot"
        } else if self.entries.windows(2).any(gap) {
            "the log has no gaps"
        } else if last < snapshot {
            "the log does not end before the snapshot"
        } else if self.entries.windows(2).any(backwards) || first.is_some_and(|entry| entry.term == Term(0)) {
            "the terms in the log never go back"
        } else if self.snapshot_disagrees() {
            "the snapshot and the log agree on the snapshot's term"
        } else if self.hard.term < last_term {
            "the node's term is at least that of its last entry"
        } else if self.hard.commit < snapshot || self.hard.commit > last {
            "the commit index lies between the snapshot and the end of the log"
        } else {
            return Ok(());
        };
        Err(StartError::Durable(rule))
    }

    fn snapshot_disagrees(&self) -> bool {
        let Some(snapshot) = &self.snapshot else {
            return false;
        };
        let term_of = |index| self.entries.iter().find(|entry| entry.index == index).map(|entry| entry.term);
        snapshot.term == Term(0)
            || term_of(snapshot.index).is_some_and(|term| term != snapshot.term)
            || term_of(snapshot.index + 1).is_some_and(|term| term < snapshot.term)
    }
}
