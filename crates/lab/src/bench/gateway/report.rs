//! What the gateway benchmark says in the end: a row per case and system and a row per fault, as tables for people and
//! as JSON for `bars`.

use crate::bench::gateway::case::{Case, System};
use crate::bench::gateway::failover::{Run, Sample};
use crate::bench::gateway::fault::GatewayFault;
use crate::bench::gateway::memory::Memory;
use crate::bench::gateway::round::Round;
use crate::bench::report::Quantiles;
use crate::error::Result;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use std::collections::BTreeMap;

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `gateway`.
    pub bench: &'static str,
    /// Rounds that were asked for.
    pub rounds: usize,
    /// One per case and system.
    pub cases: Vec<Row>,
    /// What idle clients cost; null: that could not be measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Option<Memory>>,
    /// One per system and fault.
    pub failover: Vec<FailoverRow>,
}

/// One case through one system.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The load.
    pub case: Case,
    /// What it went through.
    pub system: System,
    /// Rounds that were measured.
    pub rounds: usize,
    /// Rounds that could not be made, or ended with an error.
    pub failed: usize,
    /// None: no round was measured.
    #[serde(flatten)]
    pub figures: Option<Figures>,
    /// Operations a second divided by those without anything in between.
    pub ratio_to_direct: Option<f64>,
}

/// Medians over the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Figures {
    /// Operations a second.
    pub ops: f64,
    /// Those of the slowest round.
    pub ops_min: f64,
    /// Those of the fastest round.
    pub ops_max: f64,
    /// The median latency, in microseconds.
    pub p50_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// Processor time of the server and of what leads to it.
    pub cpu_us_per_op: f64,
    /// Connections that the server accepted (cases `connect` and `connect-auth`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_connections_per_op: Option<f64>,
    /// How late the generator itself was: the 99th percentile (case `latency-10k`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_late_p99_us: Option<f64>,
}

/// One fault behind one system.
#[derive(Clone, Debug, Serialize)]
pub struct FailoverRow {
    /// Behind whose address.
    pub system: System,
    /// What happened.
    pub fault: GatewayFault,
    /// Runs in which the clients went on.
    pub runs: usize,
    /// Runs in which they did not, or that could not be made.
    pub failed: usize,
    /// Errors of all clients in all runs.
    pub errors: u64,
    /// The same by kind.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// The most that one client saw in one run.
    pub errors_per_client_max: u64,
    /// The longest time in which no client got an acknowledgement, over the runs.
    pub longest_gap_ms: Option<Quantiles>,
    /// The longest time in which one client got none, over all clients of all runs.
    pub client_gap_ms: Option<Quantiles>,
    /// Writes acknowledged, in all runs.
    pub acked: u64,
    /// Of these, missing on the final primary.
    pub lost: u64,
}

impl Report {
    /// Puts it together.
    pub fn of(
        rounds: usize,
        cases: Vec<Row>,
        memory: Option<Option<Memory>>,
        failover: Vec<FailoverRow>,
    ) -> Self {
        Self { bench: "gateway", rounds, cases, memory, failover }
    }

    /// Whether every round and every run was measured.
    pub fn is_complete(&self) -> bool {
        self.cases.iter().all(|row| row.failed == 0)
            && self.memory.as_ref().is_none_or(|memory| memory.as_ref().is_some_and(Memory::is_complete))
            && self.failover.iter().all(|row| row.failed == 0)
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut parts = Vec::new();
        if !self.cases.is_empty() {
            parts.push(format!(
                "{}\n\n\
                 Medians of the rounds; ops/s also from the slowest to the fastest round.\n\
                 CPU: of Redis and what leads to it. connections: accepted by Redis, for one operation.\n\
                 late: how late the generator itself was, p99.\n",
                self.cases_table()
            ));
        }
        parts.extend(self.memory.iter().flatten().map(Memory::sentences));
        if !self.failover.is_empty() {
            parts.push(format!(
                "{}\n\n\
                 gap: the longest time without an acknowledgement to anybody, over the runs; of a client: to one of them.\n\
                 crash+gateway-hang, crash+gateway: one of three gateways stops or dies too; clients of the others.\n\
                 lost: acknowledged writes that the final primary does not have.\n",
                self.failover_table()
            ));
        }
        parts.join("\n")
    }

