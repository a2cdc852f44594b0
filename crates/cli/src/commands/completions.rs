//! `backstay completions`.

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::output::print;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

pub(super) fn completions(shell: Shell) -> Result<(), Failure> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "backstay", &mut script);
    print(&String::from_utf8_lossy(&script))
}
