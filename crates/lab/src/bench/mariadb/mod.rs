//! The MariaDB benchmark: what clients behind one address see of a failover, and what that address costs them while nothing
//! fails, beside HAProxy in the same run.

mod bed;
mod failover;
mod sysbench;
mod throughput;

pub use sysbench::program as sysbench;

use crate::bench::Progress;
use crate::error::Result;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// What to measure.
#[derive(Clone, Debug)]
pub struct MariaDbOptions {
    /// How often each fault happens in each durability; 0: none of this part.
    pub runs: usize,
    /// Rounds of each load through each system; 0: none of this part.
    pub rounds: usize,
    /// How long a round takes. `sysbench` counts in whole seconds.
    pub round: Duration,
    /// The `backstay` program; none: it is looked for.
    pub backstay: Option<PathBuf>,
}

/// All rows.
#[derive(Clone, Debug, Serialize)]
pub struct MariaDbReport {
    bench: &'static str,
    results: Vec<failover::Row>,
    gateway: Vec<throughput::Row>,
}

/// Measures what was asked for.
pub fn mariadb(options: &MariaDbOptions, progress: &mut impl Progress) -> Result<MariaDbReport> {
    progress.begin(failover::cases().len() * options.runs + throughput::turns() * options.rounds);
    let gateway = throughput::compare(options, progress)?;
    let results = failover::fail_over(options, progress);
    Ok(MariaDbReport { bench: "mariadb", results, gateway })
}

impl MariaDbReport {
    /// No run and no round failed.
    pub fn is_complete(&self) -> bool {
        self.results.iter().all(failover::Row::is_complete)
            && self.gateway.iter().all(throughput::Row::is_complete)
    }

    /// For people.
    pub fn table(&self) -> String {
        let throughput = throughput::table(&self.gateway);
        let runs = !self.results.is_empty();
        let failover = if runs { failover::table(&self.results) } else { String::new() };
        [throughput, failover].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }
}
