//! `sysbench`: how it is run, and how its figures are read.

use crate::error::{LabError, Result, file_error};
use crate::servers::process::{Launch, Liveness, Process, find_program};
use crate::servers::redis::log_tail;
use crate::stack::mariadb::{APPLICATION_USER, DATABASE, PASSWORD};
use crate::wait::poll_every;
use nix::sys::signal::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SCRIPT: &str = "oltp_read_write";
/// All of it fits into the small server's memory: what is compared is the way there.
const TABLES: usize = 2;
const ROWS: usize = 10_000;
/// How much longer than planned it may take.
const PATIENCE: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);

/// The installed `sysbench`.
pub fn program() -> Result<PathBuf> {
    find_program("sysbench").ok_or_else(|| LabError::Missing {
        program: "sysbench".to_owned(),
        why: "it makes most of the load",
        remedy: "Install it with `apt-get install sysbench` (Debian, Ubuntu), then try again".to_owned(),
    })
}

/// Makes its tables.
pub(super) fn prepare(target: SocketAddr, folder: &Path) -> Result<()> {
    call(target, folder, "prepare", &[], Duration::ZERO).map(drop)
}

/// Transactions a second, by so many threads for so long.
pub(super) fn run(target: SocketAddr, folder: &Path, threads: usize, duration: Duration) -> Result<f64> {
    let seconds = duration.as_secs().max(1);
    let options = [format!("--threads={threads}"), format!("--time={seconds}")];
    let text = call(target, folder, "run", &options, Duration::from_secs(seconds))?;
    parse(&text).ok_or_else(|| LabError::Answer { from: "sysbench".to_owned(), what: excerpt(&text) })
}

fn call(
    target: SocketAddr,
    folder: &Path,
    verb: &str,
    options: &[String],
    planned: Duration,
) -> Result<String> {
    let log = folder.join("sysbench.log");
    if log.exists() {
        fs::remove_file(&log).map_err(file_error("remove", &log))?;
    }
    let fixed = [
        format!("--mysql-host={}", target.ip()),
        format!("--mysql-port={}", target.port()),
        format!("--mysql-user={APPLICATION_USER}"),
        format!("--mysql-password={PASSWORD}"),
        format!("--mysql-db={DATABASE}"),
        format!("--tables={TABLES}"),
        format!("--table-size={ROWS}"),
    ];
    let arguments = [SCRIPT.to_owned()].into_iter().chain(fixed).chain(options.iter().cloned());
    let process = Process::start(&Launch {
        name: "sysbench",
        program: &program()?,
        arguments: arguments.chain([verb.to_owned()]).map(Into::into).collect(),
        folder,
        log: log.clone(),
    })?;
    let limit = planned + PATIENCE;
    let ended = poll_every(PAUSE, limit, || (process.liveness() == Liveness::Gone).then_some(()));
    if ended.is_none() {
        // It may end just now, and then this does nothing.
        let _ = process.signal(Signal::SIGKILL);
        process.ends_within(END_LIMIT);
        return Err(LabError::Deadline {
            what: format!("the end of sysbench {verb}"),
            waited: limit,
            hint: log_tail(&log),
        });
    }
    let text = fs::read_to_string(&log).map_err(file_error("read", &log))?;
    // It ends in the same way whether or not it could do what it was asked to.
    if text.contains("FATAL") {
        return Err(LabError::Answer { from: "sysbench".to_owned(), what: excerpt(&text) });
    }
    Ok(text)
}

/// Transactions a second; none: it is not that, or connections were lost on the way.
fn parse(text: &str) -> Option<f64> {
    let line = |name: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(name)?.trim().strip_suffix(" per sec.)"))
    };
    let reconnects = line("reconnects:")?;
    let per_second = line("transactions:")?.split_once('(')?.1.parse().ok()?;
    reconnects.starts_with("0 ").then_some(per_second)
}

fn excerpt(text: &str) -> String {
    text.lines()
        .filter(|line| line.contains("FATAL") || line.contains("reconnects"))
        .collect::<Vec<_>>()
        .join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "SQL statistics:\n    queries performed:\n        read:                            31444\n    \
        transactions:                        2246   (748.23 per sec.)\n    \
        queries:                             44920  (14964.55 per sec.)\n    \
        ignored errors:                      0      (0.00 per sec.)\n    \
        reconnects:                          0      (0.00 per sec.)\n";

    #[test]
    fn transactions_a_second_are_read() {
        assert_eq!(parse(TEXT), Some(748.23));
        assert_eq!(parse(""), None);
        assert_eq!(parse(&TEXT.replace("transactions", "actions")), None);
    }

    #[test]
    fn a_round_in_which_connections_were_lost_is_no_round() {
        assert_eq!(parse(&TEXT.replace("reconnects:                          0 ", "reconnects: 3 ")), None);
    }
}
