//! The command line: what can be said, and the help that explains it.

mod act;
mod config;
mod lab;
mod look;
mod process;

pub(crate) use act::{
    Adopt, Controller, ControllerAdd, ControllerList, ControllerRemove, Decide, Failover, Pause, Rebuild,
    RebuildMethod, Resume, Switchover, WhenDurable,
};
pub(crate) use config::Config;
pub(crate) use lab::{Folder, Lab, LabUp};
pub(crate) use look::{Doctor, Events, Explain, History, Status, Traffic, Watch};
pub(crate) use process::{Agent, Gateway, Log, LogFormat, Run};

use crate::commands::cert::Cert;
use crate::output::Colours;
use act::{ADOPT_HELP, REBUILD_HELP, SWITCHOVER_HELP};
use clap::{Parser, Subcommand};
use clap_complete::Shell;
use look::{DOCTOR_HELP, EVENTS_HELP, TRAFFIC_HELP};
use process::{AGENT_HELP, GATEWAY_HELP, RUN_HELP};
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0   it was done
  1   it failed or was refused; nothing was changed unless the message says so. `doctor` found an error
  2   the command line is wrong
  3   `status --check` found something unhealthy
  4   no controller could be reached, or by `traffic` no gateway
  69, 70, 74, 78   `run` stopped: a port cannot be had, a bug, the state folder, the configuration

Environment:
  BACKSTAY_SOCKET   the admin socket of a controller, as --socket
  BACKSTAY_CONFIG   the configuration file, as --config
  BACKSTAY_CONTROL  the folder of gateways' control sockets, as --control
  BACKSTAY_SERVER, BACKSTAY_CERT, BACKSTAY_KEY, BACKSTAY_CA
                    as --server, --cert, --key and --ca
  NO_COLOR          no colours, even on a terminal";

/// Keeps replicated Redis writable: watches it, and fails over by quorum when a primary dies.
#[derive(Debug, Parser)]
#[command(name = "backstay", version, after_help = EXIT_CODES, max_term_width = 100, propagate_version = true)]
pub(crate) struct Arguments {
    /// When to use colours. NO_COLOR in the environment means never, unless this says otherwise.
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, global = true)]
    pub(crate) color: Colours,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one controller, until SIGTERM or Ctrl-C.
    #[command(after_help = RUN_HELP)]
    Run(Run),
    /// Run a gateway beside an application, until SIGTERM or Ctrl-C: addresses that never change.
    #[command(after_help = GATEWAY_HELP)]
    Gateway(Gateway),
    /// Run the agent of one MariaDB instance on its host, until SIGTERM or Ctrl-C: the hands of a rebuild.
    #[command(after_help = AGENT_HELP)]
    Agent(Agent),
    /// Show the cluster: who leads, which services there are, how their instances fare, what is wrong.
    Status(Status),
    /// Show what goes through the gateways of this machine: commands by family, how long they take, what is held.
    #[command(after_help = TRAFFIC_HELP)]
    Traffic(Traffic),
    /// Show the failovers that were, each with its timeline, its cause and what was lost.
    History(History),
    /// Show what one controller saw and did, as far back as it remembers, one event per line.
    #[command(after_help = EVENTS_HELP)]
    Events(Events),
    /// Say why a service is or is not failing over, who would win, and what that would lose.
    Explain(Explain),
    /// Stop all automatic action for a while; watching goes on. A failover that has chosen is finished, one that has not
    /// waits.
    Pause(Pause),
    /// End a pause.
    Resume(Resume),
    /// Settle a doubt that a failover waits with: take this instance's data.
    Decide(Decide),
    /// Make another instance the primary without losing a write: for planned work. Undone if it cannot be done.
    #[command(after_help = SWITCHOVER_HELP)]
    Switchover(Switchover),
    /// Fail over now, whatever stands against it: shows what would be lost, and asks.
    Failover(Failover),
    /// Let a MariaDB instance that diverged get rid of what only it holds: shows what that is, and asks.
    #[command(after_help = REBUILD_HELP)]
    Rebuild(Rebuild),
    /// Watch the cluster: its status, running failovers and the last events, drawn anew whenever something changes.
    Watch(Watch),
    /// Make existing servers fit for Backstay: protected boot, backlog, ping period, a user with the least rights.
    #[command(after_help = ADOPT_HELP)]
    Adopt(Adopt),
    /// Say what is wrong with the servers of a MariaDB service, each with the statement that mends it.
    #[command(after_help = DOCTOR_HELP)]
    Doctor(Doctor),
    /// Show and change which controllers belong to the cluster.
    #[command(subcommand)]
    Controller(Controller),
    /// Look at a configuration file.
    #[command(subcommand)]
    Config(Config),
    /// Make and look at certificates, with which controllers and clients prove who they are.
    #[command(subcommand)]
    Cert(Cert),
    /// A local cluster of real servers, to try Backstay on this machine.
    #[command(subcommand)]
    Lab(Lab),
    /// Print the completion script of a shell.
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands into a folder.
    Man {
        /// The folder, which is made if need be: for `man`, one called man1 in its search path.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

const COMPLETIONS_HELP: &str = "\
For bash:  backstay completions bash > /etc/bash_completion.d/backstay
For zsh:   backstay completions zsh > /usr/local/share/zsh/site-functions/_backstay
For fish:  backstay completions fish > /etc/fish/completions/backstay.fish";

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense_to_clap() {
        Arguments::command().debug_assert();
    }
}
