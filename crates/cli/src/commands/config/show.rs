//! `backstay config show`.

use super::read;
use crate::failure::Failure;
use crate::output::print;
use std::path::Path;

pub(super) fn show(file: &Path) -> Result<(), Failure> {
    print(&read(file)?.show())
}
