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
