//! The same Redis group under stock Sentinel, as its documentation sets it up: one primary, replicas, three Sentinels.
//! It ends when it is dropped.

use crate::error::{LabError, Result, file_error};
use crate::load::client::Client;
use crate::load::connection::{Connection, is_ok};
use crate::servers::nursery;
use crate::servers::ports::Ports;
use crate::servers::process::{Liveness, Moment, Process};
use crate::servers::redis::{self, Boot, RedisServer};
use crate::servers::sentinel::{self, SentinelServer, Watch};
use crate::stack::health::group_fault;
use crate::wait::{poll_every, wait_until};
use backstay_model::hint;
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The master name.
pub const SERVICE: &str = "mymaster";
const SENTINELS: usize = 3;
const QUORUM: usize = 2;
const READY_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);

/// One primary, replicas, and Sentinels that watch them, or none.
#[derive(Debug)]
pub struct StockStack {
    instances: Vec<(RedisServer, Process)>,
    sentinels: Vec<(SentinelServer, Process)>,
    ports: Ports,
    dir: TempDir,
}

impl StockStack {
    /// Nothing yet: see `start_redis`.
    pub fn empty() -> Result<Self> {
        redis::program()?;
        let dir = tempfile::Builder::new().prefix("backstay-stock-").tempdir();
        let dir = dir.map_err(file_error("create a folder in", &std::env::temp_dir()))?;
        nursery::note_paths(vec![dir.path().to_path_buf()]);
        Ok(Self { instances: Vec::new(), sentinels: Vec::new(), ports: Ports::open()?, dir })
    }

    /// A Redis group without anybody who watches: the first instance is the primary.
    pub fn group(redis: usize) -> Result<Self> {
        let mut stack = Self::empty()?;
        for number in 1..=redis {
            let primary = stack.instances.first().map(|(server, _)| server.port);
            stack.start_redis(&format!("r{number}"), primary.map_or(Boot::Open, Boot::ReplicaOf))?;
        }
        stack.await_linked()?;
        Ok(stack)
    }

    /// A group of three, watched by three Sentinels.
    pub fn watched(down_after: Duration) -> Result<Self> {
        sentinel::program()?;
        let mut stack = Self::group(3)?;
        let watch =
            Watch { service: SERVICE, primary: stack.instances[0].0.address(), quorum: QUORUM, down_after };
        for number in 1..=SENTINELS {
            stack.start_sentinel(&format!("s{number}"), &watch)?;
        }
        stack.await_known()?;
        Ok(stack)
    }

    /// Starts one more instance.
    pub fn start_redis(&mut self, name: &str, boot: Boot) -> Result<RedisServer> {
        let server = RedisServer {
            name: name.to_owned(),
            port: self.ports.claim()?,
            folder: self.dir.path().join(name),
        };
        server.write_configuration(boot)?;
        let process = server.start()?;
        self.instances.push((server.clone(), process));
        server.await_answer(process)?;
        Ok(server)
    }

    /// Starts one more Sentinel, which may watch somebody else's instances.
    pub fn start_sentinel(&mut self, name: &str, watch: &Watch<'_>) -> Result<Process> {
        sentinel::program()?;
        let server = SentinelServer {
            name: name.to_owned(),
            port: self.ports.claim()?,
            folder: self.dir.path().join(name),
        };
        server.write_configuration(watch)?;
        let process = server.start()?;
        self.sentinels.push((server, process));
        Ok(process)
    }

    /// Starts an instance of this stack again, after it ended.
    pub fn start_again(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let server = &self.instances[index].0;
        let process = server.start()?;
        server.await_answer(process)?;
        self.instances[index].1 = process;
        Ok(())
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its instances.
    pub fn instances(&self) -> Vec<RedisServer> {
        self.instances.iter().map(|(server, _)| server.clone()).collect()
    }

    /// The instance called `name`.
    pub fn instance(&self, name: &str) -> Result<&RedisServer> {
        self.index(name).map(|index| &self.instances[index].0)
    }

    /// The Sentinel ports.
    pub fn sentinels(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(|(server, _)| server.address()).collect()
    }

    /// A new client that asks its Sentinels.
    pub fn client(&self) -> Client {
        Client::new(&self.sentinels(), SERVICE)
    }

    /// Sends `signal` to the instance called `name`; returns the moment just before, when it has taken effect.
    pub fn signal(&self, name: &str, signal: Signal) -> Result<Moment> {
        let process = self.process(name)?;
        let at = Moment::now();
        process.signal(signal).map_err(|source| LabError::Process {
            verb: "signal",
            name: name.to_owned(),
            source,
        })?;
        let wanted = match signal {
            Signal::SIGKILL => Liveness::Gone,
            Signal::SIGSTOP => Liveness::Stopped,
            _ => Liveness::Running,
        };
        process.await_liveness(name, wanted)?;
        Ok(at)
    }

    /// `SENTINEL FAILOVER`; returns the moment before it was asked.
    pub fn switch_over(&self) -> Result<Moment> {
        let sentinel = self.sentinels[0].0.address();
        let at = Moment::now();
        let reply = Connection::open(sentinel, READY_LIMIT)
            .and_then(|mut link| link.call(&["SENTINEL", "FAILOVER", SERVICE]))
            .map_err(|source| LabError::Connection {
                to: format!("{sentinel}, to move the primary"),
                source,
            })?;
        if is_ok(&reply) {
            return Ok(at);
        }
        let what = format!("{reply:?} to SENTINEL FAILOVER");
        Err(LabError::Answer { from: sentinel.to_string(), what })
    }

    /// The process of the instance called `name`.
    pub fn process(&self, name: &str) -> Result<Process> {
        self.index(name).map(|index| self.instances[index].1)
    }

    /// Waits until every replica is linked to the primary.
    pub fn await_linked(&self) -> Result<()> {
        let instances = self.instances();
        let what = "that every replica is linked to its primary";
        wait_until(what, READY_LIMIT, || group_fault(&instances).is_none().then_some(()))
    }

    /// Waits until every Sentinel knows all replicas and all other Sentinels.
    fn await_known(&self) -> Result<()> {
        let replicas = self.instances.len() - 1;
        let known = || {
            let knows =
                |(server, _): &(SentinelServer, Process)| server.knows(SERVICE, replicas, SENTINELS - 1);
            self.sentinels.iter().all(knows).then_some(())
        };
        poll_every(PAUSE, READY_LIMIT, known).ok_or_else(|| LabError::Deadline {
            what: "that every Sentinel knows the group".to_owned(),
            waited: READY_LIMIT,
            hint: "Stock Sentinels find each other within a few seconds; is the machine overloaded?"
                .to_owned(),
        })
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.instances.iter().position(|(server, _)| server.name == name);
        found.ok_or_else(|| LabError::UnknownName {
            name: name.to_owned(),
            hint: hint(name, self.instances.iter().map(|(server, _)| server.name.as_str())),
        })
    }
}

impl Drop for StockStack {
    fn drop(&mut self) {
        let sentinels = self.sentinels.iter().map(|(_, process)| *process);
        let processes: Vec<_> = sentinels.chain(self.instances.iter().map(|(_, process)| *process)).collect();
        for process in &processes {
            // It may be gone already; either way there is nobody to tell.
            let _ = process.signal(Signal::SIGKILL);
        }
        for process in &processes {
            process.ends_within(Duration::from_secs(5));
        }
    }
}
