//! Events, one line each.

use super::table::Tone;
use crate::output::Paint;
use backstay_model::{Severity, UnixMicros};
use serde::Deserialize;

/// What is shown of an event; the rest is for programs.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct EventLine {
    pub(crate) at: UnixMicros,
    node: String,
    service: Option<String>,
    severity: Severity,
    sentence: String,
}

/// One event.
pub(crate) fn event_line(event: &EventLine, paint: Paint) -> String {
    let at = paint.text(Tone::Faint, event.at.to_string());
    let service = event.service.as_ref();
    let service = service.map(|service| format!("{}: ", paint.text(Tone::Strong, service.as_str())));
    let sentence = match event.severity {
        Severity::Info => event.sentence.clone(),
        Severity::Warning => paint.text(Tone::Doubtful, &event.sentence),
        Severity::Error => paint.text(Tone::Bad, &event.sentence),
    };
    let node = paint.text(Tone::Faint, &event.node);
    format!("{at}  {node}  {}{sentence}", service.unwrap_or_default())
}
