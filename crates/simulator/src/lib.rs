//! A whole world on one random seed: clocks, network, disks, fake engines, clients and faults around the real
//! controllers and the real consensus, and checkers that see everything. It holds no decision of its own: whatever is
//! decided in it is decided by the code that runs in production.

mod checkers;
mod coverage;
mod instance;
mod mariadb;
mod random;
mod redis;
mod scenario;
mod trace;
mod world;

pub use coverage::Coverage;
pub use scenario::{FaultKind, Founding, Mistake, Scenario};

use serde::Serialize;
use std::time::Duration;

/// What became of one world.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The property that was violated first, and how.
    pub violation: Option<(String, String)>,
    /// Writes that clients were told of.
    pub acknowledged: u64,
    /// Those of them that are missing in the end. `async` allows it where they had reached nobody else.
    pub lost: u64,
    /// Writes that an old primary took although another reigned already.
    pub stale: u64,
    /// From a fault of the primary to the next acknowledged write, in milliseconds.
    pub failover_ms: Vec<u64>,
    /// What was tried in it.
    pub coverage: Coverage,
    /// A digest of everything that happened.
    pub digest: u64,
    /// The trace: whole if it was asked for, otherwise its end.
    #[serde(skip)]
    pub lines: Vec<String>,
}

/// Runs one world to its end.
pub fn run(scenario: Scenario) -> Outcome {
    let seed = scenario.seed;
    let phase = scenario.fault_phase;
    let mut world = world::World::new(scenario);
    let end = world.now + phase;
    world.run_until(end);
    world.heal();
    world.converge();
    Outcome {
        seed,
        violation: world.checkers.violation().map(|(property, what)| ((*property).to_owned(), what.clone())),
        acknowledged: world.checkers.acknowledged(),
        lost: world.checkers.lost(),
        stale: world.checkers.stale(),
        failover_ms: world.checkers.times.times.iter().map(|time| Duration::as_millis(time) as u64).collect(),
        digest: world.trace.digest(),
        coverage: world.coverage,
        lines: world.trace.into_lines(),
    }
}
