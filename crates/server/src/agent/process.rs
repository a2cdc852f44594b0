//! The instance's process: whether it runs is seen by the locks that it holds on its data, whoever started it. It is
//! stopped by the operator's command, and killed if that does not do.

use super::options::AgentOptions;
use super::tools::Tool;
use super::trouble::Trouble;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// What every server locks for as long as it runs (Aria's control file, InnoDB's first).
const LOCKED: [&str; 2] = ["aria_log_control", "ibdata1"];
const PAUSE: Duration = Duration::from_millis(50);
/// How long a process may take to be gone once it was killed.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// Who works on a data folder: a process' number, 0 if that is another container's.
pub(super) fn holder(data: &Path) -> Result<Option<i32>, Trouble> {
    for name in LOCKED {
        let path = data.join(name);
        let unreadable =
            |source: io::Error| Trouble::File { verb: "cannot be looked at", path: path.clone(), source };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(unreadable(error)),
        };
        let mut lock = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        fcntl(&file, FcntlArg::F_GETLK(&mut lock)).map_err(|errno| unreadable(errno.into()))?;
        if lock.l_type != libc::F_UNLCK as libc::c_short {
            return Ok(Some(lock.l_pid.max(0)));
        }
    }
    Ok(None)
}

/// Stops whatever works on the data folder. Returns how, as a clause, if it was not in order.
pub(super) async fn stop(options: &AgentOptions, work: &Path) -> Result<Option<String>, Trouble> {
    let data = &options.data;
    let mut command = tool(&options.stop, "stop", work)?;
    let started = Instant::now();
    let mut stopping = Box::pin(command.run());
    let mut asked = None;
    while started.elapsed() < options.stop_patience {
        if asked.is_none() {
            asked = timeout(PAUSE, &mut stopping).await.ok();
        } else {
            sleep(PAUSE).await;
        }
        let pid = holder(data)?;
        match (&asked, pid) {
            (Some(_), None) => return Ok(None),
            // It was not started by what stops it.
            (Some(_), Some(pid)) if pid > 0 => signal(pid, Signal::SIGTERM),
            _ => {}
        }
    }
    let refusal = match &asked {
        Some(Err(trouble)) => format!("the stop command said: {trouble}"),
        _ => "it hangs".to_owned(),
    };
    let pid = match holder(data)? {
        None => return Ok(None),
        Some(pid) if pid > 0 => pid,
        Some(_) => {
            let reason = format!("{refusal}, and its process is out of the agent's reach");
            return Err(Trouble::NotStopped { data: data.clone(), reason });
        }
    };
    tracing::warn!(
        "the server (pid {pid}) did not stop within {} s and is killed",
        options.stop_patience.as_secs()
    );
    signal(pid, Signal::SIGKILL);
    gone_within(data, KILL_LIMIT).await?;
    // Whoever waits for it to stop sees that now, and starts no other.
    if asked.is_none() {
        let _ = timeout(KILL_LIMIT, stopping).await;
    }
    Ok(Some(format!("it was killed, for it did not stop within {} s", options.stop_patience.as_secs())))
}

/// Starts the instance by the operator's command.
pub(super) async fn start(options: &AgentOptions, work: &Path) -> Result<(), Trouble> {
    tool(&options.start, "start", work)?.run_within(options.start_patience).await
}

/// Waits until nobody works on a data folder.
pub(super) async fn gone(data: &Path) -> Result<(), Trouble> {
    while holder(data)?.is_some() {
        sleep(PAUSE).await;
    }
    Ok(())
}

/// Ends whatever works on a folder that is the agent's own for now.
pub(super) async fn end(folder: &Path) -> Result<(), Trouble> {
    if let Some(pid) = holder(folder)?.filter(|pid| *pid > 0) {
        signal(pid, Signal::SIGKILL);
    }
    gone_within(folder, KILL_LIMIT).await
}

/// As `gone`, not for ever.
pub(super) async fn gone_within(data: &Path, limit: Duration) -> Result<(), Trouble> {
    timeout(limit, gone(data)).await.unwrap_or_else(|_| {
        let reason = "another process works on it".to_owned();
        Err(Trouble::NotStopped { data: data.to_owned(), reason })
    })
}

fn tool(command: &[String], what: &'static str, work: &Path) -> Result<Tool, Trouble> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Trouble::Impossible(format!("the {what} command is empty: name a program")))?;
    let remedy = format!("correct the {what} command (--{what})");
    let mut tool = Tool::new(program, work).with_remedy(remedy);
    tool.command.args(arguments);
    Ok(tool)
}

fn signal(pid: i32, signal: Signal) {
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        tracing::debug!(%error, "the server's process cannot be signalled");
    }
}
