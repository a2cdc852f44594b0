//! The user that Backstay logs in as: exactly the rights that its commands need, and its password only as a digest.

use backstay_wire::redis::RIGHTS;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What is shown in place of the password's digest: a weak password could be guessed from it.
const HIDDEN: &str = "#(SHA-256 of the password)";
/// Words that say nothing in a rule that says which rights there are.
const EMPTY_WORDS: [&str; 5] = ["resetchannels", "resetkeys", "resetpass", "sanitize-payload", "-@all"];

/// A user as it should be.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    digest: String,
    key: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

impl User {
    pub(super) fn new(name: &str, password: &str, canary_key: &str) -> Self {
        let mut digest = String::from("#");
        for byte in Sha256::digest(password.as_bytes()) {
            // Writing to a string cannot fail.
            let _ = write!(digest, "{byte:02x}");
        }
        let mut key = String::from("~");
        for c in canary_key.chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '\\') {
                key.push('\\');
            }
            key.push(c);
        }
        Self { name: name.to_owned(), digest, key }
    }

    /// The words behind the name.
    pub(super) fn rules(&self) -> Vec<&str> {
        let mut rules = vec!["on", &*self.digest, &*self.key, "resetchannels", "-@all"];
        rules.extend(RIGHTS);
        rules
    }

    /// The line of a configuration or ACL file.
    pub(super) fn line(&self) -> String {
        format!("user {} {}", self.name, self.rules().join(" "))
    }

    /// The same without what nobody else should see.
    pub(super) fn shown(&self) -> String {
        self.line().replace(&self.digest, HIDDEN)
    }

    /// Whether a line of `ACL LIST`, of an ACL file or of a configuration is about this user.
    pub(super) fn is_named_by(&self, line: &str) -> bool {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("user"))
            && words.next() == Some(&*self.name)
    }

    /// Whether the line gives this user what it needs and nothing else.
    pub(super) fn is_given_by(&self, line: &str) -> bool {
        let significant = |words: Vec<&str>| -> BTreeSet<String> {
            let kept = words.into_iter().filter(|word| !EMPTY_WORDS.contains(word));
            kept.map(str::to_owned).collect()
        };
        let given = line.split_whitespace().skip(2).collect();
        self.is_named_by(line) && significant(given) == significant(self.rules())
    }

    /// Whether the user is as it should be in these lines: once, and right.
    pub(super) fn is_in<'a>(&self, lines: impl IntoIterator<Item = &'a str>) -> bool {
        let mut named = lines.into_iter().filter(|line| self.is_named_by(line));
        named.next().is_some_and(|line| self.is_given_by(line)) && named.next().is_none()
    }
}
