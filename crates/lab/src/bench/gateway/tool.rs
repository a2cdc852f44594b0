//! `redis-benchmark`: how it is run, and how its figures are read. It is given a deadline, because it asks again for ever
//! when it is refused.

use crate::bench::gateway::bed::Bed;
use crate::bench::gateway::case::{System, Tool};
use crate::error::{LabError, Result, file_error};
use crate::servers::process::{Launch, Liveness, Process, find_program};
use crate::servers::redis::log_tail;
use crate::wait::poll_every;
use nix::sys::signal::Signal;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// How much longer than planned it may take.
const PATIENCE: Duration = Duration::from_secs(10);
const END_LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(20);
/// The key that it asks for when it is not told to use many.
const KEY: &str = "key:__rand_int__";

/// What it says of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// Operations a second.
    pub ops: f64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
}

/// The installed `redis-benchmark`.
pub fn program() -> Result<PathBuf> {
    find_program("redis-benchmark").ok_or_else(|| LabError::Missing {
        program: "redis-benchmark".to_owned(),
        why: "it makes most of the load",
        remedy: "Install it with `apt-get install redis-tools` (Debian, Ubuntu), then try again".to_owned(),
    })
}

impl Tool {
    /// Sets the key that is read: reading what is not there would be too easy.
    pub fn prepare(&self, bed: &mut Bed) -> Result<()> {
        bed.set(KEY, &"x".repeat(self.value_bytes))
    }

    /// Makes `requests` requests through `system`.
    pub fn run(&self, bed: &Bed, system: System, requests: u64, planned: Duration) -> Result<Figures> {
        let log = bed.folder().join("redis-benchmark.csv");
        if log.exists() {
            fs::remove_file(&log).map_err(file_error("remove", &log))?;
        }
        let address = bed.address(system);
        let arguments = format!(
            "-h {} -p {} -t {} -c {} -P {} -d {} -n {requests} --csv --precision 3",
            address.ip(),
            address.port(),
            self.test,
            self.connections,
            self.pipeline,
            self.value_bytes
        );
        let process = Process::start(&Launch {
            name: "redis-benchmark",
            program: &program()?,
            arguments: arguments.split(' ').map(Into::into).collect(),
            folder: bed.folder(),
            log: log.clone(),
        })?;
        let limit = planned + PATIENCE;
        let gone = || (process.liveness() == Liveness::Gone || bed.check(system).is_err()).then_some(());
        let ended = poll_every(PAUSE, limit, gone);
        // It may have ended, and then this does nothing.
        let _ = process.signal(Signal::SIGKILL);
        process.ends_within(END_LIMIT);
        bed.check(system)?;
        if ended.is_none() {
            return Err(LabError::Deadline {
                what: format!("the end of {requests} requests of redis-benchmark through {system}"),
                waited: limit,
                hint: log_tail(&log),
            });
        }
        let text = fs::read_to_string(&log).map_err(file_error("read", &log))?;
        parse(&text).ok_or_else(|| LabError::Answer {
            from: "redis-benchmark".to_owned(),
            what: text.lines().take(5).collect::<Vec<_>>().join(" / "),
        })
    }
}

/// Reads what it prints with `--csv`; none: it is not that, or it tells of an error.
pub fn parse(text: &str) -> Option<Figures> {
    if text.lines().any(|line| line.contains("Error")) {
        return None;
    }
    let mut lines = text.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"')));
    let names: Vec<&str> = lines.by_ref().map(Iterator::collect).find(|cells: &Vec<_>| cells[0] == "test")?;
    let cells: Vec<&str> = lines.map(Iterator::collect).find(|cells: &Vec<_>| cells.len() == names.len())?;
    let figure = |name: &str| {
        let column = names.iter().position(|found| *found == name)?;
        cells[column].parse::<f64>().ok().filter(|value| value.is_finite())
    };
    Some(Figures {
        ops: figure("rps").filter(|ops| *ops > 0.0)?,
        p50_us: figure("p50_latency_ms")? * 1000.0,
        p99_us: figure("p99_latency_ms")? * 1000.0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "\"test\",\"rps\",\"avg_latency_ms\",\"min_latency_ms\",\"p50_latency_ms\",\"p95_latency_ms\",\
                        \"p99_latency_ms\",\"max_latency_ms\"\n";
    const ROW: &str = "\"GET\",\"145985.41\",\"0.222\",\"0.040\",\"0.223\",\"0.319\",\"0.359\",\"0.991\"\n";

    #[test]
    fn the_tools_figures_are_read_by_the_names_of_its_columns() {
        let figures = Figures { ops: 145_985.41, p50_us: 223.0, p99_us: 359.0 };
        assert_eq!(parse(&format!("{HEAD}{ROW}")), Some(figures));
        // A proxy that knows no CONFIG.
        assert_eq!(parse(&format!("WARNING: Could not fetch server CONFIG\n{HEAD}{ROW}")), Some(figures));
    }

    #[test]
    fn half_an_answer_and_an_error_are_no_figures() {
        assert_eq!(parse(""), None);
        assert_eq!(parse(HEAD), None);
        assert_eq!(parse(&format!("{HEAD}\"GET\",\"145985.41\"\n")), None);
        assert_eq!(parse(&format!("{HEAD}{}", ROW.replace("145985.41", "0.00"))), None);
        assert_eq!(parse(&format!("Error from server: ERR no\n{HEAD}{ROW}")), None);
    }
}
