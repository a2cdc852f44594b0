//! Many seeds at once. Each world is its seed's alone, so it does not matter which core runs it, or when.

use crate::options::Options;
use crate::summary::Summary;
use backstay_simulator::{Outcome, run};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How many violations are named while it runs.
const NAMED: usize = 5;

/// Runs what the options ask for, tells how far it is, and reports.
pub(crate) fn run_all(options: &Options) -> ExitCode {
    let started = now();
    let next = AtomicU64::new(options.from);
    let end = if options.time.is_some() { u64::MAX } else { options.from.saturating_add(options.seeds) };
    let (send, outcomes) = mpsc::sync_channel::<Outcome>(1024);
    let mut summary = Summary::default();
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            let (next, send) = (&next, send.clone());
            scope.spawn(move || work(next, end, started, options, &send));
        }
        drop(send);
        let mut progress = Progress::new(options, started);
        for outcome in outcomes {
            if outcome.violation.is_some() && summary.bad.len() < NAMED {
                progress.interrupt(&format!("seed {} violates a property", outcome.seed));
            }
            summary.add(outcome);
            progress.tell(summary.seeds, summary.bad.len());
        }
        progress.end();
    });
    summary.report(options, started.elapsed())
}

fn work(
    next: &AtomicU64,
    end: u64,
    started: Instant,
    options: &Options,
    outcomes: &mpsc::SyncSender<Outcome>,
) {
    while options.time.is_none_or(|time| started.elapsed() < time) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end || outcomes.send(run(options.scenario(seed))).is_err() {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the rate is for people; nothing in a world sees this clock")]
fn now() -> Instant {
    Instant::now()
}

/// How far it is, on stderr: one line that is written over on a terminal, one every half minute elsewhere.
struct Progress<'a> {
    options: &'a Options,
    started: Instant,
    told: Instant,
    terminal: bool,
}

impl<'a> Progress<'a> {
    fn new(options: &'a Options, started: Instant) -> Self {
        Self { options, started, told: started, terminal: std::io::stderr().is_terminal() }
    }

    fn tell(&mut self, seeds: u64, bad: usize) {
        let pause = Duration::from_millis(if self.terminal { 250 } else { 30_000 });
        if self.told.elapsed() < pause {
            return;
        }
        self.told = now();
        let elapsed = self.started.elapsed();
        let left = self.options.time.map_or_else(
            || elapsed.mul_f64(self.options.seeds.saturating_sub(seeds) as f64 / seeds as f64),
            |time| time.saturating_sub(elapsed),
        );
        let rate = seeds as f64 / elapsed.as_secs_f64();
        let of =
            if self.options.time.is_some() { String::new() } else { format!(" of {}", self.options.seeds) };
        let line =
            format!("{seeds}{of} seeds, {bad} violations, {rate:.0} a second, {} s to go", left.as_secs());
        if self.terminal {
            eprint!("\r{line}\x1b[K");
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }

    fn interrupt(&self, line: &str) {
        self.end();
        eprintln!("{line}");
    }

    /// Clears the line.
    fn end(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
