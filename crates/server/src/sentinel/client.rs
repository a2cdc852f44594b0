//! `CLIENT`: what client libraries say about themselves when they connect, and what operators ask about clients.

use super::errors::{error, syntax, unknown_subcommand};
use super::session::Session;
use backstay_wire::resp::Value;

const HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "    * ID <client-id> [...]",
    "      Return clients with the specified ids.",
    "NO-EVICT (ON|OFF)",
    "    Accepted; clients are never evicted here.",
    "SETINFO (LIB-NAME|LIB-VER) <value>",
    "    Assign the name or the version of the client's library.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "HELP",
    "    Prints this help.",
];

/// One `CLIENT` subcommand; its arity was checked.
pub(super) fn client(session: &mut Session, subcommand: &str, arguments: &[Vec<u8>]) -> Value {
    match (subcommand, arguments) {
        ("setname", [name]) => set_name(session, name),
        ("getname", _) => match session.card() {
            Some(card) if !card.name.is_empty() => Value::bulk(card.name),
            _ => Value::Null,
        },
        ("id", _) => Value::Integer(session.id() as i64),
        ("getredir", _) => Value::Integer(-1),
        ("info", _) => text(session.shared().registry.line_of(session.id())),
        ("list", filters) => list(session, filters),
        ("setinfo", [attribute, value]) => set_info(session, attribute, value),
        ("no-evict" | "no-touch", [switch]) => on_or_off(switch),
        ("reply", [mode]) if mode.eq_ignore_ascii_case(b"on") => ok(),
        ("reply", _) => error("ERR CLIENT REPLY OFF and SKIP are not supported here"),
        ("help", _) => Value::Array(HELP.iter().map(|line| Value::Simple((*line).into())).collect()),
        _ => unknown_subcommand("client", subcommand.as_bytes()),
    }
}

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn text(lines: String) -> Value {
    Value::Verbatim(*b"txt", lines.into_bytes())
}

fn set_name(session: &mut Session, name: &[u8]) -> Value {
    if !is_plain_name(name) {
        return bad_name();
    }
    session.set_name(name);
    ok()
}

/// Names must not break the lines of `CLIENT LIST`.
pub(super) fn is_plain_name(name: &[u8]) -> bool {
    name.len() <= 256 && name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

pub(super) fn bad_name() -> Value {
    error("ERR Client names cannot contain spaces, newlines or special characters.")
}

fn set_info(session: &mut Session, attribute: &[u8], value: &[u8]) -> Value {
    let attribute = attribute.to_ascii_lowercase();
    let is_name = attribute == b"lib-name";
    if !is_name && attribute != b"lib-ver" {
        let attribute = String::from_utf8_lossy(&attribute);
        return error(format!("ERR Unrecognized option '{attribute}'"));
    }
    if !is_plain_name(value) {
        let attribute = String::from_utf8_lossy(&attribute);
        return error(format!("ERR {attribute} cannot contain spaces, newlines or special characters."));
    }
    let value = String::from_utf8_lossy(value).into_owned();
    session.note(|card| {
        if is_name {
            card.library = value;
        } else {
            card.library_version = value;
        }
    });
    ok()
}

fn on_or_off(switch: &[u8]) -> Value {
    match switch.to_ascii_lowercase().as_slice() {
        b"on" | b"off" => ok(),
        _ => syntax(),
    }
}

/// `CLIENT LIST [TYPE type | ID id ...]`.
fn list(session: &Session, filters: &[Vec<u8>]) -> Value {
    let registry = &session.shared().registry;
    let Some((filter, values)) = filters.split_first() else {
        return text(registry.lines(|_, _| true));
    };
    match (filter.to_ascii_lowercase().as_slice(), values) {
        (b"type", [kind]) => match kind.to_ascii_lowercase().as_slice() {
            b"normal" => text(registry.lines(|_, card| !card.is_subscriber())),
            b"pubsub" => text(registry.lines(|_, card| card.is_subscriber())),
            b"master" | b"replica" | b"slave" => text(String::new()),
            _ => error(format!("ERR Unknown client type '{}'", String::from_utf8_lossy(kind))),
        },
        (b"id", [_, ..]) => {
            let ids: Option<Vec<u64>> = values
                .iter()
                .map(|id| std::str::from_utf8(id).ok()?.parse().ok().filter(|id| *id > 0))
                .collect();
            ids.map_or_else(
                || error("ERR Invalid client ID"),
                |ids| text(registry.lines(|id, _| ids.contains(&id))),
            )
        }
        _ => syntax(),
    }
}
