//! `backstay status`.

use crate::admin::Controllers;
use crate::arguments::Status;
use crate::failure::{Failure, UNHEALTHY};
use crate::show;
use backstay_model::{ClusterStatus, Severity};

pub(super) fn status(arguments: &Status) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.target)?;
    let status: ClusterStatus = if arguments.local {
        controllers.get("/v1/status?local=true")?
    } else {
        // One that has lost the others knows less than they do.
        controllers.get_best("/v1/status", |status: &ClusterStatus| status.quorum)?
    };
    arguments.output.show(&status, show::status)?;
    if arguments.check && !is_healthy(&status) {
        return Err(Failure::said(UNHEALTHY));
    }
    Ok(())
}

fn is_healthy(status: &ClusterStatus) -> bool {
    let fine = status.services.iter().all(|service| {
        let calm = service.problems.iter().all(|problem| problem.severity < Severity::Warning);
        calm && service.primary.is_some()
    });
    let calm = status.problems.iter().all(|problem| problem.severity < Severity::Warning);
    status.quorum && calm && fine
}
