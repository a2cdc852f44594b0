//! The text of a Redis configuration file, and how it is changed: what Backstay needs stands in one marked block at the
//! end, where it wins; lines that said otherwise are commented out. Pure; who writes it is `steps`.

use super::user::User;

const BEGIN: &str = "# --- backstay adopt: begin (this block is kept by the command; change it there)";
const END: &str = "# --- backstay adopt: end";
const COMMENTED: &str = "# backstay adopt, was: ";

/// What the file is to say about one setting.
#[derive(Clone, Copy, Debug)]
pub(super) enum Line<'a> {
    /// The setting has this value; `names`: all its spellings, the one to write first.
    Is { names: &'static [&'static str], value: &'a str },
    /// The setting has at least this number of bytes, and else is given it.
    AtLeast { names: &'static [&'static str], bytes: u64 },
    /// The setting has less than this value, and else is given the other one.
    Below { names: &'static [&'static str], limit: u64, value: u64 },
    /// This user is defined so.
    User(&'a User),
}

/// A changed text.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// The whole new text.
    pub(super) text: String,
    /// Lines that no longer say anything, fit to be shown.
    pub(super) removed: Vec<String>,
    /// Lines of the new block that were not there, fit to be shown.
    pub(super) added: Vec<String>,
}

impl std::fmt::Debug for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text holds other people's passwords.
        f.debug_struct("Edit")
            .field("removed", &self.removed)
            .field("added", &self.added)
            .finish_non_exhaustive()
    }
}

impl Line<'_> {
    /// Whether a line is about the same.
    fn concerns(&self, line: &str) -> bool {
        match self {
            Self::Is { names, .. } | Self::AtLeast { names, .. } | Self::Below { names, .. } => words(line)
                .next()
                .is_some_and(|word| names.iter().any(|name| word.eq_ignore_ascii_case(name))),
            Self::User(user) => user.is_named_by(line),
        }
    }

    /// Whether the file is right, by all its lines about this in order. The last one wins, but a user may be there only
    /// once (Redis does not start if it is there twice).
    fn is_right(&self, lines: &[&str]) -> bool {
        let last = lines.last().map(|line| value(line));
        match self {
            Self::Is { value, .. } => last.as_deref() == Some(*value),
            Self::AtLeast { bytes, .. } => last.and_then(|text| memory(&text)).is_some_and(|it| it >= *bytes),
            Self::Below { limit, .. } => {
                last.is_none_or(|text| text.parse::<u64>().is_ok_and(|it| it < *limit))
            }
            Self::User(user) => user.is_in(lines.iter().copied()),
        }
    }

    fn written(&self) -> String {
        match self {
            Self::Is { names, value } => format!("{} {value}", names[0]),
            Self::AtLeast { names, bytes } => format!("{} {bytes}", names[0]),
            Self::Below { names, value, .. } => format!("{} {value}", names[0]),
            Self::User(user) => user.line(),
        }
    }

    /// As it may be shown.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::User(user) => user.shown(),
            other => other.written(),
        }
    }
}

/// The text with everything as it should be; `None`: it is.
pub(super) fn edit(text: &str, wanted: &[Line<'_>]) -> Option<Edit> {
    if wanted.iter().all(|line| is_right(text, line)) {
        return None;
    }
    // A line that is only ever to be taken back is not written where nothing is wrong.
    let needed: Vec<&Line<'_>> =
        wanted.iter().filter(|line| !matches!(line, Line::Below { .. }) || !is_right(text, line)).collect();
    let mut kept = String::new();
    let (mut removed, mut right) = (Vec::new(), vec![None; needed.len()]);
    let mut in_block = false;
    for line in text.lines() {
        let concerned = needed.iter().position(|wanted| wanted.concerns(line));
        if line.trim_end() == BEGIN {
            in_block = text.contains(END);
        } else if line.trim_end() == END {
            in_block = false;
        } else if let Some(at) = concerned {
            let is_secret = matches!(needed[at], Line::User(_));
            if needed[at].is_right(&[line]) {
                // It moves into the block as it is.
                right[at] = Some(line.trim().to_owned());
                continue;
            }
            removed.push(if is_secret { masked(line) } else { line.trim().to_owned() });
            // Neither an old password nor lines of our own are worth keeping.
            if !in_block && !is_secret {
                kept.push_str(COMMENTED);
                kept.push_str(line.trim());
                kept.push('\n');
            }
        } else {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    let missing = needed.iter().zip(&right).filter(|(_, right)| right.is_none());
    let added = missing.map(|(line, _)| line.shown()).collect();
    let block = needed.iter().zip(right).map(|(line, right)| right.unwrap_or_else(|| line.written()));
    let block = block.collect::<Vec<_>>().join("\n");
    let separator = if kept.is_empty() || kept.ends_with("\n\n") { "" } else { "\n" };
    let text = format!("{kept}{separator}{BEGIN}\n{block}\n{END}\n");
    Some(Edit { text, removed, added })
}

/// Nothing behind the last word on it may say otherwise: an included file would win.
fn is_right(text: &str, wanted: &Line<'_>) -> bool {
    let mut lines = Vec::new();
    let mut included = false;
    for line in text.lines() {
        if wanted.concerns(line) {
            lines.push(line);
            included = false;
        } else if words(line).next().is_some_and(|word| word.eq_ignore_ascii_case("include")) {
            included = true;
        }
    }
    // A setting that must only not be wrong, and a user, are not looked for in other files.
    let may_be_elsewhere = matches!(wanted, Line::Below { .. } | Line::User(_));
    wanted.is_right(&lines) && (!included || may_be_elsewhere)
}

/// The words of a line that is no comment. Redis' quotes matter only for values that are not looked at here.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let line = line.trim();
    let line = if line.starts_with('#') { "" } else { line };
    line.split_whitespace()
}

fn value(line: &str) -> String {
    words(line).skip(1).map(|word| word.trim_matches('"')).collect::<Vec<_>>().join(" ")
}

/// A number of bytes as Redis reads it (`memtoull`): `64mb` is binary, `64m` decimal.
pub(super) fn memory(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1024,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

/// A line about a user without its password.
fn masked(line: &str) -> String {
    let is_secret = |word: &str| word.starts_with(['>', '<', '#', '!']);
    let words = words(line).map(|word| if is_secret(word) { "(password)" } else { word });
    words.collect::<Vec<_>>().join(" ")
}
