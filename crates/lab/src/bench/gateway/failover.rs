//! A failover as plain clients see it that know one address: how often they get an error, how long nobody or one of them
//! gets an acknowledgement, and what of the acknowledged is missing afterwards. One fresh lab per run.

use crate::bench::gateway::case::System;
use crate::bench::gateway::fault::GatewayFault;
use crate::error::{LabError, Result, file_error};
use crate::load::checker::{Expected, missing};
use crate::load::crowd::{ClientRecord, Crowd, key};
use crate::servers::gateway::GatewayServer;
use crate::servers::nursery;
use crate::servers::ports::Ports;
use crate::servers::proxy::{Proxy, Way};
use crate::servers::redis::RedisServer;
use crate::stack::lab::{Lab, ScopedLab};
use crate::stack::options::Options;
use crate::wait::{poll_every, wait_until};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CLIENTS: usize = 50;
const DOWN_AFTER: Duration = Duration::from_millis(500);
const HEALTHY_LIMIT: Duration = Duration::from_secs(20);
/// How long a failover may take before the run counts as failed.
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);
/// Writes of each client before the fault: at least so many, and up to so many more, at random, so that no run begins in
/// step with anybody's heartbeat.
const ACKS_BEFORE: u64 = 100;
const ACKS_SPREAD: u64 = 100;
/// Writes of each client once there is a new primary.
const ACKS_AFTER: u64 = 100;
/// What others than Backstay get at least of the runs.
const OTHERS_RUNS_MIN: usize = 3;

/// One run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Behind whose address.
    pub system: System,
    /// What happens.
    pub fault: GatewayFault,
}

/// What one run showed.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The longest time in which no client at all got an acknowledgement.
    pub longest_gap_ms: f64,
    /// The longest time in which a client got none, client by client.
    pub client_gaps_ms: Vec<f64>,
    /// Errors, client by client.
    pub client_errors: Vec<u64>,
    /// The same by kind.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// Writes that were acknowledged.
    pub acked: u64,
    /// Those that the final primary does not have.
    pub lost: u64,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failover {} {}", self.system, self.fault)
    }
}

impl Sample {
    /// Errors of all clients.
    pub fn errors(&self) -> u64 {
        self.client_errors.iter().sum()
    }
}

/// All runs in their order: each fault behind each system that knows of failovers, in turn. Others than Backstay get a
/// tenth of the runs.
pub fn schedule(runs: usize, faults: &[GatewayFault], systems: &[System]) -> Vec<Run> {
    let others = (runs / 10).max(OTHERS_RUNS_MIN.min(runs));
    let mut schedule = Vec::new();
    for number in 0..runs {
        for fault in GatewayFault::ALL.into_iter().filter(|it| faults.is_empty() || faults.contains(it)) {
            for system in systems.iter().copied().filter(|system| fault.happens_to(*system)) {
                if system == System::Backstay || number < others {
                    schedule.push(Run { system, fault });
                }
            }
        }
    }
    schedule
}

/// Makes one run. `name` must be unique among the runs of this program.
pub fn measure(run: Run, backstay: Option<PathBuf>, name: &str) -> Result<Sample> {
    let gateways = if run.system == System::Backstay { run.fault.gateways() } else { 0 };
    let lab = ScopedLab::up(&Options { down_after: DOWN_AFTER, backstay, gateways, ..Options::default() })?;
    lab.await_healthy(HEALTHY_LIMIT)?;
    let entrance = Entrance::of(run.system, &lab)?;
    let crowd = Crowd::start(&entrance.addresses(), CLIENTS, name);
    let everybody = |_| true;
    // Clients are dealt out to the gateways in turn; the first one's clients wait for it.
    let goes_on = |client: usize| !(run.fault.takes_gateway() && client.is_multiple_of(run.fault.gateways()));
    await_acks(&crowd, everybody, ACKS_BEFORE + getrandom::u64().unwrap_or_default() % ACKS_SPREAD)?;
    let old = lab.primary()?;
    run.fault.cause(&lab, &old)?;
    let new = await_other(&lab, &old)?;
    await_acks(&crowd, goes_on, ACKS_AFTER)?;
    let records = crowd.stop().map_err(|source| LabError::Connection {
        to: format!("{}, as {CLIENTS} clients", run.system),
        source,
    })?;
    sum_up(&records, goes_on, new.address(), name)
}

/// What clients connect to. It ends when it is dropped.
enum Entrance {
    /// The lab's own gateways.
    Gateways(Vec<SocketAddr>),
    /// HAProxy before all of the lab's instances.
    Haproxy { proxy: Proxy, _ports: Ports, _dir: TempDir },
}

impl Entrance {
    fn of(system: System, lab: &Lab) -> Result<Self> {
        match system {
            System::Backstay => {
                let gateways = lab.gateways()?;
                Ok(Self::Gateways(gateways.iter().map(GatewayServer::address).collect()))
            }
            System::Haproxy => Self::haproxy(lab),
            System::Direct | System::Twemproxy => {
                Err(LabError::Refused(format!("clients of '{system}' cannot follow a failover.")))
            }
        }
    }

