//! The commands there are, how many words each takes, and what it has to know.

use super::errors;
use backstay_wire::resp::Value;

/// One row. `words` counts the command itself; a negative number is the least, as in Redis.
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) words: i64,
    /// Whether it may be sent before the password, and by a subscriber that speaks RESP 2.
    pub(super) early: bool,
    pub(super) subscriber: bool,
    /// Whether the answer needs the node's whole picture.
    pub(super) picture: bool,
    pub(super) subcommands: &'static [Subcommand],
}

/// One row below `CLIENT`, `COMMAND` or `SENTINEL`. `words` counts both names.
pub(super) struct Subcommand {
    pub(super) name: &'static str,
    words: i64,
    picture: bool,
}

const PLAIN: Command =
    Command { name: "", words: 1, early: false, subscriber: false, picture: false, subcommands: &[] };

const fn plain(name: &'static str, words: i64) -> Command {
    Command { name, words, ..PLAIN }
}

const fn pubsub(name: &'static str, words: i64) -> Command {
    Command { subscriber: true, ..plain(name, words) }
}

const fn sub(name: &'static str, words: i64) -> Subcommand {
    Subcommand { name, words, picture: false }
}

const fn seeing(name: &'static str, words: i64) -> Subcommand {
    Subcommand { picture: true, ..sub(name, words) }
}

/// Every command, by name.
pub(super) const COMMANDS: &[Command] = &[
    Command { early: true, ..plain("auth", -2) },
    Command { subcommands: CLIENT, ..plain("client", -2) },
    Command { subcommands: COMMAND, ..plain("command", -1) },
    Command { early: true, ..plain("hello", -1) },
    Command { picture: true, ..plain("info", -1) },
    pubsub("ping", -1),
    pubsub("psubscribe", -2),
    plain("publish", 3),
    pubsub("punsubscribe", -1),
    Command { early: true, ..pubsub("quit", -1) },
    Command { early: true, ..pubsub("reset", 1) },
    plain("role", 1),
    Command { subcommands: SENTINEL, ..plain("sentinel", -2) },
    pubsub("subscribe", -2),
    pubsub("unsubscribe", -1),
];

const CLIENT: &[Subcommand] = &[
    sub("getname", 2),
    sub("getredir", 2),
    sub("help", 2),
    sub("id", 2),
    sub("info", 2),
    sub("list", -2),
    sub("no-evict", 3),
    sub("no-touch", 3),
    sub("reply", 3),
    sub("setinfo", 4),
    sub("setname", 3),
];

const COMMAND: &[Subcommand] =
    &[sub("count", 2), sub("docs", -2), sub("help", 2), sub("info", -2), sub("list", -2)];

const SENTINEL: &[Subcommand] = &[
    seeing("ckquorum", 3),
    sub("get-master-addr-by-name", 3),
    sub("get-primary-addr-by-name", 3),
    sub("help", 2),
    seeing("master", 3),
    seeing("masters", 2),
    sub("myid", 2),
    seeing("primaries", 2),
    seeing("primary", 3),
    seeing("replicas", 3),
    seeing("sentinels", 3),
    seeing("slaves", 3),
];

/// A request whose words were counted.
pub(super) struct Call<'a> {
    pub(super) command: &'static Command,
    pub(super) subcommand: Option<&'static Subcommand>,
    /// What follows the names.
    pub(super) arguments: &'a [Vec<u8>],
}

impl Call<'_> {
    /// As `CLIENT LIST` shows it.
    pub(super) fn full_name(&self) -> String {
        match self.subcommand {
            Some(subcommand) => format!("{}|{}", self.command.name, subcommand.name),
            None => self.command.name.to_owned(),
        }
    }

    /// Whether messages may follow.
    pub(super) fn subscribes(&self) -> bool {
        matches!(self.command.name, "subscribe" | "psubscribe")
    }

    /// Whether the answer sends the client to a primary.
    pub(super) fn asks_where(&self) -> bool {
        let names_primary = |name: &str| name.contains("master") || name.contains("primar");
        self.subcommand.is_some_and(|subcommand| names_primary(subcommand.name))
    }

    /// Whether the answer needs the node's whole picture.
    pub(super) fn needs_picture(&self) -> bool {
        self.command.picture || self.subcommand.is_some_and(|subcommand| subcommand.picture)
    }
}

/// What is called, or the error to answer.
pub(super) fn resolve(request: &[Vec<u8>]) -> Result<Call<'_>, Value> {
    let Some((name, arguments)) = request.split_first() else {
        return Err(errors::unknown_command(request));
    };
    let command = COMMANDS
        .iter()
        .find(|command| name.eq_ignore_ascii_case(command.name.as_bytes()))
        .ok_or_else(|| errors::unknown_command(request))?;
    let call = Call { command, subcommand: None, arguments };
    match arguments.split_first() {
        Some((name, rest)) if !command.subcommands.is_empty() => {
            let subcommand = command
                .subcommands
                .iter()
                .find(|subcommand| name.eq_ignore_ascii_case(subcommand.name.as_bytes()))
                .ok_or_else(|| errors::unknown_subcommand(command.name, name))?;
            let call = Call { subcommand: Some(subcommand), arguments: rest, ..call };
            counted(call, request.len(), subcommand.words)
        }
        _ => counted(call, request.len(), command.words),
    }
}

fn counted(call: Call<'_>, words: usize, wanted: i64) -> Result<Call<'_>, Value> {
    let words = words as i64;
    let right = if wanted < 0 { words >= -wanted } else { words == wanted };
    // Redis checks the greatest number of its words in the command itself.
    let too_many = call.command.name == "ping" && words > 2;
    if right && !too_many {
        return Ok(call);
    }
    Err(errors::arity(&call.full_name()))
}
