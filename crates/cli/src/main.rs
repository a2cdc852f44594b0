//! The `backstay` binary: the daemon's entry and the operator's commands. Nothing here decides anything; each command
//! is one file under `commands`, what it shows is drawn under `show`.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

mod admin;
mod arguments;
mod commands;
mod confirm;
mod failure;
mod output;
mod screen;
mod show;
mod times;

use arguments::Arguments;
use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    output::choose_colours(arguments.color);
    match commands::run(arguments) {
        Ok(code) => code,
        Err(failure) => {
            failure.tell();
            failure.code()
        }
    }
}
