//! `backstay decide`.

use super::Done;
use crate::admin::Controllers;
use crate::arguments::Decide;
use crate::failure::Failure;
use serde_json::json;

pub(super) fn decide(arguments: &Decide) -> Result<(), Failure> {
    let body = json!({
        "service": arguments.service,
        "instance": arguments.instance,
        "by": arguments.asker.name(),
    });
    let done: Done = Controllers::of(&arguments.target)?.post("/v1/decide", &body)?;
    arguments.output.show(&done, Done::sentence)
}