    fn cases_table(&self) -> Table {
        let head = [
            "case",
            "system",
            "rounds",
            "failed",
            "ops/s",
            "of direct",
            "slowest",
            "fastest",
            "p50 µs",
            "p99 µs",
            "CPU µs/op",
            "connections/op",
            "late µs",
        ];
        let rows = self.cases.iter().map(|row| {
            let figure = |pick: fn(&Figures) -> Option<f64>, digits: usize| {
                dash_or(row.figures.as_ref().and_then(pick), digits)
            };
            vec![
                row.case.to_string(),
                row.system.to_string(),
                row.rounds.to_string(),
                row.failed.to_string(),
                figure(|figures| Some(figures.ops), 0),
                dash_or(row.ratio_to_direct, 2),
                figure(|figures| Some(figures.ops_min), 0),
                figure(|figures| Some(figures.ops_max), 0),
                figure(|figures| Some(figures.p50_us), 0),
                figure(|figures| Some(figures.p99_us), 0),
                figure(|figures| Some(figures.cpu_us_per_op), 2),
                figure(|figures| figures.server_connections_per_op, 3),
                figure(|figures| figures.generator_late_p99_us, 0),
            ]
        });
        table(&head, rows)
    }

    fn failover_table(&self) -> Table {
        let head = [
            "system",
            "fault",
            "runs",
            "failed",
            "gap p50 ms",
            "gap p99 ms",
            "of a client p50 ms",
            "of a client p99 ms",
            "acked",
            "lost",
            "errors",
            "per client",
            "kinds",
        ];
        let rows = self.failover.iter().map(|row| {
            let kinds = row.errors_by_kind.iter().map(|(kind, count)| format!("{count} {kind}"));
            let ms =
                |quantiles: Option<Quantiles>, pick: fn(Quantiles) -> f64| dash_or(quantiles.map(pick), 1);
            vec![
                row.system.to_string(),
                row.fault.to_string(),
                row.runs.to_string(),
                row.failed.to_string(),
                ms(row.longest_gap_ms, |gap| gap.p50),
                ms(row.longest_gap_ms, |gap| gap.p99),
                ms(row.client_gap_ms, |gap| gap.p50),
                ms(row.client_gap_ms, |gap| gap.p99),
                row.acked.to_string(),
                row.lost.to_string(),
                row.errors.to_string(),
                format!("<= {}", row.errors_per_client_max),
                kinds.collect::<Vec<_>>().join(", "),
            ]
        });
        table(&head, rows)
    }
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::ASCII_MARKDOWN)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head.iter().copied())
        .add_rows(rows);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn dash_or(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

impl Row {
    /// The rows of one case, each beside the one without anything in between.
    pub fn of_all(case: Case, outcomes: Vec<(System, Vec<Result<Round>>)>) -> Vec<Self> {
        let mut rows: Vec<_> =
            outcomes.into_iter().map(|(system, outcomes)| Self::of(case, system, &outcomes)).collect();
        let direct = rows.iter().find(|row| row.system == System::Direct).and_then(|row| row.figures);
        for row in &mut rows {
            let ratio = |(own, direct): (Figures, Figures)| round_to(own.ops / direct.ops, 3);
            row.ratio_to_direct = row.figures.zip(direct).map(ratio);
        }
        rows
    }

    fn of(case: Case, system: System, outcomes: &[Result<Round>]) -> Self {
        let rounds: Vec<Round> =
            outcomes.iter().filter_map(|outcome| outcome.as_ref().ok().copied()).collect();
        Self {
            case,
            system,
            rounds: rounds.len(),
            failed: outcomes.len() - rounds.len(),
            figures: Figures::of(&rounds),
            ratio_to_direct: None,
        }
    }
}

impl Figures {
    /// None of nothing.
    fn of(rounds: &[Round]) -> Option<Self> {
        let all = |pick: fn(&Round) -> Option<f64>| rounds.iter().filter_map(pick).collect::<Vec<f64>>();
        let ops = Quantiles::of(all(|round| Some(round.ops)))?;
        Some(Self {
            ops: median(all(|round| Some(round.ops)), 0)?,
            ops_min: round_to(ops.min, 0),
            ops_max: round_to(ops.max, 0),
            p50_us: median(all(|round| Some(round.p50_us)), 1)?,
            p99_us: median(all(|round| Some(round.p99_us)), 1)?,
            cpu_us_per_op: median(all(|round| Some(round.cpu_us_per_op)), 3)?,
            server_connections_per_op: median(all(|round| round.server_connections_per_op), 4),
            generator_late_p99_us: median(all(|round| round.generator_late_p99_us), 1),
        })
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<f64>, digits: i32) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(round_to(f64::midpoint(lower, upper), digits))
}

fn round_to(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

impl FailoverRow {
    /// One row for each system and fault, in the order in which they first came.
    pub fn of_all(outcomes: Vec<(Run, Result<Sample>)>) -> Vec<Self> {
        let mut groups: Vec<(Run, Vec<Result<Sample>>)> = Vec::new();
        for (run, outcome) in outcomes {
            match groups.iter_mut().find(|(found, _)| *found == run) {
                Some((_, group)) => group.push(outcome),
                None => groups.push((run, vec![outcome])),
            }
        }
        groups.iter().map(|(run, outcomes)| Self::of(*run, outcomes)).collect()
    }

    fn of(run: Run, outcomes: &[Result<Sample>]) -> Self {
        let samples: Vec<&Sample> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        let mut errors_by_kind: BTreeMap<String, u64> = BTreeMap::new();
        for (kind, count) in samples.iter().flat_map(|sample| &sample.errors_by_kind) {
            *errors_by_kind.entry(kind.clone()).or_default() += count;
        }
        let per_client = samples.iter().flat_map(|sample| &sample.client_errors);
        Self {
            system: run.system,
            fault: run.fault,
            runs: samples.len(),
            failed: outcomes.len() - samples.len(),
            errors: samples.iter().map(|sample| sample.errors()).sum(),
            errors_by_kind,
            errors_per_client_max: per_client.copied().max().unwrap_or_default(),
            longest_gap_ms: Quantiles::of(samples.iter().map(|sample| sample.longest_gap_ms).collect()),
            client_gap_ms: Quantiles::of(
                samples.iter().flat_map(|sample| sample.client_gaps_ms.iter().copied()).collect(),
            ),
            acked: samples.iter().map(|sample| sample.acked).sum(),
            lost: samples.iter().map(|sample| sample.lost).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::LabError;
    use serde_json::json;

    fn round(ops: f64) -> Round {
        Round {
            ops,
            p50_us: 300.0,
            p99_us: 700.0,
            cpu_us_per_op: 9.5,
            server_connections_per_op: None,
            generator_late_p99_us: None,
        }
    }

    fn failed<T>() -> Result<T> {
        Err(LabError::Refused("no".to_owned()))
    }

    #[test]
    fn a_case_is_written_with_its_medians_and_beside_direct() {
        let rows = Row::of_all(
            Case::GetC50P16,
            vec![
                (System::Haproxy, vec![Ok(round(90.0)), failed(), Ok(round(60.0))]),
                (System::Direct, [150.0, 100.0, 200.0].map(|ops| Ok(round(ops))).into()),
                (System::Twemproxy, vec![failed()]),
            ],
        );
        let report = Report::of(3, rows, None, Vec::new());
        assert!(!report.is_complete());
        assert!(report.table().contains("get-c50-p16"));
        let report = serde_json::to_value(report).unwrap();
        assert_eq!(report["bench"], "gateway");
        assert_eq!(
            report["cases"][0],
            json!({"case": "get-c50-p16", "system": "haproxy", "rounds": 2, "failed": 1, "ops": 75.0, "ops_min": 60.0,
                   "ops_max": 90.0, "p50_us": 300.0, "p99_us": 700.0, "cpu_us_per_op": 9.5, "ratio_to_direct": 0.5})
        );
        assert_eq!(report["cases"][1]["ratio_to_direct"], 1.0);
        assert_eq!(report["cases"][2]["failed"], 1);
        assert_eq!(report["cases"][2]["ratio_to_direct"], json!(null));
    }

    #[test]
    fn a_failover_is_written_with_its_errors_its_gaps_and_what_was_lost() {
        let sample = |gap: f64, errors: u64| {
            Ok(Sample {
                longest_gap_ms: gap,
                client_gaps_ms: vec![gap, gap + 1.0],
                client_errors: vec![0, errors],
                errors_by_kind: BTreeMap::from([("UNKNOWNOUTCOME".to_owned(), errors)]),
                acked: 1000,
                lost: 1,
            })
        };
        let crash = Run { system: System::Backstay, fault: GatewayFault::Crash };
        let hang = Run { system: System::Haproxy, fault: GatewayFault::Hang };
        let rows =
            FailoverRow::of_all(vec![(crash, sample(20.0, 1)), (hang, failed()), (crash, sample(40.0, 2))]);
        let report = serde_json::to_value(Report::of(0, Vec::new(), None, rows)).unwrap();
        assert_eq!(
            report["failover"][0],
            json!({"system": "backstay", "fault": "crash", "runs": 2, "failed": 0, "errors": 3,
                   "errors_by_kind": {"UNKNOWNOUTCOME": 3}, "errors_per_client_max": 2,
                   "longest_gap_ms": {"min": 20.0, "p50": 20.0, "p99": 40.0, "max": 40.0},
                   "client_gap_ms": {"min": 20.0, "p50": 21.0, "p99": 41.0, "max": 41.0},
                   "acked": 2000, "lost": 2})
        );
        assert_eq!(report["failover"][1]["failed"], 1);
        assert_eq!(report["failover"][1]["longest_gap_ms"], json!(null));
    }
}
