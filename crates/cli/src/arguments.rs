//! The command line: what can be said, and the help that explains it.

use crate::admin::Target;
use crate::commands::cert::Cert;
use crate::confirm::{Consent, DryRun};
use crate::output::{Colours, Output};
use crate::times;
use backstay_lab::Fault;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;
use std::time::Duration;

const EXIT_CODES: &str = "\
Exit codes:
  0   it was done
  1   it failed or was refused; nothing was changed unless the message says so
  2   the command line is wrong
  3   `status --check` found something unhealthy
  4   no controller could be reached
  69, 70, 74, 78   `run` stopped: a port cannot be had, a bug, the state folder, the configuration

Environment:
  BACKSTAY_SOCKET   the admin socket of a controller, as --socket
  BACKSTAY_CONFIG   the configuration file, as --config
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
    /// Show the cluster: who leads, which services there are, how their instances fare, what is wrong.
    Status(Status),
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
    /// Watch the cluster: its status, running failovers and the last events, drawn anew whenever something changes.
    Watch(Watch),
    /// Make existing servers fit for Backstay: protected boot, backlog, ping period, a user with the least rights.
    #[command(after_help = ADOPT_HELP)]
    Adopt(Adopt),
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

const RUN_HELP: &str = "\
Every controller of a cluster reads the same file and is told by --node which one it is. --bootstrap belongs to the \
very first start of a new cluster, on every node; a controller that ran before starts without it. One without a state \
folder joins: it has no vote until `backstay controller add` gives it one.";

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CONFIG")]
    pub(crate) config: PathBuf,
    /// Which of the file's controllers this is.
    #[arg(long, value_name = "NAME")]
    pub(crate) node: String,
    /// Make a new cluster: for its very first start only.
    #[arg(long)]
    pub(crate) bootstrap: bool,
    /// How to write the log, which goes to the standard error output.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) log: LogFormat,
    /// What to log: error, warn, info, debug or trace, for all or by module (`info,backstay_server=debug`).
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "BACKSTAY_LOG")]
    pub(crate) log_level: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
    /// What the controller that is asked sees, instead of what the leader sees.
    #[arg(long)]
    pub(crate) local: bool,
    /// Exit with 3 if there is no quorum, a service has no primary, or there is a problem; for scripts and monitoring.
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    /// Only of this service.
    pub(crate) service: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

const EVENTS_HELP: &str = "\
Every controller keeps its own log of the last 2048 events since it was started; `backstay history` shows what all of \
them remember for good. With -o json each line is one object: at (microseconds since 1970), seen_by, service, kind, \
severity, sentence, and what belongs to the kind.";

#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only of this service, and those of the controller itself.
    pub(crate) service: Option<String>,
    /// Go on with what happens next, until Ctrl-C; exits with 4 if the controller is lost.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only what happened this long ago or later: 90s, 10m, 2h, 1d. With --follow: before what happens next.
    #[arg(long, value_name = "DURATION", value_parser = times::parse)]
    pub(crate) since: Option<Duration>,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Only this service.
    pub(crate) service: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The service.
    pub(crate) service: String,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Pause {
    /// Only this service; all of them, if left out.
    pub(crate) service: Option<String>,
    /// For how long: 90s, 10m, 2h, 1d. It ends by itself.
    #[arg(long = "for", value_name = "DURATION", value_parser = times::parse)]
    pub(crate) duration: Duration,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    #[command(flatten)]
    pub(crate) asker: Asker,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Only this service; all of them, if left out.
    pub(crate) service: Option<String>,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    #[command(flatten)]
    pub(crate) asker: Asker,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// The service.
    pub(crate) service: String,
    /// The instance whose data shall count.
    pub(crate) instance: String,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) asker: Asker,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

const SWITCHOVER_HELP: &str = "\
Writes wait at the old primary for some milliseconds, until the new one has everything; then clients are sent there. A \
direct client whose write waited is answered READONLY once, and asks a controller (or Sentinel) for the new address.";

#[derive(Debug, Args)]
pub(crate) struct Switchover {
    /// The service.
    pub(crate) service: String,
    /// The next primary; the best one, if left out.
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) to: Option<String>,
    /// Say who would take over, or why nobody can, and do nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) asker: Asker,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Failover {
    /// The service.
    pub(crate) service: String,
    /// The next primary, whatever it holds, even if somebody else promoted it; the best one, if left out.
    #[arg(long, value_name = "INSTANCE")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) asker: Asker,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

