//! Settings of a server that hold its passwords: whoever may use an endpoint does not get to know them.

use crate::scan::Words;

/// The settings, also by their newer names.
const SECRETS: [&[u8]; 7] = [
    b"requirepass",
    b"masterauth",
    b"masteruser",
    b"primaryauth",
    b"primaryuser",
    b"tls-key-file-pass",
    b"tls-client-key-file-pass",
];

pub(super) const REFUSED: &[u8] = b"-ERR CONFIG GET of passwords is not allowed through a gateway; \
    ask for other settings by their names\r\n";

/// Whether this `CONFIG` command asks for one of them, by name or by pattern.
pub(super) fn asked_for(bytes: &[u8]) -> bool {
    let mut words = Words::of(bytes);
    let (Some(command), Some(order)) = (words.next(), words.next()) else {
        return false;
    };
    command.eq_ignore_ascii_case(b"CONFIG") && order.eq_ignore_ascii_case(b"GET") && words.any(shows)
}

fn shows(pattern: &[u8]) -> bool {
    // For Redis a pattern ends at its first zero byte. What lies beyond ASCII it compares otherwise on every machine,
    // and no setting is called so.
    let pattern = pattern.split(|byte| *byte == 0).next().unwrap_or_default();
    !pattern.is_ascii() || SECRETS.iter().any(|name| matches(pattern, name))
}

/// Whether a pattern covers this name, which is in lower case, as `stringmatchlen` in Redis' util.c says.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let end = 1_u32 << name.len();
    // Bit n: what was read of the pattern covers the first n bytes of the name.
    let mut covered = 1_u32;
    let mut rest = pattern;
    while let Some((first, after)) = rest.split_first().filter(|_| covered != 0) {
        rest = after;
        let accepted = |accepts: &dyn Fn(u8) -> bool| {
            let next = name.iter().enumerate().filter(|(at, byte)| covered >> at & 1 == 1 && accepts(**byte));
            next.fold(0, |bits, (at, _)| bits | 1 << (at + 1))
        };
        covered = match first {
            b'*' => (end << 1) - (covered & covered.wrapping_neg()),
            b'?' => accepted(&|_| true),
            b'[' => {
                let (set, after) = Set::of(rest);
                rest = after;
                accepted(&|byte| set.has(byte))
            }
            b'\\' if !after.is_empty() => {
                rest = &after[1..];
                accepted(&|byte| byte == after[0].to_ascii_lowercase())
            }
            other => accepted(&|byte| byte == other.to_ascii_lowercase()),
        };
    }
    covered & end != 0
}

/// What stands between brackets.
struct Set<'a> {
    not: bool,
    inside: &'a [u8],
}

impl<'a> Set<'a> {
    /// Reads what follows the opening bracket; returns what follows the closing one, which may be missing.
    fn of(pattern: &'a [u8]) -> (Self, &'a [u8]) {
        let not = pattern.first() == Some(&b'^');
        let inside = &pattern[usize::from(not)..];
        let mut at = 0;
        while at < inside.len() && inside[at] != b']' {
            at += Self::item(&inside[at..]).1;
        }
        let after = inside.get(at + 1..).unwrap_or_default();
        (Self { not, inside: &inside[..at] }, after)
    }

    /// The first and last byte of one range, as they are compared, and how long it is.
    fn item(inside: &[u8]) -> ((u8, u8), usize) {
        match inside {
            [b'\\', escaped, ..] => ((*escaped, *escaped), 2),
            [one, b'-', other, ..] => {
                let (first, last) = (one.min(other), one.max(other));
                ((first.to_ascii_lowercase(), last.to_ascii_lowercase()), 3)
            }
            [one, ..] => ((one.to_ascii_lowercase(), one.to_ascii_lowercase()), 1),
            [] => ((1, 0), 1),
        }
    }

    fn has(&self, byte: u8) -> bool {
        let mut rest = self.inside;
        let mut found = false;
        while !rest.is_empty() {
            let ((first, last), length) = Self::item(rest);
            found |= (first..=last).contains(&byte);
            rest = &rest[length.min(rest.len())..];
        }
        found != self.not
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::connect::request;
    use backstay_lab::load::connection::{items, text};
    use backstay_lab::servers::ports::Ports;
    use backstay_lab::servers::redis::{Boot, RedisServer};
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use std::cell::RefCell;

    #[test]
    fn a_password_is_asked_for_by_name_or_by_pattern() {
        let asked = |words: &[&str]| {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            asked_for(&request(&words))
        };
        for pattern in [
            "requirepass",
            "RequirePass",
            "*",
            "**",
            "?asterauth",
            "*pass*",
            "mast*",
            "[m]asteru[a-z]er",
            "[^a]equirepass",
            "require\\pass",
            "*\0x",
            "*a*a*u*h",
            "[z-a]equirepass",
            "\u{80}*",
            "tls-*",
            "[\\r]equirepass",
            "requirepas[s",
            "requirepas[S-s",
        ] {
            assert!(asked(&["config", "Get", pattern]), "{pattern:?}");
            assert!(asked(&["CONFIG", "GET", "maxmemory", pattern]), "{pattern:?}");
        }
        for pattern in
            ["maxmemory*", "[^rmpt]*", "requirepass?", "", "?", "[", "re\\quire", "appendonly", "s*e"]
        {
            assert!(!asked(&["CONFIG", "GET", pattern]), "{pattern:?}");
        }
        assert!(!asked(&["CONFIG", "HELP"]) && !asked(&["CONFIG"]) && !asked(&["GET", "GET", "*"]));
    }

    #[test]
    fn no_pattern_shows_a_password_to_a_client_that_the_installed_server_would_show() {
        let folder = tempfile::tempdir().unwrap();
        let mut ports = Ports::open().unwrap();
        let port = ports.claim().unwrap();
        let server = RedisServer { name: "oracle".to_owned(), port, folder: folder.path().to_owned() };
        server.write_configuration(Boot::Open).unwrap();
        let process = server.start().unwrap();
        server.await_answer(process).unwrap();
        let connection = RefCell::new(server.connect().unwrap());
        let names = |pattern: &str| -> Vec<String> {
            let reply = connection.borrow_mut().call(&["CONFIG", "GET", pattern]).unwrap();
            items(&reply).unwrap().iter().step_by(2).map(text).collect()
        };
        let secret = |name: &String| SECRETS.contains(&name.as_bytes());
        let known: Vec<String> = names("*").into_iter().filter(secret).collect();
        assert!(known.len() >= 3);
        let piece = prop::sample::select(vec![
            "*", "?", "[", "]", "^", "-", "\\", "a", "z", "S", "master", "auth", "require", "pass", "user",
            "tls-", "[a-z]", "[^x]", "[r-m]", "e", "r",
        ]);
        let pattern = prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat());
        let outcome = TestRunner::new(Config::with_cases(5000)).run(&pattern, |pattern| {
            let shown = names(&pattern).iter().any(secret);
            let ours = known.iter().any(|name| matches(pattern.as_bytes(), name.as_bytes()));
            prop_assert!(!ours || shows(pattern.as_bytes()));
            // Without a star or the like, a newer server takes it for a name.
            let name = !pattern.contains(['*', '?', '[']);
            prop_assert!(ours == shown || (ours && name), "{:?}: {} {}", pattern, ours, shown);
            Ok(())
        });
        let _ = process.signal(nix::sys::signal::Signal::SIGKILL);
        outcome.unwrap();
    }
}
