//! What is not as it should be, and how to mend it.

use backstay_model::{InstanceName, ServiceName};
use serde::Serialize;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something that Backstay promises does not hold, or does not happen at all.
    Error,
    /// It works, and worse than it could, or not for long.
    Warning,
    /// What cannot be seen from here, or is worth knowing.
    Note,
}

impl Severity {
    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing at one instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// What was looked at: the name of a setting, or of the thing.
    pub check: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is so.
    pub what: String,
    /// Why it should not be.
    pub why: &'static str,
    /// The statements that mend it now, to be run at this instance by somebody who may.
    pub mend: Vec<String>,
    /// Lines for the section `[mariadbd]` of its file, by which it stays mended.
    pub file: Vec<String>,
    /// Whether it takes a restart, after the lines are there.
    pub restart: bool,
    /// What else to do, where no statement does it.
    pub advice: Option<&'static str>,
}

/// A finding before it is known whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) severity: Severity,
    pub(crate) what: String,
    pub(crate) mend: Vec<String>,
    pub(crate) file: Vec<String>,
    pub(crate) restart: bool,
    pub(crate) advice: Option<&'static str>,
}

impl Found {
    pub(crate) fn new(severity: Severity, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { severity, what, mend: Vec::new(), file: Vec::new(), restart: false, advice: None }
    }

    pub(crate) fn error(what: impl Into<String>) -> Self {
        Self::new(Severity::Error, what)
    }

    pub(crate) fn warning(what: impl Into<String>) -> Self {
        Self::new(Severity::Warning, what)
    }

    pub(crate) fn note(what: impl Into<String>) -> Self {
        Self::new(Severity::Note, what)
    }

    /// This statement mends it, after those before it.
    pub(crate) fn mend(mut self, statement: impl Into<String>) -> Self {
        self.mend.push(statement.into());
        self
    }

    /// This line keeps it mended.
    pub(crate) fn file(mut self, line: impl Into<String>) -> Self {
        self.file.push(line.into());
        self
    }

    pub(crate) const fn restart(mut self) -> Self {
        self.restart = true;
        self
    }

    pub(crate) const fn advice(mut self, advice: &'static str) -> Self {
        self.advice = Some(advice);
        self
    }

    pub(crate) fn at(
        self,
        service: &ServiceName,
        instance: &InstanceName,
        check: &'static str,
        why: &'static str,
    ) -> Finding {
        Finding {
            service: service.clone(),
            instance: instance.clone(),
            check,
            severity: self.severity,
            what: self.what,
            why,
            mend: self.mend,
            file: self.file,
            restart: self.restart,
            advice: self.advice,
        }
    }
}

/// A name as SQL writes it.
pub(crate) fn name(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

/// A text as SQL writes it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// An account as SQL writes it, from what `CURRENT_USER()` says.
pub(crate) fn account(text: &str) -> String {
    let (user, host) = text.rsplit_once('@').unwrap_or((text, "%"));
    format!("{}@{}", name(user), name(host))
}
