//! `backstay rebuild`: an instance gets rid of what only it holds. Who is copied from, and what it means, the leader says;
//! here it is shown, asked for, and watched to its end.

use super::{Done, known};
use crate::admin::Controllers;
use crate::arguments::{Rebuild, RebuildMethod};
use crate::confirm::Plan;
use crate::failure::{FAILED, Failure};
use crate::output::{Format, Output};
use crate::show;
use backstay_model::{ClusterStatus, Method, RebuildOutcome, RebuildStatus};
use indicatif::ProgressBar;
use serde_json::json;
use std::time::{Duration, Instant};

const POLL: Duration = Duration::from_millis(200);
/// How long nothing may be heard of it: controllers elect a leader, and are upgraded.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) fn rebuild(arguments: &Rebuild) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.asking.target)?;
    let cluster = known::cluster(&controllers)?;
    let service = known::service(&cluster, &arguments.service)?;
    let instance = known::instance(service, &arguments.instance)?;
    let by = arguments.asking.name();
    if arguments.cancel {
        let body = json!({"service": arguments.service, "instance": arguments.instance, "by": by});
        let done: Done = controllers.post("/v1/rebuild/cancel", &body)?;
        return arguments.asking.output.show(&done, Done::sentence);
    }
    let body = |dry_run: bool| {
        json!({
            "service": arguments.service,
            "instance": arguments.instance,
            "method": Method::from(arguments.method),
            "dry_run": dry_run,
            "by": by,
        })
    };
    let would: Done = controllers.post("/v1/rebuild", &body(true))?;
    let mut clauses = would.done.lines();
    let deed = Plan::new(clauses.next().unwrap_or_default());
    let plan = clauses.fold(deed, Plan::with);
    if !arguments.consent.given(&plan, arguments.asking.output)? {
        return Ok(());
    }
    let earlier = service.rebuilds.iter().map(|rebuild| rebuild.number).max().unwrap_or(0);
    let done: Done = controllers.post("/v1/rebuild", &body(false))?;
    let is_it = |one: &RebuildStatus| one.instance == instance.name && one.number > earlier;
    let ended = wait(&controllers, &arguments.service, &done.done, is_it, arguments.asking.output)?;
    arguments.asking.output.show(&ended, |ended, _| show::rebuild(ended))?;
    match ended.outcome {
        Some(RebuildOutcome::Done { .. }) => Ok(()),
        _ => Err(Failure::said(FAILED)),
    }
}

/// Watches it to its end.
fn wait(
    controllers: &Controllers,
    service: &str,
    doing: &str,
    is_it: impl Fn(&RebuildStatus) -> bool,
    output: Output,
) -> Result<RebuildStatus, Failure> {
    let spinner =
        if output.output == Format::Table { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    spinner.set_message(doing.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    let mut heard = Instant::now();
    while heard.elapsed() < SILENCE {
        let status: Result<ClusterStatus, Failure> = controllers.get("/v1/status");
        let services = status.ok().map(|status| status.services).unwrap_or_default();
        let rebuilds = services.into_iter().find(|one| one.name.as_str() == service).map(|one| one.rebuilds);
        if let Some(found) = rebuilds.and_then(|all| all.into_iter().find(|one| is_it(one))) {
            heard = Instant::now();
            if found.outcome.is_some() {
                spinner.finish_and_clear();
                return Ok(found);
            }
            spinner.set_message(show::rebuild(&found).trim_end().to_owned());
        }
        std::thread::sleep(POLL);
    }
    spinner.finish_and_clear();
    Err(Failure::new(
        FAILED,
        format!("{doing}, and how far that is cannot be told"),
        "no controller that leads was reached for a minute",
        "the rebuild goes on by itself as far as it can; look at `backstay status`",
    ))
}

impl From<RebuildMethod> for Method {
    fn from(method: RebuildMethod) -> Self {
        match method {
            RebuildMethod::Auto => Self::Auto,
            RebuildMethod::Flashback => Self::Flashback,
            RebuildMethod::Copy => Self::Copy,
        }
    }
}
