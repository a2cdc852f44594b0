//! What controllers agree on: the entries of the replicated log. Each names the epoch that it belongs to, so that one
//! proposed under other circumstances changes nothing when it is applied.

use backstay_model::{
    Epoch, GatewayId, InstanceName, LostWrites, Method, RebuildOutcome, ReplId, ReplOffset, RunId,
    SavedSurplus, ServiceName, Term, UnixMicros,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// One committed decision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The service it is about. Empty for what is about none.
    pub service: ServiceName,
    /// What was decided.
    pub decision: Decided,
}

/// The decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decided {
    /// The group already has a primary that everyone follows: take it over as it is, as epoch 1.
    Adopt {
        /// The primary.
        primary: InstanceName,
        /// Its process.
        run_id: RunId,
        /// Its history.
        replid: ReplId,
        /// The replicas that hold its data, with their processes.
        replicas: BTreeMap<InstanceName, RunId>,
    },
    /// A failover: from now on the primary may be fenced and replicas frozen, in this epoch.
    Begin {
        /// The new epoch: the state's epoch plus one, or the entry is void.
        epoch: Epoch,
        /// Why.
        cause: Cause,
        /// When the first controller suspected the primary.
        suspected: UnixMicros,
        /// When a majority did.
        verdict: UnixMicros,
    },
    /// A planned move: writes are paused, the primary is made a replica of this one, and this one is promoted once it is
    /// seen to hold everything.
    SwitchOver {
        /// The new epoch: the state's epoch plus one, or the entry is void.
        epoch: Epoch,
        /// The next primary.
        to: InstanceName,
        /// Its process.
        run_id: RunId,
        /// Who asked.
        by: String,
        /// When.
        at: UnixMicros,
        /// Whose leader proposed it.
        term: Term,
    },
    /// The frozen instances were compared; this one is to be promoted.
    Choose {
        /// The plan's epoch.
        epoch: Epoch,
        /// The winner.
        candidate: InstanceName,
        /// The process that was frozen.
        run_id: RunId,
        /// Where it stood still.
        offset: ReplOffset,
        /// Frozen instances that hold more: given up for the operator's preference, or to save a priority of 0.
        surplus: Vec<LostWrites>,
        /// All that were compared: whatever else they held, they are part of the group.
        compared: Vec<InstanceName>,
        /// Why it won, as a clause.
        reason: String,
        /// When the plan was seen committed, and when everything reachable was frozen.
        committed: UnixMicros,
        /// See `committed`.
        fenced: UnixMicros,
    },
    /// The plan is given up before a promotion was ordered: the primary of before reigns on, in the plan's epoch.
    Abandon {
        /// The plan's epoch.
        epoch: Epoch,
        /// Why, as a clause.
        reason: String,
        /// When.
        at: UnixMicros,
        /// In a planned move: the order that makes the primary a replica may have been sent, and run at any later time.
        demotion_sent: bool,
    },
    /// The candidate was observed to be a primary. Routes change now.
    Promoted {
        /// The plan's epoch.
        epoch: Epoch,
        /// Its new history.
        replid: ReplId,
        /// Where the old history ended.
        offset: ReplOffset,
        /// In a planned move: when writes were paused, as far as the one who proposes knows.
        paused: Option<UnixMicros>,
        /// In a planned move: when the old primary was seen to be a replica.
        fenced: Option<UnixMicros>,
        /// When that was seen.
        at: UnixMicros,
    },
    /// A write through the new primary was acknowledged.
    End {
        /// The plan's epoch.
        epoch: Epoch,
        /// When clients were sent there.
        routed: UnixMicros,
        /// When the canary's write was acknowledged.
        first_write: UnixMicros,
        /// It began within the cooldown of the one before.
        quick: bool,
    },
    /// The instance holds the primary's data in this process: it counts.
    Trust {
        /// The epoch in which it was seen in step.
        epoch: Epoch,
        /// The instance.
        instance: InstanceName,
        /// Its process.
        run_id: RunId,
        /// It got there by a full copy, as far as is known.
        full_copy: bool,
    },
    /// The primary's process gave its history another name: Redis does so when its first replica comes, or the first
    /// one after a long time alone.
    Rename {
        /// The epoch of its reign.
        epoch: Epoch,
        /// The new name.
        replid: ReplId,
    },
    /// Writes that only this instance holds are given up, so that it may follow the primary.
    GiveUp {
        /// The epoch whose primary lacks them.
        epoch: Epoch,
        /// The instance.
        instance: InstanceName,
        /// How many bytes of replication stream. `None`: it may hold such writes, and nothing tells how many.
        #[serde(with = "backstay_model::unknown_bytes")]
        bytes: Option<u64>,
    },
    /// Nothing automatic until then.
    Pause {
        /// When it ends by itself.
        until: UnixMicros,
        /// Who asked.
        by: String,
    },
    /// The pause is over.
    Resume {
        /// Who asked.
        by: String,
    },
    /// The operator answered a doubt: this instance's data is to be taken. Valid while a plan cannot choose.
    Decide {
        /// The plan's epoch.
        epoch: Epoch,
        /// The instance to promote once it is frozen.
        instance: InstanceName,
        /// Who asked.
        by: String,
    },
    /// Gateways come and go: from now on those that joined may be given leases, and those that left are waited for no
    /// more.
    Gateways {
        /// The number of this change: that of the last one plus one, or the entry is void.
        change: u64,
        /// Those that come.
        joined: Vec<GatewayId>,
        /// Those that go.
        left: Vec<GatewayId>,
    },
    /// From now on these may acknowledge commits, and nobody else (`Durability::Majority`).
    Ackers {
        /// The epoch in which they do.
        epoch: Epoch,
        /// All of them.
        ackers: BTreeSet<InstanceName>,
    },
    /// This instance is to get rid of what only it holds.
    Rebuild {
        /// The epoch whose primary stays.
        epoch: Epoch,
        /// The instance.
        instance: InstanceName,
        /// The number of this rebuild: that of the last one plus one, or the entry is void.
        number: u64,
        /// Whose data it gets, or is compared with.
        donor: InstanceName,
        /// How.
        method: Method,
        /// Why this donor, as a clause.
        because: String,
        /// Who asked.
        by: String,
        /// When.
        at: UnixMicros,
    },
    /// It is stopped, and what only it held is saved.
    RebuildSaved {
        /// The instance.
        instance: InstanceName,
        /// Which rebuild.
        number: u64,
        /// Where, and how much.
        saved: SavedSurplus,
    },
    /// Its data may be discarded from now on. Only then an agent is told so.
    Discard {
        /// The epoch whose primary reigns.
        epoch: Epoch,
        /// The instance.
        instance: InstanceName,
        /// Which rebuild.
        number: u64,
    },
    /// The rebuild is over.
    RebuildEnded {
        /// The instance.
        instance: InstanceName,
        /// Which one.
        number: u64,
        /// How.
        outcome: RebuildOutcome,
        /// When.
        at: UnixMicros,
    },
}

