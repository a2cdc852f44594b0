//! `backstay config`, and how every other command reads the file.

mod certificates;
mod check;
mod show;

use crate::arguments;
use crate::failure::{FAILED, Failure};
use backstay_config::Config;
use std::path::Path;

pub(super) fn config(arguments: &arguments::Config) -> Result<(), Failure> {
    match arguments {
        arguments::Config::Check { file, node, output } => check::check(file, node.as_deref(), *output),
        arguments::Config::Show { file, output } => show::show(file, *output),
    }
}

/// The file's checked configuration; else all its mistakes.
pub(crate) fn read(file: &Path) -> Result<Config, Failure> {
    let text = text_of(file)?;
    Ok(Config::parse(&file.display().to_string(), &text)?)
}

fn text_of(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        let next = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "look at the path; examples/backstay.toml is a file to begin with"
            }
            std::io::ErrorKind::InvalidData => "name a text file in UTF-8",
            _ => "make it readable for this user",
        };
        Failure::new(FAILED, format!("{} cannot be read", file.display()), error, next)
    })
}
