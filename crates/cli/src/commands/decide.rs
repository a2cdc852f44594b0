//! `backstay decide`.

use super::{Done, FENCING, known};
use crate::admin::Controllers;
use crate::arguments::Decide;
use crate::confirm::Plan;
use crate::failure::{FAILED, Failure};
use crate::show::amount;
use backstay_model::{InstanceStatus, ServiceStatus, Unit};
use serde_json::json;

pub(super) fn decide(arguments: &Decide) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.asking.target)?;
    let cluster = known::cluster(&controllers)?;
    let service = known::service(&cluster, &arguments.service)?;
    let instance = known::instance(service, &arguments.instance)?;
    if service.phase != FENCING {
        return Err(Failure::whole(
            FAILED,
            format!(
                "{0} has nothing to decide: it is {1}; see `backstay explain {0}`",
                service.name, service.phase
            ),
        ));
    }
    if !arguments.consent.given(&plan(service, instance), arguments.asking.output)? {
        return Ok(());
    }
    let body = json!({
        "service": arguments.service,
        "instance": arguments.instance,
        "by": arguments.asking.name(),
    });
    let done: Done = controllers.post("/v1/decide", &body)?;
    arguments.asking.output.show(&done, Done::sentence)
}

fn plan(service: &ServiceStatus, chosen: &InstanceStatus) -> Plan {
    let would = format!("make {} the primary of {} in epoch {}", chosen.name, service.name, service.epoch);
    let mut plan = Plan::new(would).with(held(chosen, service.unit));
    for other in service.instances.iter().filter(|other| other.name != chosen.name) {
        plan = plan
            .with(format!("{}; what it alone holds is given up when it follows", held(other, service.unit)));
    }
    match &service.paused {
        Some(pause) => {
            plan.with(format!("it waits for the end of the pause ({} UTC, by {})", pause.until, pause.by))
        }
        None => plan,
    }
}

/// What an instance was last seen to hold.
fn held(instance: &InstanceStatus, unit: Unit) -> String {
    let name = &instance.name;
    match (instance.suspected, instance.offset) {
        (true, _) => format!("{name} does not answer ({})", instance.health),
        (false, None) => format!("{name} has not said what it holds"),
        (false, Some(offset)) => match instance.lag_bytes {
            Some(0) => format!("{name} stands at offset {offset}"),
            Some(lag) => {
                format!("{name} stands at offset {offset}, {} behind the old primary", amount(lag, unit))
            }
            None => format!("{name} stands at offset {offset} of another history"),
        },
    }
}
