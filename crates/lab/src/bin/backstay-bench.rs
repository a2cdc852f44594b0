//! `backstay-bench failover`: how long writes stop when a Redis primary dies, under Backstay and under stock Sentinel.

use backstay_lab::bench::case::{BenchFault, Case, Selection, System, WriterKind};
use backstay_lab::bench::measure::Sample;
use backstay_lab::bench::{BenchOptions, Progress, failover};
use backstay_lab::servers::{controller, redis, sentinel};
use backstay_lab::{Result, nursery};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "backstay-bench", about = "Measures Backstay and stock redis-sentinel side by side.")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From the fault to the first acknowledged write, as a client sees it.
    Failover(Failover),
}

#[derive(Args)]
struct Failover {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Runs of each of Backstay's cases; stock Sentinel's settings get a tenth, at least 5.
    #[arg(long, default_value_t = 30, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    runs: usize,
    /// Only these systems.
    #[arg(long, value_delimiter = ',', value_name = "backstay,sentinel")]
    systems: Vec<System>,
    /// Only these faults.
    #[arg(long, value_delimiter = ',', value_name = "crash,hang,crash+leader,zombie")]
    faults: Vec<BenchFault>,
    /// Only these writers.
    #[arg(long, value_delimiter = ',', value_name = "light,saturating")]
    writers: Vec<WriterKind>,
    /// The backstay program; by default the one beside this one.
    #[arg(long, env = "BACKSTAY_EXE")]
    backstay: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Bench::Failover(arguments) = Cli::parse().bench;
    nursery::end_all_on_interrupt();
    match run(arguments) {
        Ok(complete) if complete => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Failover) -> Result<bool> {
    let takes = |system| arguments.systems.is_empty() || arguments.systems.contains(&system);
    redis::program()?;
    if takes(System::Sentinel) {
        sentinel::program()?;
    }
    if takes(System::Backstay) {
        controller::find_backstay(arguments.backstay.clone())?;
    }
    let options = BenchOptions {
        runs: arguments.runs,
        selection: Selection {
            systems: arguments.systems,
            faults: arguments.faults,
            writers: arguments.writers,
        },
        backstay: arguments.backstay,
    };
    let report = failover(&options, &mut Bar::new());
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print!("{}", report.table());
    }
    Ok(report.is_complete())
}

/// Progress on standard error.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        if let Ok(style) =
            ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed} of about {duration}  {msg}")
        {
            bar.set_style(style);
        }
        Self(bar)
    }
}

impl Progress for Bar {
    fn begin(&mut self, runs: usize) {
        self.0.set_length(runs as u64);
    }

    fn run(&mut self, case: &Case) {
        self.0.set_message(case.to_string());
    }

    fn done(&mut self, case: &Case, outcome: &Result<Sample>) {
        let line = match outcome {
            Ok(sample) => {
                format!("{case}: {:.1} ms, {} of {} lost", sample.rto_ms, sample.lost, sample.acked)
            }
            Err(error) => format!("{case}: FAILED: {error}"),
        };
        if self.0.is_hidden() {
            eprintln!("{line}");
        } else {
            self.0.println(line);
        }
        self.0.inc(1);
    }
}
