//! Which controllers a command may ask: a socket, one of another machine, those of a configuration file, or those of the lab that the user
//! started last.

use super::remote::Remote;
use crate::commands::config::read;
use crate::failure::{Failure, UNREACHABLE, USAGE};
use backstay_lab::servers::process::Liveness;
use backstay_lab::{Lab, LabError};
use backstay_model::{Address, NodeName};
use clap::Args;
use std::path::PathBuf;

/// How a command is told whom to ask.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whom to ask (by default the lab that you started last)")]
pub(crate) struct Target {
    /// The admin socket of a controller.
    #[arg(long, value_name = "PATH", env = "BACKSTAY_SOCKET")]
    socket: Option<PathBuf>,
    /// The configuration file; its controllers are tried in turn.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CONFIG")]
    config: Option<PathBuf>,
    /// Only this controller of the file.
    #[arg(long, value_name = "NAME", requires = "config")]
    node: Option<String>,
    /// The admin address of a controller on another machine; several, separated by commas, are tried in turn.
    #[arg(long, value_name = "HOST:PORT", env = "BACKSTAY_SERVER", value_delimiter = ',')]
    server: Vec<Address>,
    /// The certificate to show to --server.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CERT")]
    cert: Option<PathBuf>,
    /// Its key; by default the file beside it that ends in .key.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_KEY")]
    key: Option<PathBuf>,
    /// The authority's certificate; by default authority.pem in the folder of --cert.
    #[arg(long, value_name = "FILE", env = "BACKSTAY_CA")]
    ca: Option<PathBuf>,
}

/// One that may be asked.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// What messages call it.
    pub(crate) name: String,
    /// Its admin socket.
    pub(crate) socket: PathBuf,
    /// How it is reached instead, if it is on another machine.
    pub(crate) remote: Option<Remote>,
}

impl Candidate {
    /// Where it is, for messages.
    pub(crate) fn place(&self) -> String {
        self.remote.as_ref().map_or_else(|| self.socket.display().to_string(), Remote::to_string)
    }
}

impl Target {
    /// Whom to ask, in this order; never empty.
    pub(crate) fn candidates(&self) -> Result<Vec<Candidate>, Failure> {
        // What was typed for this command goes before what the environment says for all; a socket is most precise.
        if self.server_comes_first() {
            return self.servers();
        }
        match (&self.socket, &self.config, &self.node) {
            (_, Some(file), Some(node)) => {
                let config = read(file)?;
                let node = config.node(&NodeName::from(node.as_str()))?;
                Ok(vec![candidate(node.name.as_str(), node.admin.clone())])
            }
            (Some(socket), _, _) => Ok(vec![candidate("the controller", socket.clone())]),
            (None, Some(file), None) => {
                let nodes = read(file)?.nodes.into_iter();
                Ok(nodes.map(|node| candidate(node.name.as_str(), node.admin)).collect())
            }
            (None, None, _) => of_latest_lab(),
        }
    }
}

impl Target {
    /// Whether to ask `--server`: what was typed goes before what the environment says.
    fn server_comes_first(&self) -> bool {
        let typed = |path: Option<&PathBuf>, name: &str| {
            path.is_some_and(|path| std::env::var_os(name).is_none_or(|value| value != *path))
        };
        let socket = typed(self.socket.as_ref(), "BACKSTAY_SOCKET");
        let config = typed(self.config.as_ref(), "BACKSTAY_CONFIG");
        let server = self.server.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let from_environment = std::env::var("BACKSTAY_SERVER").is_ok_and(|value| value == server);
        !self.server.is_empty() && !(from_environment && (socket || config))
    }

    fn servers(&self) -> Result<Vec<Candidate>, Failure> {
        let Some(certificate) = &self.cert else {
            return Err(Failure::new(
                USAGE,
                "--server needs a certificate",
                "a controller serves only those on other machines who prove who they are",
                "add --cert FILE (made by `backstay cert client`), or ask on the controller's machine with --socket",
            ));
        };
        let remotes = Remote::all(&self.server, certificate, self.key.as_deref(), self.ca.as_deref())?;
        let candidate = |remote| Candidate {
            name: "the controller".to_owned(),
            socket: PathBuf::new(),
            remote: Some(remote),
        };
        Ok(remotes.into_iter().map(candidate).collect())
    }
}

fn of_latest_lab() -> Result<Vec<Candidate>, Failure> {
    let none = |why: String| {
        Failure::new(
            UNREACHABLE,
            "no controller was named",
            why,
            "name one with --socket PATH, or all with --config FILE; or start a lab with `backstay lab up`",
        )
    };
    let state = Lab::open_latest().and_then(|lab| lab.state());
    let state = state.map_err(|error| {
        none(match error {
            // Its own advice would come twice.
            LabError::NoLab { dir, why } => format!("there is no lab in {}: {why}", dir.display()),
            error => error.to_string(),
        })
    })?;
    let living = state.controllers.iter().filter(|member| member.liveness() == Liveness::Running);
    let candidates: Vec<_> =
        living.map(|member| candidate(&member.server.name, member.server.admin.clone())).collect();
    if candidates.is_empty() {
        return Err(none("no controller of the lab that you started last is running".to_owned()));
    }
    Ok(candidates)
}

fn candidate(name: &str, socket: PathBuf) -> Candidate {
    let name = name.to_owned();
    Candidate { name, socket, remote: None }
}
