//! One run of one case: a fresh stack, a writer, the fault, and what the writer saw.

use crate::bench::case::{BenchFault, Case, System, WriterKind};
use crate::bench::stack::Stack;
use crate::error::{LabError, Result};
use crate::load::checker::{Expected, missing};
use crate::load::light::{self, LightWriter};
use crate::load::probe::PauseProbe;
use crate::load::record::{Ack, Record, SharedRecord};
use crate::load::saturating::{self, SaturatingWriter};
use crate::load::zombie::{PatientReport, PatientWriters};
use crate::servers::process::Moment;
use crate::servers::redis::RedisServer;
use crate::stack::health::group_fault;
use crate::wait::{poll_every, wait_until};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How long a failover may take before the run counts as failed.
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);
const WARM_UP_LIMIT: Duration = Duration::from_secs(10);
/// Writes before the fault: at least so many, and up to so many more, at random, so that no run begins in step with
/// anybody's heartbeat.
const WARM_UP_ACKS: usize = 100;
const WARM_UP_SPREAD: usize = 100;
/// Saturating writes before the fault.
const WARM_UP_SATURATING: usize = 40_000;
/// Writes through the new primary before the run ends.
const AFTER_ACKS: usize = 50;
/// How long an old primary is watched after it woke.
pub const ZOMBIE_WATCH: Duration = Duration::from_secs(3);

/// What one run showed.
#[derive(Clone, Debug)]
pub struct Sample {
    /// From the moment before the signal to the first write that the new primary acknowledged.
    pub rto_ms: f64,
    /// Writes that were acknowledged.
    pub acked: u64,
    /// Those that the new primary does not have.
    pub lost: u64,
    /// From the last write that the old primary took to the first that the new one did, at the servers.
    pub pause_ms: Option<f64>,
    /// Errors that the writer saw.
    pub errors: u64,
    /// The same by kind.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// What became of the patient clients of a hung primary.
    pub zombie: Option<PatientReport>,
    /// How far the most advanced replica was behind just before the fault, at most.
    pub lag_bytes: Option<u64>,
}

enum Writer {
    Light(LightWriter),
    Saturating(SaturatingWriter),
}

/// Makes one run. `run` must be unique among the runs of this program.
pub fn measure(case: &Case, backstay: Option<PathBuf>, run: &str) -> Result<Sample> {
    let stack = Stack::up(case, backstay)?;
    run_on(&stack, case, run).map_err(|error| match stack.save_logs(run) {
        Some(logs) => LabError::Answer {
            from: format!("run {run} ({case})"),
            what: format!("{error} The controllers' logs: {}", logs.display()),
        },
        None => error,
    })
}

fn run_on(stack: &Stack, case: &Case, run: &str) -> Result<Sample> {
    let old = stack.primary()?;
    await_stream(stack, run)?;
    let writer = Writer::start(stack, case.writer, run)?;
    writer.warm_up()?;
    let lag_bytes = match case.writer {
        WriterKind::Light => None,
        WriterKind::Saturating => Some(stack.lag_bytes()?),
    };
    let next = stack.replica(&old)?;
    let probe = (case.fault == BenchFault::Switchover && case.system == System::Backstay)
        .then(|| PauseProbe::start(old.address(), next.address(), run));
    let (fault_at, patients) = cause(stack, case.fault, &old, &next, run)?;
    let first = await_recovery(writer.record(), &old, fault_at, case)?;
    let zombie = patients.map(|patients| wake(stack, &old, patients)).transpose()?;
    await_more(writer.record(), first)?;
    let pause_ms = probe.and_then(PauseProbe::stop).map(|pause| pause.as_secs_f64() * 1000.0);
    let record = writer.stop();
    let expected: Vec<Expected> = record.acks.iter().map(|ack| expected(case.writer, run, ack)).collect();
    // Not whom a Sentinel port names: stock Sentinels tell each other of a failover only afterwards.
    let primary = record.acks.last().map_or(first.server, |ack| ack.server);
    let lost = missing(primary, &expected)?.len() as u64;
    Ok(Sample {
        rto_ms: fault_at.ms_to(first.acknowledged),
        acked: record.acks.len() as u64,
        lost,
        pause_ms,
        errors: record.errors_total(),
        errors_by_kind: record.errors.clone(),
        zombie,
        lag_bytes,
    })
}

