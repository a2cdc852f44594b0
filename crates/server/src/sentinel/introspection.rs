//! `COMMAND`: what client libraries and `redis-cli` ask about the commands themselves. No documentation is kept here.

use super::command::{COMMANDS, Command};
use backstay_wire::resp::Value;

const HELP: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return details about all commands.",
    "COUNT",
    "    Return the total number of commands.",
    "INFO [<command-name> ...]",
    "    Return details about the commands.",
    "LIST",
    "    Return the names of all commands.",
    "HELP",
    "    Prints this help.",
];

pub(super) fn command(subcommand: &str, arguments: &[Vec<u8>]) -> Value {
    match subcommand {
        "count" => Value::Integer(COMMANDS.len() as i64),
        "docs" => Value::Map(Vec::new()),
        "help" => Value::Array(HELP.iter().map(|line| Value::Simple((*line).into())).collect()),
        "list" => Value::Array(COMMANDS.iter().map(|command| Value::bulk(command.name)).collect()),
        "info" if !arguments.is_empty() => Value::Array(arguments.iter().map(|name| named(name)).collect()),
        _ => Value::Array(COMMANDS.iter().map(details).collect()),
    }
}

fn named(name: &[u8]) -> Value {
    let found = COMMANDS.iter().find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()));
    found.map_or(Value::NullArray, details)
}

/// Name, words, flags, first key, last key, step, then categories, tips, key specifications and subcommands, which are
/// left empty: nothing here has keys.
fn details(command: &Command) -> Value {
    let flags = ["sentinel", "loading", "stale", "fast"].map(|flag| Value::Simple(flag.into()));
    let empty = || Value::Array(Vec::new());
    Value::Array(vec![
        Value::bulk(command.name),
        Value::Integer(command.words),
        Value::Set(flags.into()),
        Value::Integer(0),
        Value::Integer(0),
        Value::Integer(0),
        Value::Set(Vec::new()),
        empty(),
        empty(),
        empty(),
    ])
}
