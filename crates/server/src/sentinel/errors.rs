//! The errors that Redis' clients know, letter for letter.

use backstay_wire::resp::Value;

/// The most bytes of a client's words that an error repeats (server.c, `processCommand`).
const QUOTED_BYTES_MAX: usize = 128;

pub(super) fn error(text: impl Into<String>) -> Value {
    Value::Error(text.into())
}

pub(super) fn syntax() -> Value {
    error("ERR syntax error")
}

pub(super) fn arity(full_name: &str) -> Value {
    error(format!("ERR wrong number of arguments for '{full_name}' command"))
}

pub(super) fn unknown_command(request: &[Vec<u8>]) -> Value {
    let (name, arguments) =
        request.split_first().map_or((&[][..], &[][..]), |(name, rest)| (name.as_slice(), rest));
    let mut quoted = String::new();
    for argument in arguments {
        if quoted.len() >= QUOTED_BYTES_MAX {
            break;
        }
        let room = QUOTED_BYTES_MAX - quoted.len();
        quoted = format!("{quoted}'{}' ", words(argument, room));
    }
    let name = words(name, QUOTED_BYTES_MAX);
    error(format!("ERR unknown command '{name}', with args beginning with: {quoted}"))
}

pub(super) fn unknown_subcommand(command: &str, subcommand: &[u8]) -> Value {
    let (command, subcommand) = (command.to_ascii_uppercase(), words(subcommand, QUOTED_BYTES_MAX));
    error(format!("ERR unknown subcommand '{subcommand}'. Try {command} HELP."))
}

pub(super) fn unknown_service() -> Value {
    error("ERR No such master with that name")
}

pub(super) fn stopping() -> Value {
    error("ERR this controller is stopping: ask another one")
}

/// A client's bytes as they may be repeated to it.
fn words(bytes: &[u8], bytes_max: usize) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(bytes_max)]).into_owned()
}
