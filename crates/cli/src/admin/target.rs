//! Which controllers a command may ask: a socket, those of a configuration file, or those of the lab that the user
//! started last.

use crate::commands::config::read;
use crate::failure::{Failure, UNREACHABLE};
use backstay_lab::servers::process::Liveness;
use backstay_lab::{Lab, LabError};
use backstay_model::NodeName;
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
}

/// One that may be asked.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// What messages call it.
    pub(crate) name: String,
    /// Its admin socket.
    pub(crate) socket: PathBuf,
}

impl Target {
    /// Whom to ask, in this order; never empty.
    pub(crate) fn candidates(&self) -> Result<Vec<Candidate>, Failure> {
        // What was typed for this command goes before what the environment says for all; a socket is most precise.
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
    Candidate { name, socket }
}
