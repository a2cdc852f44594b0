//! One MariaDB and what leads to it: a lab with one controller and one gateway, and HAProxy beside them. All of it ends when
//! this is dropped.

use crate::error::{LabError, Result, file_error};
use crate::load::logins::Logins;
use crate::servers::mariadb::MariaDbServer;
use crate::servers::nursery;
use crate::servers::ports::Ports;
use crate::servers::proxy::{Proxy, Way};
use crate::stack::lab::ScopedLab;
use crate::stack::mariadb::application;
use crate::stack::options::Options;
use crate::wait::wait_until;
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);

/// What stands between the clients and MariaDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum System {
    /// Nothing.
    Direct,
    /// A gateway of ours.
    Backstay,
    /// HAProxy, which passes bytes on.
    Haproxy,
}

impl System {
    pub(super) const ALL: [Self; 3] = [Self::Direct, Self::Backstay, Self::Haproxy];
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Direct => "direct",
            Self::Backstay => "backstay",
            Self::Haproxy => "haproxy",
        })
    }
}

/// See the module's head. The order of the fields is the order in which they end.
pub(super) struct Bed {
    haproxy: Proxy,
    server: MariaDbServer,
    gateway: SocketAddr,
    dir: TempDir,
    _ports: Ports,
    _lab: ScopedLab,
}

impl Bed {
    pub(super) fn up(backstay: Option<PathBuf>) -> Result<Self> {
        let lab = ScopedLab::up(&Options {
            controllers: 1,
            redis: 1,
            mariadb: 1,
            gateways: 1,
            backstay,
            ..Options::default()
        })?;
        let missing = |what: &str| LabError::Options(format!("the lab has no {what}"));
        let server = lab.state()?.databases.into_iter().next().ok_or_else(|| missing("MariaDB"))?.server;
        let gateway = lab.gateways()?.first().and_then(|gateway| Some(gateway.sql_addresses()?[0]));
        let gateway = gateway.ok_or_else(|| missing("SQL gateway"))?;
        let dir = tempfile::Builder::new().prefix("backstay-bench-").tempdir();
        let dir = dir.map_err(file_error("create a folder in", &std::env::temp_dir()))?;
        nursery::note_paths(vec![dir.path().to_path_buf()]);
        let mut ports = Ports::open()?;
        let servers = [server.address()];
        let way = Way { port: ports.claim()?, folder: dir.path(), servers: &servers, password: None };
        let haproxy = way.haproxy_to_mariadb(logins(server.address(), 1, Duration::ZERO))?;
        wait_until("that the gateway leads to its primary", LIMIT, || {
            logins(gateway, 1, Duration::ZERO).ask().ok()
        })?;
        Ok(Self { haproxy, server, gateway, dir, _ports: ports, _lab: lab })
    }

    /// Where a client of `system` connects to.
    pub(super) fn address(&self, system: System) -> SocketAddr {
        match system {
            System::Direct => self.server.address(),
            System::Backstay => self.gateway,
            System::Haproxy => self.haproxy.address(),
        }
    }

    /// For files of the one who measures.
    pub(super) fn folder(&self) -> &Path {
        self.dir.path()
    }
}

/// Logins of the application, one after the other in each thread.
pub(super) fn logins(target: SocketAddr, threads: usize, duration: Duration) -> Logins {
    Logins { target, account: application(), threads, duration, limit: LIMIT }
}
