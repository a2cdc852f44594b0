//! `backstay pause`.

use super::{Done, FENCING, known};
use crate::admin::Controllers;
use crate::arguments::Pause;
use crate::confirm::Plan;
use crate::failure::Failure;
use crate::times;
use backstay_model::{ClusterStatus, ServiceStatus};
use serde_json::json;

pub(super) fn pause(arguments: &Pause) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.asking.target)?;
    let plan = |cluster: &ClusterStatus| {
        let services = known::services(cluster, arguments.service.as_deref())?;
        let until = times::now() + arguments.duration;
        let names: Vec<_> = services.iter().map(|service| service.name.as_str()).collect();
        let plan = Plan::new(format!("pause {} until about {until} UTC", names.join(", ")));
        Ok(services.iter().filter_map(|service| meaning(service)).fold(plan, Plan::with))
    };
    if !arguments.dry_run.passed(|| plan(&known::cluster(&controllers)?), arguments.asking.output)? {
        return Ok(());
    }
    let body = json!({
        "service": arguments.service,
        "for_seconds": arguments.duration.as_secs(),
        "by": arguments.asking.name(),
    });
    let done: Done = controllers.post("/v1/pause", &body)?;
    arguments.asking.output.show(&done, Done::sentence)
}

/// What a pause would mean for a service with which something goes on.
fn meaning(service: &ServiceStatus) -> Option<String> {
    let name = &service.name;
    if let Some(pause) = &service.paused {
        return Some(format!("{name}: it would replace the pause until {} by {}", pause.until, pause.by));
    }
    match service.phase.as_str() {
        "promoting" | "opening" => {
            Some(format!("{name}: a failover runs and has chosen; it would be finished all the same"))
        }
        FENCING => Some(format!(
            "{name}: a failover runs and has not chosen yet; it would wait, without a primary, until the pause ends"
        )),
        _ => None,
    }
}
