//! `backstay pause`.

use super::Done;
use crate::admin::Controllers;
use crate::arguments::Pause;
use crate::failure::Failure;
use serde_json::json;

pub(super) fn pause(arguments: &Pause) -> Result<(), Failure> {
    let body = json!({
        "service": arguments.service,
        "for_seconds": arguments.duration.as_secs(),
        "by": arguments.asker.name(),
    });
    let done: Done = Controllers::of(&arguments.target)?.post("/v1/pause", &body)?;
    arguments.output.show(&done, Done::sentence)
}
