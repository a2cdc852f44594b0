//! Replies to what they mean for the command that they answer.

use super::info;
use crate::resp::Value;
use backstay_model::{Command, Fault, Reply};

/// What `value` means as the reply to `command`. Never fails: what makes no sense is `Fault::NotTheEngine`.
pub fn decode_reply(command: &Command, value: &Value) -> Reply {
    if let Value::Error(text) = value {
        return Reply::Refused(fault_of(text));
    }
    if matches!(value, Value::Simple(text) if text == "QUEUED") {
        return Reply::Done; // It runs with the transaction, whose reply tells how it went.
    }
    let understood = match command {
        Command::Ping => (value.as_bytes() == Some(b"PONG")).then_some(Reply::Pong),
        Command::Identify => value.as_bytes().and_then(info::identity).map(Reply::Identity),
        Command::Info => value.as_bytes().and_then(info::replication).map(Reply::Info),
        Command::WriteGuard => write_guard(value),
        Command::Sentinels => subscribers(value).map(Reply::Sentinels),
        Command::Commit => committed(value),
        Command::Sql(_) => None,
        Command::DisconnectClients(_) => matches!(value, Value::Integer(_)).then_some(Reply::Done),
        // `REPLICAOF` may add words: `OK Already connected to specified master`.
        Command::SetWriteGuard(_)
        | Command::EnableWriteGuard
        | Command::Begin
        | Command::Replicate(_)
        | Command::ReplicateNoOne
        | Command::PauseWrites(_)
        | Command::ResumeWrites
        | Command::Canary(_) => is_ok(value).then_some(Reply::Done),
    };
    understood.unwrap_or(Reply::Refused(Fault::NotTheEngine))
}

/// Whether the reply to `encode_auth` lets the connection in. A server that has no password counts as one that refuses
/// ours: one of the two files is wrong.
pub fn decode_auth(value: &Value) -> Result<(), Fault> {
    match value {
        Value::Error(text) => Err(fault_of(text)),
        value if is_ok(value) => Ok(()),
        _ => Err(Fault::NotTheEngine),
    }
}

/// What an error reply amounts to.
pub fn fault_of(error: &str) -> Fault {
    match error.split(' ').next().unwrap_or_default() {
        "LOADING" => Fault::Loading,
        "BUSY" => Fault::Busy,
        "MISCONF" => Fault::DiskError,
        "MASTERDOWN" => Fault::PrimaryLost,
        "WRONGPASS" | "NOAUTH" => Fault::WrongPassword,
        // Protected mode: refuses everybody who is not on its own host.
        "NOPERM" | "DENIED" => Fault::NoPermission,
        "ERR" => plain_error(&error.to_ascii_lowercase()),
        _ => Fault::OtherError,
    }
}

/// Errors without a code of their own are told by their sentence.
fn plain_error(text: &str) -> Fault {
    let has = |words: &[&str]| words.iter().any(|words| text.contains(words));
    if has(&["max number of clients"]) {
        Fault::TooManyClients
    } else if has(&[
        // Before Redis 6.
        "invalid password",
        "client sent auth, but no password is set",
        // Since Redis 6.
        "called without any password configured",
    ]) {
        Fault::WrongPassword
    } else {
        Fault::OtherError
    }
}

fn is_ok(value: &Value) -> bool {
    matches!(value, Value::Simple(text) if text == "OK" || text.starts_with("OK "))
}

/// Both halves of the guard, in any order. `CONFIG GET` answers a flat array in RESP 2 and a map in RESP 3.
fn write_guard(value: &Value) -> Option<Reply> {
    let pairs: Vec<(&Value, &Value)> = match value {
        Value::Array(items) => items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
        _ => return None,
    };
    let number = |wanted: &str| {
        let (_, value) = pairs.iter().find(|(name, _)| name.as_text() == Some(wanted))?;
        value.as_text()?.parse::<u64>().ok()
    };
    Some(Reply::WriteGuard {
        replicas: number("min-replicas-to-write")?,
        max_lag: number("min-replicas-max-lag")?,
    })
}

/// The count behind the only channel that was asked for.
fn subscribers(value: &Value) -> Option<u64> {
    match value {
        Value::Array(items) => match items.as_slice() {
            [_, Value::Integer(count)] => u64::try_from(*count).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// What a transaction did: all of it, or the first error in it.
fn committed(value: &Value) -> Option<Reply> {
    let Value::Array(replies) = value else {
        return matches!(value, Value::Null | Value::NullArray).then_some(Reply::Refused(Fault::OtherError));
    };
    let error = replies.iter().find_map(|reply| match reply {
        Value::Error(text) => Some(fault_of(text)),
        _ => None,
    });
    Some(error.map_or(Reply::Done, Reply::Refused))
}
