//! `backstay status`.

use crate::admin::Controllers;
use crate::arguments::Status;
use crate::failure::{Failure, UNHEALTHY};
use crate::output::columns;
use crate::show;
use backstay_model::{ClusterStatus, ProblemStatus, Severity};

pub(super) fn status(arguments: &Status) -> Result<(), Failure> {
    let controllers = Controllers::of(&arguments.target)?;
    let status: ClusterStatus = if arguments.local {
        controllers.get("/v1/status?local=true")?
    } else {
        // One that has lost the others knows less than they do.
        controllers.get_best("/v1/status", |status: &ClusterStatus| status.quorum)?
    };
    arguments.output.show(&status, |status, paint| show::status(status, paint, columns()))?;
    if arguments.check && !is_healthy(&status) {
        return Err(Failure::said(UNHEALTHY));
    }
    Ok(())
}

fn is_healthy(status: &ClusterStatus) -> bool {
    let is_calm = |problems: &[ProblemStatus]| problems.iter().all(|it| it.severity < Severity::Warning);
    let fine = status.services.iter().all(|service| is_calm(&service.problems) && service.primary.is_some());
    status.quorum && fine && is_calm(&status.problems)
}
