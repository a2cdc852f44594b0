//! One `redis-server`: its configuration file, its data files, how it is started and how it is asked to end.

use crate::error::{LabError, Result, file_error};
use crate::load::connection::{Connection, Reply, integer, items, text};
use crate::servers::process::{Launch, Process, find_program};
use crate::wait::poll_until;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CONFIGURATION: &str = "redis.conf";
const LOG: &str = "redis.log";
const START_LIMIT: Duration = Duration::from_secs(10);
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(15);

/// What an instance is when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boot {
    /// A replica of nowhere: nobody writes to it until somebody opens it at run time.
    Protected,
    /// A primary that takes writes at once, as Redis does by itself.
    Open,
    /// A replica of this port.
    ReplicaOf(u16),
}

/// One Redis server on a loopback port, with a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisServer {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Where its configuration, data and log are.
    pub folder: PathBuf,
}

/// What `ROLE` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// It takes itself for a primary.
    Primary {
        /// How far it is.
        offset: i64,
        /// How many replicas are attached.
        replicas: usize,
    },
    /// It follows somebody.
    Replica {
        /// The port it follows.
        of: u16,
        /// Whether the link carries the stream (`connected`).
        linked: bool,
        /// How far it is.
        offset: i64,
    },
}

impl RedisServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Makes its folder and writes its configuration file.
    pub fn write_configuration(&self, boot: Boot) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(file_error("create", &self.folder))?;
        let replicaof = match boot {
            Boot::Protected => "replicaof 127.0.0.1 1\n".to_owned(),
            Boot::Open => String::new(),
            Boot::ReplicaOf(port) => format!("replicaof 127.0.0.1 {port}\n"),
        };
        let text = format!(
            "# Written by the lab for {name}.\n\
             port {port}\n\
             bind 127.0.0.1\n\
             protected-mode no\n\
             daemonize no\n\
             dir \"{folder}\"\n\
             save \"\"\n\
             appendonly no\n\
             repl-diskless-sync yes\n\
             repl-diskless-sync-delay 0\n\
             repl-ping-replica-period 1\n\
             repl-backlog-size 64mb\n\
             {replicaof}",
            name = self.name,
            port = self.port,
            folder = self.folder.display(),
        );
        let path = self.folder.join(CONFIGURATION);
        fs::write(&path, text).map_err(file_error("write", &path))
    }

    /// Starts the process. It may not answer yet: see `await_answer`.
    pub fn start(&self) -> Result<Process> {
        Process::start(&Launch {
            name: &self.name,
            program: &program()?,
            arguments: vec![CONFIGURATION.into()],
            folder: &self.folder,
            log: self.log(),
        })
    }

    /// Waits until it answers `PING` with `PONG`: it has loaded its data.
    pub fn await_answer(&self, process: Process) -> Result<()> {
        poll_until(START_LIMIT, || self.answers().then_some(())).ok_or_else(|| LabError::Deadline {
            what: format!("an answer of {} (pid {}, port {})", self.name, process.pid, self.port),
            waited: START_LIMIT,
            hint: log_tail(&self.log()),
        })
    }

    /// Whether it answers `PING` with `PONG` now.
    pub fn answers(&self) -> bool {
        self.ask(&["PING"]).is_ok_and(|reply| text(&reply) == "PONG")
    }

    /// A connection to it.
    pub fn connect(&self) -> Result<Connection> {
        Connection::open(self.address(), ANSWER_LIMIT).map_err(|source| LabError::Connection {
            to: format!("{} at {}", self.name, self.address()),
            source,
        })
    }

    /// One command on a connection of its own. An error reply is a reply.
    pub fn ask(&self, request: &[&str]) -> Result<Reply> {
        self.connect()?.call(request).map_err(|source| LabError::Connection {
            to: format!("{} at {}", self.name, self.address()),
            source,
        })
    }

    /// One field of `INFO`, if it has it.
    pub fn info(&self, field: &str) -> Result<Option<String>> {
        let info = text(&self.ask(&["INFO"])?);
        let found = info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        Ok(found.map(str::to_owned))
    }

    /// What it takes itself for.
    pub fn role(&self) -> Result<Role> {
        let reply = self.ask(&["ROLE"])?;
        parse_role(&reply)
            .ok_or_else(|| LabError::Answer { from: self.name.clone(), what: format!("{reply:?} to ROLE") })
    }

    /// Asks it to write its data file and to end, and waits for the end. False: it did not do so, and still runs.
    pub fn shut_down_saving(&self, process: Process) -> bool {
        let Ok(mut link) = self.connect() else {
            return false;
        };
        // Redis 7 waits for its replicas, 10 s by default; older ones do not know the setting.
        if link.call(&["CONFIG", "SET", "shutdown-timeout", "1"]).is_err() {
            return false;
        }
        // The answer is the end of the connection.
        let _ = link.call(&["SHUTDOWN", "SAVE"]);
        process.ends_within(SHUTDOWN_LIMIT)
    }

    /// Removes everything that it would load when it starts.
    pub fn remove_data(&self) -> Result<()> {
        let listing = fs::read_dir(&self.folder).map_err(file_error("list", &self.folder))?;
        for entry in listing {
            let path = entry.map_err(file_error("list", &self.folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name == CONFIGURATION || name == LOG {
                continue;
            }
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(file_error("remove", &path))?;
        }
        Ok(())
    }
}

fn parse_role(reply: &Reply) -> Option<Role> {
    let fields = items(reply)?;
    match text(fields.first()?).as_str() {
        "master" => {
            Some(Role::Primary { offset: integer(fields.get(1)?)?, replicas: items(fields.get(2)?)?.len() })
        }
        "slave" => Some(Role::Replica {
            of: u16::try_from(integer(fields.get(2)?)?).ok()?,
            linked: text(fields.get(3)?) == "connected",
            offset: integer(fields.get(4)?)?,
        }),
        _ => None,
    }
}

/// The installed `redis-server`.
pub fn program() -> Result<PathBuf> {
    find_program("redis-server").ok_or_else(|| LabError::Missing {
        program: "redis-server".to_owned(),
        why: "the lab runs real Redis servers",
        remedy: "Install it with `apt-get install redis-server` (Debian, Ubuntu) or `dnf install redis` \
                 (Fedora), or put the folder it is in into PATH, then try again"
            .to_owned(),
    })
}

/// The end of a log, as the hint of an error.
pub(crate) fn log_tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return format!("Its log ({}) is empty.", log.display());
    }
    let tail = lines[lines.len().saturating_sub(10)..].join("\n  ");
    format!("The end of its log ({}):\n  {tail}", log.display())
}
