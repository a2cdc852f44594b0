//! `backstay controller`: who belongs to the cluster.

use super::Done;
use crate::admin::Controllers;
use crate::arguments::{Controller, ControllerAdd, ControllerList, ControllerRemove};
use crate::failure::{FAILED, Failure, UNHEALTHY};
use crate::show;
use backstay_model::{ClusterStatus, MemberRole};
use serde_json::json;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long `add` waits for the vote. It comes by itself later, too.
const VOTE_PATIENCE: Duration = Duration::from_secs(30);
const VOTE_PAUSE: Duration = Duration::from_millis(100);

pub(super) fn controller(arguments: &Controller) -> Result<(), Failure> {
    match arguments {
        Controller::List(arguments) => list(arguments),
        Controller::Add(arguments) => add(arguments),
        Controller::Remove(arguments) => remove(arguments),
    }
}

fn list(arguments: &ControllerList) -> Result<(), Failure> {
    let status = status(&Controllers::of(&arguments.target)?)?;
    arguments.output.show(&status.controllers, |_, paint| show::controllers(&status, paint))?;
    let all_vote = status.controllers.iter().all(|controller| controller.member == MemberRole::Voter);
    if all_vote { Ok(()) } else { Err(Failure::said(UNHEALTHY)) }
}

fn add(arguments: &ControllerAdd) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.asking.target)?;
    let body = json!({ "name": arguments.name, "by": arguments.asking.name() });
    let _: Done = controllers.post("/v1/controllers/add", &body)?;
    let deadline = Instant::now() + VOTE_PATIENCE;
    while !votes(&status(&controllers)?, &arguments.name) {
        if Instant::now() >= deadline {
            return Err(Failure::new(
                FAILED,
                format!("{} is a learner, but has no vote yet", arguments.name),
                "it does not hold everything yet, or too few voters are alive",
                "look at `backstay controller list`; it gets its vote by itself as soon as it can",
            ));
        }
        sleep(VOTE_PAUSE);
    }
    let done = Done { done: format!("{} is a member of the cluster and votes", arguments.name) };
    arguments.asking.output.show(&done, Done::sentence)
}

fn remove(arguments: &ControllerRemove) -> Result<(), Failure> {
    let body = json!({ "name": arguments.name, "force": arguments.force, "by": arguments.asking.name() });
    // The one that goes may be gone before it has answered.
    let others = Controllers::but(&arguments.asking.target, &arguments.name)?;
    let done: Done = others.post("/v1/controllers/remove", &body)?;
    arguments.asking.output.show(&done, Done::sentence)
}

fn status(controllers: &Controllers) -> Result<ClusterStatus, Failure> {
    controllers.get_best("/v1/status", |status: &ClusterStatus| status.quorum)
}

fn votes(status: &ClusterStatus, name: &str) -> bool {
    let votes = |role: MemberRole| role == MemberRole::Voter;
    status.controllers.iter().any(|it| it.name.as_str() == name && votes(it.member))
}
