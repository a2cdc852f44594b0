//! What happened, for logs, the event stream, the Sentinel port and the record of failovers. An event never causes
//! anything; each has one sentence, and it is the same wherever it is shown.

mod record;
mod sentence;

pub use record::{FailoverRecord, LostWrites, Moment, Moments};

use crate::{
    Address, Epoch, FailsafeRun, Fault, GatewayId, InstanceName, NodeName, RebuildOutcome, ReplOffset,
    SavedSurplus, ServiceName, Term, Unit, UnixMicros,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Something that happened, with the moment on the clock of the controller that tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: UnixMicros,
    /// The service it is about, if one.
    pub service: Option<ServiceName>,
    /// What.
    pub kind: EventKind,
}

/// How loudly an event speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    Warning,
    /// Somebody must decide, or a promise was not kept.
    Error,
}

/// What can happen. `Display` is the sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[allow(missing_docs, reason = "each variant's sentence below is its documentation")]
pub enum EventKind {
    /// This controller's own opinion (Sentinel: `+sdown`).
    SuspectedHere {
        instance: InstanceName,
        address: Address,
        primary: bool,
        hard: bool,
    },
    /// This controller no longer suspects it (`-sdown`).
    AnsweringHere {
        instance: InstanceName,
        address: Address,
        primary: bool,
    },
    /// The quorum's opinion of a primary (`+odown`).
    VerdictDown {
        instance: InstanceName,
        address: Address,
        votes: u32,
        controllers: u32,
    },
    /// The quorum changed its mind (`-odown`).
    VerdictUp {
        instance: InstanceName,
        address: Address,
    },
    /// An instance answers but cannot serve.
    Faulty {
        instance: InstanceName,
        fault: Fault,
    },
    /// A plan was committed.
    FailoverBegun {
        epoch: Epoch,
        from: Option<InstanceName>,
        cause: String,
    },
    /// A planned move was committed.
    SwitchoverBegun {
        epoch: Epoch,
        from: Option<InstanceName>,
        to: InstanceName,
        by: String,
    },
    /// The next primary was chosen and the choice committed.
    CandidateChosen {
        epoch: Epoch,
        candidate: InstanceName,
        offset: ReplOffset,
        reason: String,
    },
    /// The promotion was observed and committed (`+switch-master`).
    Promoted {
        epoch: Epoch,
        from: Option<InstanceName>,
        from_address: Option<Address>,
        to: InstanceName,
        to_address: Address,
    },
    /// A write through the new primary was acknowledged: the failover is over.
    FailoverEnded {
        record: Box<FailoverRecord>,
    },
    /// A plan was given up before anything irreversible was done.
    FailoverAbandoned {
        epoch: Epoch,
        reason: String,
    },
    /// Nothing more can be done without the operator.
    Stuck {
        reason: String,
    },
    /// An instance was told to follow the primary.
    Repointed {
        instance: InstanceName,
        primary: InstanceName,
    },
    /// An instance has the primary's data and counts again.
    InSync {
        instance: InstanceName,
        full_copy: bool,
    },
    /// A gateway may be given leases.
    GatewayJoined {
        gateway: GatewayId,
    },
    /// A gateway is given none any more: it left, or nothing was heard from it.
    GatewayLeft {
        gateway: GatewayId,
    },
    /// No gateway forwards what an older epoch allowed, and that was waited for.
    GatewaysHeld {
        epoch: Epoch,
        how: String,
    },
    /// A gateway serves, or served, the service without a lease.
    ServedWithoutLease {
        gateway: GatewayId,
        run: FailsafeRun,
    },
    /// It did so again and again: since that was told, within the last minute, so many times, of which this is the last.
    ServedWithoutLeaseAgain {
        gateway: GatewayId,
        times: u32,
        run: FailsafeRun,
    },
    /// From now on these replicas acknowledge commits, and a failover reads each of them (MariaDB, `majority`).
    AckersAgreed {
        epoch: Epoch,
        ackers: BTreeSet<InstanceName>,
    },
    /// A primary that is not the epoch's was found and closed.
    StrayPrimaryClosed {
        instance: InstanceName,
    },
    /// A replica took clients' writes, and was closed for them (MariaDB).
    ExposedReplicaClosed {
        /// The instance.
        instance: InstanceName,
    },
    /// An instance held writes that the new primary never received, or may have held some.
    SurplusGivenUp {
        instance: InstanceName,
        /// How much, in `unit`; `None`: there may be some, and nothing tells how much.
        bytes: Option<u64>,
        #[serde(default)]
        unit: Unit,
    },
    /// An instance is to get rid of what only it holds.
    RebuildAgreed {
        instance: InstanceName,
        number: u64,
        donor: InstanceName,
        because: String,
        by: String,
    },
    /// It is stopped, and what only it held lies in a file on its host.
    SurplusSaved {
        instance: InstanceName,
        saved: SavedSurplus,
    },
    /// Its data may be discarded from now on.
    DataDiscarded {
        instance: InstanceName,
    },
    /// What its agent does now, as the end of a sentence.
    RebuildGoesOn {
        instance: InstanceName,
        clause: String,
    },
    /// A rebuild is over.
    RebuildEnded {
        instance: InstanceName,
        outcome: RebuildOutcome,
    },
    /// A problem of the catalogue began.
    ProblemFound {
        code: String,
        sentence: String,
    },
    /// A problem of the catalogue ended.
    ProblemGone {
        code: String,
    },
    Paused {
        until: UnixMicros,
        by: String,
    },
    Resumed {
        by: String,
    },
    /// This controller became the leader.
    LeaderElected {
        node: NodeName,
        term: Term,
    },
    /// This controller is no longer the leader.
    LeaderLost {
        node: NodeName,
    },
    /// This controller's clock or process stood still.
    WokeLate {
        late_ms: u64,
    },
}

impl EventKind {
    /// How loudly it speaks.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::Stuck { .. }
            | Self::SurplusGivenUp { .. }
            | Self::RebuildEnded { outcome: RebuildOutcome::Failed { .. }, .. } => Severity::Error,
            Self::SuspectedHere { .. }
            | Self::VerdictDown { .. }
            | Self::Faulty { .. }
            | Self::FailoverBegun { .. }
            | Self::FailoverAbandoned { .. }
            | Self::StrayPrimaryClosed { .. }
            | Self::ExposedReplicaClosed { .. }
            | Self::ServedWithoutLease { .. }
            | Self::ServedWithoutLeaseAgain { .. }
            | Self::RebuildAgreed { .. }
            | Self::RebuildEnded { outcome: RebuildOutcome::CalledOff { .. }, .. }
            | Self::ProblemFound { .. }
            | Self::Paused { .. }
            | Self::WokeLate { .. } => Severity::Warning,
            _ => Severity::Info,
        }
    }
}
