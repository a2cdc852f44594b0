//! The lab's memory: one file in its folder, so that any later command knows its processes again. Commands that change
//! it take turns; each change is complete or absent.

use crate::error::{LabError, Result, file_error};
use crate::servers::agent::AgentServer;
use crate::servers::controller::ControllerServer;
use crate::servers::gateway::GatewayServer;
use crate::servers::mariadb::MariaDbServer;
use crate::servers::process::{Liveness, Process};
use crate::servers::redis::RedisServer;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The file with everything below.
pub const STATE_FILE: &str = "lab-state.json";
/// The file with what others may read (`view::LabView`).
pub const VIEW_FILE: &str = "lab.json";
const LOCK_FILE: &str = "lab-state.lock";
const VERSION: u32 = 1;

/// What a lab is made of and which processes it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabState {
    version: u32,
    /// Whose folder it is in.
    pub folder: Folder,
    /// The `backstay` program, if there are controllers.
    pub backstay: Option<PathBuf>,
    /// The service's name.
    pub service: String,
    /// The controllers.
    pub controllers: Vec<Member<ControllerServer>>,
    /// The Redis instances.
    pub instances: Vec<Member<RedisServer>>,
    /// The MariaDB instances.
    #[serde(default)]
    pub databases: Vec<Member<MariaDbServer>>,
    /// The gateways beside the controllers.
    #[serde(default)]
    pub gateways: Vec<Member<GatewayServer>>,
    /// The agents of the MariaDB instances.
    #[serde(default)]
    pub agents: Vec<Member<AgentServer>>,
}

/// Whose folder a lab is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Folder {
    /// A temporary one of the lab's own: `down` removes it with everything in it.
    Own,
    /// Named by the user and made by the lab: `down` removes what the lab wrote, and the folder if that was all.
    Made,
    /// It was there before: `down` removes what the lab wrote, and nothing else.
    Found,
}

/// A server and the process that it last was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member<S> {
    /// The server.
    pub server: S,
    /// Its process; none: it was never started.
    pub process: Option<Process>,
}

impl<S> Member<S> {
    /// Not started yet.
    pub fn new(server: S) -> Self {
        Self { server, process: None }
    }

    /// Whether its process lives.
    pub fn liveness(&self) -> Liveness {
        self.process.map_or(Liveness::Gone, Process::liveness)
    }
}

impl LabState {
    /// A lab without processes.
    pub fn new(folder: Folder, backstay: Option<PathBuf>, service: &str) -> Self {
        Self {
            version: VERSION,
            folder,
            backstay,
            service: service.to_owned(),
            controllers: Vec::new(),
            instances: Vec::new(),
            databases: Vec::new(),
            gateways: Vec::new(),
            agents: Vec::new(),
        }
    }

    /// Reads the state of the lab in `dir`.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join(STATE_FILE);
        let text = fs::read_to_string(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => {
                LabError::NoLab { dir: dir.to_path_buf(), why: format!("it has no {STATE_FILE}") }
            }
            _ => file_error("read", &path)(source),
        })?;
        let bad = |why: String| LabError::BadState { path: path.clone(), why };
        let state: Self = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if state.version != VERSION {
            return Err(bad(format!("it has version {}, not {VERSION}", state.version)));
        }
        Ok(state)
    }

    /// Writes it, whole or not at all.
    pub fn save(&self, dir: &Path) -> Result<()> {
        write_json(&dir.join(STATE_FILE), self)
    }

    /// Changes the state of the lab in `dir` while nobody else does.
    pub fn update(dir: &Path, change: impl FnOnce(&mut Self)) -> Result<Self> {
        let path = dir.join(LOCK_FILE);
        let lock = File::create(&path).map_err(file_error("create", &path))?;
        lock.lock().map_err(file_error("lock", &path))?;
        let mut state = Self::load(dir)?;
        change(&mut state);
        state.save(dir)?;
        Ok(state)
    }

    /// Every server's name and the process that it last was, controllers first.
    fn members(&self) -> impl Iterator<Item = (&str, Option<Process>)> {
        let controllers = self.controllers.iter().map(|m| (m.server.name.as_str(), m.process));
        let instances = self.instances.iter().map(|m| (m.server.name.as_str(), m.process));
        let databases = self.databases.iter().map(|m| (m.server.name.as_str(), m.process));
        let gateways = self.gateways.iter().map(|m| (m.server.name.as_str(), m.process));
        // Before the instances: a lab that is taken down has no use for one that starts them again.
        let agents = self.agents.iter().map(|m| (m.server.name.as_str(), m.process));
        controllers.chain(agents).chain(instances).chain(databases).chain(gateways)
    }

    /// Every name, controllers first.
    pub fn names(&self) -> Vec<&str> {
        self.members().map(|(name, _)| name).collect()
    }

    /// Every process that was started, with its server's name.
    pub fn processes(&self) -> Vec<(&str, Process)> {
        self.members().filter_map(|(name, process)| Some((name, process?))).collect()
    }

    /// Notes a new process of the server called `name`.
    pub fn note(&mut self, name: &str, process: Process) {
        let controllers = self.controllers.iter_mut().map(|m| (m.server.name.as_str(), &mut m.process));
        let instances = self.instances.iter_mut().map(|m| (m.server.name.as_str(), &mut m.process));
        let gateways = self.gateways.iter_mut().map(|m| (m.server.name.as_str(), &mut m.process));
        let databases = self.databases.iter_mut().map(|m| (m.server.name.as_str(), &mut m.process));
        let agents = self.agents.iter_mut().map(|m| (m.server.name.as_str(), &mut m.process));
        let all = controllers.chain(agents).chain(instances).chain(databases).chain(gateways);
        for (_, known) in all.filter(|(known, _)| *known == name) {
            *known = Some(process);
        }
    }

    /// What the lab wrote into its folder, for a folder that is not its own.
    pub fn own_paths(&self, dir: &Path) -> Vec<PathBuf> {
        let files =
            [STATE_FILE, VIEW_FILE, LOCK_FILE, super::configuration::FILE, super::certificates::FOLDER];
        let mut paths: Vec<PathBuf> = files.iter().map(|name| dir.join(name)).collect();
        for member in &self.controllers {
            let server = &member.server;
            paths.extend([server.admin.clone(), server.state.clone(), server.log.clone()]);
        }
        paths.extend(self.instances.iter().map(|member| member.server.folder.clone()));
        if !self.databases.is_empty() {
            paths.push(dir.join(super::databases::PASSWORD_FILE));
        }
        paths.extend(self.databases.iter().map(|member| member.server.folder.clone()));
        for member in &self.agents {
            paths.extend([member.server.log.clone(), member.server.rescue.clone()]);
        }
        for member in &self.gateways {
            paths.extend([member.server.log.clone(), member.server.control()]);
        }
        paths
    }
}

/// Writes `value` as JSON beside `path`, then moves it there.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    // Several threads of a program may write at a time.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| LabError::BadState { path: path.to_path_buf(), why: error.to_string() })?;
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let new = path.with_extension(format!("new-{}-{write}", std::process::id()));
    fs::write(&new, text + "\n").map_err(file_error("write", &new))?;
    fs::rename(&new, path).map_err(file_error("replace", path))
}
