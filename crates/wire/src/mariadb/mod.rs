//! What Backstay says to a MariaDB and how it understands the answer, over the protocol's text half: a login, then one
//! packet for each command. The one place that knows MariaDB's words, and in `mysql` those of MySQL 8, which speaks the same
//! protocol: beyond it there are `Command`, `Reply` and `Fault`.
//!
//! Commands may be written while others are unanswered: the server runs what lies in its socket in order. It does not
//! know in which order commands go out, or when.

mod conversation;
mod fault;
mod handshake;
mod info;
mod interview;
mod mysql;
mod packet;
mod results;
mod rights;
mod scramble;
mod statements;

pub use conversation::Conversation;
pub use fault::ServerError;
pub use handshake::{Upgrade, upgrade};
pub use interview::{Answer, Interview};
pub use results::{Row, Table};
pub use scramble::password_hash;

pub use rights::{
    CANARY_RIGHTS, EVENT_RIGHTS, MYSQL_CANARY_RIGHTS, MYSQL_RIGHTS, MYSQL_TABLE_RIGHTS, REPLICATION_RIGHTS,
    RIGHTS,
};

use backstay_model::{Fault, MariaDbSpec};
use std::fmt;
use thiserror::Error;

/// Somebody who can log in. Shows nothing of the password.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// The user.
    pub username: String,
    /// The password; empty: none.
    pub password: String,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("username", &self.username).finish_non_exhaustive()
    }
}

/// What a conversation needs to know beforehand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Who logs in.
    pub login: Account,
    /// As whom replicas log in at their primary.
    pub replication: Account,
    /// What the service is to be like.
    pub spec: MariaDbSpec,
    /// The channel is encrypted: the server was asked to (`upgrade`), and replicas ask, too.
    pub encrypted: bool,
}

/// Why what a server answered is of no use, and what may be told of that.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unfit {
    fault: Fault,
    error: Option<ServerError>,
}

impl Unfit {
    fn saying(fault: Fault, why: impl Into<String>) -> Self {
        Self { fault, error: Some(ServerError::own(why)) }
    }
}

impl From<Fault> for Unfit {
    fn from(fault: Fault) -> Self {
        Self { fault, error: None }
    }
}

/// Why a conversation cannot go on. It keeps nothing and repeats it: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConversationError {
    /// What arrived is not what a MariaDB says there.
    #[error("what arrived is not what a MariaDB says")]
    Garbage,
    /// More arrived than anything that was asked for can need.
    #[error("more arrived than is ever asked for")]
    TooLong,
    /// The server ended the connection, and said so.
    #[error("the server ended the connection")]
    Ended,
}
