//! What the benchmark says in the end: one row per case, as a table for people and as JSON for `bars`.

use crate::bench::case::{BenchFault, Case, System, WriterKind};
use crate::bench::measure::{Sample, ZOMBIE_WATCH};
use crate::error::Result;
use crate::load::zombie::CLIENTS;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use std::collections::BTreeMap;

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `failover`.
    pub bench: &'static str,
    /// How often each of Backstay's cases was run.
    pub runs: usize,
    /// One per case.
    pub results: Vec<Row>,
    /// Stock Sentinel at its best, divided by Backstay.
    pub ratios: BTreeMap<&'static str, f64>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who failed over.
    pub system: System,
    /// `down_after=500`.
    pub setting: String,
    /// What happened.
    pub fault: BenchFault,
    /// Who wrote.
    pub writer: WriterKind,
    /// Runs that recovered.
    pub runs: usize,
    /// Runs that did not, or that could not be made.
    pub failed: usize,
    /// None: no run recovered.
    pub rto_ms: Option<Quantiles>,
    /// Writes acknowledged, in all runs.
    pub acked: u64,
    /// Of these, missing on the new primary.
    pub lost: u64,
    /// Runs in which anything was missing.
    pub runs_with_loss: usize,
    /// Errors that the writer saw, in all runs.
    pub errors: u64,
    /// The same by kind.
    pub errors_by_kind: BTreeMap<String, u64>,
    /// The most that it saw in one run.
    pub errors_max: u64,
    /// How long no write was taken, at the servers (fault `switchover`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<Quantiles>,
    /// Writes that the old primary accepted after it woke, in all runs (fault `zombie`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zombie_accepted: Option<u64>,
    /// How far the most advanced replica was behind just before the fault, at most; the worst run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_bytes_max: Option<u64>,
}

/// Nearest-rank quantiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// The fastest run.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// The 99th percentile; with fewer than 100 runs the slowest.
    pub p99: f64,
    /// The slowest run.
    pub max: f64,
}

impl Quantiles {
    /// None of nothing.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let rank =
            |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Some(Self {
            min: round(*values.first()?),
            p50: round(rank(50)?),
            p99: round(rank(99)?),
            max: round(*values.last()?),
        })
    }
}

fn round(ms: f64) -> f64 {
    (ms * 100.0).round() / 100.0
}

impl Report {
    /// Sums everything up.
    pub fn of(runs: usize, outcomes: Vec<(Case, Vec<Result<Sample>>)>) -> Self {
        let results: Vec<Row> =
            outcomes.into_iter().map(|(case, outcomes)| Row::of(&case, &outcomes)).collect();
        let faults = [
            ("crash_p50_vs_best_sentinel", BenchFault::Crash),
            ("hang_p50_vs_best_sentinel", BenchFault::Hang),
            ("switchover_p50_vs_sentinel", BenchFault::Switchover),
        ];
        let ratios = faults.into_iter().filter_map(|(name, fault)| Some((name, ratio(&results, fault)?)));
        Self { bench: "failover", runs, ratios: ratios.collect(), results }
    }

    /// Whether every run recovered.
    pub fn is_complete(&self) -> bool {
        self.results.iter().all(|row| row.failed == 0)
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::ASCII_MARKDOWN)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header([
                "system",
                "setting",
                "fault",
                "writer",
                "runs",
                "failed",
                "min ms",
                "p50 ms",
                "p99 ms",
                "max ms",
                "acked",
                "lost",
                "errors/run",
                "pause p50 ms",
                "pause p99 ms",
                "zombie writes",
                "lag KB",
                "p50 / Backstay",
            ]);
        for row in &self.results {
            table.add_row(self.cells(row));
        }
        for column in table.column_iter_mut().skip(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let watched = ZOMBIE_WATCH.as_secs();
        let ratios = self.ratios.iter().map(|(name, ratio)| format!("{name}: {ratio:.1}\n"));
        format!(
            "{table}\n\n\
             RTO (ms): from just before the signal to the first write that the new primary acknowledged.\n\
             pause (ms): from the last write that the old primary took to the first that the new one did, at the servers.\n\
             lost: acknowledged writes that the new primary does not have.\n\
             zombie writes: accepted by the old primary in the first {watched} s after it woke, {CLIENTS} clients.\n\
             {}",
            ratios.collect::<String>()
        )
    }

