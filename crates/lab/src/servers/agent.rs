//! The agent of one MariaDB instance: how it is started, and how it stops and starts that instance in the lab.

use crate::error::Result;
use crate::servers::mariadb::{self, MariaDbServer};
use crate::servers::process::{Launch, Process};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// One agent on a loopback port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentServer {
    /// Its name in the lab.
    pub name: String,
    /// The instance.
    pub instance: MariaDbServer,
    /// Where it gives copies to other agents.
    pub port: u16,
    /// Where it keeps what only an instance held.
    pub rescue: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

impl AgentServer {
    /// The agent of `instance` in the lab in `dir`.
    pub fn new(instance: MariaDbServer, port: u16, dir: &Path) -> Self {
        let name = format!("{}-agent", instance.name);
        let rescue = dir.join(format!("{}-rescue", instance.name));
        Self { log: dir.join(format!("{name}.log")), name, instance, port, rescue }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Starts it with the cluster's configuration file.
    pub fn start(&self, backstay: &Path, configuration: &Path) -> Result<Process> {
        let dir = configuration.parent().unwrap_or(Path::new("/"));
        let fault = |fault: &str| {
            format!("{} lab fault {fault} {} --dir {}", backstay.display(), self.instance.name, dir.display())
        };
        let settings = self.instance.settings();
        let server = format!("{} --defaults-file={}", mariadb::program()?.display(), settings.display());
        let mut arguments = vec!["agent".into(), "--config".into(), configuration.into()];
        for (option, value) in [
            ("--instance", self.instance.name.clone()),
            ("--data", self.instance.data().display().to_string()),
            ("--rescue", self.rescue.display().to_string()),
            ("--socket", self.instance.socket().display().to_string()),
            ("--stop", fault("kill")),
            ("--start", fault("restart")),
            ("--server", server),
        ] {
            arguments.extend([option.into(), value.into()]);
        }
        Process::start(&Launch {
            name: &self.name,
            program: backstay,
            arguments,
            folder: dir,
            log: self.log.clone(),
        })
    }
}
