//! Taking a lab down: every process ends, what the lab wrote is removed, and what it did not write stays.

use crate::error::{LabError, Result, file_error};
use crate::servers::process::Liveness;
use crate::stack::state::{Folder, LabState};
use nix::sys::signal::Signal;
use serde::Serialize;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DownReport {
    /// The lab's folder.
    pub dir: PathBuf,
    /// How many processes were ended.
    pub ended: usize,
    /// Whether the folder is gone.
    pub removed_dir: bool,
}

impl fmt::Display for DownReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the lab is down: {} processes ended, ", self.ended)?;
        if self.removed_dir {
            write!(f, "{} removed", self.dir.display())
        } else {
            write!(
                f,
                "what it wrote into {} removed; the folder stays, because the lab did not make it or it holds other files",
                self.dir.display()
            )
        }
    }
}

/// Ends everything in the lab in `dir`.
pub(crate) fn take_down(dir: &Path) -> Result<DownReport> {
    let state = LabState::load(dir)?;
    let ended = end_processes(&state)?;
    let removed_dir = remove_files(dir, &state)?;
    Ok(DownReport { dir: dir.to_path_buf(), ended, removed_dir })
}

/// Kills every process that still lives and waits for its end. Controllers go first: nothing is left to react.
fn end_processes(state: &LabState) -> Result<usize> {
    let alive: Vec<_> =
        state.processes().into_iter().filter(|(_, process)| process.liveness() != Liveness::Gone).collect();
    for (name, process) in &alive {
        process.signal(Signal::SIGKILL).map_err(|source| LabError::Process {
            verb: "kill",
            name: format!("{name} (pid {})", process.pid),
            source,
        })?;
    }
    for (name, process) in &alive {
        process.await_liveness(name, Liveness::Gone)?;
    }
    Ok(alive.len())
}

/// Removes what the lab wrote, and the folder if it may. The state file goes last: as long as anything is left, `down`
/// can be tried again.
fn remove_files(dir: &Path, state: &LabState) -> Result<bool> {
    let mut paths = state.own_paths(dir);
    paths.reverse();
    for path in paths {
        let removed = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(_) => Ok(()),
        };
        removed.or_else(if_gone).map_err(file_error("remove", &path))?;
    }
    Ok(match state.folder {
        Folder::Own => fs::remove_dir_all(dir).map_err(file_error("remove", dir)).map(|()| true)?,
        Folder::Made => fs::remove_dir(dir).is_ok(),
        Folder::Found => false,
    })
}

fn if_gone(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    }
}
