//! `backstay switchover` and `backstay failover`: another primary, because an operator wants one.

use super::{Done, encoded, known};
use crate::admin::Controllers;
use crate::arguments::{Failover, Switchover};
use crate::confirm::Plan;
use crate::failure::{FAILED, Failure};
use crate::output::{Format, Output};
use crate::show::{self, amount};
use backstay_model::{Epoch, Explanation, FailoverStatus, InstanceStatus, ServiceStatus};
use indicatif::ProgressBar;
use serde_json::json;
use std::time::{Duration, Instant};

/// How long it may take until it is over, one way or the other: catching up, and a failover if that is what becomes of it.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

pub(super) fn switchover(arguments: &Switchover) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.asking.target)?;
    let cluster = known::cluster(&controllers)?;
    let service = known::service(&cluster, &arguments.service)?;
    if let Some(to) = &arguments.to {
        known::instance(service, to)?;
    }
    let body = json!({
        "service": arguments.service,
        "to": arguments.to,
        "dry_run": arguments.dry_run,
        "by": arguments.asking.name(),
    });
    let done: Done = controllers.post("/v1/switchover", &body)?;
    if arguments.dry_run {
        return arguments.asking.output.show(&done, Done::sentence);
    }
    let record = wait(&controllers, service, &done.done, arguments.asking.output)?;
    arguments
        .asking
        .output
        .show(&record, |record, paint| show::history(std::slice::from_ref(record), paint))?;
    match (&record.to, &record.from) {
        _ if !record.planned => Err(Failure::whole(
            FAILED,
            format!("the switchover became a failover, because {}; see `backstay history`", record.cause),
        )),
        (to, from) if to == from => Err(Failure::whole(
            FAILED,
            format!("the switchover was given up, and nothing has changed: {}", record.choice),
        )),
        _ => Ok(()),
    }
}

pub(super) fn failover(arguments: &Failover) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.asking.target)?;
    let cluster = known::cluster(&controllers)?;
    let service = known::service(&cluster, &arguments.service)?;
    let named = arguments.to.as_ref().map(|to| known::instance(service, to)).transpose()?;
    let explanation: Explanation =
        controllers.get(&format!("/v1/explain/{}", encoded(&arguments.service)))?;
    if !arguments.consent.given(&plan(service, named, &explanation), arguments.asking.output)? {
        return Ok(());
    }
    let body = json!({"service": arguments.service, "to": arguments.to, "by": arguments.asking.name()});
    let done: Done = controllers.post("/v1/failover", &body)?;
    let record = wait(&controllers, service, &done.done, arguments.asking.output)?;
    arguments.asking.output.show(&record, |record, paint| show::history(std::slice::from_ref(record), paint))
}

fn plan(service: &ServiceStatus, named: Option<&InstanceStatus>, explanation: &Explanation) -> Plan {
    let from = service.primary.as_ref().map_or("nobody", |primary| primary.as_str());
    if let Some(to) = named {
        let would = format!("make {} the primary of {} instead of {from}", to.name, service.name);
        return Plan::new(would)
            .with(format!("what {} does not hold is lost, whoever holds it", to.name))
            .with(format!("now: {}", explanation.verdict));
    }
    let to = explanation.winner.as_ref().map_or("nobody that is fit", |winner| winner.as_str());
    let plan = Plan::new(format!("fail {} over from {from}, most likely to {to}", service.name));
    let plan = match explanation.would_lose_bytes {
        Some(0) => plan.with(format!("{to} was seen to have everything that {from} has")),
        Some(behind) => {
            let behind = amount(behind, explanation.unit);
            plan.with(format!("{to} is {behind} behind: writes in them are lost"))
        }
        None => plan.with("how much would be lost is not known"),
    };
    let up = service
        .instances
        .iter()
        .any(|instance| Some(&instance.name) == service.primary.as_ref() && !instance.suspected);
    let hint = format!("{from} answers: `backstay switchover {}` loses nothing", service.name);
    let plan = if up { plan.with(hint) } else { plan };
    plan.with(format!("now: {}", explanation.verdict))
}

/// Waits until what was ordered is over, and shows what it came to.
fn wait(
    controllers: &Controllers,
    service: &ServiceStatus,
    doing: &str,
    output: Output,
) -> Result<FailoverStatus, Failure> {
    let spinner =
        if output.output == Format::Table { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    spinner.set_message(doing.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    let path = format!("/v1/history?service={}", encoded(service.name.as_str()));
    let started = Instant::now();
    let mut last = None;
    while started.elapsed() < PATIENCE {
        // A leader that dies meanwhile leaves its work to the next one.
        if let Ok(records) = controllers.get::<Vec<FailoverStatus>>(&path) {
            last = records.into_iter().rfind(|record| record.epoch > service.epoch);
            if last.as_ref().is_some_and(is_over) {
                break;
            }
        }
        std::thread::sleep(POLL);
    }
    spinner.finish_and_clear();
    last.filter(is_over).ok_or_else(|| still_running(service, service.epoch))
}

/// A switchover that was given up is over at once: the primary may still be what stood in its way.
fn is_over(record: &FailoverStatus) -> bool {
    record.moments.first_write.is_some() || record.planned && record.from == record.to
}

fn still_running(service: &ServiceStatus, epoch: Epoch) -> Failure {
    Failure::whole(
        FAILED,
        format!(
            "{name} is still not done {} s after epoch {epoch}; see `backstay explain {name}`, which says what it waits for",
            PATIENCE.as_secs(),
            name = service.name
        ),
    )
}
