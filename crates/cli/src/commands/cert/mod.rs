//! `backstay cert`: an authority of the operator's own, and what it makes for controllers and clients.

mod files;
mod make;
mod show;

use crate::failure::Failure;
use crate::output::Output;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum Cert {
    /// Make an authority: who holds its key decides who belongs to the cluster.
    #[command(after_help = AUTHORITY_HELP)]
    Authority(Authority),
    /// Make the certificate of a controller.
    #[command(after_help = NODE_HELP)]
    Node(Node),
    /// Make the certificate of a gateway that is no controller's.
    Gateway(Leaf),
    /// Make the certificate of the agent of a MariaDB instance.
    Agent(Leaf),
    /// Make the certificate of a client: an operator, or a program that asks or orders something.
    Client(Client),
    /// Show what is in a file: whose certificate it is, what it stands for, when it ends.
    Show(Show),
}

const AUTHORITY_HELP: &str = "\
Writes authority.pem, which every machine needs, and authority.key, which none needs: keep it where you make \
certificates, and nowhere else. Neither is ever overwritten.";

const NODE_HELP: &str = "\
Writes NAME.pem and NAME.key. The hosts in it come from the controller's addresses in the file, or from --host. \
Controllers know each other by name, not by host; hosts are for the command line (--server).";

/// Which cluster.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Cluster {
    /// The cluster's name; that of the file, if left out.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// The configuration file of the cluster.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CONFIG")]
    config: Option<PathBuf>,
}

/// Where the authority is, and where files are written.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The folder of the authority's files, into which new ones are written, too.
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Authority {
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    place: Place,
    /// For how many days it counts.
    #[arg(long, value_name = "COUNT", default_value_t = 3650, value_parser = days())]
    days: u32,
    #[command(flatten)]
    output: Output,
}

/// A certificate that the authority gives.
#[derive(Debug, Args)]
pub(crate) struct Leaf {
    /// Whose it is: the name of the controller, gateway, instance or client.
    name: String,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    place: Place,
    /// For how many days it counts.
    #[arg(long, value_name = "COUNT", default_value_t = 365, value_parser = days())]
    days: u32,
    /// Replace files that exist, to renew.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Node {
    #[command(flatten)]
    leaf: Leaf,
    /// A host name or address at which the controller is reached; several if repeated. Added to those of the file.
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Client {
    #[command(flatten)]
    leaf: Leaf,
    /// It may look at everything and change nothing.
    #[arg(long)]
    read_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// A file with one or more certificates (PEM).
    file: PathBuf,
    #[command(flatten)]
    output: Output,
}

fn days() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=i64::from(backstay_server::tls::issue::DAYS_MAX))
}

pub(super) fn cert(command: &Cert) -> Result<(), Failure> {
    match command {
        Cert::Authority(arguments) => make::authority(arguments),
        Cert::Node(arguments) => make::node(arguments),
        Cert::Gateway(arguments) => make::gateway(arguments),
        Cert::Agent(arguments) => make::agent(arguments),
        Cert::Client(arguments) => make::client(arguments),
        Cert::Show(arguments) => show::show(arguments),
    }
}
