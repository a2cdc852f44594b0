//! Events, one line each.

use super::table::Tone;
use crate::output::Paint;
use backstay_model::{Severity, UnixMicros};
use serde::Deserialize;

/// What is shown of an event; the rest is for programs.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EventLine {
    pub(crate) at: UnixMicros,
    seen_by: String,
    service: Option<String>,
    severity: Severity,
    sentence: String,
}

/// One event.
pub(crate) fn event_line(event: &EventLine, paint: Paint) -> String {
    line(&event.at.to_string(), event, paint)
}

/// One event of the last minutes: without its date.
pub(super) fn recent_event_line(event: &EventLine, paint: Paint) -> String {
    let at = event.at.to_string();
    line(at.split_once(' ').map_or("", |(_, time)| time), event, paint)
}

fn line(at: &str, event: &EventLine, paint: Paint) -> String {
    let at = paint.text(Tone::Faint, at);
    let service = event.service.as_ref();
    let service = service.map(|service| format!("{}: ", paint.text(Tone::Strong, service.as_str())));
    let sentence = match event.severity {
        Severity::Info => event.sentence.clone(),
        Severity::Warning => paint.text(Tone::Doubtful, &event.sentence),
        Severity::Error => paint.text(Tone::Bad, &event.sentence),
    };
    let node = paint.text(Tone::Faint, &event.seen_by);
    format!("{at}  {node}  {}{sentence}", service.unwrap_or_default())
}
