//! `backstay pause`.

use super::{Done, known};
use crate::admin::Controllers;
use crate::arguments::Pause;
use crate::confirm::Plan;
use crate::failure::Failure;
use crate::times;
use backstay_model::ClusterStatus;
use serde_json::json;

pub(super) fn pause(arguments: &Pause) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.target)?;
    let plan = |cluster: &ClusterStatus| {
        let services = known::services(cluster, arguments.service.as_deref())?;
        let until = times::now() + arguments.duration;
        let names: Vec<_> = services.iter().map(|service| service.name.as_str()).collect();
        let plan = Plan::new(format!("pause {} until about {until} UTC", names.join(", ")));
        Ok(services.iter().fold(plan, |plan, service| match (&service.paused, service.phase.as_str()) {
            (Some(pause), _) => plan.with(format!(
                "{}: it would replace the pause until {} by {}",
                service.name, pause.until, pause.by
            )),
            (None, "stable") => plan,
            (None, phase) => {
                plan.with(format!("{}: it is {phase}, and that would be finished first", service.name))
            }
        }))
    };
    if !arguments.dry_run.passed(|| plan(&known::cluster(&controllers)?), arguments.output)? {
        return Ok(());
    }
    let body = json!({
        "service": arguments.service,
        "for_seconds": arguments.duration.as_secs(),
        "by": arguments.asker.name(),
    });
    let done: Done = controllers.post("/v1/pause", &body)?;
    arguments.output.show(&done, Done::sentence)
}
