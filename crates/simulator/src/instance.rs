//! One server process, of whichever engine: the few things that the world and the checkers ask of any.

use crate::mariadb::MariaDb;
use crate::redis::{ConnectionId, Deed, Redis, Request, WriteId};
use backstay_model::{Address, ReplId, RunId};

/// See the module's head.
#[derive(Clone, Debug)]
pub(crate) enum Instance {
    Redis(Redis),
    MariaDb(MariaDb),
}

impl Instance {
    pub(crate) const fn redis(&self) -> Option<&Redis> {
        match self {
            Self::Redis(redis) => Some(redis),
            Self::MariaDb(_) => None,
        }
    }

    pub(crate) const fn redis_mut(&mut self) -> Option<&mut Redis> {
        match self {
            Self::Redis(redis) => Some(redis),
            Self::MariaDb(_) => None,
        }
    }

    pub(crate) const fn mariadb(&self) -> Option<&MariaDb> {
        match self {
            Self::Redis(_) => None,
            Self::MariaDb(mariadb) => Some(mariadb),
        }
    }

    pub(crate) const fn mariadb_mut(&mut self) -> Option<&mut MariaDb> {
        match self {
            Self::Redis(_) => None,
            Self::MariaDb(mariadb) => Some(mariadb),
        }
    }

    pub(crate) const fn address(&self) -> &Address {
        match self {
            Self::Redis(redis) => &redis.address,
            Self::MariaDb(mariadb) => &mariadb.address,
        }
    }

    pub(crate) const fn run_id(&self) -> &RunId {
        match self {
            Self::Redis(redis) => &redis.run_id,
            Self::MariaDb(mariadb) => &mariadb.run_id,
        }
    }

    /// The history that it names.
    pub(crate) fn replid(&self) -> ReplId {
        match self {
            Self::Redis(redis) => redis.replid.clone(),
            Self::MariaDb(mariadb) => mariadb.history(),
        }
    }

    /// The writes that it holds, oldest first.
    pub(crate) fn data(&self) -> Vec<WriteId> {
        match self {
            Self::Redis(redis) => redis.data.clone(),
            Self::MariaDb(mariadb) => mariadb.data(),
        }
    }

    /// How much of that it would hold as a primary.
    pub(crate) fn promotable(&self) -> usize {
        match self {
            Self::Redis(redis) => redis.data.len(),
            Self::MariaDb(mariadb) => mariadb.promotable(),
        }
    }

    /// Whether it holds this one, which it took a moment ago.
    pub(crate) fn holds_lately(&self, write: WriteId) -> bool {
        match self {
            Self::Redis(redis) => redis.data.iter().rev().any(|held| *held == write),
            Self::MariaDb(mariadb) => mariadb.holds_lately(write),
        }
    }

    /// A primary that takes writes.
    pub(crate) fn is_writable(&self) -> bool {
        match self {
            Self::Redis(redis) => redis.is_writable(),
            Self::MariaDb(mariadb) => mariadb.is_writable(),
        }
    }

    /// Whom it follows, and whether it is linked there.
    pub(crate) const fn follows(&self) -> (Option<&Address>, bool) {
        match self {
            Self::Redis(redis) => (redis.follows.as_ref(), redis.link_up),
            Self::MariaDb(mariadb) => (mariadb.follows.as_ref(), mariadb.is_linked()),
        }
    }

    pub(crate) const fn is_stopped(&self) -> bool {
        match self {
            Self::Redis(redis) => redis.stopped,
            Self::MariaDb(mariadb) => mariadb.stopped,
        }
    }

    pub(crate) const fn stop(&mut self) {
        match self {
            Self::Redis(redis) => redis.stopped = true,
            Self::MariaDb(mariadb) => mariadb.stopped = true,
        }
    }

    pub(crate) fn resume(&mut self) -> Vec<Deed> {
        match self {
            Self::Redis(redis) => redis.resume(),
            Self::MariaDb(mariadb) => mariadb.resume(),
        }
    }

    /// It was made a primary or somebody's replica long ago.
    pub(crate) fn runs_as(&mut self, follows: Option<Address>) {
        match self {
            Self::Redis(redis) => redis.runs_as(follows),
            Self::MariaDb(mariadb) => mariadb.runs_as(follows),
        }
    }

    /// It took these writes long ago.
    pub(crate) fn holds(&mut self, writes: &[WriteId]) {
        match self {
            Self::Redis(redis) => redis.holds(writes),
            Self::MariaDb(mariadb) => mariadb.holds(writes),
        }
    }

    /// A replica's link to it ended.
    pub(crate) fn loses_replica(&mut self, replica: usize) {
        match self {
            Self::Redis(redis) => redis.replicas = redis.replicas.saturating_sub(1),
            Self::MariaDb(mariadb) => mariadb.detach(replica),
        }
    }

    /// A client's connection reached the host.
    pub(crate) fn connect(&mut self, connection: ConnectionId) {
        match self {
            Self::Redis(redis) => redis.connect(connection),
            Self::MariaDb(mariadb) => mariadb.connect(connection),
        }
    }

    /// A request arrived on a connection.
    pub(crate) fn arrive(&mut self, connection: ConnectionId, request: Request) -> Vec<Deed> {
        match self {
            Self::Redis(redis) => redis.arrive(connection, request),
            Self::MariaDb(mariadb) => mariadb.arrive(connection, request),
        }
    }
}