/// Why a failover was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// The group never had a primary here.
    FirstStart,
    /// A majority's connections were refused: the process is gone.
    Crashed {
        /// How many controllers say so.
        votes: u32,
    },
    /// A majority got no answer for `down_after`.
    Silent {
        /// How many controllers say so.
        votes: u32,
    },
    /// A majority found another process in the primary's place.
    Restarted {
        /// How many controllers say so.
        votes: u32,
    },
    /// The primary's process became a replica, and nobody else manages it.
    Demoted {
        /// How many controllers say so.
        votes: u32,
    },
    /// The candidate of the epoch before was promoted, but that was never observed.
    CandidateLost {
        /// The candidate, a possible primary from now on.
        candidate: InstanceName,
    },
    /// An operator wants another primary, whatever is lost.
    Ordered {
        /// This one, if it was named.
        to: Option<InstanceName>,
        /// Who.
        by: String,
    },
    /// A planned move failed after the old primary was made a replica.
    SwitchoverFailed {
        /// Why, as a clause.
        reason: String,
    },
}

impl Cause {
    /// Hard evidence: the primary's process is known to be gone or changed.
    pub const fn is_hard(&self) -> bool {
        !matches!(self, Self::Silent { .. })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstStart => f.write_str("the group has no primary yet"),
            Self::Crashed { votes } => write!(f, "{votes} controllers found its port closed"),
            Self::Silent { votes } => write!(f, "{votes} controllers got no answer in time"),
            Self::Restarted { votes } => write!(f, "{votes} controllers found that it was restarted"),
            Self::Demoted { votes } => write!(f, "{votes} controllers found that it is a replica"),
            Self::Ordered { by, .. } => write!(f, "{by} ordered it"),
            Self::SwitchoverFailed { reason } => write!(f, "the switchover failed: {reason}"),
            Self::CandidateLost { candidate } => write!(f, "the promotion of {candidate} was never observed"),
        }
    }
}

impl Decided {
    /// Since which level of the cluster controllers understand it. A new kind of decision is added at the end, with the
    /// level of the version that brings it; until all controllers run that version it is not proposed.
    pub const fn level(&self) -> u32 {
        match self {
            Self::Gateways { .. } => 3,
            Self::Ackers { .. } => 4,
            Self::Rebuild { .. }
            | Self::RebuildSaved { .. }
            | Self::Discard { .. }
            | Self::RebuildEnded { .. } => 5,
            _ => 1,
        }
    }

    /// The epoch that the entry belongs to, if it belongs to one.
    pub const fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Adopt { .. } => Some(Epoch(1)),
            Self::Begin { epoch, .. }
            | Self::SwitchOver { epoch, .. }
            | Self::Choose { epoch, .. }
            | Self::Abandon { epoch, .. }
            | Self::Promoted { epoch, .. }
            | Self::End { epoch, .. }
            | Self::Trust { epoch, .. }
            | Self::Rename { epoch, .. }
            | Self::GiveUp { epoch, .. }
            | Self::Ackers { epoch, .. }
            | Self::Rebuild { epoch, .. }
            | Self::Discard { epoch, .. }
            | Self::Decide { epoch, .. } => Some(*epoch),
            Self::Pause { .. }
            | Self::Resume { .. }
            | Self::RebuildSaved { .. }
            | Self::RebuildEnded { .. }
            | Self::Gateways { .. } => None,
        }
    }
}
