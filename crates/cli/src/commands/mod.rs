//! What each command does.

pub(crate) mod config;
mod controller;
mod decide;
mod explain;
mod history;
mod lab;
mod pause;
mod resume;
mod run;
mod status;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// Does what the command line says.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::History(arguments) => history::history(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Pause(arguments) => pause::pause(&arguments),
        Command::Resume(arguments) => resume::resume(&arguments),
        Command::Decide(arguments) => decide::decide(&arguments),
        Command::Controller(arguments) => controller::controller(&arguments),
        Command::Config(arguments) => config::config(&arguments),
        Command::Lab(arguments) => lab::lab(&arguments),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What a controller says of an order that it carried out.
#[derive(Debug, Deserialize, Serialize)]
struct Done {
    done: String,
}

impl Done {
    fn sentence(&self, _: crate::output::Paint) -> String {
        self.done.clone()
    }
}

/// A name as a part of a path or query.
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = std::fmt::Write::write_fmt(&mut text, format_args!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        assert_eq!(encoded("my-master_1.x"), "my-master_1.x");
        assert_eq!(encoded("../a?b&c d\n"), "..%2Fa%3Fb%26c%20d%0A");
    }
}
