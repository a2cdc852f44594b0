//! Commands by which an operator acts on services and on the cluster itself.

use crate::admin::Target;
use crate::confirm::{Consent, DryRun};
use crate::output::Output;
use crate::times;
use backstay_model::Address;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

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
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Only this service; all of them, if left out.
    pub(crate) service: Option<String>,
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    #[command(flatten)]
    pub(crate) asking: Asking,
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
    pub(crate) asking: Asking,
}

pub(super) const SWITCHOVER_HELP: &str = "\
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
    pub(crate) asking: Asking,
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
    pub(crate) asking: Asking,
}

pub(super) const REBUILD_HELP: &str = "\
The instance is stopped by the agent on its host, and what only it holds is saved to a file there. Its data is discarded \
only once that is done, the primary reigns, and nobody can want it any more. Ctrl-C ends the watching, not the rebuild: \
`backstay status` shows how far it is.";

#[derive(Debug, Args)]
pub(crate) struct Rebuild {
    /// The service.
    pub(crate) service: String,
    /// The instance that holds what the primary does not.
    pub(crate) instance: String,
    /// How it gets rid of that: by taking back the rows that it changed, or by a copy of another instance.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) method: RebuildMethod,
    /// End a rebuild that has discarded nothing yet.
    #[arg(long, conflicts_with_all = ["method", "yes", "dry_run"])]
    pub(crate) cancel: bool,
    #[command(flatten)]
    pub(crate) consent: Consent,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum RebuildMethod {
    /// Flashback where that can take back everything, a copy otherwise.
    #[default]
    Auto,
    /// `mariadb-binlog --flashback`.
    Flashback,
    /// `mariadb-backup`.
    Copy,
}

pub(super) const ADOPT_HELP: &str = "\
It asks the servers themselves, not the controllers, and changes no role. A server's configuration file is changed only \
on the server's own host; for the others the lines are shown, and the exit code is 1 as long as something is left. If \
one server cannot be reached or may not be changed, nothing is changed at all. It can be run again at any time.

With --mariadb it makes a service of a MariaDB primary and its replicas, and writes --config anew: it finds the replicas, \
makes two users with new passwords, sets what `backstay doctor` would ask for, and writes what belongs into each my.cnf \
into a file beside it.";

#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The service; with --mariadb, what it is to be called.
    pub(crate) service: String,
    /// The configuration file; with --mariadb, the new one that is written.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CONFIG")]
    pub(crate) config: PathBuf,
    /// Only this instance.
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: Option<String>,
    /// The primary of a MariaDB group that no file names yet.
    #[arg(long, value_name = "HOST:PORT", requires = "admin_user", conflicts_with = "instance")]
    pub(crate) mariadb: Option<Address>,
    /// A replica of it at another address than it reports; several if repeated.
    #[arg(long, value_name = "HOST:PORT", requires = "mariadb")]
    pub(crate) replica: Vec<Address>,
    /// When a commit is acknowledged. Left out: majority with three servers, else async.
    #[arg(long, value_enum, value_name = "WHEN", requires = "mariadb")]
    pub(crate) durability: Option<WhenDurable>,
    /// From which hosts the new users may log in, as MariaDB writes it.
    #[arg(long, value_name = "PATTERN", default_value = "%", requires = "mariadb")]
    pub(crate) from_hosts: String,
    /// The user that may change the servers; the default user if only a password is given. Left out: the user of
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

/// See `durability` in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenDurable {
    /// Once the primary has it.
    Async,
    /// Once a replica has it, too.
    Majority,
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
    pub(crate) asking: Asking,
}

#[derive(Debug, Args)]
pub(crate) struct ControllerRemove {
    /// Its name.
    pub(crate) name: String,
    /// Even if that leaves a single voter, or fewer live ones than are needed to decide anything.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) asking: Asking,
}

/// Who asks whom, and how the answer is shown.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// Who asks, for the record; your user name by default.
    #[arg(long, value_name = "NAME")]
    by: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl Asking {
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