    fn haproxy(lab: &Lab) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("backstay-bench-").tempdir();
        let dir = dir.map_err(file_error("create a folder in", &std::env::temp_dir()))?;
        nursery::note_paths(vec![dir.path().to_path_buf()]);
        let mut ports = Ports::open()?;
        let servers: Vec<_> = lab.instances()?.iter().map(RedisServer::address).collect();
        let way = Way { port: ports.claim()?, folder: dir.path(), servers: &servers, password: None };
        Ok(Self::Haproxy { proxy: way.haproxy()?, _ports: ports, _dir: dir })
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Self::Gateways(addresses) => addresses.clone(),
            Self::Haproxy { proxy, .. } => vec![proxy.address()],
        }
    }
}

fn await_other(lab: &Lab, old: &RedisServer) -> Result<RedisServer> {
    let other = || lab.primary().ok().filter(|primary| primary != old);
    poll_every(PAUSE, RECOVERY_LIMIT, other).ok_or_else(|| LabError::Deadline {
        what: format!("that another instance than {} is the primary", old.name),
        waited: RECOVERY_LIMIT,
        hint: format!("Logs: {}", lab.dir().display()),
    })
}

/// Waits until each of these clients got `more` acknowledgements than now.
fn await_acks(crowd: &Crowd, of: impl Fn(usize) -> bool, more: u64) -> Result<()> {
    let since = crowd.acknowledged();
    wait_until("that every client's writes are acknowledged", RECOVERY_LIMIT, || {
        let now = crowd.acknowledged();
        let mut counts = now.iter().zip(&since).enumerate().filter(|(client, _)| of(*client));
        counts.all(|(_, (now, since))| now - since >= more).then_some(())
    })
}

/// What `measured` clients of run `name` saw, and what of all that was acknowledged `primary` does not have.
pub fn sum_up(
    records: &[ClientRecord],
    measured: impl Fn(usize) -> bool,
    primary: SocketAddr,
    name: &str,
) -> Result<Sample> {
    let mut expected = Vec::new();
    let mut errors_by_kind: BTreeMap<String, u64> = BTreeMap::new();
    for (client, record) in records.iter().enumerate() {
        expected.extend(record.acks.iter().map(|(number, _)| Expected {
            key: key(name, client, *number),
            value: Some(number.to_string()),
        }));
        for (kind, count) in record.errors.iter().filter(|_| measured(client)) {
            *errors_by_kind.entry(kind.clone()).or_default() += count;
        }
    }
    let records = || records.iter().enumerate().filter(|(client, _)| measured(*client)).map(|(_, it)| it);
    let times: Vec<Vec<Instant>> =
        records().map(|record| record.acks.iter().map(|(_, at)| *at).collect()).collect();
    Ok(Sample {
        longest_gap_ms: longest_gap_of_all(&times),
        client_gaps_ms: times.iter().map(|times| longest_gap(times)).collect(),
        client_errors: records().map(|record| record.errors.values().sum()).collect(),
        errors_by_kind,
        acked: expected.len() as u64,
        lost: missing(primary, &expected)?.len() as u64,
    })
}

/// Over the merged timeline, once every client is at work.
fn longest_gap_of_all(clients: &[Vec<Instant>]) -> f64 {
    let begin = clients.iter().filter_map(|times| times.first()).max().copied();
    let mut all: Vec<Instant> = clients.iter().flatten().copied().filter(|at| Some(*at) >= begin).collect();
    all.sort_unstable();
    longest_gap(&all)
}

fn longest_gap(times: &[Instant]) -> f64 {
    let gaps = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64() * 1000.0);
    gaps.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_of_all_is_one_in_which_nobody_was_answered() {
        let start = Instant::now();
        let at = |ms: &[u64]| ms.iter().map(|ms| start + Duration::from_millis(*ms)).collect::<Vec<_>>();
        let clients = [at(&[0, 10, 200]), at(&[5, 60, 110, 205])];
        assert!((longest_gap(&clients[0]) - 190.0).abs() < 1e-6);
        assert!((longest_gap_of_all(&clients) - 90.0).abs() < 1e-6);
        assert!(longest_gap_of_all(&[]).abs() < 1e-6);
    }

    #[test]
    fn every_fault_is_run_behind_every_system_that_it_can_happen_to() {
        let runs = schedule(20, &[], &System::ALL);
        let count = |system, fault| runs.iter().filter(|run| **run == Run { system, fault }).count();
        for fault in GatewayFault::ALL {
            let haproxys = if fault.takes_gateway() { 0 } else { 3 };
            assert_eq!((count(System::Backstay, fault), count(System::Haproxy, fault)), (20, haproxys));
        }
        assert_eq!(runs.len(), 5 * 20 + 3 * 3);
        assert!(schedule(0, &[], &System::ALL).is_empty());
        assert_eq!(schedule(1, &[GatewayFault::CrashWithGateway], &System::ALL).len(), 1);
    }
}
