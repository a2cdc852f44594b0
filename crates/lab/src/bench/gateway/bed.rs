//! One Redis server and everything that leads to it, on ports of their own in a temporary folder. All of it ends when
//! this is dropped.

use crate::bench::gateway::case::System;
use crate::error::{LabError, Result, file_error};
use crate::load::connection::{Connection, is_ok, text};
use crate::servers::controller::find_backstay;
use crate::servers::nursery;
use crate::servers::ports::Ports;
use crate::servers::process::{Liveness, Process};
use crate::servers::proxy::{Proxy, Way};
use crate::servers::redis::{Boot, RedisServer, log_tail};
use crate::servers::usage::Usage;
use nix::sys::signal::Signal;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const END_LIMIT: Duration = Duration::from_secs(5);
/// What every system demands where one is demanded.
const PASSWORD: &str = "open-sesame";

/// Servers that are up. The order of the fields is the order in which they end.
#[derive(Debug)]
pub struct Bed {
    proxies: Vec<(System, Proxy)>,
    /// Kept, so that a look is no new connection.
    admin: Connection,
    redis: Server,
    password: Option<&'static str>,
    ports: Ports,
    dir: TempDir,
}

/// The Redis server; it ends when this is dropped.
#[derive(Debug)]
struct Server {
    redis: RedisServer,
    process: Process,
}

/// What the kernel and Redis have counted so far.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Processor time of the server and of what leads to it.
    pub cpu: Duration,
    /// Commands that the server has executed.
    pub commands: u64,
    /// Connections that it has accepted.
    pub connections: u64,
}

impl Bed {
    /// Starts Redis and what leads to it. `backstay` is that program; none: it is looked for.
    pub fn up(systems: &[System], with_password: bool, backstay: Option<&Path>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("backstay-bench-").tempdir();
        let dir = dir.map_err(file_error("create a folder in", &std::env::temp_dir()))?;
        nursery::note_paths(vec![dir.path().to_path_buf()]);
        let mut ports = Ports::open()?;
        let redis = Server::start(dir.path(), ports.claim()?)?;
        let admin = redis.redis.connect()?;
        admin.set_limit(ANSWER_LIMIT).map_err(|source| redis.unreachable(source))?;
        let password = with_password.then_some(PASSWORD);
        let mut bed = Self { proxies: Vec::new(), admin, redis, password, ports, dir };
        if let Some(password) = password {
            // The connection that says so stays logged in.
            bed.order(&["CONFIG", "SET", "requirepass", password])?;
        }
        for system in systems {
            if let Some(proxy) = bed.start(*system, backstay)? {
                bed.proxies.push((*system, proxy));
            }
        }
        Ok(bed)
    }

    fn start(&mut self, system: System, backstay: Option<&Path>) -> Result<Option<Proxy>> {
        let port = self.ports.claim()?;
        let servers = [self.redis.redis.address()];
        let way = Way { port, folder: self.dir.path(), servers: &servers, password: self.password };
        match system {
            System::Direct => Ok(None),
            System::Haproxy => way.haproxy().map(Some),
            System::Twemproxy => way.twemproxy(self.ports.claim()?).map(Some),
            System::Backstay => {
                let program = find_backstay(backstay.map(Path::to_path_buf))?;
                way.backstay(&program, self.ports.claim()?).map(Some)
            }
        }
    }

    /// Where a client of `system` connects to.
    pub fn address(&self, system: System) -> SocketAddr {
        self.proxy(system).map_or_else(|| self.redis.redis.address(), Proxy::address)
    }

    /// What a client has to say first.
    pub fn password(&self) -> Option<&'static str> {
        self.password
    }

    /// For files of the one who measures.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Complains if the server or what leads to it has ended.
    pub fn check(&self, system: System) -> Result<()> {
        self.redis.check()?;
        self.proxy(system).map_or(Ok(()), Proxy::check)
    }

    /// Sets a key at the server.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.order(&["SET", key, value])
    }

    /// What the process that stands for `system` takes of the machine.
    pub fn usage(&self, system: System) -> Result<Usage> {
        let process = self.proxy(system).map_or(self.redis.process, Proxy::process);
        Usage::of(process).ok_or_else(|| self.redis.unexpected(format!("process {} ended", process.pid)))
    }

    /// What was counted for `system` so far.
    pub fn look(&mut self, system: System) -> Result<Look> {
        let info = self.admin.call(&["INFO", "stats"]).map_err(|source| self.redis.unreachable(source))?;
        let info = text(&info);
        let count = |field: &str| {
            let found =
                info.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')?.parse().ok());
            found.ok_or_else(|| self.redis.unexpected(format!("no {field} in its INFO")))
        };
        let processes = std::iter::once(self.redis.process).chain(self.proxy(system).map(Proxy::process));
        let mut cpu = Duration::ZERO;
        for process in processes {
            let usage = Usage::of(process);
            cpu += usage.ok_or_else(|| self.redis.unexpected(format!("process {} ended", process.pid)))?.cpu;
        }
        Ok(Look {
            cpu,
            commands: count("total_commands_processed")?,
            connections: count("total_connections_received")?,
        })
    }

    fn proxy(&self, system: System) -> Option<&Proxy> {
        self.proxies.iter().find(|(found, _)| *found == system).map(|(_, proxy)| proxy)
    }

    fn order(&mut self, request: &[&str]) -> Result<()> {
        let reply = self.admin.call(request).map_err(|source| self.redis.unreachable(source))?;
        if is_ok(&reply) {
            return Ok(());
        }
        Err(self.redis.unexpected(format!("{reply:?} to {}", request[0])))
    }
}

impl Server {
    fn start(dir: &Path, port: u16) -> Result<Self> {
        let redis = RedisServer { name: "redis".to_owned(), port, folder: dir.join("redis") };
        redis.write_configuration(Boot::Open)?;
        let server = Self { process: redis.start()?, redis };
        server.redis.await_answer(server.process)?;
        Ok(server)
    }

    fn check(&self) -> Result<()> {
        match self.process.liveness() {
            Liveness::Gone => Err(self.unexpected(format!("it ended. {}", log_tail(&self.redis.log())))),
            Liveness::Running | Liveness::Stopped => Ok(()),
        }
    }

    fn unexpected(&self, what: String) -> LabError {
        LabError::Answer { from: self.redis.name.clone(), what }
    }

    fn unreachable(&self, source: std::io::Error) -> LabError {
        LabError::Connection { to: format!("{} at {}", self.redis.name, self.redis.address()), source }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already; either way there is nobody to tell.
        let _ = self.process.signal(Signal::SIGKILL);
        self.process.ends_within(END_LIMIT);
    }
}
