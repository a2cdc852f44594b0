//! One stock `redis-sentinel`, for comparison.

use crate::error::{LabError, Result, file_error};
use crate::load::client;
use crate::load::connection::{Connection, Reply, items, text};
use crate::servers::process::{Launch, Process, find_program};
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

const CONFIGURATION: &str = "sentinel.conf";
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// One Sentinel on a loopback port, with a folder of its own.
#[derive(Clone, Debug)]
pub struct SentinelServer {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// Where its configuration (which it rewrites) and log are.
    pub folder: PathBuf,
}

/// What a Sentinel watches and when it acts.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    /// The master name.
    pub service: &'a str,
    /// The primary at the start.
    pub primary: SocketAddr,
    /// How many Sentinels must agree.
    pub quorum: usize,
    /// `down-after-milliseconds`.
    pub down_after: Duration,
}

impl SentinelServer {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Makes its folder and writes its configuration file.
    pub fn write_configuration(&self, watch: &Watch<'_>) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(file_error("create", &self.folder))?;
        let service = watch.service;
        let text = format!(
            "port {port}\n\
             bind 127.0.0.1\n\
             protected-mode no\n\
             daemonize no\n\
             dir \"{folder}\"\n\
             sentinel monitor {service} {host} {primary_port} {quorum}\n\
             sentinel down-after-milliseconds {service} {down_after}\n\
             sentinel failover-timeout {service} 5000\n\
             sentinel parallel-syncs {service} 1\n",
            port = self.port,
            folder = self.folder.display(),
            host = watch.primary.ip(),
            primary_port = watch.primary.port(),
            quorum = watch.quorum,
            down_after = watch.down_after.as_millis(),
        );
        let path = self.folder.join(CONFIGURATION);
        fs::write(&path, text).map_err(file_error("write", &path))
    }

    /// Starts the process.
    pub fn start(&self) -> Result<Process> {
        Process::start(&Launch {
            name: &self.name,
            program: &program()?,
            arguments: vec![CONFIGURATION.into()],
            folder: &self.folder,
            log: self.folder.join("sentinel.log"),
        })
    }

    /// Whether it knows so many replicas and other Sentinels of `service`, and takes the primary for healthy.
    pub fn knows(&self, service: &str, replicas: usize, others: usize) -> bool {
        self.master_fields(service).is_ok_and(|fields| {
            let number =
                |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            number("num-slaves") == Some(replicas.to_string().as_str())
                && number("num-other-sentinels") == Some(others.to_string().as_str())
                && number("flags") == Some("master")
        }) && self.healthy_replicas(service) == replicas
    }

    /// Whom it calls the primary.
    pub fn primary(&self, service: &str) -> Option<SocketAddr> {
        client::ask(self.address(), service).ok().flatten()
    }

    fn master_fields(&self, service: &str) -> io::Result<Vec<(String, String)>> {
        let reply = self.ask(&["SENTINEL", "MASTER", service])?;
        Ok(pairs(&reply))
    }

    /// Replicas that it has asked and that said that their link is up: only those can be promoted.
    fn healthy_replicas(&self, service: &str) -> usize {
        let Ok(reply) = self.ask(&["SENTINEL", "REPLICAS", service]) else {
            return 0;
        };
        let linked = |replica: &&Reply| {
            let fields = pairs(replica);
            fields.contains(&("master-link-status".to_owned(), "ok".to_owned()))
                && fields.contains(&("flags".to_owned(), "slave".to_owned()))
        };
        items(&reply).unwrap_or_default().iter().filter(linked).count()
    }

    fn ask(&self, request: &[&str]) -> io::Result<Reply> {
        Connection::open(self.address(), ANSWER_LIMIT)?.call(request)
    }
}

fn pairs(reply: &Reply) -> Vec<(String, String)> {
    let words: Vec<String> = items(reply).unwrap_or_default().iter().map(text).collect();
    words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// The installed `redis-sentinel`.
pub fn program() -> Result<PathBuf> {
    find_program("redis-sentinel").ok_or_else(|| LabError::Missing {
        program: "redis-sentinel".to_owned(),
        why: "the comparison runs stock Sentinels",
        remedy:
            "Install it with `apt-get install redis-sentinel` (Debian, Ubuntu), or measure Backstay alone \
                 with `--systems backstay`"
                .to_owned(),
    })
}
