//! Commands that look and change nothing.

use crate::admin::Target;
use crate::output::Output;
use crate::times;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

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

pub(super) const EVENTS_HELP: &str = "\
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

pub(super) const TRAFFIC_HELP: &str = "\
A gateway answers at its control socket NAME.gateway.sock: in $RUNTIME_DIRECTORY, /run/backstay, $XDG_RUNTIME_DIR/backstay, \
or in the folder that it was given with --control; that of a controller is beside its admin socket. Families are the \
categories of Redis' ACLs; p50 and p99 are at most a quarter too high. The time of a command is counted from when the \
gateway has read it until it has read its reply, and includes how long it was held.";

#[derive(Debug, Args)]
pub(crate) struct Traffic {
    /// Only this gateway.
    pub(crate) gateway: Option<String>,
    /// Since its start, instead of in the last second.
    #[arg(long)]
    pub(crate) total: bool,
    /// Show the last commands that took long instead: those above `slow` in the file.
    #[arg(long, conflicts_with = "total")]
    pub(crate) slow: bool,
    /// The folder with the control sockets. Left out: the usual ones, and that of the lab that you started last.
    #[arg(long, value_name = "DIR", env = "BACKSTAY_CONTROL")]
    pub(crate) control: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

pub(super) const DOCTOR_HELP: &str = "\
It logs in to every instance of every MariaDB service of the file as Backstay does, all at the same time, and changes \
nothing. Each finding has the statements that mend it now, to be run at that instance by somebody who may, and the lines \
of its my.cnf by which it stays mended. For Redis: `backstay adopt SERVICE --dry-run`.

Exit codes:
  0   nothing is wrong; there may be warnings (it works, and worse than it could) and notes (what cannot be seen)
  1   there is an error: something that Backstay promises does not hold, or an instance cannot be looked at";

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// What is looked at: `mariadb`, which may be left out, then the service, or all of them if that is left out.
    #[arg(value_name = "[mariadb] SERVICE", num_args = 0..=2)]
    pub(crate) words: Vec<String>,
    /// The configuration file; by default that of the lab that you started last.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}
