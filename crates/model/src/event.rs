//! What happened, for logs, the event stream, the Sentinel port and the record of failovers. An event never causes
//! anything; each has one sentence, and it is the same wherever it is shown.

use crate::unknown_bytes;
use crate::{
    Address, Epoch, FailsafeRun, Fault, GatewayId, InstanceName, Method, NodeName, RebuildOutcome,
    ReplOffset, SavedSurplus, ServiceName, Term, Unit, UnixMicros,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

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

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SuspectedHere { instance, address, hard, .. } => {
                let how = if *hard { "refuses connections" } else { "does not answer" };
                write!(f, "{instance} ({address}) {how}, as seen from here")
            }
            Self::AnsweringHere { instance, address, .. } => {
                write!(f, "{instance} ({address}) answers here again")
            }
            Self::VerdictDown { instance, address, votes, controllers } => {
                write!(f, "{instance} ({address}) is down: {votes} of {controllers} controllers say so")
            }
            Self::VerdictUp { instance, address } => {
                write!(f, "{instance} ({address}) is no longer held to be down")
            }
            Self::Faulty { instance, fault } => write!(f, "{instance} {fault}"),
            Self::FailoverBegun { epoch, from: Some(from), cause } => {
                write!(f, "epoch {epoch}: failing over from {from}, because {cause}")
            }
            Self::FailoverBegun { epoch, from: None, cause } => {
                write!(f, "epoch {epoch}: choosing a first primary, because {cause}")
            }
            Self::SwitchoverBegun { epoch, from, to, by } => {
                let from = from.as_ref().map_or("nobody", InstanceName::as_str);
                write!(f, "epoch {epoch}: switching over from {from} to {to}, because {by} asked for it")
            }
            Self::CandidateChosen { epoch, candidate, offset, reason } => {
                write!(f, "epoch {epoch}: {candidate} at offset {offset} will be the primary: {reason}")
            }
            Self::Promoted { epoch, from, to, to_address, .. } => {
                write!(f, "epoch {epoch}: {to} ({to_address}) is the primary")?;
                from.as_ref().map_or(Ok(()), |from| write!(f, " instead of {from}"))
            }
            Self::FailoverEnded { record } => write!(f, "{record}"),
            Self::FailoverAbandoned { epoch, reason } => write!(f, "epoch {epoch}: plan given up: {reason}"),
            Self::Stuck { reason } => f.write_str(reason),
            Self::Repointed { instance, primary } => write!(f, "{instance} was told to follow {primary}"),
            Self::InSync { instance, full_copy } => {
                let after = if *full_copy { " after a full copy" } else { "" };
                write!(f, "{instance} is in step with the primary{after}")
            }
            Self::GatewayJoined { gateway } => write!(f, "gateway {gateway} is registered"),
            Self::GatewayLeft { gateway } => write!(f, "gateway {gateway} is registered no more"),
            Self::GatewaysHeld { epoch, how } => write!(f, "epoch {epoch}: every gateway holds: {how}"),
            Self::ServedWithoutLease { gateway, run } => write!(f, "gateway {gateway} {run}"),
            Self::AckersAgreed { epoch, ackers } => acknowledge(f, *epoch, ackers),
            Self::ExposedReplicaClosed { instance } => {
                write!(f, "{instance} is a replica and took clients' writes; it was closed (read_only)")
            }
            Self::ServedWithoutLeaseAgain { gateway, times, run } => served_again(f, gateway, *times, run),
            Self::StrayPrimaryClosed { instance } => {
                write!(f, "{instance} took itself for a primary and was closed")
            }
            Self::SurplusGivenUp { instance, bytes, unit } => given_up(f, instance, *bytes, *unit),
            Self::RebuildAgreed { .. }
            | Self::SurplusSaved { .. }
            | Self::DataDiscarded { .. }
            | Self::RebuildGoesOn { .. }
            | Self::RebuildEnded { .. } => self.of_rebuild(f),
            Self::ProblemFound { sentence, .. } => f.write_str(sentence),
            Self::ProblemGone { code } => write!(f, "{code} is over"),
            Self::Paused { until, by } => write!(f, "automatic action is paused until {until} UTC by {by}"),
            Self::Resumed { by } => write!(f, "automatic action was resumed by {by}"),
            Self::LeaderElected { node, term } => write!(f, "{node} leads the controllers (term {term})"),
            Self::LeaderLost { node } => write!(f, "{node} no longer leads the controllers"),
            Self::WokeLate { late_ms: ms } => {
                write!(f, "this controller stood still for {ms} ms; silence in that time counts for nothing")
            }
        }
    }
}

fn acknowledge(f: &mut fmt::Formatter<'_>, epoch: Epoch, ackers: &BTreeSet<InstanceName>) -> fmt::Result {
    let names: Vec<&str> = ackers.iter().map(InstanceName::as_str).collect();
    match names.as_slice() {
        [] => write!(f, "epoch {epoch}: nobody acknowledges commits; they wait"),
        names => write!(f, "epoch {epoch}: commits are acknowledged by {}", names.join(" or ")),
    }
}

impl EventKind {
    /// The sentences about rebuilds.
    fn of_rebuild(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RebuildAgreed { instance, number, donor, because, by } => write!(
                f,
                "{instance} will be rebuilt (rebuild {number}), because {by} asked for it; {donor} gives its data: {because}"
            ),
            Self::SurplusSaved { instance, saved: SavedSurplus { file: Some(file), transactions } } => {
                write!(
                    f,
                    "{instance} is stopped; {}, which only it held, {} in {file} on its host",
                    Unit::Transactions.count(*transactions),
                    if *transactions == 1 { "is" } else { "are" }
                )
            }
            Self::SurplusSaved { instance, .. } => {
                write!(f, "{instance} is stopped; it held nothing that the primary lacks")
            }
            Self::DataDiscarded { instance } => write!(f, "the data of {instance} is discarded from now on"),
            Self::RebuildGoesOn { instance, clause } => write!(f, "{instance} {clause}"),
            Self::RebuildEnded { instance, outcome } => rebuild_ended(f, instance, outcome),
            _ => Ok(()),
        }
    }
}

fn served_again(
    f: &mut fmt::Formatter<'_>,
    gateway: &GatewayId,
    times: u32,
    run: &FailsafeRun,
) -> fmt::Result {
    let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
    write!(f, "gateway {gateway} {run}; it began to do so {times} more within the last minute")
}

fn rebuild_ended(
    f: &mut fmt::Formatter<'_>,
    instance: &InstanceName,
    outcome: &RebuildOutcome,
) -> fmt::Result {
    match outcome {
        RebuildOutcome::Done { method: Method::Flashback, because } => {
            write!(f, "{instance} is rebuilt: what only it held was taken back, because {because}")
        }
        RebuildOutcome::Done { because, .. } => {
            write!(f, "{instance} is rebuilt from a copy, because {because}")
        }
        RebuildOutcome::Failed { why } => write!(f, "{instance} was not rebuilt: {why}"),
        RebuildOutcome::CalledOff { why } => write!(f, "the rebuild of {instance} was called off: {why}"),
    }
}

fn given_up(
    f: &mut fmt::Formatter<'_>,
    instance: &InstanceName,
    held: Option<u64>,
    unit: Unit,
) -> fmt::Result {
    match held {
        Some(held) => write!(
            f,
            "{instance} held {} that the new primary never received; they are given up",
            unit.written(held)
        ),
        None => write!(
            f,
            "{instance} held data of which nothing tells whether the new primary received all of it, as its history is \
             not known: how many acknowledged writes are lost with it cannot be told; it is given up"
        ),
    }
}

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
