//! The lab as its users hold it: a folder. Everything else is in the state file, so that any number of commands can
//! look at one lab, one after the other or at the same time.

use crate::error::{LabError, Result, file_error};
use crate::load::client::Client;
use crate::servers::gateway::GatewayServer;
use crate::servers::nursery;
use crate::servers::ports::{Ports, user_id};
use crate::servers::redis::{RedisServer, Role};
use crate::stack::down::DownReport;
use crate::stack::options::Options;
use crate::stack::state::LabState;
use crate::stack::up;
use crate::stack::view::LabView;
use backstay_model::hint;
use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A lab that was brought up. Dropping this leaves it running: see `ScopedLab` and `down`.
#[derive(Debug)]
pub struct Lab {
    dir: PathBuf,
    /// Kept so that nobody's lab takes a dead server's port; only the program that brought the lab up has it.
    _ports: Option<Ports>,
}

impl Lab {
    /// Brings one up and returns when it is ready: every controller names a primary, and every replica follows it. If it
    /// fails, nothing is left.
    pub fn up(options: &Options) -> Result<Self> {
        let (dir, ports) = up::bring_up(options)?;
        Ok(Self { dir, _ports: Some(ports) })
    }

    /// The lab in `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        let dir = dir
            .canonicalize()
            .map_err(|error| LabError::NoLab { dir: dir.to_path_buf(), why: error.to_string() })?;
        LabState::load(&dir)?;
        Ok(Self { dir, _ports: None })
    }

    /// The lab that this user brought up last, among those that are remembered.
    pub fn open_latest() -> Result<Self> {
        let pointer = latest_pointer();
        let ours = fs::symlink_metadata(&pointer)
            .is_ok_and(|metadata| metadata.is_file() && metadata.uid() == user_id());
        let dir = fs::read_to_string(&pointer).ok().filter(|_| ours);
        let dir = dir.ok_or_else(|| LabError::NoLab {
            dir: std::env::temp_dir(),
            why: "you have brought none up since the temporary files were last cleaned".to_owned(),
        })?;
        Self::open(Path::new(dir.trim_end()))
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it is made of, as last noted.
    pub fn state(&self) -> Result<LabState> {
        LabState::load(&self.dir)
    }

    /// How it is now.
    pub fn status(&self) -> Result<LabView> {
        Ok(LabView::of(&self.dir, &self.state()?))
    }

    /// The Sentinel ports of all its controllers.
    pub fn sentinels(&self) -> Result<Vec<SocketAddr>> {
        let state = self.state()?;
        Ok(state.controllers.iter().map(|member| member.server.sentinel_address()).collect())
    }

    /// A new client of its service.
    pub fn client(&self) -> Result<Client> {
        Ok(Client::new(&self.sentinels()?, &self.state()?.service))
    }

    /// Its Redis instances.
    pub fn instances(&self) -> Result<Vec<RedisServer>> {
        Ok(self.state()?.instances.into_iter().map(|member| member.server).collect())
    }

    /// Its gateways.
    pub fn gateways(&self) -> Result<Vec<GatewayServer>> {
        Ok(self.state()?.gateways.into_iter().map(|member| member.server).collect())
    }

    /// The instance called `name`.
    pub fn instance(&self, name: &str) -> Result<RedisServer> {
        let state = self.state()?;
        let hint = hint(name, state.names());
        let found = state.instances.into_iter().find(|member| member.server.name == name);
        found.map(|member| member.server).ok_or_else(|| LabError::UnknownName { name: name.to_owned(), hint })
    }

    /// The instance that its controllers call the primary.
    pub fn primary(&self) -> Result<RedisServer> {
        let address = self.client()?.primary().map_err(|failure| LabError::Answer {
            from: "the lab's Sentinel ports".to_owned(),
            what: format!("{} ({})", failure.kind(), self.dir.display()),
        })?;
        let mut instances = self.instances()?.into_iter();
        instances.find(|instance| instance.address() == address).ok_or_else(|| LabError::Answer {
            from: "the lab's Sentinel ports".to_owned(),
            what: format!("{address} is the primary, and no instance listens there"),
        })
    }

    /// The instances that take themselves for a replica now.
    pub fn replicas(&self) -> Result<Vec<RedisServer>> {
        let mut instances = self.instances()?;
        instances.retain(|instance| matches!(instance.role(), Ok(Role::Replica { .. })));
        Ok(instances)
    }

    /// Copies the controllers' logs into a folder that outlives the lab.
    pub fn save_logs(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).map_err(file_error("create", folder))?;
        for member in self.state()?.controllers {
            let copy = folder.join(format!("{}.log", member.server.name));
            fs::copy(&member.server.log, &copy).map_err(file_error("write", &copy))?;
        }
        Ok(())
    }

    /// Ends every process and removes what the lab wrote.
    pub fn down(&self) -> Result<DownReport> {
        crate::stack::down::take_down(&self.dir)
    }
}

/// A lab that is taken down when this is dropped.
#[derive(Debug)]
pub struct ScopedLab {
    lab: Lab,
    kept: bool,
}

impl ScopedLab {
    /// Brings one up. It is not remembered unless it is kept.
    pub fn up(options: &Options) -> Result<Self> {
        let lab = Lab::up(&Options { remember: false, ..options.clone() })?;
        Ok(Self { lab, kept: false })
    }

    /// Leaves it running from now on, whatever happens to this, and remembers it.
    pub fn keep(&mut self) -> Result<()> {
        self.kept = true;
        nursery::release();
        point_to_latest(&self.lab.dir)
    }
}

impl Deref for ScopedLab {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Drop for ScopedLab {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if let Err(error) = self.lab.down() {
            eprintln!("the lab in {} could not be taken down: {error}", self.lab.dir.display());
        }
    }
}

/// Notes that the lab in `dir` is this user's latest.
pub(crate) fn point_to_latest(dir: &Path) -> Result<()> {
    let pointer = latest_pointer();
    let new = pointer.with_extension(std::process::id().to_string());
    fs::write(&new, format!("{}\n", dir.display())).map_err(file_error("write", &new))?;
    fs::rename(&new, &pointer).map_err(file_error("replace", &pointer))
}

fn latest_pointer() -> PathBuf {
    std::env::temp_dir().join(format!("backstay-lab-latest-{}", user_id()))
}
