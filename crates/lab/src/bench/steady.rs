//! The steady benchmark: what one controller takes while nothing happens, and whether anybody is failed over by mistake
//! while the machine is overloaded.

use crate::admin;
use crate::error::{LabError, Result};
use crate::load::light::LightWriter;
use crate::servers::usage::Usage;
use crate::stack::lab::ScopedLab;
use crate::stack::options::Options;
use crate::wait::{poll_every, wait_until};
use serde::Serialize;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

/// Threads that do nothing but take processor time.
const BUSY_LOOPS: usize = 4;
const DOWN_AFTER: Duration = Duration::from_millis(500);
const HEALTHY_LIMIT: Duration = Duration::from_secs(20);
/// How long nothing happens before the idle measurement.
const CALM: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_secs(1);
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// What to measure.
#[derive(Clone, Debug)]
pub struct SteadyOptions {
    /// For how long the machine is overloaded.
    pub busy: Duration,
    /// For how long the idle controllers are measured before.
    pub idle: Duration,
    /// The `backstay` program; none: it is looked for.
    pub backstay: Option<PathBuf>,
}

/// All figures; those of the idle controllers are the busiest one's.
#[derive(Clone, Debug, Serialize)]
pub struct SteadyReport {
    bench: &'static str,
    minutes: f64,
    false_failovers: usize,
    leader_changes: u64,
    idle_cpu_percent: f64,
    rss_mib: f64,
    writes: usize,
    write_errors: u64,
}

/// Measures; `say` is told what is being done.
pub fn steady(options: &SteadyOptions, mut say: impl FnMut(&str)) -> Result<SteadyReport> {
    say("bringing up a lab");
    let lab = ScopedLab::up(&Options {
        down_after: DOWN_AFTER,
        // The default: here nothing is tried one after the other.
        cooldown: None,
        backstay: options.backstay.clone(),
        ..Options::default()
    })?;
    lab.await_healthy(HEALTHY_LIMIT)?;
    say(&format!("measuring idle controllers for {} s", options.idle.as_secs()));
    sleep(CALM);
    let before = usage(&lab)?;
    sleep(options.idle);
    let after = usage(&lab)?;
    let most = |figures: Vec<f64>| figures.into_iter().fold(0.0, f64::max);
    let idle_cpu_percent =
        most(before.iter().zip(&after).map(|(before, after)| after.percent_since(before)).collect());
    let rss_mib = most(after.iter().map(|usage| usage.rss_mib).collect());

    say(&format!("{BUSY_LOOPS} busy loops for {:.0} s", options.busy.as_secs_f64()));
    let first = look(&lab)?;
    let writer = LightWriter::start(lab.client()?, "steady");
    let load = BusyLoops::start();
    let mut seen = BTreeSet::new();
    // The look itself suffers from the load: one that fails is made again.
    poll_every(LOOK, options.busy, || {
        if let Ok(found) = look(&lab) {
            seen.extend(found.failovers);
        }
        None::<()>
    });
    drop(load);
    let record = writer.stop();
    let last = look(&lab)?;
    seen.extend(last.failovers);
    Ok(SteadyReport {
        bench: "steady",
        minutes: round(options.busy.as_secs_f64() / 60.0),
        false_failovers: seen.difference(&first.failovers).count(),
        leader_changes: last.term - first.term,
        idle_cpu_percent: round(idle_cpu_percent),
        rss_mib: round(rss_mib),
        writes: record.acks.len(),
        write_errors: record.errors_total(),
    })
}

impl SteadyReport {
    /// For people.
    pub fn table(&self) -> String {
        format!(
            "idle, one group: the busiest controller took {:.2} % of a core and {:.1} MiB\n\
             {:.1} minutes beside {BUSY_LOOPS} busy loops: {} false failovers, {} changes of the leader, {} writes \
             acknowledged, {} errors\n",
            self.idle_cpu_percent,
            self.rss_mib,
            self.minutes,
            self.false_failovers,
            self.leader_changes,
            self.writes,
            self.write_errors
        )
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn usage(lab: &ScopedLab) -> Result<Vec<Usage>> {
    let members = lab.state()?.controllers;
    let usage = members.iter().map(|member| {
        member.process.and_then(Usage::of).ok_or_else(|| LabError::Answer {
            from: format!("controller {}", member.server.name),
            what: "it ended".to_owned(),
        })
    });
    usage.collect()
}

struct Look {
    /// The epochs of all failovers.
    failovers: BTreeSet<u64>,
    term: u64,
}

/// What any controller knows.
fn look(lab: &ScopedLab) -> Result<Look> {
    let members = lab.state()?.controllers;
    wait_until("an answer of a controller", ANSWER_LIMIT, || {
        members.iter().find_map(|member| {
            let history = admin::history(&member.server.admin).ok()?;
            let status = admin::status(&member.server.admin).ok()?;
            Some(Look {
                failovers: history.iter().map(|record| record.epoch.0).collect(),
                term: status.term.0,
            })
        })
    })
}

/// Threads that take all the processor time that they get. Dropping this ends them.
struct BusyLoops {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl BusyLoops {
    fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let spin = || {
            let stop = Arc::clone(&stop);
            spawn(move || {
                let mut number = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    number = black_box(number.wrapping_mul(31).wrapping_add(1));
                }
            })
        };
        Self { threads: (0..BUSY_LOOPS).map(|_| spin()).collect(), stop }
    }
}

impl Drop for BusyLoops {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // They do not panic.
            let _ = thread.join();
        }
    }
}
