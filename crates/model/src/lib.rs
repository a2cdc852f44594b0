//! The nouns of Backstay, in the words of the glossary: time, identities, specifications, observations, orders,
//! events. Every other crate speaks in these values. Nothing here reads a clock, a file or a socket.

mod agent;
mod command;
mod event;
mod flapping;
mod gateway;
mod ids;
mod names;
mod observation;
mod order;
mod spec;
mod status;
mod time;
mod traffic;
pub mod unknown_bytes;

pub use agent::{AgentOrders, AgentReport, Method, Progress, Rebuild, RebuildOutcome, SavedSurplus};
pub use command::{CLOSED, ClientKind, Command, Info, Reply, Sql};
pub use event::{Event, EventKind, FailoverRecord, LostWrites, Moment, Moments, Severity};
pub use flapping::Flapping;
pub use gateway::{
    FailsafeRun, GatewayId, GatewayLoad, GatewayOrders, GatewayReport, LEASE, LEASE_ASKED_EVERY,
    PrimaryOrder, Reader, ServiceOrders,
};
pub use ids::{
    Address, AddressError, ClusterName, Digest, Epoch, GatewayName, Generation, InstanceName, NodeId,
    NodeName, ReplId, ReplOffset, RunId, ServiceName, Term,
};
pub use names::{hint, nearest};
pub use observation::{
    Evidence, Fault, Health, Identity, InstanceReport, Observation, Replication, Role, Sentinels, SqlState,
    Suspicion,
};
pub use order::{Action, Order};
pub use spec::{
    ClusterSpec, ControllerSpec, Durability, Engine, EngineKind, Failsafe, InstanceSpec, MariaDbSpec,
    Preference, RebuildPolicy, RedisSpec, ServiceSpec, Unit,
};
pub use status::{
    CandidateStatus, ClusterStatus, ControllerStatus, Explanation, FailoverStatus, GatewayStatus,
    InstanceStatus, LeaseStatus, MemberRole, PauseStatus, ProblemStatus, RebuildStatus, Route, RouteTarget,
    ServiceStatus,
};
pub use time::{Now, Time, UnixMicros};
pub use traffic::{
    ConnectionsTraffic, EndpointTraffic, FamilyTraffic, GatewayTraffic, SlowCommand, SlowOutcome, SqlTraffic,
};
