//! `backstay resume`.

use super::Done;
use crate::admin::Controllers;
use crate::arguments::Resume;
use crate::failure::Failure;
use serde_json::json;

pub(super) fn resume(arguments: &Resume) -> Result<(), Failure> {
    let body = json!({"service": arguments.service, "by": arguments.asker.name()});
    let done: Done = Controllers::of(&arguments.target)?.post("/v1/resume", &body)?;
    arguments.output.show(&done, Done::sentence)
}
