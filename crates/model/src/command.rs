//! What a link says to an engine and what it hears, one request and one reply each. `wire` turns them into bytes; the
//! simulator's fake engines take them as they are.

use crate::{Address, Fault, Identity, ReplId, ReplOffset, Role, SqlState};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The `min-replicas-to-write` that closes a Redis for writes, and does not expire.
pub const CLOSED: u64 = 1_000_000;

/// One request to an instance. Each has exactly one reply, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Are you there?
    Ping,
    /// Who are you (Redis: `INFO`)?
    Identify,
    /// Where are you in replication (`INFO replication`; MariaDB: GTIDs, `SHOW ALL SLAVES STATUS`)?
    Info,
    /// What are your `min-replicas-to-write` and `min-replicas-max-lag`?
    WriteGuard,
    /// How many listen to Sentinels' hellos (`PUBSUB NUMSUB`)? Every Sentinel that manages the instance does.
    Sentinels,
    /// Set `min-replicas-to-write`.
    SetWriteGuard(u64),
    /// Set `min-replicas-max-lag` to Redis' default: at 0 the guard is ignored.
    EnableWriteGuard,
    /// What follows runs as one, or not at all (`MULTI`).
    Begin,
    /// Run it (`EXEC`).
    Commit,
    /// Disconnect every other client, pub/sub included (`CLIENT KILL TYPE normal`, `pubsub`).
    DisconnectClients(ClientKind),
    /// Replicate from this address (`REPLICAOF`).
    Replicate(Address),
    /// Become a primary (`REPLICAOF NO ONE`).
    ReplicateNoOne,
    /// What only a MariaDB is told.
    Sql(Sql),
    /// Write what nobody else reads (Redis: this key, with an expiry of one second).
    Canary(String),
    /// Keep clients' writes waiting for so long (`CLIENT PAUSE … WRITE`). It expires, and then runs what it postponed.
    PauseWrites(Duration),
    /// End that early (`CLIENT UNPAUSE`).
    ResumeWrites,
}

/// What only a MariaDB is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sql {
    /// Take no writes of clients (`read_only=1`), or say within a second what stands in the way.
    Close,
    /// Take them (`read_only=0`).
    Open,
    /// Say, as a refusal, what its commits wait for. Done: nothing that it knows of.
    Delay,
    /// Receive nothing more; what was received is still applied (`STOP SLAVE IO_THREAD`).
    StopReceiving,
    /// A replica follows this address, and acknowledges what it receives or does not.
    Follow {
        /// Whom.
        primary: Address,
        /// Whether it acknowledges.
        acker: bool,
    },
    /// As `Follow`, for one that was a primary, in the history that it wrote.
    Demote {
        /// Whom; `Address::nowhere()`: nobody.
        primary: Address,
        /// Whether it acknowledges.
        acker: bool,
    },
    /// Once everything up to there is applied, take no writes of clients, disconnect everybody else and become a primary.
    /// Nothing of it happens if something of it fails.
    Ascend {
        /// The history.
        replid: ReplId,
        /// How far in it.
        offset: ReplOffset,
    },
}

/// The clients that `CLIENT KILL TYPE` tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientKind {
    /// Those that send commands, other controllers included.
    Normal,
    /// Those that subscribed.
    PubSub,
}

/// The reply to a `Command`, after the engine's text was translated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// To `Ping`.
    Pong,
    /// To `Identify`.
    Identity(Identity),
    /// To `Info`.
    Info(Info),
    /// To `WriteGuard`.
    WriteGuard {
        /// `min-replicas-to-write`.
        replicas: u64,
        /// `min-replicas-max-lag`, in seconds.
        max_lag: u64,
    },
    /// To `Sentinels`.
    Sentinels(u64),
    /// To everything else.
    Done,
    /// An error reply, or one that makes no sense as an answer to the command.
    Refused(Fault),
}

/// What `INFO replication` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Primary or replica.
    pub role: Role,
    /// The history it is in (`master_replid`).
    pub replid: ReplId,
    /// The history before its promotion (`master_replid2`, `second_repl_offset`), if there was one.
    pub previous: Option<(ReplId, ReplOffset)>,
    /// How far it is (`master_repl_offset` of a primary, `slave_repl_offset` of a replica).
    pub offset: ReplOffset,
    /// See `Replication`; a Redis does not say so itself.
    pub closed: bool,
    /// What only a MariaDB says.
    pub sql: SqlState,
}
