//! The gateway benchmark: Redis asked directly and through what can stand before it, in turn, on the same machine in the
//! same run; and what 50 clients see of a failover behind one address.

pub mod bed;
pub mod case;
pub mod failover;
pub mod fault;
pub mod memory;
pub mod report;
pub mod round;
pub mod tool;

use crate::bench::Progress;
use crate::error::{LabError, Result};
use bed::Bed;
use case::{Case, System};
use fault::GatewayFault;
use memory::Memory;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use report::{FailoverRow, Report, Row};
use round::{Pace, Round};
use std::path::PathBuf;
use std::time::Duration;

/// HAProxy needs the most: two for each of its clients.
const OPEN_FILES: u64 = 5_000;
/// What a process with many idle clients has open beside them.
const OPEN_FILES_BESIDE: u64 = 2_000;

/// What to measure.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Rounds of each case through each system; 0: none of this part.
    pub rounds: usize,
    /// How long a round takes, about.
    pub round: Duration,
    /// Which cases; empty: all.
    pub cases: Vec<Case>,
    /// Which systems; empty: all.
    pub systems: Vec<System>,
    /// Idle clients on one gateway; 0: none of this part.
    pub idle_clients: usize,
    /// Failovers of each fault; 0: none of this part.
    pub runs: usize,
    /// Which faults; empty: all.
    pub faults: Vec<GatewayFault>,
    /// The `backstay` program; none: it is looked for.
    pub backstay: Option<PathBuf>,
}

impl GatewayOptions {
    /// The systems that are measured, in order.
    pub fn systems(&self) -> Vec<System> {
        let wanted = |system: &System| self.systems.is_empty() || self.systems.contains(system);
        System::ALL.into_iter().filter(wanted).collect()
    }

    fn cases(&self) -> Vec<Case> {
        let wanted = |case: &Case| self.cases.is_empty() || self.cases.contains(case);
        Case::ALL.into_iter().filter(wanted).collect()
    }
}

/// Measures everything that was selected. A round that fails is counted in its row; the others go on.
pub fn gateway(options: &GatewayOptions, progress: &mut impl Progress) -> Result<Report> {
    allow_open_files(options.idle_clients)?;
    let systems = options.systems();
    let cases = if options.rounds == 0 { Vec::new() } else { options.cases() };
    let failovers = failover::schedule(options.runs, &options.faults, &systems);
    let crowded = options.idle_clients > 0 && systems.contains(&System::Backstay);
    progress.begin(cases.len() * systems.len() * options.rounds + failovers.len() + usize::from(crowded));
    let mut rows = Vec::new();
    for with_password in [false, true] {
        let cases: Vec<_> =
            cases.iter().copied().filter(|case| case.needs_password() == with_password).collect();
        if cases.is_empty() {
            continue;
        }
        let mut bed = Bed::up(&systems, with_password, options.backstay.as_deref());
        for case in cases {
            let outcomes = measure(&mut bed, case, &systems, options, progress);
            rows.extend(Row::of_all(case, outcomes));
        }
    }
    rows.sort_by_key(|row: &Row| Case::ALL.iter().position(|case| *case == row.case));
    let memory = crowded.then(|| {
        progress.run(&"memory");
        let outcome = memory::measure(options.idle_clients, options.backstay.as_deref());
        progress.done(
            &outcome.as_ref().map_or_else(|error| format!("memory: FAILED: {error}"), Memory::sentences),
        );
        outcome.ok()
    });
    Ok(Report::of(options.rounds, rows, memory, fail_over(options, &failovers, progress)))
}

/// Round after round through all systems, each round beginning with another one.
fn measure(
    bed: &mut Result<Bed>,
    case: Case,
    systems: &[System],
    options: &GatewayOptions,
    progress: &mut impl Progress,
) -> Vec<(System, Vec<Result<Round>>)> {
    let again = |error: &LabError| LabError::Refused(error.to_string());
    let mut warm_up = |system: &System| match bed {
        Ok(bed) => round::warm_up(bed, case, *system),
        Err(error) => Err(again(error)),
    };
    let paces: Vec<Result<Pace>> = systems.iter().map(&mut warm_up).collect();
    let mut outcomes: Vec<_> = systems.iter().map(|system| (*system, Vec::new())).collect();
    for number in 0..options.rounds {
        for turn in 0..systems.len() {
            let index = (number + turn) % systems.len();
            let name = format!("{case} {}", systems[index]);
            progress.run(&name);
            let outcome = match (bed.as_mut(), &paces[index]) {
                (Ok(bed), Ok(pace)) => round::round(bed, case, systems[index], *pace, options.round),
                (Err(error), _) => Err(again(error)),
                (_, Err(error)) => Err(again(error)),
            };
            progress.done(&match &outcome {
                Ok(round) => {
                    format!(
                        "{name}: {:.0}/s, p50 {:.0} µs, p99 {:.0} µs",
                        round.ops, round.p50_us, round.p99_us
                    )
                }
                Err(error) => format!("{name}: FAILED: {error}"),
            });
            outcomes[index].1.push(outcome);
        }
    }
    outcomes
}

fn fail_over(
    options: &GatewayOptions,
    schedule: &[failover::Run],
    progress: &mut impl Progress,
) -> Vec<FailoverRow> {
    let mut rows = Vec::new();
    for (number, run) in schedule.iter().enumerate() {
        progress.run(run);
        let outcome = failover::measure(*run, options.backstay.clone(), &format!("g{number}"));
        progress.done(&match &outcome {
            Ok(sample) => format!(
                "{run}: longest gap {:.1} ms, {} errors, {} of {} lost",
                sample.longest_gap_ms,
                sample.errors(),
                sample.lost,
                sample.acked
            ),
            Err(error) => format!("{run}: FAILED: {error}"),
        });
        rows.push((*run, outcome));
    }
    FailoverRow::of_all(rows)
}

/// What is started from here on may open enough files.
fn allow_open_files(idle_clients: usize) -> Result<()> {
    let wanted = OPEN_FILES.max(idle_clients as u64 + OPEN_FILES_BESIDE);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    if hard < wanted || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        return Err(LabError::Options(format!(
            "1,000 connections through a proxy and {idle_clients} idle clients need {wanted} open files, and this \
             process may have {hard}. Raise the limit (`ulimit -Hn {wanted}`), or ask for less with --idle-clients."
        )));
    }
    Ok(())
}
