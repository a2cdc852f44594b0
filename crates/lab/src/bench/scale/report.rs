//! What the scale benchmark prints.

use backstay_model::{FailoverRecord, Moments, UnixMicros};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;
use std::time::Duration;

/// What one controller took.
#[derive(Clone, Debug, Serialize)]
pub struct ControllerFigures {
    /// Its name.
    pub name: String,
    /// Percent of one core while nothing happened.
    pub cpu_percent: f64,
    /// Memory then.
    pub rss_mib: f64,
    /// Percent of one core while all failed over.
    pub failover_cpu_percent: f64,
    /// The most memory that it ever had.
    pub peak_rss_mib: f64,
}

/// When one stage of the failovers was reached, in milliseconds from the loss, as the leader noted it.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    name: &'static str,
    p50_ms: f64,
    last_ms: f64,
}

/// Every stage, in order, of failovers that began with a loss at `lost`.
pub(super) fn stages(history: &[FailoverRecord], lost: UnixMicros) -> Vec<Stage> {
    let stage = |name, pick: fn(&Moments) -> Option<UnixMicros>| {
        let moments = history.iter().filter_map(|record| pick(&record.moments));
        let mut ms: Vec<f64> = moments.map(|at| at.since(lost).as_secs_f64() * 1000.0).collect();
        ms.sort_by(f64::total_cmp);
        let pick = |place: usize| round(ms.get(place).copied().unwrap_or_default());
        Stage { name, p50_ms: pick(ms.len() / 2), last_ms: pick(ms.len().saturating_sub(1)) }
    };
    vec![
        stage("suspected", |moments| moments.suspected),
        stage("verdict", |moments| moments.verdict),
        stage("committed", |moments| moments.committed),
        stage("fenced", |moments| moments.fenced),
        stage("promoted", |moments| moments.promoted),
        stage("first write", |moments| moments.first_write),
    ]
}

/// All figures; `cpu_percent` and `rss_mib` are the busiest controller's.
#[derive(Clone, Debug, Serialize)]
pub struct ScaleReport {
    bench: &'static str,
    groups: usize,
    cpu_percent: f64,
    rss_mib: f64,
    failovers: usize,
    failover_p50_ms: f64,
    failover_all_ms: f64,
    in_step_s: f64,
    stages: Vec<Stage>,
    controllers: Vec<ControllerFigures>,
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl ScaleReport {
    pub(super) fn of(
        groups: usize,
        failovers: usize,
        in_step: Duration,
        times_ms: &[f64],
        stages: Vec<Stage>,
        mut controllers: Vec<ControllerFigures>,
    ) -> Self {
        for one in &mut controllers {
            one.cpu_percent = round(one.cpu_percent);
            one.rss_mib = round(one.rss_mib);
            one.failover_cpu_percent = round(one.failover_cpu_percent);
            one.peak_rss_mib = round(one.peak_rss_mib);
        }
        let most = |pick: fn(&ControllerFigures) -> f64| controllers.iter().map(pick).fold(0.0, f64::max);
        Self {
            bench: "scale",
            groups,
            cpu_percent: most(|one| one.cpu_percent),
            rss_mib: most(|one| one.rss_mib),
            failovers,
            failover_p50_ms: round(times_ms.get(times_ms.len() / 2).copied().unwrap_or_default()),
            failover_all_ms: round(times_ms.last().copied().unwrap_or_default()),
            in_step_s: round(in_step.as_secs_f64()),
            stages,
            controllers,
        }
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::ASCII_MARKDOWN)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(["controller", "% of a core", "MiB", "% while failing over", "peak MiB"]);
        for one in &self.controllers {
            let figures = [one.cpu_percent, one.rss_mib, one.failover_cpu_percent, one.peak_rss_mib];
            let cells = figures.map(|figure| format!("{figure:.1}"));
            table.add_row(std::iter::once(one.name.clone()).chain(cells));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let stages = self.stages.iter().map(|stage| {
            format!(
                "  {:<12} half after {:>6.0} ms, all after {:>6.0} ms\n",
                stage.name, stage.p50_ms, stage.last_ms
            )
        });
        format!(
            "{table}\n\n\
             {} groups, in step {:.1} s after the start.\n\
             {} primaries vanished at once: half were failed over after {:.0} ms, all after {:.0} ms.\n\
             Failed over: the new primary has acknowledged its first write.\n\
             {}",
            self.groups,
            self.in_step_s,
            self.failovers,
            self.failover_p50_ms,
            self.failover_all_ms,
            stages.collect::<String>()
        )
    }
}
