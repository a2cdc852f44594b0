//! `backstay-sim`: runs seeds on all cores and reports; or one seed with its trace.

use backstay_simulator::{Outcome, Scenario, run};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const USAGE: &str = "usage: backstay-sim [--seeds N] [--from S] [--json]   run N seeds (default 1000)\n       \
                     backstay-sim --seed S [--trace]              run one seed, with its whole trace";

struct Options {
    seeds: u64,
    from: u64,
    one: Option<u64>,
    trace: bool,
    json: bool,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match options.one {
        Some(seed) => one(seed, options.trace),
        None => many(&options),
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options { seeds: 1000, from: 1, one: None, trace: false, json: false };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().ok_or_else(|| format!("{arg} needs a number"))?;
            text.parse::<u64>().map_err(|_| format!("{arg} needs a number, not '{text}'"))
        };
        match arg.as_str() {
            "--seeds" => options.seeds = number()?,
            "--from" => options.from = number()?,
            "--seed" => options.one = Some(number()?),
            "--trace" => options.trace = true,
            "--json" => options.json = true,
            other => return Err(format!("unknown flag '{other}'")),
        }
    }
    Ok(options)
}

fn one(seed: u64, trace: bool) -> ExitCode {
    let mut scenario = Scenario::of(seed);
    scenario.trace = trace;
    let outcome = run(scenario);
    for line in outcome.lines.iter().filter(|_| trace || outcome.violation.is_some()) {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} writes acknowledged, {} lost, failovers {:?} ms, digest {:016x}",
        outcome.acknowledged, outcome.lost, outcome.failover_ms, outcome.digest
    );
    complain(&outcome)
}

fn complain(outcome: &Outcome) -> ExitCode {
    let Some((property, what)) = &outcome.violation else {
        return ExitCode::SUCCESS;
    };
    println!("VIOLATION of \"{property}\": {what}");
    println!("replay: ./dev sim --seed {} --trace", outcome.seed);
    ExitCode::FAILURE
}

fn many(options: &Options) -> ExitCode {
    let next = AtomicU64::new(options.from);
    let end = options.from + options.seeds;
    let outcomes = Mutex::new(Vec::new());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    #[expect(
        clippy::disallowed_methods,
        reason = "the rate is for people; nothing in a world sees this clock"
    )]
    let started = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let mut outcome = run(Scenario::of(seed));
                    if outcome.violation.is_none() {
                        outcome.lines.clear();
                    }
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push(outcome);
                    }
                }
            });
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let outcomes = outcomes.into_inner().unwrap_or_default();
    report(options, &outcomes, seconds, cores)
}

fn report(options: &Options, outcomes: &[Outcome], seconds: f64, cores: usize) -> ExitCode {
    let mut times: Vec<u64> =
        outcomes.iter().flat_map(|outcome| outcome.failover_ms.iter().copied()).collect();
    times.sort_unstable();
    let quantile =
        |q: f64| times.get(((times.len() as f64 * q) as usize).min(times.len().saturating_sub(1))).copied();
    let mut bad: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.violation.is_some()).collect();
    bad.sort_by_key(|outcome| outcome.seed);
    let rate = outcomes.len() as f64 / seconds / cores as f64;
    let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
    if options.json {
        let report = serde_json::json!({
            "seeds": outcomes.len(),
            "violations": bad.iter().map(|outcome| outcome.seed).collect::<Vec<_>>(),
            "seeds_per_second_and_core": rate,
            "failovers": times.len(),
            "failover_ms": {"p50": quantile(0.5), "p99": quantile(0.99), "max": times.last()},
            "acknowledged": sum(|outcome| outcome.acknowledged),
            "lost_async": sum(|outcome| outcome.lost),
        });
        println!("{report}");
    } else {
        println!("{} seeds, {} violations, {rate:.0} seeds per second and core", outcomes.len(), bad.len());
        println!(
            "{} failovers: p50 {:?} ms, p99 {:?} ms, max {:?} ms",
            times.len(),
            quantile(0.5).unwrap_or(0),
            quantile(0.99).unwrap_or(0),
            times.last().copied().unwrap_or(0)
        );
        println!(
            "{} writes acknowledged, {} of them lost as async allows, {} taken by old primaries that nobody could reach",
            sum(|outcome| outcome.acknowledged),
            sum(|outcome| outcome.lost),
            sum(|outcome| outcome.stale)
        );
    }
    for outcome in bad.iter().take(10).filter(|_| !options.json) {
        println!("seed {}:", outcome.seed);
        complain(outcome);
    }
    if bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
