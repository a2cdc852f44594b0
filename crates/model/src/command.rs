//! What a link says to an engine and what it hears, one request and one reply each. `wire` turns them into bytes; the
//! simulator's fake engines take them as they are.

use crate::{Address, Fault, Identity, ReplId, ReplOffset, Role};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One request to an instance. Each has exactly one reply, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Are you there?
    Ping,
    /// Who are you (Redis: `INFO`)?
    Identify,
    /// Where are you in the replication stream (`INFO replication`)?
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
    /// Write this key with an expiry of one second.
    Canary(String),
    /// Keep clients' writes waiting for so long (`CLIENT PAUSE … WRITE`). It expires, and then runs what it postponed.
    PauseWrites(Duration),
    /// End that early (`CLIENT UNPAUSE`).
    ResumeWrites,
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
}
