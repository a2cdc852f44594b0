//! The cluster at a glance.

use super::gateways::gateways;
use super::table::{self, Tone, amount, or_dash};
use crate::output::Paint;
use backstay_model::{
    ClusterStatus, ControllerStatus, InstanceStatus, MemberRole, ProblemStatus, ServiceStatus, Severity,
};
use comfy_table::Cell;

/// Columns of instances that a narrow terminal does without, the first ones first.
const EXPENDABLE: [&str; 5] = ["offset", "place", "link", "address", "in sync"];

/// `backstay status`, in tables that are no wider than so many columns, as far as that goes.
pub(crate) fn status(status: &ClusterStatus, paint: Paint, width: usize) -> String {
    let [head, controllers] = [head(status, paint), controllers(status, paint)];
    let [gateways, services] = [gateways(status, paint, width), services(status, paint, width)];
    let gateways = if gateways.is_empty() { gateways } else { format!("{gateways}\n") };
    format!("{head}\n{controllers}\n{gateways}{services}")
}

/// The line above everything.
pub(super) fn head(status: &ClusterStatus, paint: Paint) -> String {
    format!(
        "cluster {}: {}, {} (as {} sees it)\n",
        paint.text(Tone::Strong, &status.cluster),
        leader(status, paint),
        quorum(status, paint),
        status.node,
    )
}

/// `backstay controller list`, and a part of `backstay status`.
pub(crate) fn controllers(status: &ClusterStatus, paint: Paint) -> String {
    let encrypted = status.controllers.iter().any(|controller| controller.certificate_expires.is_some());
    let mut columns = vec!["controller", "address", "state", "member"];
    if encrypted {
        columns.push("certificate until");
    }
    let rows = status.controllers.iter().map(|controller| {
        let mut row = self::controller(controller);
        if encrypted {
            row.push(Tone::Plain.cell(or_dash(controller.certificate_expires)));
        }
        row
    });
    let mut text = paint.table(&columns, rows);
    if !status.problems.is_empty() {
        text.push('\n');
        text.push_str(&problems(&status.problems, paint));
    }
    text
}

/// Every service, in tables that are no wider than so many columns, as far as that goes.
pub(super) fn services(status: &ClusterStatus, paint: Paint, width: usize) -> String {
    if status.services.is_empty() {
        return "the file has no service to watch\n".to_owned();
    }
    let services = status.services.iter().map(|it| service(it, paint, width));
    services.collect::<Vec<_>>().join("\n")
}

fn leader(status: &ClusterStatus, paint: Paint) -> String {
    match &status.leader {
        Some(leader) => format!("{} leads (term {})", paint.text(Tone::Strong, leader.as_str()), status.term),
        None => paint.text(Tone::Bad, "nobody leads"),
    }
}

fn quorum(status: &ClusterStatus, paint: Paint) -> String {
    let voters = status.controllers.iter().filter(|controller| controller.member == MemberRole::Voter);
    let connected = voters.clone().filter(|controller| controller.connected).count();
    let counted = format!("{connected} of {} controllers", voters.count());
    if status.quorum {
        paint.text(Tone::Good, format!("quorum with {counted}"))
    } else {
        let warning = format!("no quorum with {counted}: nothing is acted on, and what follows may be old");
        paint.text(Tone::Bad, warning)
    }
}

fn controller(controller: &ControllerStatus) -> Vec<Cell> {
    let (tone, state) = match (controller.leader, controller.connected) {
        (true, _) => (Tone::Good, "leads"),
        (false, true) => (Tone::Good, "connected"),
        (false, false) => (Tone::Bad, "not heard of"),
    };
    let (member_tone, member) = match controller.member {
        MemberRole::Voter => (Tone::Plain, "voter"),
        MemberRole::Learner => (Tone::Doubtful, "learner, no vote yet"),
        MemberRole::Waiting => (Tone::Doubtful, "waits to be added"),
        MemberRole::Outside => (Tone::Doubtful, "no member"),
    };
    vec![
        Tone::Plain.cell(&controller.name),
        Tone::Plain.cell(&controller.address),
        tone.cell(state),
        member_tone.cell(member),
    ]
}

