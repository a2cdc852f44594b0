//! One gateway that is no controller's: how it is started and asked to end.

use crate::error::{LabError, Result};
use crate::servers::process::{Launch, Process};
use crate::servers::redis::log_tail;
use crate::wait::poll_until;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The configuration file's endpoint for reads and writes.
pub const PRIMARY: &str = "primary";
/// The configuration file's endpoint for reads from replicas.
pub const READER: &str = "reader";

/// The endpoint for reads and writes of the MariaDB service.
pub const SQL_PRIMARY: &str = "orders";
/// Its endpoint for reads from replicas.
pub const SQL_READER: &str = "orders-reader";

const START_LIMIT: Duration = Duration::from_secs(10);
/// How long its clients may take to finish.
const END_LIMIT: Duration = Duration::from_secs(15);

/// One gateway on loopback ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayServer {
    /// Its name.
    pub name: String,
    /// Its port for reads and writes.
    pub primary: u16,
    /// Its port for reads from replicas.
    pub reader: u16,
    /// The same for the MariaDB service, if there is one.
    #[serde(default)]
    pub sql: Option<SqlPorts>,
    /// Its log.
    pub log: PathBuf,
}

/// Where a gateway takes clients of the MariaDB service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlPorts {
    /// Reads and writes.
    pub primary: u16,
    /// Reads.
    pub reader: u16,
}

impl GatewayServer {
    /// Where it takes reads and writes.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.primary))
    }

    /// Where it takes reads.
    pub fn reader_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.reader))
    }

    /// Where it takes clients of the MariaDB service: reads and writes, then reads.
    pub fn sql_addresses(&self) -> Option<[SocketAddr; 2]> {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.sql.map(|ports| [at(ports.primary), at(ports.reader)])
    }

    /// Every endpoint that it opens, and where.
    fn endpoints(&self) -> Vec<(&'static str, SocketAddr)> {
        let mut endpoints = vec![(PRIMARY, self.address()), (READER, self.reader_address())];
        if let Some([primary, reader]) = self.sql_addresses() {
            endpoints.extend([(SQL_PRIMARY, primary), (SQL_READER, reader)]);
        }
        endpoints
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        self.log.with_file_name(format!("{}.gateway.sock", self.name))
    }

    /// Starts it with the cluster's configuration file.
    pub fn start(&self, backstay: &Path, configuration: &Path) -> Result<Process> {
        let mut arguments = vec![
            "gateway".into(),
            "--config".into(),
            configuration.into(),
            "--name".into(),
            (&self.name).into(),
            "--control".into(),
            self.control().parent().unwrap_or(Path::new("/")).into(),
        ];
        for (endpoint, address) in self.endpoints() {
            arguments.extend(["--listen".into(), format!("{endpoint}={address}").into()]);
        }
        Process::start(&Launch {
            name: &self.name,
            program: backstay,
            arguments,
            folder: configuration.parent().unwrap_or(Path::new("/")),
            log: self.log.clone(),
        })
    }

    /// Waits until it takes clients; whether there is a primary for them is another matter.
    pub fn await_port(&self, process: Process) -> Result<()> {
        let started = poll_until(START_LIMIT, || {
            let open = TcpStream::connect(self.address()).is_ok();
            let gone = process.is_gone();
            (open || gone).then_some(open)
        });
        match started {
            Some(true) => Ok(()),
            Some(false) => Err(LabError::Answer {
                from: format!("gateway {}", self.name),
                what: format!("it ended while it was starting. {}", log_tail(&self.log)),
            }),
            None => Err(LabError::Deadline {
                what: format!("an open port of gateway {}", self.name),
                waited: START_LIMIT,
                hint: log_tail(&self.log),
            }),
        }
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
}
