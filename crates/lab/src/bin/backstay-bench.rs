//! `backstay-bench failover`: how long writes stop when a Redis primary dies, under Backstay and under stock Sentinel;
//! `scale`: what a thousand groups cost; `steady`: what an overloaded machine does to one; `gateway`: what Redis costs
//! and how it fails over behind one address; `mariadb`: the same question of a MariaDB group.

use backstay_lab::bench::case::{BenchFault, Selection, System, WriterKind};
use backstay_lab::bench::gateway::{self, GatewayOptions, gateway};
use backstay_lab::bench::mariadb::{MariaDbOptions, mariadb, sysbench};
use backstay_lab::bench::scale::{ScaleOptions, scale};
use backstay_lab::bench::steady::{SteadyOptions, steady};
use backstay_lab::bench::{BenchOptions, Progress, failover};
use backstay_lab::servers::proxy;
use backstay_lab::servers::{controller, redis, sentinel};
use backstay_lab::{Result, nursery};
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(name = "backstay-bench", about = "Measures Backstay, and stock redis-sentinel beside it.")]
struct Cli {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// From the fault to the first acknowledged write, as a client sees it.
    Failover(Failover),
    /// What a controller takes with many groups, and how soon a third of them is failed over at once.
    Scale(Scale),
    /// What a controller takes with one group, and whether an overloaded machine causes failovers.
    Steady(Steady),
    /// Redis through one address: throughput, latency and processor time beside HAProxy and twemproxy, and failovers.
    Gateway(Gateway),
    /// A MariaDB group through one address: throughput beside HAProxy, and failovers in both durabilities.
    Mariadb(Mariadb),
}

#[derive(Args)]
struct Mariadb {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Runs of each fault in each durability; 0: throughput only.
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Rounds of each load directly, through a gateway and through HAProxy; 0: failovers only.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a round takes.
    #[arg(long, default_value_t = 3, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    round_seconds: u64,
    /// The backstay program; by default the one beside this one.
    #[arg(long, env = "BACKSTAY_EXE")]
    backstay: Option<PathBuf>,
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
    #[arg(long, value_delimiter = ',', value_name = "crash,hang,crash+leader,zombie,switchover")]
    faults: Vec<BenchFault>,
    /// Only these writers.
    #[arg(long, value_delimiter = ',', value_name = "light,saturating")]
    writers: Vec<WriterKind>,
    /// The backstay program; by default the one beside this one.
    #[arg(long, env = "BACKSTAY_EXE")]
    backstay: Option<PathBuf>,
}

#[derive(Args)]
struct Scale {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// How many groups of a primary and two replicas.
    #[arg(long, default_value_t = 1000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    groups: usize,
    /// For how long processor time is counted.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// The backstay program; by default the one beside this one.
    #[arg(long, env = "BACKSTAY_EXE")]
    backstay: Option<PathBuf>,
}

#[derive(Args)]
struct Steady {
    /// Print JSON instead of sentences.
    #[arg(long)]
    json: bool,
    /// For how long the machine is overloaded.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// For how long idle controllers are measured before.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    idle_seconds: u64,
    /// The backstay program; by default the one beside this one.
    #[arg(long, env = "BACKSTAY_EXE")]
    backstay: Option<PathBuf>,
}

#[derive(Args)]
struct Gateway {
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Rounds of each case through each system; 0: failovers only.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a round takes, about.
    #[arg(long, default_value_t = 1500, value_name = "MS", value_parser = clap::value_parser!(u64).range(50..=600_000))]
    round_ms: u64,
    /// Only these cases.
    #[arg(long, value_delimiter = ',', value_name = "get-c50,set-c50,...")]
    cases: Vec<gateway::case::Case>,
    /// Only these systems.
    #[arg(long, value_delimiter = ',', value_name = "direct,backstay,haproxy,twemproxy")]
    systems: Vec<gateway::case::System>,
    /// Idle clients on one gateway, to see what they cost; 0: none.
    #[arg(long, default_value_t = 10_000)]
    idle_clients: usize,
    /// Failovers of each fault behind Backstay; HAProxy gets a tenth, at least 3; 0: none.
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// Only these faults.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "crash,hang,switchover,crash+gateway-hang,crash+gateway"
    )]
    faults: Vec<gateway::fault::GatewayFault>,
    /// The backstay program; by default the one beside this one.
    #[arg(long, env = "BACKSTAY_EXE")]
    backstay: Option<PathBuf>,
}

