//! One table of the file while it is read: keys are asked for by name, and whatever was never asked for is unknown. A
//! wrong value is noted and reading goes on, so that all mistakes come at once.

use crate::finding::{Findings, Span};
use crate::values::{Refusal, duration, spelt};
use backstay_model::nearest;
use std::ops::RangeInclusive;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands; the place of a default is its section.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

/// A table being read.
pub(crate) struct Section<'a> {
    entries: &'a DeTable<'a>,
    /// Where it begins.
    pub(crate) span: Span,
    /// What it is, with its article.
    what: &'static str,
    asked: Vec<&'static str>,
    refused: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(entries: &'a DeTable<'a>, span: Span, what: &'static str) -> Self {
        Self { entries, span, what, asked: Vec::new(), refused: Vec::new() }
    }

    /// A text that may be missing.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<At<T>> {
        let value = self.value(key)?;
        let Some(text) = value.get_ref().as_str() else {
            let help = format!("Write it in quotes: {key} = \"...\".");
            wrong_type(findings, key, "a text", value, help);
            return None;
        };
        parsed(findings, value.span(), parse(text))
    }

    /// A text that must be there.
    pub(crate) fn required<T>(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<At<T>> {
        self.require(key, findings, format!("Add a line such as {key} = \"{example}\"."));
        self.optional(key, findings, parse)
    }

    /// A duration within bounds.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> At<Duration> {
        let default = self.default(default);
        let Some(value) = self.value(key) else {
            return default;
        };
        let span = value.span();
        let help = format!(
            "Write {key} = \"...\" with a duration from {} to {}; the default is \"{}\".",
            spelt(*bounds.start()),
            spelt(*bounds.end()),
            spelt(default.value)
        );
        let Some(text) = value.get_ref().as_str() else {
            wrong_type(findings, key, "a duration such as \"500ms\"", value, help);
            return default;
        };
        match parsed(findings, span.clone(), duration(text)) {
            Some(duration) if !bounds.contains(&duration.value) => {
                findings.error(&span, format!("{key} = \"{text}\" is out of bounds"), help);
                default
            }
            other => other.unwrap_or(default),
        }
    }

    /// A whole number within bounds.
    pub(crate) fn number(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
        default: u64,
        bounds: RangeInclusive<u64>,
    ) -> At<u64> {
        let default = self.default(default);
        let Some(value) = self.value(key) else {
            return default;
        };
        let help = format!(
            "Write a whole number from {} to {}; the default is {}.",
            bounds.start(),
            bounds.end(),
            default.value
        );
        let Some(integer) = value.get_ref().as_integer() else {
            wrong_type(findings, key, "a whole number", value, help);
            return default;
        };
        let span = value.span();
        let number = i128::from_str_radix(integer.as_str(), integer.radix());
        match number.ok().and_then(|number| u64::try_from(number).ok()) {
            Some(value) if bounds.contains(&value) => At { value, span },
            _ => {
                let message = format!("{key} = {} is out of bounds", integer.as_str());
                findings.error(&span, message, help);
                default
            }
        }
    }

    /// True or false; false if it is left out.
    pub(crate) fn flag(&mut self, key: &'static str, findings: &mut Findings) -> bool {
        let Some(value) = self.value(key) else {
            return false;
        };
        value.get_ref().as_bool().unwrap_or_else(|| {
            let help = "Write true or false, without quotation marks; the default is false.".to_owned();
            wrong_type(findings, key, "true or false", value, help);
            false
        })
    }

    /// As `flag`, with the place where it stands.
    pub(crate) fn placed_flag(&mut self, key: &'static str, findings: &mut Findings) -> At<bool> {
        let span = if self.has(key) { self.key_span(key) } else { self.span.clone() };
        At { value: self.flag(key, findings), span }
    }

    /// A table inside this one.
    pub(crate) fn table(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
        what: &'static str,
    ) -> Option<Section<'a>> {
        let value = self.value(key)?;
        if let DeValue::Table(entries) = value.get_ref() {
            return Some(Section::new(entries, value.span(), what));
        }
        let help = format!("Write {key} = {{ ... }}.");
        wrong_type(findings, key, "a table", value, help);
        None
    }

    /// A list of tables inside this one, if it is there and is a list; `example` is how one is written.
    pub(crate) fn tables(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
        what: &'static str,
        example: &str,
    ) -> Option<Vec<Section<'a>>> {
        let value = self.value(key)?;
        let DeValue::Array(items) = value.get_ref() else {
            wrong_type(findings, key, "a list", value, format!("Write {example} for each."));
            return None;
        };
        let mut sections = Vec::new();
        for item in items {
            if let DeValue::Table(entries) = item.get_ref() {
                sections.push(Section::new(entries, item.span(), what));
            } else {
                let found = item.get_ref().type_str();
                let message = format!("{key} must list tables, each {what}");
                findings
                    .error(&item.span(), message, format!("Write {example} for each."))
                    .labelled(format!("this is of type {found}"));
            }
        }
        Some(sections)
    }

    /// Whether the file gives the key, right or wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        !self.refused.contains(&key) && self.entries.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// Where the key stands, or the section if it does not have it.
    pub(crate) fn key_span(&self, key: &str) -> Span {
        let found = self.entries.iter().find(|(name, _)| name.get_ref() == key);
        found.map_or_else(|| self.span.clone(), |(name, _)| name.span())
    }

    /// A value that the file does not give.
    pub(crate) fn default<T>(&self, value: T) -> At<T> {
        At { value, span: self.span.clone() }
    }

    /// Notes that the key is missing, if it is.
    pub(crate) fn require(&mut self, key: &'static str, findings: &mut Findings, help: String) {
        if self.value(key).is_none() {
            let message = format!("{} has no {key}", self.what);
            findings.error(&self.span, message, help).labelled("missing here");
        }
    }

    /// Notes that the key does not belong here, if the file gives it. It is never proposed, and from now on it is as if
    /// the file did not have it.
    pub(crate) fn refuse(
        &mut self,
        key: &'static str,
        findings: &mut Findings,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        if self.has(key) {
            findings.error(&self.key_span(key), message, help);
        }
        self.refused.push(key);
    }

    /// Notes every key that nobody asked for. Call it last.
    pub(crate) fn finish(self, findings: &mut Findings) {
        for (key, _) in self.entries {
            let name: &str = key.get_ref();
            if !self.asked.contains(&name) && !self.refused.contains(&name) {
                let message = format!("{} has no setting called '{name}'", self.what);
                let help = remedy(name).map_or_else(|| self.known(name), str::to_owned);
                findings.error(&key.span(), message, help).labelled("unknown");
            }
        }
    }

    fn known(&self, name: &str) -> String {
        match nearest(name, self.asked.iter().copied()) {
            Some(known) => format!("Did you mean '{known}'?"),
            None => format!("It has these: {}.", self.asked.join(", ")),
        }
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        if self.refused.contains(&key) {
            return None;
        }
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let entries = self.entries;
        entries.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }
}

