//! `backstay-sim`: runs seeds on all cores and reports; or one seed with its trace.

mod batch;
mod options;
mod summary;

use backstay_simulator::{Outcome, run};
use options::Options;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match options.one {
        Some(seed) => one(&options, seed),
        None => batch::run_all(&options),
    }
}

fn one(options: &Options, seed: u64) -> ExitCode {
    let trace = options.trace;
    let mut scenario = options.scenario(seed);
    scenario.trace = trace;
    let outcome = run(scenario);
    for line in outcome.lines.iter().filter(|_| trace || outcome.violation.is_some()) {
        println!("{line}");
    }
    println!(
        "seed {seed}: {} writes acknowledged, {} lost, failovers {:?} ms, digest {:016x}",
        outcome.acknowledged, outcome.lost, outcome.failover_ms, outcome.digest
    );
    match complaint(options, &outcome) {
        Some(complaint) => {
            println!("{complaint}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

/// What is wrong with a world, and how to see it again.
fn complaint(options: &Options, outcome: &Outcome) -> Option<String> {
    let (property, what) = outcome.violation.as_ref()?;
    let replay = options.replay(outcome.seed);
    Some(format!("VIOLATION of \"{property}\": {what}\nreplay: {replay}"))
}
