//! What must survive a crash: the model of a node's disk. Real storage mirrors `Durable::apply`; the simulator and the
//! tests use it as it is.

use backstay_model::{Generation, NodeId, Term};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its position, from 1.
    pub index: u64,
    /// The term of the leader that appended it.
    pub term: Term,
    /// What was proposed; empty for Raft's own.
    pub data: Vec<u8>,
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
}

/// Term, vote and commit index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardState {
    /// The latest term that this node has seen.
    pub term: Term,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
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
            self.entries.retain(|entry| entry.index >= index);
        }
        if let Some(index) = persist.truncate_from {
            self.entries.retain(|entry| entry.index < index);
        }
        self.entries.extend_from_slice(&persist.entries);
    }
}
