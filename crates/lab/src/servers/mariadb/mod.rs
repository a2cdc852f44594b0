//! One `mariadbd`: its settings, its data folder, how it is started and asked. As with Redis, it listens on a loopback
//! port only; here also on a Unix socket in its folder.

mod settings;
mod template;

pub use settings::Settings;

use crate::error::{LabError, Result, file_error};
use crate::load::sql::{Account, Answer, Sql, SqlError, Way};
use crate::servers::ports::user_id;
use crate::servers::process::{Launch, Process, find_program};
use crate::servers::redis::log_tail;
use crate::wait::poll_every;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const SETTINGS: &str = "my.cnf";
const DATA: &str = "data";
const SOCKET: &str = "mariadb.sock";
const LOG: &str = "error.log";
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long its end in good order may take: it writes what it has in memory.
const END_LIMIT: Duration = Duration::from_secs(30);
const START_PAUSE: Duration = Duration::from_millis(10);
/// How long an answer to a statement of the lab's own may take.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// One MariaDB server on a loopback port, with a folder of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MariaDbServer {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Its `server_id`.
    pub server_id: u32,
    /// Where its settings, data, socket and log are.
    pub folder: PathBuf,
}

impl MariaDbServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(SOCKET)
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.join(DATA)
    }

    /// Its error log.
    pub fn log(&self) -> PathBuf {
        self.folder.join(LOG)
    }

    /// Its `my.cnf`.
    pub fn settings(&self) -> PathBuf {
        self.folder.join(SETTINGS)
    }

    /// Makes its folder with an empty data folder in it, and writes its settings.
    pub fn prepare(&self, settings: &Settings) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(file_error("create", &self.folder))?;
        template::copy_to(&self.data())?;
        self.write_settings(settings)
    }

    /// Writes its settings; they hold from the next start on.
    pub fn write_settings(&self, settings: &Settings) -> Result<()> {
        let text = format!(
            "# Written by the lab for {name}.\n\
             [mariadbd]\n\
             port={port}\n\
             server_id={server_id}\n\
             report_host=127.0.0.1\n\
             report_port={port}\n\
             socket={socket}\n\
             datadir={data}\n\
             tmpdir={folder}\n\
             pid_file={folder}/mariadbd.pid\n\
             {settings}",
            name = self.name,
            port = self.port,
            server_id = self.server_id,
            socket = self.socket().display(),
            data = self.data().display(),
            folder = self.folder.display(),
            settings = settings.lines(),
        );
        let path = self.settings();
        fs::write(&path, text).map_err(file_error("write", &path))
    }

    /// Starts the process. It may not answer yet: see `await_answer`.
    pub fn start(&self) -> Result<Process> {
        // First, or it is not read.
        let mut arguments = vec![format!("--defaults-file={}", self.settings().display()).into()];
        if user_id() == 0 {
            arguments.push("--user=root".into());
        }
        Process::start(&Launch {
            name: &self.name,
            program: &program()?,
            arguments,
            folder: &self.folder,
            log: self.log(),
        })
    }

    /// Waits until it answers a statement: it has recovered. Ends at once when the process does.
    pub fn await_answer(&self, process: Process) -> Result<()> {
        let look = || if self.answers() { Some(true) } else { process.is_gone().then_some(false) };
        match poll_every(START_PAUSE, START_LIMIT, look) {
            Some(true) => Ok(()),
            Some(false) => Err(LabError::Answer {
                from: self.name.clone(),
                what: format!("it ended while it was starting. {}", log_tail(&self.log())),
            }),
            None => Err(LabError::Deadline {
                what: format!("an answer of {} (pid {}, port {})", self.name, process.pid, self.port),
                waited: START_LIMIT,
                hint: log_tail(&self.log()),
            }),
        }
    }

    /// Whether it answers a statement now.
    pub fn answers(&self) -> bool {
        let link = Sql::open(&Way::Socket(self.socket()), &Account::root(), ANSWER_LIMIT);
        link.is_ok_and(|mut link| link.ask("DO 1").is_ok())
    }

    /// Asks it to end in good order. False: it did not do so in time, and still runs.
    pub fn end(&self, process: Process) -> bool {
        process.signal(Signal::SIGTERM).is_ok() && process.ends_within(END_LIMIT)
    }

    /// Gives it an empty data folder instead of the one that it has. It must not run.
    pub fn empty(&self) -> Result<()> {
        let data = self.data();
        if data.exists() {
            fs::remove_dir_all(&data).map_err(file_error("remove", &data))?;
        }
        template::copy_to(&data)
    }

    /// Whether it follows somebody, or takes no writes and so waits to be told whom to follow.
    pub fn replicates(&self) -> Result<bool> {
        let follows = !self.value("SHOW ALL SLAVES STATUS")?.is_empty();
        Ok(follows || self.value("SELECT @@global.read_only")? == "1")
    }

    /// A connection of the superuser, by the Unix socket.
    pub fn connect(&self) -> Result<Sql> {
        Sql::open(&Way::Socket(self.socket()), &Account::root(), ANSWER_LIMIT)
            .map_err(|error| self.told(&error))
    }

    /// A connection of `account`, by TCP.
    pub fn connect_as(&self, account: &Account) -> Result<Sql> {
        Sql::open(&Way::Tcp(self.address()), account, ANSWER_LIMIT).map_err(|error| self.told(&error))
    }

    /// One statement of the superuser on a connection of its own. An error of the server is an error.
    pub fn ask(&self, statement: &str) -> Result<Answer> {
        self.connect()?.ask(statement).map_err(|error| LabError::Answer {
            from: self.name.clone(),
            what: format!("{error} to {statement}. {}", log_tail(&self.log())),
        })
    }

    /// The first column of the first row of the answer; empty: there is none, or it is NULL.
    pub fn value(&self, statement: &str) -> Result<String> {
        Ok(self.ask(statement)?.value().unwrap_or_default().to_owned())
    }

    /// How many bytes its data folder holds.
    pub fn data_bytes(&self) -> Result<u64> {
        folder_bytes(&self.data())
    }

    fn told(&self, error: &SqlError) -> LabError {
        LabError::Answer {
            from: format!("{} at port {}", self.name, self.port),
            what: format!("{error}. {}", log_tail(&self.log())),
        }
    }
}

fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).map_err(file_error("list", folder))? {
        let path = entry.map_err(file_error("list", folder))?.path();
        // What is removed in between weighs nothing.
        let Ok(found) = fs::symlink_metadata(&path) else {
            continue;
        };
        bytes += if found.is_dir() { folder_bytes(&path)? } else { found.len() };
    }
    Ok(bytes)
}

/// The installed `mariadbd`.
pub fn program() -> Result<PathBuf> {
    find("mariadbd", "mariadb-server")
}

/// The installed `mariadb-install-db`.
fn install_program() -> Result<PathBuf> {
    find("mariadb-install-db", "mariadb-server")
}

/// A program of MariaDB. The server's own stands where only root's PATH leads.
pub fn find(program: &str, package: &str) -> Result<PathBuf> {
    let elsewhere = || Some(Path::new("/usr/sbin").join(program)).filter(|path| path.is_file());
    find_program(program).or_else(elsewhere).ok_or_else(|| LabError::Missing {
        program: program.to_owned(),
        why: "the lab runs real MariaDB servers",
        remedy: format!(
            "Install it with `apt-get install {package}` (Debian, Ubuntu; `systemctl disable --now mariadb` \
             ends the service that comes with the server), or put the folder it is in into PATH, then try again"
        ),
    })
}
