//! One Backstay controller: how it is started and how it is asked to end.

use crate::error::{LabError, Result};
use crate::load::client;
use crate::servers::process::{Launch, Process, find_program};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const END_LIMIT: Duration = Duration::from_secs(5);

/// One controller on loopback ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerServer {
    /// Its name in the configuration file.
    pub name: String,
    /// Where its peers reach it.
    pub peer: u16,
    /// Its Sentinel port.
    pub sentinel: u16,
    /// Its admin socket.
    pub admin: PathBuf,
    /// Its admin port for clients with a certificate, if it has one.
    #[serde(default)]
    pub remote_admin: Option<u16>,
    /// Its state folder.
    pub state: PathBuf,
    /// Its log.
    pub log: PathBuf,
}

/// Whether a controller's cluster is made or joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// The cluster's very first start.
    Bootstrap,
    /// Every later one.
    Restart,
}

impl ControllerServer {
    /// Where its peers reach it.
    pub fn peer_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.peer))
    }

    /// Its Sentinel port.
    pub fn sentinel_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.sentinel))
    }

    /// Starts it with the cluster's configuration file.
    pub fn start(&self, backstay: &Path, configuration: &Path, join: Join) -> Result<Process> {
        let mut arguments =
            vec!["run".into(), "--config".into(), configuration.into(), "--node".into(), (&self.name).into()];
        if join == Join::Bootstrap {
            arguments.push("--bootstrap".into());
        }
        Process::start(&Launch {
            name: &self.name,
            program: backstay,
            arguments,
            folder: configuration.parent().unwrap_or(Path::new("/")),
            log: self.log.clone(),
        })
    }

    /// Asks it to end; kills it if it does not.
    pub fn end(&self, process: Process) -> Result<()> {
        let failed = |source| LabError::Process { verb: "signal", name: self.name.clone(), source };
        process.signal(Signal::SIGTERM).map_err(failed)?;
        if !process.ends_within(END_LIMIT) {
            process.signal(Signal::SIGKILL).map_err(failed)?;
        }
        Ok(())
    }

    /// Whom its Sentinel port calls the primary of `service`.
    pub fn primary(&self, service: &str) -> Option<SocketAddr> {
        client::ask(self.sentinel_address(), service).ok().flatten()
    }
}

/// The `backstay` program: what was named, or `BACKSTAY_EXE`, or the one beside this program, or the one in `PATH`.
pub fn find_backstay(named: Option<PathBuf>) -> Result<PathBuf> {
    let beside = || {
        let own = std::env::current_exe().ok()?;
        // Tests run one folder below.
        let folders = own.ancestors().skip(1).take(2);
        folders.map(|folder| folder.join("backstay")).find(|candidate| candidate.is_file())
    };
    let wanted = named.or_else(|| std::env::var_os("BACKSTAY_EXE").map(PathBuf::from));
    let found = match wanted {
        Some(path) => path.is_file().then(|| path.canonicalize().unwrap_or(path)),
        None => beside().or_else(|| find_program("backstay")),
    };
    found.ok_or_else(|| LabError::Missing {
        program: "backstay".to_owned(),
        why: "the lab's controllers are Backstay processes",
        remedy:
            "Build it with `cargo build -p backstay-cli`, or name it with --backstay PATH or BACKSTAY_EXE"
                .to_owned(),
    })
}
