//! Running the real binary, away from the user's own environment.
#![allow(dead_code, reason = "each test uses what it needs")]

pub(crate) mod group;
pub(crate) mod terminal;

use std::path::Path;
use std::process::{Command, Stdio};

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The binary, with temporary files (and with them the note of the latest lab) in `temporary`.
pub(crate) fn backstay(temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay"));
    for name in [
        "BACKSTAY_SOCKET",
        "BACKSTAY_CONFIG",
        "BACKSTAY_LOG",
        "BACKSTAY_SERVER",
        "BACKSTAY_CERT",
        "BACKSTAY_CONTROL",
        "BACKSTAY_KEY",
        "BACKSTAY_CA",
        "NO_COLOR",
        "FORCE_COLOR",
    ] {
        command.env_remove(name);
    }
    command.env("TMPDIR", temporary).env("USER", "ada").stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn run(temporary: &Path, arguments: &[&str]) -> Outcome {
    let output = backstay(temporary).args(arguments).output().expect("the binary starts");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Runs it and expects success.
pub(crate) fn succeed(temporary: &Path, arguments: &[&str]) -> String {
    let outcome = run(temporary, arguments);
    assert_eq!(outcome.code, Some(0), "{arguments:?}: {outcome:?}");
    outcome.stdout
}
