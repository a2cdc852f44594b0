//! Everything that can go wrong with a lab, each with what to do next. No error here leaves a lab half changed without
//! saying so: what was started is in the lab's state file and `lab down` ends it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A server's program is not installed. Nothing was started.
    #[error("{program} was not found on this machine, and {why}. {remedy}.")]
    Missing {
        /// The program.
        program: String,
        /// What it was wanted for.
        why: &'static str,
        /// How to get it.
        remedy: String,
    },
    /// The options make no lab. Nothing was started.
    #[error("{0}")]
    Options(String),
    /// There is no lab here. Nothing was changed.
    #[error("there is no lab in {}: {why}. Start one with `backstay lab up`, or name its folder with --dir.", dir.display())]
    NoLab {
        /// Where it was looked for.
        dir: PathBuf,
        /// What is missing.
        why: String,
    },
    /// A name that the lab does not have. Nothing was changed.
    #[error("the lab has nothing called '{name}'; {hint}")]
    UnknownName {
        /// The name.
        name: String,
        /// What was probably meant, and the names that would do.
        hint: String,
    },
    /// A fault that makes no sense for its target. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// A file operation failed.
    #[error("cannot {verb} {}: {source}. Check the folder's permissions and the free space, then try again.", path.display())]
    File {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The state file is not one of ours, or of another version.
    #[error("{} does not read as a lab's state ({why}). Remove the folder by hand if its processes are gone.", path.display())]
    BadState {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A process could not be started or signalled.
    #[error("cannot {verb} {name}: {source}")]
    Process {
        /// What was tried.
        verb: &'static str,
        /// On which server.
        name: String,
        /// Why it failed.
        source: io::Error,
    },
    /// No free port was found.
    #[error(
        "no free port was found between {low} and {high} after {tries} tries. Close what listens there, or take other labs down."
    )]
    NoPort {
        /// The first port that may be used.
        low: u16,
        /// The last one.
        high: u16,
        /// How often it was tried.
        tries: u32,
    },
    /// Something did not come true in time.
    #[error("{what} did not happen within {:.1} s. {hint}", waited.as_secs_f64())]
    Deadline {
        /// What was waited for.
        what: String,
        /// How long.
        waited: Duration,
        /// What is known, and where to look.
        hint: String,
    },
    /// An answer that was not understood.
    #[error("{from} answered something unexpected: {what}")]
    Answer {
        /// Who.
        from: String,
        /// What it said.
        what: String,
    },
    /// A connection to a server failed.
    #[error("cannot talk to {to}: {source}")]
    Connection {
        /// Whom.
        to: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, LabError>;

/// For `map_err` on file operations.
pub(crate) fn file_error(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LabError {
    let path = path.to_path_buf();
    move |source| LabError::File { verb, path, source }
}
