//! Failovers, oldest first, each with its timeline in milliseconds after the first suspicion.

use super::table::{self, Tone, amount};
use crate::output::Paint;
use backstay_model::{FailoverRecord, FailoverStatus, ServiceStatus, Unit, UnixMicros};
use std::time::Duration;

/// How long a failover that is over is shown as news.
const RECENT: Duration = Duration::from_secs(60);

/// `backstay history`.
pub(crate) fn history(records: &[FailoverStatus], paint: Paint) -> String {
    if records.is_empty() {
        return "there was no failover yet\n".to_owned();
    }
    let texts: Vec<_> = records.iter().map(|record| self::record(record, paint)).collect();
    texts.join("\n")
}

fn record(record: &FailoverStatus, paint: Paint) -> String {
    let begin = begin(record);
    let when = begin.map(|begin| format!("  {begin} UTC")).unwrap_or_default();
    let mut text = format!("{}{}\n", head(record, paint), paint.text(Tone::Faint, when));
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let name = paint.text(Tone::Faint, format!("{name:<9}"));
            for part in ["  ", &name, value, "\n"] {
                text.push_str(part);
            }
        }
    };
    line("because", &record.cause);
    line("choice", &record.choice);
    line("lost", &lost(record, paint));
    if let Some(begin) = begin {
        text.push('\n');
        text.push_str(&timeline(record, begin, paint));
    }
    text
}

/// The same in few lines, for a picture that holds more than that.
pub(super) fn in_brief(record: &FailoverStatus, paint: Paint) -> String {
    let mut text = format!("{}, because {}\n", head(record, paint), record.cause);
    let begin = begin(record).unwrap_or_default();
    for (name, at) in record.moments.in_order() {
        if let Some(at) = at {
            // A moment is not folded.
            let (name, after) = (name.replace(' ', "\u{a0}"), millis_between(begin, at));
            text.extend(["  ", &paint.text(Tone::Faint, name), &format!("\u{a0}{after:.1}\u{a0}ms")]);
        }
    }
    if !record.lost.is_empty() {
        text.extend(["\n  lost: ", &lost(record, paint)]);
    }
    text
}

/// Whether it runs, or ended less than a minute ago.
pub(super) fn is_recent(record: &FailoverRecord, services: &[ServiceStatus], now: UnixMicros) -> bool {
    match record.moments.first_write {
        Some(end) => now.since(end) < RECENT,
        // One that was given up, or followed by another before its end, has no end either.
        None => services.iter().any(|service| {
            service.name == record.service && service.epoch == record.epoch && service.phase != "stable"
        }),
    }
}

/// The first moment that is known.
fn begin(record: &FailoverRecord) -> Option<UnixMicros> {
    record.moments.in_order().into_iter().find_map(|(_, at)| at)
}

fn lost(record: &FailoverStatus, paint: Paint) -> String {
    if record.lost.is_empty() {
        return paint.text(Tone::Good, "nothing that is known of");
    }
    let parts = record.lost.iter().map(|lost| match lost.bytes {
        Some(number) => format!("{} on {}", written(number, record.unit), lost.instance),
        None => format!("perhaps writes on {}: how many cannot be told", lost.instance),
    });
    paint.text(Tone::Bad, parts.collect::<Vec<_>>().join(", "))
}

fn written(count: u64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => format!("{} of writes", amount(count, unit)),
        Unit::Transactions => amount(count, unit),
    }
}

/// Whose failover, in which epoch, from whom to whom.
fn head(record: &FailoverStatus, paint: Paint) -> String {
    let to = record.to.as_ref().map_or("nobody yet", |to| to.as_str());
    let from = record.from.as_ref().map(|from| format!("{from} to "));
    let service = table::service(&record.service, record.engine, Paint::Plain);
    let head = format!("{service}, epoch {}: {}{to}", record.epoch, from.unwrap_or_default());
    paint.text(Tone::Strong, head)
}

fn timeline(record: &FailoverRecord, begin: UnixMicros, paint: Paint) -> String {
    let moments = record.moments.in_order();
    // A failover pauses nothing, and a planned move suspects nobody.
    let shown = |name: &'static str| match name {
        "paused" => record.planned.then_some(name),
        "verdict" if record.planned => Some("asked"),
        "suspected" | "committed" => (!record.planned).then_some(name),
        _ => Some(name),
    };
    let known = moments.iter().filter_map(|(name, at)| Some((shown(name)?, at)));
    let rows = known.map(|(name, at)| {
        let after = at.map_or_else(
            || Tone::Faint.cell(format!("{:>9}", "-")),
            |at| Tone::Plain.cell(format!("{:>9.1} ms", millis_between(begin, at))),
        );
        vec![Tone::Plain.cell(name), after]
    });
    paint.table(&["moment", "after"], rows)
}

/// Clocks of two leaders may differ: what comes out negative is shown as such.
fn millis_between(begin: UnixMicros, at: UnixMicros) -> f64 {
    (at.0 as f64 - begin.0 as f64) / 1000.0
}
