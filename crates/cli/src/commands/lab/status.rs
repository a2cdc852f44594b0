//! `backstay lab status`.

use super::open;
use crate::arguments::Folder;
use crate::failure::Failure;
use crate::output::Output;
use crate::show;

pub(super) fn status(folder: &Folder, output: Output) -> Result<(), Failure> {
    output.show(&open(folder)?.status()?, show::lab)
}
