//! Commands of the lab.

use crate::output::Output;
use crate::times;
use backstay_lab::Fault;
use backstay_model::Durability;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Start controllers and a Redis group, and if wanted a MariaDB group, on free ports of this machine; they keep running in the background.
    Up(LabUp),
    /// Show the lab's servers: which live, and what the instances take themselves for.
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

fn durability(text: &str) -> Result<Durability, String> {
    let known = [Durability::Async, Durability::Majority].into_iter().find(|it| it.word() == text);
    known.ok_or_else(|| "there are: async, majority".to_owned())
}

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
    /// How many MariaDB instances beside them, of a service called orders: a primary, the others its replicas.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub(crate) mariadb: usize,
    /// When a commit of MariaDB is acknowledged: once the primary has it (async), or a replica, too (majority).
    #[arg(long, default_value = "async", value_name = "WHEN", value_parser = durability, requires = "mariadb")]
    pub(crate) durability: Durability,
    /// Start an agent beside each MariaDB instance, so that it can be rebuilt (`backstay rebuild`).
    #[arg(long, requires = "mariadb")]
    pub(crate) agents: bool,
    /// How many gateways: each an address that never changes, and one for reads.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    pub(crate) gateways: usize,
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
