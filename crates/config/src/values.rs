//! Texts and numbers to values: durations, names, addresses, paths. A refused one says what to write instead. What values
//! mean together is checked elsewhere.

use backstay_model::{Address, Durability, Failsafe, RebuildPolicy};
use std::path::PathBuf;
use std::time::Duration;

/// The longest name of anything.
const NAME_BYTES_MAX: usize = 64;
/// The longest path of a Unix socket (`sun_path`, without the final zero).
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Why a value is refused.
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) help: String,
}

fn refuse<T>(message: String, help: impl Into<String>) -> Result<T, Refusal> {
    let help = help.into();
    Err(Refusal { message, help })
}

/// `500ms`, `2s`, `1m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, Refusal> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let unit_ms = match unit.trim_start() {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let millis = digits.parse::<u64>().ok().zip(unit_ms).and_then(|(count, unit)| count.checked_mul(unit));
    match millis {
        Some(millis) => Ok(Duration::from_millis(millis)),
        None => refuse(
            format!("'{}' is not a duration", short(text)),
            "Write a whole number and a unit: \"500ms\", \"2s\", \"1m\" or \"1h\".",
        ),
    }
}

/// A duration as the file would spell it.
pub(crate) fn spelt(duration: Duration) -> String {
    match u64::try_from(duration.as_millis()).unwrap_or(u64::MAX) {
        0 => "0ms".into(),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}

/// A name of a controller, an instance or the cluster: it also becomes part of paths and messages.
pub(crate) fn name(text: &str) -> Result<String, Refusal> {
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !begins_well || !is_plain(text) {
        return refuse(
            format!("'{}' cannot be a name", short(text)),
            "Use letters, digits, '.', '-' and '_', at most 64, and begin with a letter or digit.",
        );
    }
    Ok(text.to_owned())
}

/// A service's name: the characters that Sentinel allows for a master name (`sentinelIsValidMasterName` rejects others).
pub(crate) fn service_name(text: &str) -> Result<String, Refusal> {
    if !is_plain(text) {
        return refuse(
            format!("'{}' cannot be a service's name", short(text)),
            "Clients ask for it as Sentinel's master name: use letters, digits, '.', '-' and '_', at most 64.",
        );
    }
    Ok(text.to_owned())
}

fn is_plain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !text.is_empty() && text.len() <= NAME_BYTES_MAX && text.bytes().all(is_plain)
}

/// A site or zone.
pub(crate) fn place(text: &str) -> Result<String, Refusal> {
    printable(text, NAME_BYTES_MAX, "a site or zone")
}

/// A key in Redis.
pub(crate) fn key(text: &str) -> Result<String, Refusal> {
    printable(text, 512, "a key")
}

/// A user name or the name of an environment variable.
pub(crate) fn identifier(text: &str) -> Result<String, Refusal> {
    match printable(text, 256, "a name")? {
        name if name.contains(char::is_whitespace) || name.contains('=') => {
            refuse(format!("'{name}' cannot be a name"), "Leave out spaces and '='.")
        }
        name => Ok(name),
    }
}

/// The only thing to say about authentication without saying who may do what; `otherwise` are the settings for that.
pub(crate) fn no_auth(text: &str, otherwise: &str) -> Result<(), Refusal> {
    if text == "none" {
        return Ok(());
    }
    refuse(
        format!("'{}' is no way to authenticate", short(text)),
        format!("Write \"none\" if no password is needed; else leave it out and write {otherwise}."),
    )
}

fn printable(text: &str, bytes_max: usize, what: &str) -> Result<String, Refusal> {
    if text.is_empty() || text.len() > bytes_max || text.contains(char::is_control) {
        return refuse(
            format!("'{}' cannot be {what}", short(text)),
            format!("Write 1 to {bytes_max} printable characters, or leave the key out."),
        );
    }
    Ok(text.to_owned())
}

