//! One round of one case through one system.

use crate::bench::gateway::bed::Bed;
use crate::bench::gateway::case::{Case, Load, System, Tool};
use crate::bench::gateway::tool::Figures;
use crate::error::{LabError, Result};
use crate::load::connection::Reply;
use crate::load::exchange::{Exchange, Outcome};
use crate::load::paced::Paced;
use crate::load::storm::Storm;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

/// Connections of our own generators.
const CONNECTIONS: usize = 50;
/// From one operation to the next at 10,000 a second.
const PACE: Duration = Duration::from_micros(100);
const WARM_UP: Duration = Duration::from_millis(300);
/// How long one operation of our own generators may take before the round counts as failed.
const LIMIT: Duration = Duration::from_secs(5);
/// Requests with which the tool finds out how many it takes to fill a round.
const PROBE_REQUESTS: u64 = 20_000;

/// What one round showed.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Operations a second.
    pub ops: f64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// Processor time of the server and of what leads to it, for one operation, in microseconds.
    pub cpu_us_per_op: f64,
    /// Connections that the server accepted for one operation, where each operation is a new connection.
    pub server_connections_per_op: Option<f64>,
    /// How late the generator was, where it had a plan: the 99th percentile, in microseconds.
    pub generator_late_p99_us: Option<f64>,
}

/// What a load needs to know of a system before its first round counts.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Operations a second.
    ops: f64,
}

/// Makes one short round that does not count.
pub fn warm_up(bed: &mut Bed, case: Case, system: System) -> Result<Pace> {
    match case.load() {
        Load::Tool(tool) => {
            tool.prepare(bed)?;
            let requests = PROBE_REQUESTS * tool.pipeline as u64;
            Ok(Pace { ops: tool.run(bed, system, requests, LIMIT)?.ops })
        }
        Load::Storm | Load::Paced => {
            bed.set(KEY, VALUE)?;
            round(bed, case, system, Pace { ops: 0.0 }, WARM_UP).map(|round| Pace { ops: round.ops })
        }
    }
}

/// Makes one round of about `duration`.
pub fn round(bed: &mut Bed, case: Case, system: System, pace: Pace, duration: Duration) -> Result<Round> {
    bed.check(system)?;
    let before = bed.look(system)?;
    let address = bed.address(system);
    let (figures, operations, late) = match case.load() {
        Load::Tool(tool) => by_tool(bed, tool, system, pace, duration)?,
        Load::Storm => own(storm(address, bed.password(), duration), system)?,
        Load::Paced => own(paced(address, duration), system)?,
    };
    bed.check(system)?;
    let after = bed.look(system)?;
    let executed = after.commands.saturating_sub(before.commands);
    if executed < operations {
        return Err(LabError::Answer {
            from: system.to_string(),
            what: format!("{operations} operations were answered, and Redis executed {executed}"),
        });
    }
    let per_op = |count: f64| count / operations as f64;
    Ok(Round {
        ops: figures.ops,
        p50_us: figures.p50_us,
        p99_us: figures.p99_us,
        cpu_us_per_op: per_op(after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6),
        server_connections_per_op: (case.load() == Load::Storm)
            .then(|| per_op(after.connections.saturating_sub(before.connections) as f64)),
        generator_late_p99_us: late,
    })
}

type Measured = (Figures, u64, Option<f64>);

fn by_tool(bed: &Bed, tool: Tool, system: System, pace: Pace, duration: Duration) -> Result<Measured> {
    let requests = ((pace.ops * duration.as_secs_f64()) as u64).max(tool.connections as u64);
    Ok((tool.run(bed, system, requests, duration)?, requests, None))
}

fn own(outcome: io::Result<Outcome>, system: System) -> Result<Measured> {
    let mut outcome =
        outcome.map_err(|source| LabError::Connection { to: format!("Redis ({system})"), source })?;
    let quantiles = outcome.latencies.quantiles_us([50, 99]);
    let [p50_us, p99_us] = quantiles.ok_or_else(|| LabError::Answer {
        from: system.to_string(),
        what: "not one operation was answered".to_owned(),
    })?;
    let figures = Figures { ops: outcome.operations as f64 / outcome.wall.as_secs_f64(), p50_us, p99_us };
    Ok((figures, outcome.operations, outcome.lateness.quantiles_us([99]).map(|[late]| late)))
}

const KEY: &str = "shop";
const VALUE: &str = "open";

fn get() -> Exchange {
    Exchange::new(&["GET", KEY], Reply::bulk(VALUE))
}

fn ok(request: &[&str]) -> Exchange {
    Exchange::new(request, Reply::Simple("OK".to_owned()))
}

fn storm(target: SocketAddr, password: Option<&str>, duration: Duration) -> io::Result<Outcome> {
    let login = password.map(|password| ok(&["AUTH", password]));
    let exchanges = login.into_iter().chain([get()]).collect();
    Storm { target, exchanges, concurrency: CONNECTIONS, duration, limit: LIMIT }.run()
}

fn paced(target: SocketAddr, duration: Duration) -> io::Result<Outcome> {
    Paced {
        target,
        exchanges: vec![get(), ok(&["SET", KEY, VALUE])],
        connections: CONNECTIONS,
        interval: PACE,
        warm_up: WARM_UP,
        duration,
        limit: LIMIT,
    }
    .run()
}
