//! What making a service of a MariaDB group would do, has done, and leaves to somebody else.

use super::doctor::finding;
use super::table::Tone;
use crate::output::Paint;
use backstay_server::adopt::{MariaDbAdoption, MariaDbMember, MariaDbStep};
use backstay_server::doctor::Finding;
use std::fmt::Write as _;

// Writing to a string cannot fail.
pub(crate) fn mariadb_adoption(adoption: &MariaDbAdoption, paint: Paint) -> String {
    let name = paint.bold(adoption.service.as_str());
    let mut out = format!("{name}: durability = \"{}\"\n", adoption.durability);
    for member in &adoption.members {
        let MariaDbMember { instance, address, role, version, .. } = member;
        let _ = writeln!(out, "  {instance} ({address}), {role}, {version}");
    }
    if !adoption.hindrances.is_empty() {
        let _ = writeln!(out, "\n{}", paint.text(Tone::Bad, "stands in the way, so nothing is done:"));
        findings(&adoption.hindrances, paint, &mut out);
    }
    let _ = writeln!(out, "\nsteps, in order:");
    for step in &adoption.steps {
        self::step(step, paint, &mut out);
    }
    let _ = writeln!(out, "\nby hand: lines for the section [mariadbd] of each server's file");
    for member in &adoption.members {
        let _ = writeln!(out, "  {} ({}):", member.instance, member.drop_in.display());
        for line in &member.lines {
            let _ = writeln!(out, "    {}", paint.text(Tone::Good, line));
        }
    }
    if !adoption.left.is_empty() {
        let _ = writeln!(out, "\nleft as it is:");
        findings(&adoption.left, paint, &mut out);
    }
    out
}

fn findings(all: &[Finding], paint: Paint, out: &mut String) {
    let mut before = None;
    for found in all {
        if before.replace(&found.instance) != Some(&found.instance) {
            let _ = writeln!(out, "  {}", paint.bold(found.instance.as_str()));
        }
        finding(found, paint, out);
    }
}

fn step(step: &MariaDbStep, paint: Paint, out: &mut String) {
    let done = if step.done { paint.text(Tone::Good, "done: ") } else { String::new() };
    let place = step.instance.as_ref().map_or("here", |instance| instance.as_str());
    let _ = writeln!(out, "  {done}{}: {}", paint.bold(place), step.what);
    if !step.undo.is_empty() {
        let _ = writeln!(out, "    {}", paint.text(Tone::Faint, format!("undo: {}", step.undo)));
    }
}