fn service(service: &ServiceStatus, paint: Paint, width: usize) -> String {
    let mut text = format!(
        "{}: {} in epoch {}, {}\n",
        name(service, paint),
        phase(service, paint),
        service.epoch,
        primary(service, paint)
    );
    if let Some(pause) = &service.paused {
        let sentence = format!("paused until {} UTC by {}: nothing automatic happens", pause.until, pause.by);
        text.push_str(&paint.text(Tone::Doubtful, sentence));
        text.push('\n');
    }
    for rebuild in service.rebuilds.iter().filter(|rebuild| rebuild.outcome.is_none()) {
        text.push_str(&paint.text(Tone::Doubtful, super::rebuild(rebuild).trim_end()));
        text.push('\n');
    }
    text.push('\n');
    let has_places =
        service.instances.iter().any(|instance| !instance.site.is_empty() || !instance.zone.is_empty());
    let mut columns = vec!["instance", "address", "role", "health", "offset", "lag", "link", "in sync"];
    if has_places {
        columns.insert(2, "place");
    }
    let rows = service.instances.iter().map(|instance| {
        let mut row = self::instance(service, instance);
        if has_places {
            row.insert(2, Tone::Plain.cell(place(instance)));
        }
        row
    });
    text.push_str(&paint.table_within(width, &columns, rows, &EXPENDABLE));
    if !service.problems.is_empty() {
        text.push('\n');
        text.push_str(&problems(&service.problems, paint));
    }
    text
}

fn name(service: &ServiceStatus, paint: Paint) -> String {
    let name = table::service(&service.name, service.engine, paint);
    match &service.durability {
        Some(durability) => format!("{name}, {durability}"),
        None => name,
    }
}

fn phase(service: &ServiceStatus, paint: Paint) -> String {
    let tone = if service.phase == "stable" { Tone::Good } else { Tone::Doubtful };
    paint.text(tone, &service.phase)
}

fn primary(service: &ServiceStatus, paint: Paint) -> String {
    match (&service.primary, &service.address) {
        (Some(primary), Some(address)) => {
            format!("clients go to {} at {address}", paint.text(Tone::Strong, primary.as_str()))
        }
        (None, Some(address)) => {
            paint.text(Tone::Doubtful, format!("no primary now; clients are still told {address}"))
        }
        _ => paint.text(Tone::Bad, "no primary yet"),
    }
}

fn place(instance: &InstanceStatus) -> String {
    let parts = [&instance.site, &instance.zone].map(String::as_str);
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join("/") }
}

fn instance(service: &ServiceStatus, instance: &InstanceStatus) -> Vec<Cell> {
    let reigns = service.primary.as_ref() == Some(&instance.name);
    let lag = instance.lag_bytes.map(|lag| amount(lag, service.unit));
    let down = instance.suspected;
    let role = match (down, instance.closed) {
        // What it said last; it may be something else, or nobody, by now.
        (true, _) => format!("was {}", instance.role),
        (false, true) => format!("{}, closed", instance.role),
        (false, false) => instance.role.clone(),
    };
    let role_tone = match (reigns, instance.role.as_str()) {
        _ if down => Tone::Faint,
        (true, "primary") if !instance.closed => Tone::Strong,
        (false, "replica") => Tone::Plain,
        _ => Tone::Doubtful,
    };
    let health_tone = match instance.health.as_str() {
        "up" => Tone::Good,
        _ if down => Tone::Bad,
        _ => Tone::Doubtful,
    };
    let (link_tone, link) = match instance.link_up.filter(|_| !down) {
        Some(true) => (Tone::Good, "up"),
        Some(false) => (Tone::Bad, "down"),
        None => (Tone::Faint, "-"),
    };
    let (sync_tone, in_sync) = match (down, instance.in_sync) {
        (true, _) => (Tone::Faint, "-"),
        (false, true) => (Tone::Good, "yes"),
        (false, false) => (Tone::Doubtful, "no"),
    };
    vec![
        Tone::Plain.cell(&instance.name),
        Tone::Plain.cell(&instance.address),
        role_tone.cell(role),
        health_tone.cell(&instance.health),
        Tone::Plain.cell(or_dash(instance.offset)),
        Tone::Plain.cell(or_dash(lag.filter(|_| !reigns && !instance.suspected))),
        link_tone.cell(link),
        sync_tone.cell(in_sync),
    ]
}

/// One line each, the worst first, as they come.
pub(super) fn problems(problems: &[ProblemStatus], paint: Paint) -> String {
    let lines = problems.iter().map(|problem| {
        let (tone, word) = match problem.severity {
            Severity::Error => (Tone::Bad, "error"),
            Severity::Warning => (Tone::Doubtful, "warning"),
            Severity::Info => (Tone::Plain, "note"),
        };
        let head = paint.text(tone, format!("{word} {}", problem.code));
        format!("  {head}: {}\n", problem.sentence)
    });
    lines.collect()
}