fn parsed<T>(findings: &mut Findings, span: Span, result: Result<T, Refusal>) -> Option<At<T>> {
    match result {
        Ok(value) => Some(At { value, span }),
        Err(refusal) => {
            findings.error(&span, refusal.message, refusal.help);
            None
        }
    }
}

fn wrong_type(findings: &mut Findings, key: &str, wanted: &str, value: &Spanned<DeValue<'_>>, help: String) {
    let found = value.get_ref().type_str();
    findings
        .error(&value.span(), format!("{key} must be {wanted}"), help)
        .labelled(format!("this is of type {found}"));
}

/// What to do about keys that other programs have, or that must not be written.
fn remedy(key: &str) -> Option<&'static str> {
    Some(match key {
        "password" | "auth_pass" | "auth-pass" => {
            "Never write a password into this file. Put it into a file of its own and write password_file = \"/path\", \
             or into the environment and write password_env = \"NAME\"."
        }
        "replication_password" => {
            "Never write a password into this file. Put it into a file of its own and write \
             replication_password_file = \"/path\", or into the environment and write \
             replication_password_env = \"NAME\"."
        }
        "sentinel_password" | "requirepass" => {
            "Never write a password into this file. Put it into a file of its own and write \
             sentinel_password_file = \"/path\", or into the environment and write sentinel_password_env = \"NAME\"."
        }
        "auth" => "Write sentinel_auth = \"none\" at the top of the file.",
        "auth_user" | "auth-user" | "user" => "Write username = \"...\".",
        "down-after-milliseconds" | "down_after_ms" => {
            "Write down_after = \"...\" with a unit, such as \"500ms\"."
        }
        "quorum" => "Leave it out: a quorum is always more than half of the controllers.",
        "failover-timeout" | "failover_timeout" => {
            "Leave it out; see cooldown for the pause between two failovers."
        }
        "parallel-syncs" => "Write parallel_syncs.",
        "replica-priority" | "slave-priority" => "Write priority.",
        _ => return None,
    })
}
