//! What `adopt` would change, has changed, and leaves to somebody else.

use super::table::{Tone, bytes};
use crate::output::Paint;
use backstay_server::adopt::{Adoption, Change, FilePlan, InstancePlan, Place};
use std::fmt::Write as _;

pub(crate) fn adoption(adoption: &Adoption, paint: Paint) -> String {
    let mut out = format!(
        "{}: {}/s were written while it was looked, so a backlog of at least {} is wanted\n",
        adoption.service,
        bytes(adoption.written_bytes_per_second),
        bytes(adoption.backlog_bytes_min)
    );
    for plan in &adoption.instances {
        instance(plan, paint, &mut out);
    }
    if adoption.is_nothing() {
        out.push_str("\nnothing to do: everything is as it should be\n");
    }
    out
}

// Writing to a string cannot fail.
fn instance(plan: &InstancePlan, paint: Paint, out: &mut String) {
    let name = paint.bold(plan.instance.as_str());
    let _ = writeln!(out, "\n{name} ({}), {}, {}", plan.address, plan.role, plan.version);
    for change in &plan.changes {
        running(change, paint, out);
    }
    file(&plan.file, paint, out);
    for doubt in &plan.doubts {
        let _ = writeln!(out, "  {} {doubt}", paint.text(Tone::Doubtful, "doubt:"));
    }
    if plan.is_nothing() {
        let _ = writeln!(out, "  {}", paint.text(Tone::Good, "as it should be"));
    }
}

fn running(change: &Change, paint: Paint, out: &mut String) {
    let from = change.from.as_ref().map_or_else(String::new, |from| format!("{from} -> "));
    let _ = writeln!(out, "  {}server: {}: {from}{}", done(change.done, paint), change.what, change.to);
    let _ = writeln!(out, "    {}", paint.text(Tone::Faint, change.why));
}

fn file(file: &FilePlan, paint: Paint, out: &mut String) {
    if file.removed.is_empty() && file.added.is_empty() {
        return;
    }
    let path = file.path.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string());
    match file.place {
        Place::Here => {
            let _ = writeln!(out, "  {}file: {path}", done(file.done, paint));
        }
        Place::Elsewhere | Place::None => {
            let why = file.hindrance.as_deref().unwrap_or_default();
            let by_hand = paint.text(Tone::Doubtful, "by hand:");
            let _ = writeln!(out, "  {by_hand} file: {path} must end with these lines; {why}");
        }
    }
    for line in &file.removed {
        let _ = writeln!(out, "    {}", paint.text(Tone::Bad, format!("- {line}")));
    }
    for line in &file.added {
        let _ = writeln!(out, "    {}", paint.text(Tone::Good, format!("+ {line}")));
    }
    let _ = writeln!(out, "    {}", paint.text(Tone::Faint, file.why));
}

fn done(done: bool, paint: Paint) -> String {
    if done { paint.text(Tone::Good, "done: ") } else { String::new() }
}
