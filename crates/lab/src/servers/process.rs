//! A server process that outlives the command that started it. It is known again by its pid and the moment of its
//! start, so that a pid that was given to somebody else in the meantime is never signalled.

use crate::error::{LabError, Result, file_error};
use crate::servers::nursery;
use crate::wait::{poll_until, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a signal may take to show in `/proc`.
const SIGNAL_LIMIT: Duration = Duration::from_secs(10);

/// A process, for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks since the machine's start (`/proc/PID/stat`, field 22).
    pub started: u64,
}

/// Whether a process lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Liveness {
    /// It runs.
    Running,
    /// It was stopped by a signal and will go on when it is resumed.
    Stopped,
    /// It is gone, or a zombie, or its pid belongs to somebody else.
    Gone,
}

/// What to start.
pub struct Launch<'a> {
    /// The server's name, for messages.
    pub name: &'a str,
    /// The program.
    pub program: &'a Path,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Its working folder.
    pub folder: &'a Path,
    /// Where its output goes; appended to.
    pub log: PathBuf,
}

/// The two clocks just before a signal was sent: one to measure with, one to write down.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Measures.
    pub at: Instant,
    /// Nanoseconds since 1970.
    pub unix_ns: u64,
}

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { at: Instant::now(), unix_ns: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Milliseconds from this moment to `later`, negative if it was before.
    pub fn ms_to(&self, later: Instant) -> f64 {
        match later.checked_duration_since(self.at) {
            Some(after) => after.as_secs_f64() * 1000.0,
            None => -(self.at.duration_since(later).as_secs_f64() * 1000.0),
        }
    }
}

impl Process {
    /// Starts a server in a process group of its own, with its output in a file, so that it goes on when the command
    /// that started it has ended.
    pub fn start(launch: &Launch<'_>) -> Result<Self> {
        let open = || OpenOptions::new().append(true).create(true).open(&launch.log);
        let output = open().map_err(file_error("open", &launch.log))?;
        let errors = open().map_err(file_error("open", &launch.log))?;
        let mut command = Command::new(launch.program);
        command
            .args(&launch.arguments)
            .current_dir(launch.folder)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        nursery::start(&mut command).map_err(|source| LabError::Process {
            verb: "start",
            name: format!("{} ({})", launch.name, launch.program.display()),
            source,
        })
    }

    /// The process that has this pid now, if any.
    pub fn of_pid(pid: i32) -> Option<Self> {
        let (_, started) = read_stat(pid)?;
        Some(Self { pid, started })
    }

    /// Whether it lives. Reaps it if it was our child and is dead.
    pub fn liveness(self) -> Liveness {
        match read_stat(self.pid) {
            Some((_, started)) if started != self.started => Liveness::Gone,
            // With no file left to open, nothing is known but that somebody has the pid.
            None if Path::new("/proc").join(self.pid.to_string()).exists() => Liveness::Running,
            None => Liveness::Gone,
            Some(('Z' | 'X' | 'x', _)) => {
                match waitpid(Pid::from_raw(self.pid), Some(WaitPidFlag::WNOHANG)) {
                    // Its first thread has ended, others have not.
                    Ok(WaitStatus::StillAlive) => Liveness::Running,
                    // Reaped, or not our child: somebody else's to reap, and dead all the same.
                    _ => Liveness::Gone,
                }
            }
            Some(('T' | 't', _)) => Liveness::Stopped,
            Some(_) => Liveness::Running,
        }
    }

    /// Whether it is dead.
    pub fn is_gone(self) -> bool {
        self.liveness() == Liveness::Gone
    }

    /// Sends `signal`, unless the process is gone. Returns whether it was sent.
    pub fn signal(self, signal: Signal) -> io::Result<bool> {
        if self.liveness() == Liveness::Gone {
            return Ok(false);
        }
        match kill(Pid::from_raw(self.pid), signal) {
            Ok(()) => Ok(true),
            Err(nix::errno::Errno::ESRCH) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Waits until it is in `wanted`.
    pub fn await_liveness(self, name: &str, wanted: Liveness) -> Result<()> {
        let what = match wanted {
            Liveness::Running => format!("that {name} (pid {}) goes on", self.pid),
            Liveness::Stopped => format!("that {name} (pid {}) stands still", self.pid),
            Liveness::Gone => format!("the end of {name} (pid {})", self.pid),
        };
        wait_until(&what, SIGNAL_LIMIT, || (self.liveness() == wanted).then_some(()))
    }

    /// Waits at most `limit` for its end.
    pub fn ends_within(self, limit: Duration) -> bool {
        poll_until(limit, || (self.liveness() == Liveness::Gone).then_some(())).is_some()
    }
}

/// State letter and start time of a process (proc(5), `/proc/pid/stat`; the command's name stands in parentheses and
/// may itself hold any character, so what follows is counted from the last one).
fn read_stat(pid: i32) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

/// The program called `name` in `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_running_and_known_by_its_start() {
        let own = Process::of_pid(std::process::id() as i32).unwrap();
        assert!(own.started > 0);
        assert_eq!(own.liveness(), Liveness::Running);
    }

    #[test]
    fn a_pid_with_another_start_is_somebody_else_and_is_never_signalled() {
        let own = Process::of_pid(std::process::id() as i32).unwrap();
        let recycled = Process { started: own.started + 1, ..own };
        assert_eq!(recycled.liveness(), Liveness::Gone);
        assert!(!recycled.signal(Signal::SIGKILL).unwrap());
    }
}
