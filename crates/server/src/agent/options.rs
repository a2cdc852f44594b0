//! What one agent is told beside the file, and why it does not start.

use crate::secret::LoginError;
use crate::tls::TlsError;
use backstay_model::{Address, InstanceName, ServiceName};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// What one agent is told beside the file.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The service, where several have an instance of that name.
    pub service: Option<ServiceName>,
    /// The instance on whose host it runs.
    pub instance: InstanceName,
    /// Where it gives copies to other agents.
    pub listen: Address,
    /// The instance's data folder.
    pub data: PathBuf,
    /// Where it keeps what only an instance held that is rebuilt, and how far a rebuild is.
    pub rescue: PathBuf,
    /// The instance's Unix socket; it is reached by its address without one.
    pub socket: Option<PathBuf>,
    /// The command that stops the instance.
    pub stop: Vec<String>,
    /// The command that starts it.
    pub start: Vec<String>,
    /// The server's program, with what it needs to find its settings: `mariadbd`, or with `--defaults-file=...` first.
    pub server: Vec<String>,
    /// How long the instance may take to stop in order; then it is killed.
    pub stop_patience: Duration,
    /// How long it may take to start: it may have to recover.
    pub start_patience: Duration,
    /// Keeps the replaced data, as `<data>.before-<number>`.
    pub keep_old: bool,
}

impl AgentOptions {
    /// As on a host where the package's own service runs the database.
    pub fn new(instance: InstanceName, listen: Address) -> Self {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        Self {
            service: None,
            instance,
            listen,
            data: PathBuf::from("/var/lib/mysql"),
            rescue: PathBuf::from("/var/lib/backstay/rescue"),
            socket: None,
            stop: words("systemctl stop mariadb"),
            start: words("systemctl start mariadb"),
            server: words("mariadbd"),
            stop_patience: Duration::from_secs(60),
            start_patience: Duration::from_secs(600),
            keep_old: false,
        }
    }
}

/// Why an agent did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The file has no such instance.
    #[error("the file has no MariaDB instance called '{0}': it has {1}")]
    UnknownInstance(InstanceName, String),
    /// Several services have one.
    #[error("several services have an instance called '{0}': {1}. Say which one with --service")]
    SeveralInstances(InstanceName, String),
    /// A command has no word.
    #[error("the {0} command is empty: name a program")]
    NoCommand(&'static str),
    /// The data folder is no path that can be swapped.
    #[error("{path} cannot be the data folder: {reason}", path = .0.display(), reason = .1)]
    Data(PathBuf, String),
    /// A password or a certificate for the server cannot be used.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It would give copies to anybody.
    #[error(
        "{0} is not a loopback address, and there is no [tls]: whoever connects would be given all data. Add [tls] (see \
         `backstay cert`), or listen on 127.0.0.1"
    )]
    Open(Address),
    /// The address cannot be listened on.
    #[error(
        "{address}, where the agent shall listen, cannot be used: {source}. Correct it, or end who uses it"
    )]
    Listen {
        /// The address.
        address: Address,
        /// The reason.
        source: io::Error,
    },
    /// No random numbers.
    #[error("the operating system gives no random numbers, so this agent cannot start")]
    NoEntropy,
    /// The rescue folder cannot be used.
    #[error(
        "the rescue folder {path} cannot be used: {source}. Create it, or name another one with --rescue",
        path = path.display()
    )]
    Rescue {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

impl AgentError {
    /// The process's exit code, as `RunError::exit_code`.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Listen { .. } => 69,
            Self::Rescue { .. } => 73,
            Self::NoEntropy => 70,
            _ => 78,
        }
    }
}
