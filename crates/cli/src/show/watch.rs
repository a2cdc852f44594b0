//! The live picture: the status, a failover that runs or just ended, and the last events, in as many lines as there are.

use super::events::{EventLine, recent_event_line};
use super::fold::fold;
use super::history::{in_brief, is_recent};
use super::status::{controllers, head, services};
use super::table::Tone;
use crate::output::Paint;
use backstay_model::{ClusterStatus, FailoverStatus, ServiceStatus, Severity, UnixMicros};
use std::collections::VecDeque;

/// Events keep at least this many lines.
const EVENT_LINES_MIN: usize = 5;

/// All that is known.
#[derive(Default)]
pub(crate) struct Picture {
    pub(crate) status: Option<ClusterStatus>,
    pub(crate) history: Vec<FailoverStatus>,
    pub(crate) events: VecDeque<EventLine>,
    /// Why what is shown may be old.
    pub(crate) trouble: Option<String>,
}

/// The lines of a terminal with so many columns and rows.
pub(crate) fn watch(
    picture: &Picture,
    now: UnixMicros,
    (columns, rows): (usize, usize),
    paint: Paint,
) -> Vec<String> {
    let folded = |text: &str| text.lines().flat_map(|line| fold(line, columns)).collect::<Vec<_>>();
    let mut above = Vec::new();
    if let Some(trouble) = &picture.trouble {
        above.extend(folded(&paint.text(Tone::Bad, format!("this may be old: {trouble}"))));
    }
    let Some(status) = &picture.status else {
        above.push("asking the controllers".to_owned());
        return fitted(above, rows, paint);
    };
    above.extend(folded(&head(status, paint)));
    let mut below = folded(&format!("\n{}", services(&worst_first(status), paint, columns)));
    for record in picture.history.iter().rev().filter(|record| is_recent(record, &status.services, now)) {
        below.extend(folded(&format!("\n{}", in_brief(record, paint))));
    }
    let room = rows.saturating_sub(EVENT_LINES_MIN + 2);
    let who = folded(&format!("\n{}", controllers(status, paint)));
    if above.len() + who.len() + below.len() <= room {
        above.extend(who);
    }
    above.extend(below);
    if above.len() > room {
        let hidden = above.len() - room.saturating_sub(1);
        above.truncate(room.saturating_sub(1));
        above.push(paint.text(Tone::Faint, format!("... and {hidden} lines for which there is no room")));
    }
    above.push(String::new());
    let room = rows.saturating_sub(above.len() + 1);
    above.extend(last_events(&picture.events, (columns, room), paint));
    fitted(above, rows, paint)
}

/// As many lines as there are rows, the last of which says how to leave.
fn fitted(mut lines: Vec<String>, rows: usize, paint: Paint) -> Vec<String> {
    lines.resize(rows.saturating_sub(1), String::new());
    lines.push(paint.text(Tone::Faint, "q leaves"));
    // The smallest of terminals shows the beginning.
    lines.truncate(rows);
    lines
}

/// As many whole events as there is room for, the newest at the end.
fn last_events(events: &VecDeque<EventLine>, (columns, room): (usize, usize), paint: Paint) -> Vec<String> {
    let mut shown = VecDeque::new();
    for event in events.iter().rev() {
        let lines = fold(&recent_event_line(event, paint), columns);
        if shown.len() + lines.len() > room {
            break;
        }
        lines.into_iter().rev().for_each(|line| shown.push_front(line));
    }
    shown.into()
}

/// Where many services are watched, those that need somebody stand where they are seen.
fn worst_first(status: &ClusterStatus) -> ClusterStatus {
    let mut status = status.clone();
    let need = |service: &ServiceStatus| {
        let worst = service.problems.iter().map(|problem| problem.severity).max();
        (service.phase != "stable" || service.primary.is_none(), worst.filter(|it| *it > Severity::Info))
    };
    status.services.sort_by_key(|service| std::cmp::Reverse(need(service)));
    status
}