/// How long a cluster of many groups is left alone before it is measured.
const CALM: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let bench = Cli::parse().bench;
    nursery::end_all_on_interrupt();
    let outcome = match bench {
        Bench::Failover(arguments) => run(arguments),
        Bench::Scale(arguments) => run_scale(arguments),
        Bench::Steady(arguments) => run_steady(arguments),
        Bench::Gateway(arguments) => run_gateway(arguments),
        Bench::Mariadb(arguments) => run_mariadb(arguments),
    };
    match outcome {
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
    print(arguments.json, &report, &report.table());
    Ok(report.is_complete())
}

fn run_scale(arguments: Scale) -> Result<bool> {
    let options = ScaleOptions {
        groups: arguments.groups,
        calm: CALM,
        measured: Duration::from_secs(arguments.seconds),
        backstay: arguments.backstay,
    };
    let report = scale(&options, |what| eprintln!("{what}"))?;
    print(arguments.json, &report, &report.table());
    Ok(true)
}

fn run_steady(arguments: Steady) -> Result<bool> {
    redis::program()?;
    let options = SteadyOptions {
        busy: Duration::from_secs(arguments.minutes * 60),
        idle: Duration::from_secs(arguments.idle_seconds),
        backstay: arguments.backstay,
    };
    let report = steady(&options, |what| eprintln!("{what}"))?;
    print(arguments.json, &report, &report.table());
    Ok(true)
}

fn run_gateway(arguments: Gateway) -> Result<bool> {
    let options = GatewayOptions {
        rounds: arguments.rounds,
        round: Duration::from_millis(arguments.round_ms),
        cases: arguments.cases,
        systems: arguments.systems,
        idle_clients: arguments.idle_clients,
        runs: arguments.runs,
        faults: arguments.faults,
        backstay: arguments.backstay,
    };
    check_programs(&options)?;
    let report = gateway(&options, &mut Bar::new())?;
    print(arguments.json, &report, &report.table());
    Ok(report.is_complete())
}

fn run_mariadb(arguments: Mariadb) -> Result<bool> {
    controller::find_backstay(arguments.backstay.clone())?;
    if arguments.rounds > 0 {
        sysbench()?;
        proxy::haproxy()?;
    }
    let options = MariaDbOptions {
        runs: arguments.runs,
        rounds: arguments.rounds,
        round: Duration::from_secs(arguments.round_seconds),
        backstay: arguments.backstay,
    };
    let report = mariadb(&options, &mut Bar::new())?;
    print(arguments.json, &report, &report.table());
    Ok(report.is_complete())
}

/// Complains of what is missing before anything is started.
fn check_programs(options: &GatewayOptions) -> Result<()> {
    use gateway::case::System;
    redis::program()?;
    gateway::tool::program()?;
    for system in System::ALL {
        match (system, options.systems().contains(&system)) {
            (System::Haproxy, true) => drop(proxy::haproxy()?),
            (System::Twemproxy, true) => drop(proxy::twemproxy()?),
            (System::Backstay, true) => drop(controller::find_backstay(options.backstay.clone())?),
            _ => {}
        }
    }
    Ok(())
}

fn print(json: bool, report: &impl serde::Serialize, table: &str) {
    if json {
        println!("{}", serde_json::to_string_pretty(report).unwrap_or_default());
    } else {
        print!("{table}");
    }
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

    fn run(&mut self, what: &dyn Display) {
        self.0.set_message(what.to_string());
    }

    fn done(&mut self, line: &str) {
        if self.0.is_hidden() {
            eprintln!("{line}");
        } else {
            self.0.println(line);
        }
        self.0.inc(1);
    }
}