/// What gateways do when no controller tells them anything.
pub(crate) fn failsafe(text: &str) -> Result<Failsafe, Refusal> {
    let known = [Failsafe::Off, Failsafe::RiskTwoPrimaries].into_iter().find(|it| it.word() == text);
    known.map_or_else(
        || {
            refuse(
                format!("'{}' is no failsafe", short(text)),
                "Write \"off\", so that gateways hold when no controller tells them anything, or \
                 \"risk-two-primaries\", if they shall go on and you accept that there may be two primaries then.",
            )
        },
        Ok,
    )
}

/// The only thing to say about the failsafe of a MariaDB.
pub(crate) fn no_failsafe(text: &str) -> Result<Failsafe, Refusal> {
    off_alone("MariaDB", text)
}

/// And of a MySQL.
pub(crate) fn no_failsafe_of_mysql(text: &str) -> Result<Failsafe, Refusal> {
    off_alone("MySQL", text)
}

fn off_alone(engine: &str, text: &str) -> Result<Failsafe, Refusal> {
    if text == Failsafe::Off.word() {
        return Ok(Failsafe::Off);
    }
    refuse(
        format!("a {engine} service has no failsafe yet"),
        "Leave it out, or write \"off\": its gateways hold when no controller tells them anything.",
    )
}

/// When a commit is acknowledged.
pub(crate) fn durability(text: &str) -> Result<Durability, Refusal> {
    let known = [Durability::Async, Durability::Majority].into_iter().find(|it| it.word() == text);
    known.map_or_else(
        || {
            refuse(
                format!("'{}' is no durability", short(text)),
                "Write \"async\", so that a commit is acknowledged once the primary has it, or \"majority\", once a \
                 replica has it, too.",
            )
        },
        Ok,
    )
}

/// Who decides that an instance is rebuilt.
pub(crate) fn rebuild(text: &str) -> Result<RebuildPolicy, Refusal> {
    let known = [RebuildPolicy::Ask, RebuildPolicy::Auto].into_iter().find(|it| it.word() == text);
    known.map_or_else(
        || {
            refuse(
                format!("'{}' says nobody who decides", short(text)),
                "Write \"ask\", so that an instance that diverged is rebuilt when an operator says so (`backstay rebuild`), \
                 or \"auto\", at once.",
            )
        },
        Ok,
    )
}

/// `host:port`.
pub(crate) fn address(text: &str) -> Result<Address, Refusal> {
    text.parse::<Address>().map_err(|error| {
        let why = error.to_string();
        let why = why.rsplit_once("is not an address: ").map_or("", |(_, why)| why);
        Refusal { message: format!("'{}' is not an address", short(text)), help: capitalised(why) }
    })
}

/// A host name or an IP literal, as a certificate bears it.
pub(crate) fn host(text: &str) -> Result<String, Refusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':');
    if text.is_empty() || text.len() > 253 || !text.bytes().all(plain) {
        return refuse(
            format!("'{}' cannot be a server's name", short(text)),
            "Write the host name or the IP address that the certificates bear, without a port.",
        );
    }
    Ok(text.to_owned())
}

/// A path that does not depend on where the process was started.
pub(crate) fn path(text: &str) -> Result<PathBuf, Refusal> {
    if !text.starts_with('/') || text.contains(char::is_control) {
        return refuse(
            format!("'{}' is not an absolute path", short(text)),
            "Begin with '/', so that it means the same wherever Backstay is started.",
        );
    }
    Ok(text.into())
}

/// A path that a Unix socket can have.
pub(crate) fn socket_path(text: &str) -> Result<PathBuf, Refusal> {
    let path = path(text)?;
    if text.len() > SOCKET_PATH_BYTES_MAX {
        return refuse(
            format!("the path of the socket has {} bytes", text.len()),
            format!("A Unix socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes: choose a shorter one."),
        );
    }
    Ok(path)
}

/// A text cut so that a message stays readable.
fn short(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(60).flat_map(char::escape_debug).collect();
    if chars.next().is_some() { format!("{head}...") } else { head }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(chars).chain(['.']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_they_are_spelt() {
        for text in ["0ms", "250ms", "2s", "90s", "1m", "1h"] {
            assert_eq!(duration(text).ok().map(spelt).as_deref(), Some(text));
        }
        for text in
            ["", "ms", "5", "1.5s", "-1s", "5 fortnights", "99999999999999999999h", "9999999999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
