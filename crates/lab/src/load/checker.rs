//! The checker: which acknowledged writes are missing on a server now. It reads; it never repairs.

use crate::error::{LabError, Result};
use crate::load::connection::{Connection, Reply, encode, integer, text};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const BATCH: usize = 500;

/// An acknowledged write as the checker looks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The key.
    pub key: String,
    /// What it was set to; none: that the key exists is enough.
    pub value: Option<String>,
}

/// Those of `expected` that `server` does not have, or has with another value.
pub fn missing(server: SocketAddr, expected: &[Expected]) -> Result<Vec<String>> {
    look_up(server, expected)
        .map_err(|source| LabError::Connection { to: format!("{server}, to check what was written"), source })
}

/// How many keys `server` holds.
pub fn key_count(server: SocketAddr) -> Result<i64> {
    let reply = Connection::open(server, ANSWER_LIMIT)
        .and_then(|mut link| link.call(&["DBSIZE"]))
        .map_err(|source| LabError::Connection { to: format!("{server}, to count its keys"), source })?;
    integer(&reply)
        .ok_or_else(|| LabError::Answer { from: server.to_string(), what: format!("{reply:?} to DBSIZE") })
}

fn look_up(server: SocketAddr, expected: &[Expected]) -> io::Result<Vec<String>> {
    let mut link = Connection::open(server, ANSWER_LIMIT)?;
    let mut lost = Vec::new();
    for batch in expected.chunks(BATCH) {
        let mut bytes = Vec::new();
        for wanted in batch {
            let verb = if wanted.value.is_some() { "GET" } else { "EXISTS" };
            encode(&[verb, &wanted.key], &mut bytes);
        }
        link.send_encoded(&bytes)?;
        for wanted in batch {
            if !is_there(&link.receive()?, wanted) {
                lost.push(wanted.key.clone());
            }
        }
    }
    Ok(lost)
}

fn is_there(reply: &Reply, wanted: &Expected) -> bool {
    match &wanted.value {
        Some(value) => text(reply) == *value,
        None => integer(reply) == Some(1),
    }
}
