//! Processes that run on: a controller, a gateway.

use backstay_model::Address;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

pub(super) const RUN_HELP: &str = "\
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
    #[command(flatten)]
    pub(crate) log: Log,
}

pub(super) const GATEWAY_HELP: &str = "\
It opens the [[endpoints]] of the file and asks the file's controllers where to send what comes in. Where the file has \
[tls], it shows the certificate that `backstay cert gateway NAME` makes, in the place where the file would have that of a \
controller of that name.

One that is started while another of the same name runs on this machine takes its place: it is given the other's \
listening sockets, and the other one ends when its clients have gone. No connection is refused meanwhile.";

#[derive(Debug, Args)]
pub(crate) struct Gateway {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CONFIG")]
    pub(crate) config: PathBuf,
    /// What it is called: a name that no other gateway and no controller has.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The zone in which it stands: readers ask replicas of this zone first.
    #[arg(long, value_name = "ZONE", default_value = "")]
    pub(crate) zone: String,
    /// Another address for an endpoint of the file; several if repeated.
    #[arg(long, value_name = "ENDPOINT=HOST:PORT", value_parser = listen)]
    pub(crate) listen: Vec<(String, Address)>,
    /// The folder for its control socket. Left out: $RUNTIME_DIRECTORY, /run/backstay or $XDG_RUNTIME_DIR/backstay, the
    /// first that can be used.
    #[arg(long, value_name = "DIR", env = "BACKSTAY_CONTROL")]
    pub(crate) control: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: Log,
}

pub(super) const AGENT_HELP: &str = "\
It runs on the host of one MariaDB instance, as a user that may stop and start it and write its data folder, and does \
there what `backstay rebuild` (or rebuild = \"auto\" in the file) wants done. The file says where it listens: agent = \
\"HOST:PORT\" at its instance. Where the file has [tls], it shows the certificate that `backstay cert agent NAME` makes.

Commands are split at spaces; none is given to a shell.";

#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// The configuration file.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CONFIG")]
    pub(crate) config: PathBuf,
    /// Which of the file's instances runs on this host.
    #[arg(long, value_name = "NAME")]
    pub(crate) instance: String,
    /// The instance's data folder.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/mysql")]
    pub(crate) data: PathBuf,
    /// Where it keeps what only an instance held that is rebuilt.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/backstay/rescue")]
    pub(crate) rescue: PathBuf,
    /// The instance's Unix socket; left out: its address.
    #[arg(long, value_name = "FILE")]
    pub(crate) socket: Option<PathBuf>,
    /// The command that stops the instance.
    #[arg(long, value_name = "COMMAND", default_value = "systemctl stop mariadb")]
    pub(crate) stop: String,
    /// The command that starts it.
    #[arg(long, value_name = "COMMAND", default_value = "systemctl start mariadb")]
    pub(crate) start: String,
    /// The server's program, with what it needs to find its settings.
    #[arg(long, value_name = "COMMAND", default_value = "mariadbd")]
    pub(crate) server: String,
    /// Keep the data that is replaced, as DIR.before-NUMBER.
    #[arg(long)]
    pub(crate) keep_old: bool,
    #[command(flatten)]
    pub(crate) log: Log,
}

fn listen(text: &str) -> Result<(String, Address), String> {
    let (endpoint, address) = text.split_once('=').ok_or("write ENDPOINT=HOST:PORT")?;
    let address = address.parse::<Address>().map_err(|error| error.to_string())?;
    Ok((endpoint.to_owned(), address))
}

/// What a process that runs on says.
#[derive(Debug, Args)]
pub(crate) struct Log {
    /// How to write the log, which goes to the standard error output.
    #[arg(long = "log", value_enum, default_value_t)]
    pub(crate) format: LogFormat,
    /// What to log: error, warn, info, debug or trace, for all or by module (`info,backstay_server=debug`).
    #[arg(long = "log-level", value_name = "LEVEL", default_value = "info", env = "BACKSTAY_LOG")]
    pub(crate) level: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}
