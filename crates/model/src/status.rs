//! What operators are shown: plain values, serialised as they stand by the admin API.

use crate::{
    Address, EngineKind, Epoch, FailoverRecord, GatewayLoad, GatewayName, InstanceName, Method, NodeName,
    PrimaryOrder, RebuildOutcome, ReplOffset, SavedSurplus, ServiceName, Severity, Term, Unit, UnixMicros,
};
use serde::{Deserialize, Serialize};
use std::ops::Deref;

/// The answer to `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    /// The cluster's name.
    pub cluster: String,
    /// Who answers.
    pub node: NodeName,
    /// The leader, if the one who answers knows of one.
    pub leader: Option<NodeName>,
    /// The leader's term.
    pub term: Term,
    /// False: the one who answers has no quorum, acts on nothing, and shows what it last knew.
    pub quorum: bool,
    /// Every controller.
    pub controllers: Vec<ControllerStatus>,
    /// What every member understands: a feature that needs a higher level waits until all are upgraded.
    #[serde(default)]
    pub level: u32,
    /// What is wrong with the cluster of controllers itself, worst first.
    #[serde(default)]
    pub problems: Vec<ProblemStatus>,
    /// Every service.
    pub services: Vec<ServiceStatus>,
    /// Every gateway that is registered or was heard of lately.
    #[serde(default)]
    pub gateways: Vec<GatewayStatus>,
}

/// One run of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Its name.
    pub name: GatewayName,
    /// Which run.
    pub process: u64,
    /// Whether it may be given leases.
    pub registered: bool,
    /// Whether it is connected to the one who answers.
    pub connected: bool,
    /// By service, what it may do, as far as the one who answers knows: only the leader does.
    pub services: Vec<LeaseStatus>,
    /// What it is busy with, as it said last.
    pub load: GatewayLoad,
}

/// One service's lease of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseStatus {
    /// The service.
    pub service: ServiceName,
    /// The epoch in which gateways are told what to do.
    pub epoch: Epoch,
    /// What they are told to do with commands for its primary.
    pub told: PrimaryOrder,
    /// It confirmed to hold in this epoch or a later one.
    pub holds: bool,
    /// For how long the leader takes it to serve, in milliseconds: somewhat longer than the gateway does.
    pub lease_ms: u64,
}

/// One controller as the one who answers sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerStatus {
    /// Its name.
    pub name: NodeName,
    /// Where peers reach it.
    pub address: Address,
    /// Whether it was heard of lately.
    pub connected: bool,
    /// Whether it leads.
    pub leader: bool,
    /// When its certificate ends, if it has one and told.
    #[serde(default)]
    pub certificate_expires: Option<UnixMicros>,
    /// Its part in decisions.
    #[serde(default)]
    pub member: MemberRole,
    /// The latest protocol version that it speaks, as last heard.
    #[serde(default)]
    pub protocol: Option<u32>,
}

/// A controller's part in decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// It votes.
    #[default]
    Voter,
    /// It is told everything, and gets a vote once it holds everything.
    Learner,
    /// It runs with a new state folder, and somebody must make it a member.
    Waiting,
    /// It is no member.
    Outside,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// What its instances run.
    #[serde(default)]
    pub engine: EngineKind,
    /// What offsets and lags count, `lag_bytes` included.
    #[serde(default)]
    pub unit: Unit,
    /// Which acknowledged writes may be lost, where the file says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<String>,
    /// The current epoch.
    pub epoch: Epoch,
    /// What goes on: `stable`, `forming`, `fencing`, `promoting`, `opening`.
    pub phase: String,
    /// The epoch's primary, once there is one.
    pub primary: Option<InstanceName>,
    /// Where clients are sent.
    pub address: Option<Address>,
    /// A pause in force.
    pub paused: Option<PauseStatus>,
    /// Its instances.
    pub instances: Vec<InstanceStatus>,
    /// The rebuild that runs, if one does, and how the last one of each instance ended.
    #[serde(default)]
    pub rebuilds: Vec<RebuildStatus>,
    /// What is wrong, worst first.
    pub problems: Vec<ProblemStatus>,
}