const ADOPT_HELP: &str = "\
It asks the servers themselves, not the controllers, and changes no role. A server's configuration file is changed only \
on the server's own host; for the others the lines are shown, and the exit code is 1 as long as something is left. If \
one server cannot be reached or may not be changed, nothing is changed at all. It can be run again at any time.";

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The service.
    pub(crate) service: String,
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CONFIG")]
    pub(crate) config: PathBuf,
    /// Only this instance.
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// The Redis user that may change the servers; the default user if only a password is given. Left out: the user of
    /// the configuration, or nobody where a server asks for no password.
    #[arg(long, value_name = "NAME", requires = "admin_password")]
    pub(crate) admin_user: Option<String>,
    /// The file with that user's password.
    #[arg(long, value_name = "FILE", group = "admin_password")]
    pub(crate) admin_password_file: Option<PathBuf>,
    /// The environment variable with that user's password.
    #[arg(long, value_name = "NAME", group = "admin_password")]
    pub(crate) admin_password_env: Option<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Controller {
    /// Show every controller with its part in decisions; exit with 3 if one that the file lists is no voter.
    List(ControllerList),
    /// Make a member of a controller that runs with a new state folder, or give one that lost its folder its vote back.
    #[command(after_help = ADD_HELP)]
    Add(ControllerAdd),
    /// Take a controller's membership away; it then stops.
    Remove(ControllerRemove),
}

const ADD_HELP: &str = "\
First put the controller into every node's file, restart the nodes one after the other, and start the new one without \
--bootstrap. It comes as a learner and gets its vote once it holds everything; the command waits for that.";

#[derive(Debug, Args)]
pub(crate) struct ControllerList {
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ControllerAdd {
    /// Its name in the file.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) asker: Asker,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct ControllerRemove {
    /// Its name.
    pub(crate) name: String,
    /// Even if that leaves a single voter, or fewer live ones than are needed to decide anything.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) asker: Asker,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Who asks, for the record.
#[derive(Debug, Args)]
pub(crate) struct Asker {
    /// Who asks, for the record; your user name by default.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
}

impl Asker {
    /// The name that goes on record.
    pub(crate) fn name(&self) -> String {
        let from_environment = || {
            let users = ["SUDO_USER", "USER", "LOGNAME"].into_iter();
            users.filter_map(|name| std::env::var(name).ok()).find(|name| !name.is_empty())
        };
        let name = self.by.clone().or_else(from_environment);
        name.unwrap_or_else(|| "an operator".to_owned())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Find every mistake and doubt in a file, each with its place and a remedy; exit with 1 if there is a mistake.
    Check {
        /// The configuration file.
        file: PathBuf,
        /// Check the certificates of this controller; left out: of those whose files are on this machine.
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Show the configuration in force, defaults included.
    Show {
        /// The configuration file.
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Start controllers and a Redis group on free ports of this machine; they keep running in the background.
    Up(LabUp),
    /// Show the lab's servers: which live, and what the Redis instances take themselves for.
    Status {
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        json: Json,
    },
    /// Do something to servers of the lab, and print when: {"at_unix_ns": ...}. Returns once it has taken effect.
    #[command(after_help = FAULT_HELP)]
    Fault {
        /// What to do.
        #[arg(value_parser = fault_names())]
        fault: String,
        /// Instances or controllers; several at the same moment.
        #[arg(required = true)]
        names: Vec<String>,
        #[command(flatten)]
        folder: Folder,
    },
    /// End every server of the lab and remove what it wrote.
    Down {
        #[command(flatten)]
        folder: Folder,
        #[command(flatten)]
        json: Json,
    },
}

const FAULT_HELP: &str = "\
kill            kill -9
hang            it stands still, its sockets stay open (SIGSTOP)
resume          it goes on (SIGCONT)
restart         it ends in good order and starts again; if it is dead, it starts
restart-empty   kill -9, its data is removed, and it starts again";

fn fault_names() -> clap::builder::PossibleValuesParser {
    Fault::ALL.map(Fault::name).into()
}

#[derive(Debug, Args)]
pub(crate) struct LabUp {
    /// How many controllers.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub(crate) controllers: usize,
    /// How many Redis instances: a primary, the others its replicas.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    pub(crate) redis: usize,
    /// The service's name.
    #[arg(long, default_value = "mymaster", value_name = "NAME")]
    pub(crate) service: String,
    /// How long a server must be silent to count as down.
    #[arg(long, value_name = "DURATION", value_parser = times::parse_short)]
    pub(crate) down_after: Option<Duration>,
    /// Controllers prove who they are with certificates made for this lab, and also answer over TLS.
    #[arg(long)]
    pub(crate) tls: bool,
    #[command(flatten)]
    pub(crate) folder: Folder,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Which lab.
#[derive(Debug, Args)]
pub(crate) struct Folder {
    /// The lab's folder. Left out: a new temporary one for `up`, the lab that you started last for the others.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// The lab's short form of `-o json`.
#[derive(Debug, Args)]
pub(crate) struct Json {
    /// The same as -o json.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    output: Output,
}

impl Json {
    pub(crate) fn output(&self) -> Output {
        use crate::output::Format;
        Output { output: if self.json { Format::Json } else { self.output.output } }
    }
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_makes_sense_to_clap() {
        Arguments::command().debug_assert();
    }
}
