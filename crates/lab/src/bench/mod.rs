//! The failover benchmark: Backstay and stock Sentinel in turn, on the same machine in the same run, measured by the
//! same client. One fresh stack per run; what comes out is one row per case. The other benchmarks are beside it.

pub mod case;
pub mod gateway;
pub mod mariadb;
pub mod measure;
pub mod report;
pub mod scale;
pub mod stack;
pub mod steady;

use crate::error::Result;
use case::{Selection, cases, schedule};
use measure::{Sample, measure};
use report::Report;
use std::fmt::Display;
use std::path::PathBuf;

/// What to measure.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// How often each of Backstay's cases is run; stock Sentinel's and the saturating ones a tenth of that, at least 5.
    pub runs: usize,
    /// Which systems and faults.
    pub selection: Selection,
    /// The `backstay` program; none: it is looked for.
    pub backstay: Option<PathBuf>,
}

/// What the one who waits may be told.
pub trait Progress {
    /// So many runs will be made.
    fn begin(&mut self, runs: usize);
    /// This run begins.
    fn run(&mut self, what: &dyn Display);
    /// It ended, well or not: one line about it.
    fn done(&mut self, line: &str);
}

/// Measures everything that was selected. A run that fails is counted in its row; the others go on.
pub fn failover(options: &BenchOptions, progress: &mut impl Progress) -> Report {
    let cases = cases(options.runs, &options.selection);
    let order = schedule(&cases);
    progress.begin(order.len());
    let mut outcomes: Vec<Vec<Result<Sample>>> = cases.iter().map(|_| Vec::new()).collect();
    for (number, index) in order.into_iter().enumerate() {
        let (case, _) = &cases[index];
        progress.run(case);
        let outcome = measure(case, options.backstay.clone(), &format!("b{number}"));
        progress.done(&match &outcome {
            Ok(sample) => {
                format!("{case}: {:.1} ms, {} of {} lost", sample.rto_ms, sample.lost, sample.acked)
            }
            Err(error) => format!("{case}: FAILED: {error}"),
        });
        outcomes[index].push(outcome);
    }
    let rows = cases.into_iter().map(|(case, _)| case).zip(outcomes);
    Report::of(options.runs, rows.collect())
}
