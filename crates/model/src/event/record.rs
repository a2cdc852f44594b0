//! The record of one failover or planned move.

use crate::unknown_bytes;
use crate::{Epoch, InstanceName, ServiceName, UnixMicros};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The moments of one failover, on the clocks of the controllers that led it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moments {
    /// The first controller suspected the primary.
    pub suspected: Option<UnixMicros>,
    /// A majority did; in a planned move, the operator asked.
    pub verdict: Option<UnixMicros>,
    /// The plan was committed.
    pub committed: Option<UnixMicros>,
    /// The old primary kept writes waiting (planned moves only).
    pub paused: Option<UnixMicros>,
    /// Every reachable replica was frozen; in a planned move, the old primary was seen to be a replica.
    pub fenced: Option<UnixMicros>,
    /// The candidate was seen to be a primary.
    pub promoted: Option<UnixMicros>,
    /// Clients are sent to it.
    pub routed: Option<UnixMicros>,
    /// The canary's write was acknowledged.
    pub first_write: Option<UnixMicros>,
}

/// One moment by name, for tables.
pub type Moment = (&'static str, Option<UnixMicros>);

impl Moments {
    /// The moments in the order in which they happen.
    pub const fn in_order(&self) -> [Moment; 8] {
        [
            ("suspected", self.suspected),
            ("verdict", self.verdict),
            ("committed", self.committed),
            ("paused", self.paused),
            ("fenced", self.fenced),
            ("promoted", self.promoted),
            ("routed", self.routed),
            ("first write", self.first_write),
        ]
    }
}

/// What is known to be lost, or may be: bytes of replication stream, or transactions, on one instance that the new primary
/// never received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostWrites {
    /// Where they were.
    pub instance: InstanceName,
    /// How many; what it counts is the service's. `null` in JSON and `None` here: there may be some, and nothing tells how
    /// many.
    #[serde(with = "unknown_bytes")]
    pub bytes: Option<u64>,
}

/// One failover, as `history` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverRecord {
    /// The service.
    pub service: ServiceName,
    /// The new epoch.
    pub epoch: Epoch,
    /// The primary before, if there was one.
    pub from: Option<InstanceName>,
    /// The primary since, once promoted.
    pub to: Option<InstanceName>,
    /// Why it was begun, as a clause.
    pub cause: String,
    /// Why this candidate won, as a clause.
    pub choice: String,
    /// When each thing happened.
    pub moments: Moments,
    /// What old primaries and replicas turned out to hold in addition.
    pub lost: Vec<LostWrites>,
    /// It was a planned move, not a failover.
    pub planned: bool,
}

impl FailoverRecord {
    /// How long writes were not taken, in microseconds, if it ended: until the first acknowledged write, from the first
    /// suspicion, or in a planned move from the pause.
    pub fn duration_us(&self) -> Option<u64> {
        let from = if self.planned {
            self.moments.paused?
        } else {
            self.moments.suspected.or(self.moments.verdict).or(self.moments.committed)?
        };
        Some(self.moments.first_write?.0.saturating_sub(from.0))
    }
}

impl fmt::Display for FailoverRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.to.as_ref().map_or("nobody yet", InstanceName::as_str);
        match &self.from {
            Some(from) => write!(f, "epoch {}: {from} to {to}, because {}", self.epoch, self.cause)?,
            None => write!(f, "epoch {}: {to}, because {}", self.epoch, self.cause)?,
        }
        if let Some(us) = self.duration_us() {
            let since = if self.planned { "writes were paused" } else { "the first suspicion" };
            write!(f, "; first write acknowledged {}.{} ms after {since}", us / 1000, us % 1000 / 100)?;
        }
        Ok(())
    }
}
