//! What became of all the worlds together.

use crate::complaint;
use crate::options::Options;
use backstay_simulator::{Coverage, Outcome};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

/// How many worlds with a violation are kept whole.
const BAD_KEPT: usize = 1000;

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    /// Worlds that were run.
    pub(crate) seeds: u64,
    /// Those in which a property was violated.
    pub(crate) bad: Vec<Outcome>,
    failover_ms: Vec<u64>,
    acknowledged: u64,
    lost: u64,
    stale: u64,
    coverage: Coverage,
}

impl Summary {
    /// Takes in one world.
    pub(crate) fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.failover_ms.extend(&outcome.failover_ms);
        self.acknowledged += outcome.acknowledged;
        self.lost += outcome.lost;
        self.stale += outcome.stale;
        self.coverage.add(&outcome.coverage);
        if outcome.violation.is_some() && self.bad.len() < BAD_KEPT {
            self.bad.push(outcome);
        }
    }

    /// Prints everything; fails if a property was violated.
    pub(crate) fn report(mut self, options: &Options, took: Duration) -> ExitCode {
        self.failover_ms.sort_unstable();
        self.bad.sort_by_key(|outcome| outcome.seed);
        let rate = self.seeds as f64 / took.as_secs_f64() / options.jobs as f64;
        if options.json {
            println!("{}", self.json(options, took, rate));
        } else {
            self.print(options, took, rate);
        }
        if self.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn quantile(&self, q: f64) -> Option<u64> {
        let times = &self.failover_ms;
        times.get(((times.len() as f64 * q) as usize).min(times.len().saturating_sub(1))).copied()
    }

    fn json(&self, options: &Options, took: Duration, rate: f64) -> serde_json::Value {
        serde_json::json!({
            "seeds": self.seeds,
            "from": options.from,
            "violations": self.bad.iter().map(|outcome| outcome.seed).collect::<Vec<_>>(),
            "seconds": took.as_secs(),
            "jobs": options.jobs,
            "seeds_per_second_and_core": rate,
            "failovers": self.failover_ms.len(),
            "failover_ms": {
                "p50": self.quantile(0.5),
                "p99": self.quantile(0.99),
                "max": self.failover_ms.last(),
            },
            "acknowledged": self.acknowledged,
            "lost_async": self.lost,
            "coverage": self.coverage,
        })
    }

    fn print(&self, options: &Options, took: Duration, rate: f64) {
        println!(
            "{} seeds from {} in {} s: {} violations, {rate:.0} seeds per second and core ({} at once)",
            self.seeds,
            options.from,
            took.as_secs(),
            self.bad.len(),
            options.jobs
        );
        println!(
            "{} failovers: p50 {:?} ms, p99 {:?} ms, max {:?} ms",
            self.failover_ms.len(),
            self.quantile(0.5).unwrap_or(0),
            self.quantile(0.99).unwrap_or(0),
            self.failover_ms.last().copied().unwrap_or(0)
        );
        println!(
            "{} writes acknowledged, {} of them lost as async allows, {} taken by old primaries that nobody could reach",
            self.acknowledged, self.lost, self.stale
        );
        for (what, counts) in [
            ("worlds", &self.coverage.worlds),
            ("faults", &self.coverage.faults),
            ("decisions", &self.coverage.decisions),
            ("gateways", &self.coverage.gateways),
            ("mariadb", &self.coverage.mariadb),
        ] {
            println!("{what}: {}", listed(counts));
        }
        let mut by_property: BTreeMap<&str, u64> = BTreeMap::new();
        for (property, _) in self.bad.iter().filter_map(|outcome| outcome.violation.as_ref()) {
            *by_property.entry(property).or_default() += 1;
        }
        for (property, count) in by_property {
            println!("violated {count} times: {property}");
        }
        for outcome in self.bad.iter().take(10) {
            println!("seed {}:\n{}", outcome.seed, complaint(options, outcome).unwrap_or_default());
        }
    }
}

fn listed(counts: &BTreeMap<&'static str, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
