//! Failovers as four writers of single-row commits see them through one gateway: how long nobody
//! gets a commit acknowledged, how many errors there are, and what of the acknowledged is missing afterwards.

use crate::bench::Progress;
use crate::bench::mariadb::MariaDbOptions;
use crate::error::{LabError, Result};
use crate::load::orders::OrderWriters;
use crate::servers::mariadb::MariaDbServer;
use crate::stack::databases::SERVICE;
use crate::stack::fault::Fault;
use crate::stack::lab::ScopedLab;
use crate::stack::mariadb::application;
use crate::stack::options::Options;
use crate::wait::{poll_until, wait_until};
use backstay_model::Durability;
use serde::{Serialize, Serializer};
use std::fmt;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

const WRITERS: u64 = 4;
const LIMIT: Duration = Duration::from_secs(30);
/// Commits before the fault: at least so many, and up to so many more, at random.
const BEFORE: u64 = 1000;
const SPREAD: u64 = 1000;
/// Commits after it.
const AFTER: u64 = 500;

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum MariaDbFault {
    /// `kill -9` of the primary.
    Crash,
    /// SIGSTOP of the primary.
    Hang,
    /// An operator moves it.
    Switchover,
}

impl MariaDbFault {
    const ALL: [Self; 3] = [Self::Crash, Self::Hang, Self::Switchover];
}

/// One fault in one durability.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    fault: MariaDbFault,
    #[serde(serialize_with = "word")]
    durability: Durability,
    runs: usize,
    failed: usize,
    /// The longest time without an acknowledged commit: what clients see of a failover.
    rto_ms: Percentiles,
    /// From the start of a crashed primary until it is a replica in step.
    #[serde(skip_serializing_if = "Option::is_none")]
    rejoin_ms: Option<Percentiles>,
    errors: u64,
    acked: u64,
    lost: u64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    gap: Duration,
    rejoin: Option<Duration>,
    errors: u64,
    acked: u64,
    lost: u64,
}

pub(super) struct Run(MariaDbFault, Durability);

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fault = match self.0 {
            MariaDbFault::Crash => "crash",
            MariaDbFault::Hang => "hang",
            MariaDbFault::Switchover => "switchover",
        };
        write!(f, "{fault} in {}", self.1.word())
    }
}

/// Every fault in both durabilities.
pub(super) fn cases() -> Vec<Run> {
    let durabilities = [Durability::Majority, Durability::Async].into_iter();
    durabilities.flat_map(|durability| MariaDbFault::ALL.map(|fault| Run(fault, durability))).collect()
}

/// Measures them in turn.
pub(super) fn fail_over(options: &MariaDbOptions, progress: &mut impl Progress) -> Vec<Row> {
    let cases = if options.runs == 0 { Vec::new() } else { cases() };
    let mut samples: Vec<Vec<Result<Sample>>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.runs {
        for (case, samples) in cases.iter().zip(&mut samples) {
            progress.run(case);
            let outcome = measure(case, options.backstay.clone());
            progress.done(&match &outcome {
                Ok(it) => format!(
                    "{case}: {:.1} ms without a commit, {} errors, {} of {} lost",
                    it.gap.as_secs_f64() * 1000.0,
                    it.errors,
                    it.lost,
                    it.acked
                ),
                Err(error) => format!("{case}: FAILED: {error}"),
            });
            samples.push(outcome);
        }
    }
    cases.iter().zip(samples).map(|(case, samples)| Row::of(case, samples)).collect()
}

fn measure(run: &Run, backstay: Option<PathBuf>) -> Result<Sample> {
    let lab = ScopedLab::up(&Options {
        redis: 1,
        mariadb: 3,
        gateways: 1,
        durability: run.1,
        backstay: backstay.clone(),
        remember: false,
        ..Options::default()
    })?;
    await_in_step(&lab)?;
    let address = lab.gateways()?.first().and_then(|gateway| Some(gateway.sql_addresses()?[0]));
    let address = address.ok_or_else(|| LabError::Options("the lab has no SQL gateway".to_owned()))?;
    let writers = OrderWriters::start(address, &application(), "bench", WRITERS);
    let before = BEFORE + getrandom::u64().unwrap_or_default() % SPREAD;
    await_orders(&writers, before)?;
    let since = Instant::now();
    match run.0 {
        MariaDbFault::Crash => lab.fault(Fault::Kill, "m1").map(|_| ()),
        MariaDbFault::Hang => lab.fault(Fault::Hang, "m1").map(|_| ()),
        MariaDbFault::Switchover => switch_over(&lab, backstay),
    }?;
    let primary = await_other(&lab)?;
    await_orders(&writers, writers.acknowledged() + AFTER)?;
    let rejoin = matches!(run.0, MariaDbFault::Crash).then(|| rejoin(&lab)).transpose()?;
    let orders = writers.stop();
    Ok(Sample {
        gap: orders.longest_gap(since),
        rejoin,
        errors: orders.record.errors_total(),
        acked: orders.record.acks.len() as u64,
        lost: orders.lost(&primary)?.len() as u64,
    })
}

