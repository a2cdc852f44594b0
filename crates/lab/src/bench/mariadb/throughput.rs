//! What an address costs while nothing fails: `sysbench` and connections that ask one question, directly, through a gateway of
//! ours, and through HAProxy. Round by round all of them get their turn, each round beginning with another one.

use super::MariaDbOptions;
use super::bed::{Bed, System, logins};
use super::sysbench;
use crate::bench::Progress;
use crate::error::{LabError, Result};
use serde::Serialize;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Connections of either load.
const THREADS: usize = 8;
/// The first round fills caches, and does not count.
const WARM_UP: Duration = Duration::from_secs(1);

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Case {
    /// `sysbench`: ten reads by key, four of ranges, four writes, in a transaction.
    OltpReadWrite,
    /// A new connection for each question.
    Connect,
}

impl Case {
    const ALL: [Self; 2] = [Self::OltpReadWrite, Self::Connect];
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OltpReadWrite => "oltp_read_write",
            Self::Connect => "connect",
        })
    }
}

/// One load through one system: medians over the rounds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    case: Case,
    system: System,
    rounds: usize,
    failed: usize,
    /// Transactions, or connections, a second; none: no round was measured.
    tps: Option<f64>,
    tps_min: Option<f64>,
    tps_max: Option<f64>,
    ratio_to_direct: Option<f64>,
}

/// How many measurements a round has.
pub(super) fn turns() -> usize {
    Case::ALL.len() * System::ALL.len()
}

/// Measures all rounds.
pub(super) fn compare(options: &MariaDbOptions, progress: &mut impl Progress) -> Result<Vec<Row>> {
    if options.rounds == 0 {
        return Ok(Vec::new());
    }
    let bed = Bed::up(options.backstay.clone())?;
    sysbench::prepare(bed.address(System::Direct), bed.folder())?;
    let mut rows = Vec::new();
    for case in Case::ALL {
        rows.extend(Row::of_all(case, rounds(&bed, case, options, progress)));
    }
    Ok(rows)
}

/// What each round through each system showed, in the order of `System::ALL`.
fn rounds(
    bed: &Bed,
    case: Case,
    options: &MariaDbOptions,
    progress: &mut impl Progress,
) -> Vec<Vec<Result<f64>>> {
    for system in System::ALL {
        // If it fails, so do the rounds that count, and say why.
        let _ = measure(bed, case, system, WARM_UP);
    }
    let mut outcomes: Vec<Vec<_>> = System::ALL.iter().map(|_| Vec::new()).collect();
    for number in 0..options.rounds {
        for turn in 0..System::ALL.len() {
            let index = (number + turn) % System::ALL.len();
            let name = format!("{case} {}", System::ALL[index]);
            progress.run(&name);
            let outcome = measure(bed, case, System::ALL[index], options.round);
            progress.done(&match &outcome {
                Ok(tps) => format!("{name}: {tps:.0}/s"),
                Err(error) => format!("{name}: FAILED: {error}"),
            });
            outcomes[index].push(outcome);
        }
    }
    outcomes
}

fn measure(bed: &Bed, case: Case, system: System, duration: Duration) -> Result<f64> {
    let address = bed.address(system);
    match case {
        Case::OltpReadWrite => sysbench::run(address, bed.folder(), THREADS, duration),
        Case::Connect => {
            let outcome = logins(address, THREADS, duration).run();
            let outcome = outcome
                .map_err(|source| LabError::Connection { to: format!("MariaDB ({system})"), source })?;
            Ok(outcome.operations as f64 / outcome.wall.as_secs_f64())
        }
    }
}

impl Row {
    fn of_all(case: Case, outcomes: Vec<Vec<Result<f64>>>) -> Vec<Self> {
        let mut rows: Vec<Self> = System::ALL
            .into_iter()
            .zip(outcomes)
            .map(|(system, rounds)| Self::of(case, system, rounds))
            .collect();
        let direct = rows.iter().find(|row| row.system == System::Direct).and_then(|row| row.tps);
        for row in &mut rows {
            row.ratio_to_direct = row.tps.zip(direct).map(|(tps, direct)| tps / direct);
        }
        rows
    }

    fn of(case: Case, system: System, rounds: Vec<Result<f64>>) -> Self {
        let all = rounds.len();
        let mut good: Vec<f64> = rounds.into_iter().filter_map(Result::ok).collect();
        good.sort_by(f64::total_cmp);
        Self {
            case,
            system,
            rounds: good.len(),
            failed: all - good.len(),
            tps: median(&good),
            tps_min: good.first().copied(),
            tps_max: good.last().copied(),
            ratio_to_direct: None,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.failed == 0
    }
}

fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len().checked_sub(1)? / 2;
    Some(f64::midpoint(sorted[middle], sorted[sorted.len() / 2]))
}

/// For people; empty: nothing was measured.
pub(super) fn table(rows: &[Row]) -> String {
    let mut text = String::new();
    if !rows.is_empty() {
        text.push_str("load             through   rounds  failed  per second  slowest  fastest  to direct\n");
    }
    for row in rows {
        let whole = |figure: Option<f64>| figure.map_or("-".to_owned(), |figure| format!("{figure:.0}"));
        let ratio = row.ratio_to_direct.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<16} {:<9} {:>6} {:>7} {:>11} {:>8} {:>8} {ratio:>10}",
            row.case,
            row.system,
            row.rounds,
            row.failed,
            whole(row.tps),
            whole(row.tps_min),
            whole(row.tps_max),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_counted_and_the_ratio_is_that_of_the_medians() {
        let lost = || Err(LabError::Refused("lost".to_owned()));
        let rounds =
            vec![vec![Ok(100.0), Ok(300.0), Ok(200.0)], vec![Ok(190.0), lost(), Ok(150.0)], vec![lost()]];
        let rows = Row::of_all(Case::Connect, rounds);
        let shown: Vec<_> =
            rows.iter().map(|row| (row.rounds, row.failed, row.tps, row.ratio_to_direct)).collect();
        assert_eq!(
            shown,
            [(3, 0, Some(200.0), Some(1.0)), (2, 1, Some(170.0), Some(0.85)), (0, 1, None, None)]
        );
        let table = table(&rows);
        assert!(
            table.contains(
                "\nconnect          backstay       2       1         170      150      190       0.85\n"
            ),
            "{table}"
        );
    }
}