/// Writes a little until every replica receives it: otherwise a fault would meet a group that never was in step.
fn await_stream(stack: &Stack, run: &str) -> Result<()> {
    let _writer = LightWriter::start(stack.client()?, &format!("{run}-before"));
    let instances = stack.instances()?;
    wait_until("that every replica receives what is written", WARM_UP_LIMIT, || {
        group_fault(&instances).is_none().then_some(())
    })
}

fn cause(
    stack: &Stack,
    fault: BenchFault,
    primary: &RedisServer,
    next: &RedisServer,
    run: &str,
) -> Result<(Moment, Option<PatientWriters>)> {
    let without = |at| (at, None);
    match fault {
        BenchFault::Crash => stack.kill(&primary.name).map(without),
        BenchFault::Hang => stack.hang(&primary.name).map(without),
        BenchFault::CrashWithLeader => stack.kill_with_leader(&primary.name).map(without),
        BenchFault::Switchover => stack.switch_over(&next.name).map(without),
        BenchFault::Zombie => {
            let at = stack.hang(&primary.name)?;
            let patients = PatientWriters::queue_up(primary.address(), run)?;
            Ok((at, Some(patients)))
        }
    }
}

fn await_recovery(record: &SharedRecord, old: &RedisServer, fault: Moment, case: &Case) -> Result<Ack> {
    let pause = Duration::from_millis(10);
    let first = poll_every(pause, RECOVERY_LIMIT, || record.lock().first_elsewhere(old.address(), fault.at));
    first.ok_or_else(|| LabError::Deadline {
        what: format!("a write through a new primary ({case})"),
        waited: RECOVERY_LIMIT,
        hint: format!("The writer's errors: {:?}.", record.lock().errors),
    })
}

fn wake(stack: &Stack, old: &RedisServer, patients: PatientWriters) -> Result<PatientReport> {
    stack.resume(&old.name)?;
    Ok(patients.watch(ZOMBIE_WATCH))
}

/// Lets the writer go on a little, so that the checker sees the new primary at work.
fn await_more(record: &SharedRecord, first: Ack) -> Result<()> {
    let enough = || {
        let record = record.lock();
        let since = record.acks.partition_point(|ack| ack.acknowledged < first.acknowledged);
        (record.acks.len() - since > AFTER_ACKS).then_some(())
    };
    wait_until("more writes through the new primary", RECOVERY_LIMIT, enough)
}

fn expected(writer: WriterKind, run: &str, ack: &Ack) -> Expected {
    match writer {
        WriterKind::Light => {
            Expected { key: light::key(run, ack.number), value: Some(ack.number.to_string()) }
        }
        WriterKind::Saturating => Expected { key: saturating::key(run, ack.number), value: None },
    }
}

impl Writer {
    fn start(stack: &Stack, kind: WriterKind, run: &str) -> Result<Self> {
        let client = stack.client()?;
        Ok(match kind {
            WriterKind::Light => Self::Light(LightWriter::start(client, run)),
            WriterKind::Saturating => Self::Saturating(SaturatingWriter::start(client, run)),
        })
    }

    fn record(&self) -> &SharedRecord {
        match self {
            Self::Light(writer) => writer.record(),
            Self::Saturating(writer) => writer.record(),
        }
    }

    fn warm_up(&self) -> Result<()> {
        let spread = getrandom::u32().unwrap_or_default() as usize % WARM_UP_SPREAD;
        let acks = match self {
            Self::Light(_) => WARM_UP_ACKS + spread,
            Self::Saturating(_) => WARM_UP_SATURATING + spread * 50,
        };
        let warm = || (self.record().lock().acks.len() >= acks).then_some(());
        wait_until("the first writes", WARM_UP_LIMIT, warm)
    }

    fn stop(self) -> Record {
        match self {
            Self::Light(writer) => writer.stop(),
            Self::Saturating(writer) => writer.stop(),
        }
    }
}
