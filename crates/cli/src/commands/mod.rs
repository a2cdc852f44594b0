//! What each command does.

mod adopt;
mod agent;
pub(crate) mod cert;
mod completions;
pub(crate) mod config;
mod controller;
mod decide;
mod doctor;
mod events;
mod explain;
mod gateway;
mod history;
mod known;
mod lab;
mod man;
mod pause;
mod rebuild;
mod resume;
mod run;
mod service;
mod status;
mod switchover;
mod traffic;
mod watch;

pub(crate) use traffic::SlowCommands;

use crate::arguments::{Arguments, Command};
use crate::failure::{FAILED, Failure};
use serde::{Deserialize, Serialize};
use std::process::ExitCode;

/// The phase of a failover that has not chosen yet: in it, it may wait for a decision.
const FENCING: &str = "fencing";

/// Does what the command line says.
pub(crate) fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Gateway(arguments) => gateway::gateway(&arguments),
        Command::Agent(arguments) => agent::agent(&arguments),
        Command::Rebuild(arguments) => rebuild::rebuild(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Traffic(arguments) => traffic::traffic(&arguments),
        Command::History(arguments) => history::history(&arguments),
        Command::Events(arguments) => events::events(&arguments),
        Command::Explain(arguments) => explain::explain(&arguments),
        Command::Pause(arguments) => pause::pause(&arguments),
        Command::Resume(arguments) => resume::resume(&arguments),
        Command::Decide(arguments) => decide::decide(&arguments),
        Command::Adopt(arguments) => adopt::adopt(&arguments),
        Command::Doctor(arguments) => doctor::doctor(&arguments),
        Command::Switchover(arguments) => switchover::switchover(&arguments),
        Command::Failover(arguments) => switchover::failover(&arguments),
        Command::Watch(arguments) => watch::watch(&arguments),
        Command::Completions { shell } => completions::completions(shell),
        Command::Man { dir } => man::man(dir.as_deref()),
        Command::Controller(arguments) => controller::controller(&arguments),
        Command::Config(arguments) => config::config(&arguments),
        Command::Cert(arguments) => cert::cert(&arguments),
        Command::Lab(arguments) => lab::lab(&arguments),
    }?;
    Ok(ExitCode::SUCCESS)
}

/// What a command that asks servers itself runs on; `otherwise`: what did not happen if there is none.
fn runtime(otherwise: &str) -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| {
        Failure::new(FAILED, otherwise, error, "look at the limits of the process (`ulimit -a`)")
    })
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
