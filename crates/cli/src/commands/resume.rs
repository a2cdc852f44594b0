//! `backstay resume`.

use super::{Done, known};
use crate::admin::Controllers;
use crate::arguments::Resume;
use crate::confirm::Plan;
use crate::failure::Failure;
use backstay_model::ClusterStatus;
use serde_json::json;

pub(super) fn resume(arguments: &Resume) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.asking.target)?;
    let plan = |cluster: &ClusterStatus| {
        let services = known::services(cluster, arguments.service.as_deref())?;
        let names: Vec<_> = services.iter().map(|service| service.name.as_str()).collect();
        let plan = Plan::new(format!("resume automatic action on {}", names.join(", ")));
        Ok(services.iter().fold(plan, |plan, service| match &service.paused {
            Some(pause) => plan.with(format!(
                "{}: it would end the pause until {} by {}",
                service.name, pause.until, pause.by
            )),
            None => plan.with(format!("{}: it is not paused", service.name)),
        }))
    };
    if !arguments.dry_run.passed(|| plan(&known::cluster(&controllers)?), arguments.asking.output)? {
        return Ok(());
    }
    let body = json!({"service": arguments.service, "by": arguments.asking.name()});
    let done: Done = controllers.post("/v1/resume", &body)?;
    arguments.asking.output.show(&done, Done::sentence)
}
