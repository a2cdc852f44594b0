//! Whether a lab is whole: one primary, every other instance linked to it, every controller content. The demo and the
//! benchmark cause the next fault only then.

use crate::admin;
use crate::error::{LabError, Result};
use crate::servers::process::Liveness;
use crate::servers::redis::{RedisServer, Role};
use crate::stack::lab::Lab;
use crate::stack::state::LabState;
use crate::wait::poll_every;
use backstay_model::ClusterStatus;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(20);

impl Lab {
    /// Waits until nothing is wrong with it.
    pub fn await_healthy(&self, limit: Duration) -> Result<()> {
        let state = self.state()?;
        let mut complaint = String::new();
        let healthy = poll_every(PAUSE, limit, || match what_is_wrong(&state) {
            None => Some(()),
            Some(wrong) => {
                complaint = wrong;
                None
            }
        });
        healthy.ok_or_else(|| LabError::Deadline {
            what: "that the lab is whole again".to_owned(),
            waited: limit,
            hint: format!("What is wrong: {complaint}. Logs: {}", self.dir().display()),
        })
    }

    /// The name of the leading controller, as any controller that answers sees it.
    pub fn leader(&self) -> Result<Option<String>> {
        Ok(self.cluster_status()?.leader.map(|leader| leader.to_string()))
    }

    /// The status that the first controller that answers with a leader gives.
    pub fn cluster_status(&self) -> Result<ClusterStatus> {
        let state = self.state()?;
        let mut last = None;
        for member in &state.controllers {
            if member.liveness() != Liveness::Running {
                continue;
            }
            match admin::status(&member.server.admin) {
                Ok(status) if status.leader.is_some() && status.quorum => return Ok(status),
                other => last = Some(other),
            }
        }
        last.unwrap_or_else(|| {
            Err(LabError::Refused(
                "no controller of this lab runs. Start one with `backstay lab fault restart a`.".to_owned(),
            ))
        })
    }
}

/// The first thing that is wrong; none: the lab is whole.
pub fn what_is_wrong(state: &LabState) -> Option<String> {
    let instances: Vec<_> = state.instances.iter().map(|member| member.server.clone()).collect();
    group_fault(&instances).or_else(|| {
        state.controllers.iter().find_map(|member| {
            let name = &member.server.name;
            match admin::status(&member.server.admin) {
                Err(error) => Some(error.to_string()),
                Ok(status) => status_fault(&status).map(|fault| format!("controller {name}: {fault}")),
            }
        })
    })
}

/// What is wrong with a Redis group: it has one primary, and every other instance is linked to it and receives what it
/// is sent. A fresh full copy shows a link that is up for as much as a second before the stream begins (Redis waits for
/// the replica's first acknowledgement), so only offsets tell.
pub fn group_fault(instances: &[RedisServer]) -> Option<String> {
    let mut primary = None;
    for instance in instances {
        match instance.role() {
            Err(error) => return Some(error.to_string()),
            Ok(Role::Replica { .. }) => {}
            Ok(Role::Primary { offset, .. }) => {
                if let Some((first, _)) = primary.replace((instance, offset)) {
                    let first: &RedisServer = first;
                    return Some(format!("{} and {} are both primaries", first.name, instance.name));
                }
            }
        }
    }
    let Some((primary, offset)) = primary else {
        return Some("no instance is a primary".to_owned());
    };
    let replicas = instances.iter().filter(|instance| instance.port != primary.port);
    replicas.map(|replica| replica_fault(replica, primary, offset)).find_map(|fault| fault)
}

/// What is wrong with a replica of a primary that was at `offset` a moment ago.
fn replica_fault(replica: &RedisServer, primary: &RedisServer, offset: i64) -> Option<String> {
    let name = &replica.name;
    match replica.role() {
        Err(error) => Some(error.to_string()),
        Ok(Role::Primary { .. }) => Some(format!("{name} is a primary all of a sudden")),
        Ok(Role::Replica { of, linked, .. }) if !linked || of != primary.port => {
            Some(format!("{name} is not linked to {}", primary.name))
        }
        Ok(Role::Replica { offset: reached, .. }) => {
            let streams = reached > 0 && reached >= offset;
            (!streams).then(|| format!("{name} is at offset {reached} and {} at {offset}", primary.name))
        }
    }
}

fn status_fault(status: &ClusterStatus) -> Option<String> {
    if status.leader.is_none() || !status.quorum {
        return Some("it knows of no leader".to_owned());
    }
    if let Some(silent) = status.controllers.iter().find(|controller| !controller.connected) {
        return Some(format!("it does not hear of {}", silent.name));
    }
    status.services.iter().find_map(|service| {
        let problem = service.problems.first().map(|problem| problem.sentence.clone());
        problem
            .or_else(|| (service.phase != "stable").then(|| format!("{} is {}", service.name, service.phase)))
    })
}
