//! What gateways and controllers tell each other (safety, sections 2.1 and 6).
//!
//! A gateway asks every controller again and again; the leader answers with a lease and with where each service's
//! commands go, and says so unasked when that changes. Report and answer carry the whole picture, so that a lost one costs
//! nothing but time.

use crate::ids::{Address, Epoch, GatewayName, InstanceName, ServiceName};
use crate::time::UnixMicros;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How long a lease lasts, counted by its holder from the moment at which it asked, and by the leader from the moment
/// at which it granted, which is later.
pub const LEASE: Duration = Duration::from_millis(400);
/// How often a gateway asks.
pub const LEASE_ASKED_EVERY: Duration = Duration::from_millis(100);

/// One run of a gateway. Leases are granted to a process, not to a name: an older process of that name may be stopped
/// and still hold one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GatewayId {
    /// Its name.
    pub name: GatewayName,
    /// Drawn at random at its start.
    pub process: u64,
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:08x})", self.name, self.process as u32)
    }
}

/// From a gateway to a controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayReport {
    /// Counts up with every report of this gateway's process.
    pub number: u64,
    /// Per service, the newest epoch whose `Hold` or `Drain` was carried out: of what an older lease allowed, nothing is
    /// forwarded any more, and no reply that is read from now on is taken for an acknowledgement.
    pub holding: BTreeMap<ServiceName, Epoch>,
    /// It goes: nothing is forwarded any more for any service, nor will be, and no reply is taken for an
    /// acknowledgement. Its place is free.
    pub leaving: bool,
    /// For the operator; decides nothing.
    pub load: GatewayLoad,
    /// For the operator, too: the services that it serves without a lease, or did within the last hour.
    pub failsafe: BTreeMap<ServiceName, FailsafeRun>,
}

/// A time in which a gateway served a service without a lease (safety, section 2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailsafeRun {
    /// When it began, by the gateway's wall clock.
    pub began: UnixMicros,
    /// For how long it lasted. `None`: it goes on.
    pub lasted_ms: Option<u64>,
}

impl fmt::Display for FailsafeRun {
    /// What a gateway did, as the end of a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let began = self.began;
        match self.lasted_ms {
            Some(ms) => write!(
                f,
                "served without a lease for {}.{} s from {began} UTC on, because no controller told it anything",
                ms / 1000,
                ms % 1000 / 100
            ),
            None => write!(
                f,
                "serves without a lease since {began} UTC, because no controller that leads tells it anything"
            ),
        }
    }
}

/// What a gateway is busy with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GatewayLoad {
    /// Connected clients.
    pub clients: u64,
    /// Connections to servers.
    pub backends: u64,
    /// Commands that wait for a primary now.
    pub held: u64,
    /// Commands answered since its start.
    pub commands: u64,
    /// Commands refused since its start: over a limit, held too long, or not allowed.
    pub refused: u64,
    /// Reads that were sent again since its start.
    pub replayed: u64,
    /// Writes whose outcome could not be told since its start.
    pub unknown: u64,
}

/// From the leader to a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayOrders {
    /// The report that this answers. `None`: something changed; extends no lease.
    pub answers: Option<u64>,
    /// How long the answered report's lease lasts from when that was sent, for what is served. Zero: no lease.
    pub lease: Duration,
    /// Where commands go: those of every service in answer to a report, those of the services that changed otherwise.
    /// What was said of a service that is missing still holds, but its lease is not extended.
    pub services: Vec<ServiceOrders>,
}

/// Where one service's commands go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceOrders {
    /// The service.
    pub service: ServiceName,
    /// The committed epoch that this is said in. What an older epoch said counts for nothing any more.
    pub epoch: Epoch,
    /// Writes, and reads at the primary.
    pub primary: PrimaryOrder,
    /// Who may answer reads; the primary is not among them.
    pub readers: Vec<Reader>,
}

/// What to do with commands for the primary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrimaryOrder {
    /// Forward them there while the lease lasts.
    Serve(Address),
    /// The primary is gone: forward nothing, close its connections, let commands wait.
    Hold,
    /// The primary moves: forward nothing new, let what is under way finish, then say so. Commands wait.
    Drain,
}

/// A replica that may answer reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// Its name.
    pub instance: InstanceName,
    /// Where it listens.
    pub address: Address,
    /// Where it stands, to be matched with where the gateway stands.
    pub zone: String,
    /// How many bytes it was last seen behind.
    pub lag_bytes: u64,
}
