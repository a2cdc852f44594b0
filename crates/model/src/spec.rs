//! What the operator wants, after the configuration was checked: the part that decisions need. Credentials, listeners
//! and folders stay with the crates that use them.

use crate::{Address, ClusterName, Digest, InstanceName, NodeId, NodeName, ServiceName};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The whole cluster as one node's file describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSpec {
    /// The cluster's name.
    pub cluster: ClusterName,
    /// Every controller, this node included.
    pub controllers: Vec<ControllerSpec>,
    /// Every service.
    pub services: Vec<ServiceSpec>,
}

/// One controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerSpec {
    /// Its name.
    pub name: NodeName,
    /// Where its peers reach it.
    pub address: Address,
    /// The region it stands in; empty if the file does not say.
    pub site: String,
    /// The failure domain inside the site; empty if the file does not say.
    pub zone: String,
}

impl ControllerSpec {
    /// Its number in consensus messages.
    pub fn id(&self) -> NodeId {
        NodeId::of(&self.name)
    }
}

/// One replication group and how it is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its name (Sentinel's master name).
    pub name: ServiceName,
    /// What its instances run, and what only that has.
    pub engine: Engine,
    /// The instances that may hold its data.
    pub instances: Vec<InstanceSpec>,
    /// Silence of this length is soft evidence that an instance is down.
    pub down_after: Duration,
    /// The time between two `PING`s on one connection.
    pub probe_interval: Duration,
    /// How long a replica may drain its socket before it is frozen.
    pub drain_wait: Duration,
    /// After a failover, how long the next one on soft evidence must wait.
    pub cooldown: Duration,
    /// How many replicas are re-pointed at a time.
    pub parallel_syncs: usize,
    /// Where the primary should stand, data permitting.
    pub preference: Preference,
    /// What gateways do when no controller tells them anything.
    pub failsafe: Failsafe,
    /// Digest of the section of the file, compared between nodes.
    pub digest: Digest,
}

impl ServiceSpec {
    /// The instance called `name`, if the file has it.
    pub fn instance(&self, name: &InstanceName) -> Option<&InstanceSpec> {
        self.instances.iter().find(|instance| instance.name == *name)
    }
}

/// What instances run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Redis, or Valkey.
    Redis(RedisSpec),
    /// MariaDB, 10.6 or later.
    MariaDb(MariaDbSpec),
    /// MySQL, 8.0.26 or later: as a MariaDB, in other words. Not yet tried on a real server.
    MySql(MariaDbSpec),
}

/// What only a Redis group has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RedisSpec {
    /// The key that the canary writes; it expires after one second.
    pub canary_key: String,
    /// The service's own `min-replicas-to-write`, put back when an instance is opened or demoted.
    pub min_replicas_to_write: u64,
    /// The operator knows of Sentinels beside Backstay: they hinder nothing.
    pub ignore_sentinels: bool,
}

/// What only a MariaDB or MySQL group has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MariaDbSpec {
    /// When a commit is acknowledged.
    pub durability: Durability,
    /// The scheduler of events runs on the primary.
    pub events: bool,
    /// Who decides that an instance is rebuilt.
    pub rebuild: RebuildPolicy,
}

/// Who decides that an instance that diverged is rebuilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RebuildPolicy {
    /// An operator.
    #[default]
    Ask,
    /// The controllers, at once.
    Auto,
}

impl RebuildPolicy {
    /// As the file spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Auto => "auto",
        }
    }
}

/// Which acknowledged writes may be lost (safety, "What can be promised").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Durability {
    /// Those that no replica had received.
    #[default]
    Async,
    /// None, while no more instances lose their data than the counted ones allow.
    Majority,
}

impl Durability {
    /// As the file spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Majority => "majority",
        }
    }
}

/// What instances run, without the settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// Redis, or Valkey. Also what older versions mean, which say nothing.
    #[default]
    Redis,
    /// MariaDB.
    MariaDb,
    /// MySQL.
    MySql,
}

impl EngineKind {
    /// As the file and `status` spell it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::MariaDb => "mariadb",
            Self::MySql => "mysql",
        }
    }

    /// What its offsets count.
    pub const fn unit(self) -> Unit {
        match self {
            Self::Redis => Unit::Bytes,
            Self::MariaDb | Self::MySql => Unit::Transactions,
        }
    }
}

/// What offsets, lags and losses count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Bytes of a replication stream.
    #[default]
    Bytes,
    /// Transactions, by their number in the GTID.
    Transactions,
}

impl Unit {
    /// So many of them.
    pub fn count(self, count: u64) -> String {
        let plural = if count == 1 { "" } else { "s" };
        match self {
            Self::Bytes => format!("{count} byte{plural}"),
            Self::Transactions => format!("{count} transaction{plural}"),
        }
    }

    /// So much written.
    pub fn written(self, count: u64) -> String {
        match self {
            Self::Bytes => format!("{} of writes", self.count(count)),
            Self::Transactions => self.count(count),
        }
    }
}

impl Engine {
    /// Without the settings.
    pub const fn kind(&self) -> EngineKind {
        match self {
            Self::Redis(_) => EngineKind::Redis,
            Self::MariaDb(_) => EngineKind::MariaDb,
            Self::MySql(_) => EngineKind::MySql,
        }
    }

    /// As the file and `status` spell it.
    pub const fn word(&self) -> &'static str {
        self.kind().word()
    }

    /// The settings that only Redis has.
    pub const fn redis(&self) -> Option<&RedisSpec> {
        match self {
            Self::Redis(redis) => Some(redis),
            Self::MariaDb(_) | Self::MySql(_) => None,
        }
    }

    /// The settings that only MariaDB and MySQL have.
    pub const fn mariadb(&self) -> Option<&MariaDbSpec> {
        match self {
            Self::Redis(_) => None,
            Self::MariaDb(sql) | Self::MySql(sql) => Some(sql),
        }
    }
}

/// What a gateway does for a service once no lease can be renewed (safety, section 2.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Failsafe {
    /// It holds.
    #[default]
    Off,
    /// It goes on serving the last primary while a replica of the file acknowledges that one's stream. There may be
    /// another primary by then.
    RiskTwoPrimaries,
}

impl Failsafe {
    /// As the file spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::RiskTwoPrimaries => "risk-two-primaries",
        }
    }
}

/// One server process of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceSpec {
    /// Its name.
    pub name: InstanceName,
    /// Where it listens.
    pub address: Address,
    /// The region it stands in; empty if the file does not say.
    pub site: String,
    /// The failure domain inside the site; empty if the file does not say.
    pub zone: String,
    /// Lower is preferred among equals; 0 is never promoted (as Redis' `replica-priority`).
    pub priority: u32,
    /// Where the agent on its host listens, if there is one.
    pub agent: Option<Address>,
}

/// Where the primary should stand. Considered only among candidates that are at most `max_lag_bytes` behind the most
/// advanced one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preference {
    /// Preferred region, if any.
    pub site: Option<String>,
    /// Preferred zone, if any.
    pub zone: Option<String>,
    /// How many bytes, or transactions, of acknowledged writes the operator gives up for the preference. Default 0: none.
    pub max_lag_bytes: u64,
}
