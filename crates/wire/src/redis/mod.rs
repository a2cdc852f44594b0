//! What Backstay says to a Redis and how it understands the answer. The one place that knows Redis' words: beyond it
//! there are `Command`, `Reply` and `Fault`. It does not know in which order commands go out, or when.
//!
//! The rights that an ACL user needs are `RIGHTS`.

mod info;
mod reply;
mod rights;

pub use info::{acknowledged, run_id};
pub use reply::{decode_auth, decode_reply, fault_of};
pub use rights::RIGHTS;

use crate::resp::encode_request;
use backstay_model::{ClientKind, Command};

/// The milliseconds after which a canary key is gone.
const CANARY_EXPIRY_MS: &str = "1000";

/// Where Sentinels tell each other of themselves, on every instance that they manage (sentinel.c,
/// `SENTINEL_HELLO_CHANNEL`).
const SENTINEL_CHANNEL: &str = "__sentinel__:hello";

/// Writes the request that `command` stands for behind what `out` holds. It is answered by exactly one reply, in
/// order; hand that to `decode_reply`.
pub fn encode_command(out: &mut Vec<u8>, command: &Command) {
    match command {
        // What only a MariaDB is told is never sent to a Redis; if it were, it would change nothing.
        Command::Ping | Command::Sql(_) => encode_request(out, &["PING"]),
        Command::Identify => encode_request(out, &["INFO"]),
        Command::Info => encode_request(out, &["INFO", "replication"]),
        Command::WriteGuard => encode_request(out, &["CONFIG", "GET", "min-replicas-*"]),
        Command::Sentinels => encode_request(out, &["PUBSUB", "NUMSUB", SENTINEL_CHANNEL]),
        Command::EnableWriteGuard => encode_request(out, &["CONFIG", "SET", "min-replicas-max-lag", "10"]),
        Command::Begin => encode_request(out, &["MULTI"]),
        Command::Commit => encode_request(out, &["EXEC"]),
        Command::SetWriteGuard(replicas) => {
            encode_request(out, &["CONFIG", "SET", "min-replicas-to-write", &replicas.to_string()]);
        }
        // The connection that asks is spared: SKIPME is `yes` unless said otherwise.
        Command::DisconnectClients(ClientKind::Normal) => {
            encode_request(out, &["CLIENT", "KILL", "TYPE", "normal"]);
        }
        Command::DisconnectClients(ClientKind::PubSub) => {
            encode_request(out, &["CLIENT", "KILL", "TYPE", "pubsub"]);
        }
        Command::Replicate(primary) => {
            encode_request(out, &["REPLICAOF", &*primary.host, &primary.port.to_string()]);
        }
        Command::ReplicateNoOne => encode_request(out, &["REPLICAOF", "NO", "ONE"]),
        Command::PauseWrites(duration) => {
            encode_request(out, &["CLIENT", "PAUSE", &duration.as_millis().to_string(), "WRITE"]);
        }
        Command::ResumeWrites => encode_request(out, &["CLIENT", "UNPAUSE"]),
        Command::Canary(key) => encode_request(out, &["SET", key, "backstay", "PX", CANARY_EXPIRY_MS]),
    }
}

/// Writes an `AUTH` behind what `out` holds: with a user name for an ACL user, without one for the default user (the
/// only form that servers before Redis 6 know). Hand the reply to `decode_auth`.
pub fn encode_auth(out: &mut Vec<u8>, username: Option<&str>, password: &str) {
    match username {
        Some(username) => encode_request(out, &["AUTH", username, password]),
        None => encode_request(out, &["AUTH", password]),
    }
}
