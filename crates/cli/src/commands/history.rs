//! `backstay history`.

use super::encoded;
use crate::admin::Controllers;
use crate::arguments::History;
use crate::failure::Failure;
use crate::show;
use backstay_model::FailoverStatus;

pub(super) fn history(arguments: &History) -> Result<(), Failure> {
    let query = arguments.service.as_deref().map(|service| format!("?service={}", encoded(service)));
    let path = format!("/v1/history{}", query.unwrap_or_default());
    let records: Vec<FailoverStatus> = Controllers::of(&arguments.target)?.get(&path)?;
    arguments.output.show(&records, |records, paint| show::history(records, paint))
}