    fn cells(&self, row: &Row) -> Vec<String> {
        let ms = |pick: fn(&Quantiles) -> f64| {
            row.rto_ms.as_ref().map_or_else(dash, |q| format!("{:.1}", pick(q)))
        };
        let pause = |pick: fn(&Quantiles) -> f64| {
            row.pause_ms.as_ref().map_or_else(dash, |q| format!("{:.1}", pick(q)))
        };
        let count = |value: Option<u64>| value.map_or_else(dash, |value| value.to_string());
        let own = self.p50(System::Backstay, row.fault, row.writer);
        let ratio = row.rto_ms.as_ref().zip(own).map_or_else(dash, |(q, own)| format!("{:.1}", q.p50 / own));
        vec![
            row.system.to_string(),
            row.setting.clone(),
            row.fault.to_string(),
            row.writer.to_string(),
            row.runs.to_string(),
            row.failed.to_string(),
            ms(|q| q.min),
            ms(|q| q.p50),
            ms(|q| q.p99),
            ms(|q| q.max),
            row.acked.to_string(),
            row.lost.to_string(),
            format!("<= {}", row.errors_max),
            pause(|q| q.p50),
            pause(|q| q.p99),
            count(row.zombie_accepted),
            count(row.lag_bytes_max.map(|bytes| bytes / 1024)),
            ratio,
        ]
    }

    fn p50(&self, system: System, fault: BenchFault, writer: WriterKind) -> Option<f64> {
        best_p50(&self.results, system, fault, writer)
    }
}

fn dash() -> String {
    "-".to_owned()
}

fn best_p50(rows: &[Row], system: System, fault: BenchFault, writer: WriterKind) -> Option<f64> {
    let wanted = |row: &&Row| row.system == system && row.fault == fault && row.writer == writer;
    rows.iter().filter(wanted).filter_map(|row| Some(row.rto_ms?.p50)).min_by(f64::total_cmp)
}

fn ratio(rows: &[Row], fault: BenchFault) -> Option<f64> {
    let sentinel = best_p50(rows, System::Sentinel, fault, WriterKind::Light)?;
    let backstay = best_p50(rows, System::Backstay, fault, WriterKind::Light)?;
    Some(round(sentinel / backstay))
}

impl Row {
    fn of(case: &Case, outcomes: &[Result<Sample>]) -> Self {
        let samples: Vec<&Sample> = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()).collect();
        let sum = |pick: fn(&Sample) -> u64| samples.iter().map(|sample| pick(sample)).sum();
        let accepted = samples.iter().map(|sample| sample.zombie.map(|zombie| zombie.accepted));
        Self {
            system: case.system,
            setting: case.setting(),
            fault: case.fault,
            writer: case.writer,
            runs: samples.len(),
            failed: outcomes.len() - samples.len(),
            rto_ms: Quantiles::of(samples.iter().map(|sample| sample.rto_ms).collect()),
            acked: sum(|sample| sample.acked),
            lost: sum(|sample| sample.lost),
            runs_with_loss: samples.iter().filter(|sample| sample.lost > 0).count(),
            errors: sum(|sample| sample.errors),
            errors_by_kind: samples.iter().flat_map(|sample| &sample.errors_by_kind).fold(
                BTreeMap::new(),
                |mut all, (kind, count)| {
                    *all.entry(kind.clone()).or_default() += count;
                    all
                },
            ),
            errors_max: samples.iter().map(|sample| sample.errors).max().unwrap_or_default(),
            pause_ms: Quantiles::of(samples.iter().filter_map(|sample| sample.pause_ms).collect()),
            zombie_accepted: accepted.flatten().reduce(|sum, more| sum + more),
            lag_bytes_max: samples.iter().filter_map(|sample| sample.lag_bytes).max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let quantiles = Quantiles::of((1..=200).rev().map(f64::from).collect()).unwrap();
        assert_eq!((quantiles.min, quantiles.p50, quantiles.p99, quantiles.max), (1.0, 100.0, 198.0, 200.0));
        let one = Quantiles::of(vec![7.0]).unwrap();
        assert_eq!((one.min, one.p99), (7.0, 7.0));
        assert!(Quantiles::of(Vec::new()).is_none());
    }
}
