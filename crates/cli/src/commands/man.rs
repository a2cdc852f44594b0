//! `backstay man`.

use crate::arguments::Arguments;
use crate::failure::{FAILED, Failure};
use crate::output::print;
use clap::CommandFactory;
use clap_mangen::{Man, generate_to};
use std::io;
use std::path::Path;

pub(super) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    match dir {
        None => {
            let mut page = Vec::new();
            let rendered = Man::new(Arguments::command()).render(&mut page);
            rendered.map_err(|error| failed("the manual page cannot be made", &error))?;
            print(&String::from_utf8_lossy(&page))
        }
        Some(dir) => {
            let what = format!("the manual pages cannot be written to {}", dir.display());
            let written = std::fs::create_dir_all(dir).and_then(|()| generate_to(Arguments::command(), dir));
            written.map_err(|error| failed(&what, &error))
        }
    }
}

fn failed(what: &str, error: &io::Error) -> Failure {
    Failure::new(FAILED, what, error, "name a folder that this user may write to")
}
