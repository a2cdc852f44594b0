//! `backstay lab down`.

use super::open;
use crate::arguments::Folder;
use crate::failure::Failure;
use crate::output::Output;

pub(super) fn down(folder: &Folder, output: Output) -> Result<(), Failure> {
    output.show(&open(folder)?.down()?, |report, _| report.to_string())
}