fn await_orders(writers: &OrderWriters, count: u64) -> Result<()> {
    wait_until("commits through the gateway", LIMIT, || (writers.acknowledged() >= count).then_some(()))
}

fn await_in_step(lab: &ScopedLab) -> Result<()> {
    wait_until("that every MariaDB is in step", LIMIT, || {
        let services = lab.cluster_status().ok().filter(|status| status.quorum)?.services;
        let service = services.into_iter().find(|service| service.name.as_str() == SERVICE)?;
        let in_step = service.instances.iter().all(|instance| instance.in_sync);
        (in_step && service.problems.is_empty()).then_some(())
    })
}

/// The next primary, once there is one.
fn await_other(lab: &ScopedLab) -> Result<MariaDbServer> {
    let name = wait_until("another primary", LIMIT, || {
        let services = lab.cluster_status().ok()?.services;
        let service = services.into_iter().find(|service| service.name.as_str() == SERVICE)?;
        let name = service.primary?.to_string();
        (name != "m1" && service.phase == "stable").then_some(name)
    })?;
    let found = lab.state()?.databases.into_iter().find(|member| member.server.name == name);
    found.map(|member| member.server).ok_or_else(|| LabError::Options(format!("{name} is not of this lab")))
}

/// The old primary is started again while the writers go on.
fn rejoin(lab: &ScopedLab) -> Result<Duration> {
    let started = Instant::now();
    lab.fault(Fault::Restart, "m1")?;
    await_in_step(lab)?;
    Ok(started.elapsed())
}

fn switch_over(lab: &ScopedLab, backstay: Option<PathBuf>) -> Result<()> {
    let backstay = crate::servers::controller::find_backstay(backstay)?;
    let config = lab.dir().join("backstay.toml");
    let mut refused = String::new();
    let moved = poll_until(LIMIT, || {
        let mut command = Command::new(&backstay);
        command.args(["switchover", SERVICE, "--to", "m2", "--config"]).arg(&config);
        let output = command.output().ok()?;
        String::from_utf8_lossy(&output.stderr).trim().clone_into(&mut refused);
        output.status.success().then_some(())
    });
    moved.ok_or_else(|| LabError::Answer { from: "backstay switchover".to_owned(), what: refused })
}

/// As the configuration file has it.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn word<S: Serializer>(durability: &Durability, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(durability.word())
}

impl Row {
    fn of(run: &Run, samples: Vec<Result<Sample>>) -> Self {
        let runs = samples.len();
        let good: Vec<Sample> = samples.into_iter().filter_map(Result::ok).collect();
        let percentiles = |times: &mut dyn Iterator<Item = Duration>| {
            let mut times: Vec<f64> = times.map(|time| time.as_secs_f64() * 1000.0).collect();
            times.sort_by(f64::total_cmp);
            let rank =
                |share: f64| times.get(((times.len() as f64 * share).ceil() as usize).max(1) - 1).copied();
            rank(0.5).zip(rank(0.99)).map(|(p50, p99)| Percentiles { p50, p99 })
        };
        Self {
            fault: run.0,
            durability: run.1,
            runs,
            failed: runs - good.len(),
            rto_ms: percentiles(&mut good.iter().map(|it| it.gap)).unwrap_or_default(),
            rejoin_ms: percentiles(&mut good.iter().filter_map(|it| it.rejoin)),
            errors: good.iter().map(|it| it.errors).sum(),
            acked: good.iter().map(|it| it.acked).sum(),
            lost: good.iter().map(|it| it.lost).sum(),
        }
    }
}

impl Row {
    pub(super) fn is_complete(&self) -> bool {
        self.failed == 0
    }
}

/// For people.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "fault in durability        runs  failed  gap p50 ms  gap p99 ms  back p50 ms  back p99 ms  errors   acked  lost\n",
    );
    for row in rows {
        let back = |of: fn(&Percentiles) -> f64| {
            row.rejoin_ms.as_ref().map_or("-".into(), |it| format!("{:.0}", of(it)))
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<25} {:>5} {:>7} {:>11.1} {:>11.1} {:>12} {:>12} {:>7} {:>7} {:>5}",
            Run(row.fault, row.durability).to_string(),
            row.runs,
            row.failed,
            row.rto_ms.p50,
            row.rto_ms.p99,
            back(|it| it.p50),
            back(|it| it.p99),
            row.errors,
            row.acked,
            row.lost
        );
    }
    text
}
