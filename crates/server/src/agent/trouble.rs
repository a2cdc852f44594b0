//! Why a rebuild does not go on: what happened, and what to do. What the data is then, the worker adds.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// See the module's head.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// Not asked for any more.
    #[error("the rebuild was withdrawn")]
    Withdrawn,
    #[error("{program} is not installed on this host: {remedy}, then rebuild again")]
    Missing { program: String, remedy: String },
    #[error("{program} cannot be started: {source}. Mend that, then rebuild again")]
    NotStarted { program: String, source: io::Error },
    #[error("{program} failed ({how}){said}. Mend that, then rebuild again", said = quoted(.said))]
    Tool { program: String, how: String, said: String },
    #[error("{program} did not end within {} s", .limit.as_secs())]
    Slow { program: String, limit: Duration },
    #[error("{} {verb}: {source}. Mend that, then rebuild again", .path.display())]
    File { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("{} {reason}", .path.display())]
    Log { path: PathBuf, reason: String },
    #[error("the server was told to stop and still holds {}: {reason}. Stop it by hand, then rebuild again", .data.display())]
    NotStopped { data: PathBuf, reason: String },
    #[error(
        "the server did not answer within {} s of its start: look at its log (`journalctl -u mariadb`) and start it by hand",
        .0.as_secs()
    )]
    NotStarting(Duration),
    #[error("the server cannot be run on {}: {said}", .data.display())]
    NoPrivate { data: PathBuf, said: String },
    #[error("the server refused '{statement}': {said}")]
    Refused { statement: String, said: String },
    #[error("{0}")]
    Donor(String),
    #[error(
        "there is not enough space: the donor has {needed} MiB and {} has room for {free} MiB beside the data that is \
         there. Make room (or a larger file system), then rebuild again",
        .path.display()
    )]
    NoSpace { needed: u64, free: u64, path: PathBuf },
    #[error("{0}")]
    Impossible(String),
}

impl Trouble {
    pub(super) fn file(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { verb, path: path.to_owned(), source }
    }
}

fn quoted(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": \"{said}\"") }
}
