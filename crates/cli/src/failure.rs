//! How a command fails: a message with three parts (what happened, why, what to do next) and an exit code.

use backstay_config::{ConfigErrors, Note, UnknownNode};
use backstay_lab::LabError;
use backstay_server::RunError;
use miette::Report;
use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

/// Something failed or was refused.
pub(crate) const FAILED: u8 = 1;
/// The command line is wrong, as clap says it.
pub(crate) const USAGE: u8 = 2;
/// It was done, and what was found is not healthy.
pub(crate) const UNHEALTHY: u8 = 3;
/// No controller could be reached.
pub(crate) const UNREACHABLE: u8 = 4;
/// A controller cannot start until the file is corrected (`EX_CONFIG` of `sysexits.h`).
pub(crate) const MISCONFIGURED: u8 = 78;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: Message,
}

#[derive(Debug)]
enum Message {
    /// With places in the user's file.
    Report(Report),
    /// A whole text.
    Text(String),
    /// What, why, and what next.
    Parts(String, String, String),
    /// It was said already.
    Said,
}

impl Failure {
    pub(crate) fn new(
        code: u8,
        what: impl Into<String>,
        why: impl fmt::Display,
        next: impl Into<String>,
    ) -> Self {
        let message = Message::Parts(what.into(), why.to_string(), next.into());
        Self { code, message }
    }

    /// Its message holds all three parts.
    pub(crate) fn whole(code: u8, text: impl Into<String>) -> Self {
        let message = Message::Text(text.into());
        Self { code, message }
    }

    /// What is wrong was shown as the command's result.
    pub(crate) const fn said(code: u8) -> Self {
        let message = Message::Said;
        Self { code, message }
    }

    /// The same with another exit code.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        self.code.into()
    }

    /// What happened and why, for where there is one line.
    pub(crate) fn in_one_line(&self) -> String {
        match &self.message {
            Message::Parts(what, why, _) => format!("{what}: {why}"),
            Message::Text(text) => text.clone(),
            Message::Report(_) | Message::Said => self.to_string(),
        }
    }

    /// Its places in the user's file as plain values, if it has some.
    pub(crate) fn notes(&self) -> Vec<Note> {
        match &self.message {
            Message::Report(report) => {
                report.downcast_ref::<ConfigErrors>().map(ConfigErrors::notes).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// Says it on the standard error output.
    pub(crate) fn tell(&self) {
        if matches!(self.message, Message::Said) {
            return;
        }
        // Nobody is left to be told that it cannot be told.
        let _ = writeln!(std::io::stderr(), "{self}");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Message::Report(report) => write!(f, "{report:?}"),
            Message::Text(text) => write!(f, "error: {text}"),
            Message::Parts(what, why, next) => write!(f, "error: {what}\n  why: {why}\n  next: {next}"),
            Message::Said => Ok(()),
        }
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        let message = Message::Report(Report::new(errors));
        Self { code: FAILED, message }
    }
}

impl From<UnknownNode> for Failure {
    fn from(error: UnknownNode) -> Self {
        let message = Message::Report(Report::new(error));
        Self { code: FAILED, message }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let code = error.exit_code();
        match error {
            RunError::UnknownNode(error) => Self::from(error).with_code(code),
            error => Self::whole(code, error.to_string()),
        }
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Self {
        Self::whole(FAILED, error.to_string())
    }
}
