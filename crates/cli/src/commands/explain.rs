//! `backstay explain`.

use super::encoded;
use crate::admin::Controllers;
use crate::arguments::Explain;
use crate::failure::Failure;
use crate::show;
use backstay_model::Explanation;

pub(super) fn explain(arguments: &Explain) -> Result<(), Failure> {
    let path = format!("/v1/explain/{}", encoded(&arguments.service));
    let explanation: Explanation = Controllers::of(&arguments.target)?.get(&path)?;
    arguments.output.show(&explanation, show::explanation)
}