/// One rebuild of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildStatus {
    /// Its number in the service.
    pub number: u64,
    /// Whose data is replaced.
    pub instance: InstanceName,
    /// Whose data it gets, or is compared with.
    pub donor: InstanceName,
    /// How, as it was asked for.
    pub method: Method,
    /// Why this donor, as a clause.
    pub because: String,
    /// Who asked.
    pub by: String,
    /// When.
    pub at: UnixMicros,
    /// What only it held, once that is saved.
    pub saved: Option<SavedSurplus>,
    /// Whether its data may be discarded.
    pub discards: bool,
    /// What its agent does, as the end of a sentence that begins with the instance; empty if it ended.
    pub progress: String,
    /// How much has been copied so far.
    pub bytes: Option<u64>,
    /// Why its data may not be discarded yet, as a clause.
    pub waits: Option<String>,
    /// How it ended; `None`: it runs.
    pub outcome: Option<RebuildOutcome>,
    /// When it ended.
    pub ended: Option<UnixMicros>,
}

/// A pause in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PauseStatus {
    /// When it ends by itself.
    pub until: UnixMicros,
    /// Who asked for it.
    pub by: String,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceStatus {
    /// Its name.
    pub name: InstanceName,
    /// Where it listens.
    pub address: Address,
    /// Region, as configured.
    pub site: String,
    /// Failure domain, as configured.
    pub zone: String,
    /// As configured.
    pub priority: u32,
    /// What it says it is: `primary`, `replica` or `unknown`.
    pub role: String,
    /// Its health as seen from the one who answers.
    pub health: String,
    /// Whether it is held to be down, by this node alone.
    pub suspected: bool,
    /// Its process identity.
    pub run_id: Option<String>,
    /// The engine's version.
    pub version: Option<String>,
    /// Its offset when last asked.
    pub offset: Option<ReplOffset>,
    /// How far it is behind the primary, in the service's unit, when both were last asked.
    pub lag_bytes: Option<u64>,
    /// Whether it is connected to the one it follows.
    pub link_up: Option<bool>,
    /// Whether it counts as a copy of the data.
    pub in_sync: bool,
    /// Whether it was closed for writes.
    pub closed: bool,
}

/// One problem of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemStatus {
    /// Its name in the catalogue.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// One sentence: what happened, why, what to do next.
    pub sentence: String,
}

/// The answer to `explain SERVICE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The service.
    pub service: ServiceName,
    /// What its instances run.
    #[serde(default)]
    pub engine: EngineKind,
    /// What `would_lose_bytes` and `lag_bytes` count.
    #[serde(default)]
    pub unit: Unit,
    /// Who answers.
    pub node: NodeName,
    /// Why there is or is not a failover now.
    pub verdict: String,
    /// Each controller's opinion of the primary.
    pub opinions: Vec<(NodeName, String)>,
    /// Who would win if it failed now.
    pub winner: Option<InstanceName>,
    /// How much of acknowledged writes that would lose, in `unit`, as far as offsets tell.
    pub would_lose_bytes: Option<u64>,
    /// Every instance but the primary, best first.
    pub candidates: Vec<CandidateStatus>,
    /// What is wrong.
    pub problems: Vec<ProblemStatus>,
}

/// One failover, as `history` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailoverStatus {
    /// What is on record.
    #[serde(flatten)]
    pub record: FailoverRecord,
    /// What the service's instances run.
    #[serde(default)]
    pub engine: EngineKind,
    /// What the `bytes` of what was lost count.
    #[serde(default)]
    pub unit: Unit,
}

impl Deref for FailoverStatus {
    type Target = FailoverRecord;

    fn deref(&self) -> &FailoverRecord {
        &self.record
    }
}

/// One instance as a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateStatus {
    /// Its name.
    pub instance: InstanceName,
    /// Whether it may be chosen.
    pub eligible: bool,
    /// How far it is behind the primary, in the explanation's unit.
    pub lag_bytes: Option<u64>,
    /// Why it would or would not be chosen.
    pub reason: String,
}

/// What a gateway, or anyone who sends clients somewhere, must do for a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The service.
    pub service: ServiceName,
    /// The epoch this is true in.
    pub epoch: Epoch,
    /// Where to.
    pub target: RouteTarget,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteTarget {
    /// To this primary.
    Forward(Address),
    /// Nowhere for now: keep clients waiting.
    Hold,
}
