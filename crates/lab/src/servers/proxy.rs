//! What can stand between a client and Redis: HAProxy, twemproxy, or a gateway of our own; HAProxy also before a MariaDB.
//! It ends when it is dropped.

use crate::error::{LabError, Result, file_error};
use crate::load::connection::{Connection, is_ok};
use crate::load::logins::Logins;
use crate::servers::process::{Launch, Liveness, Process, find_program};
use crate::servers::redis::log_tail;
use crate::wait::poll_every;
use nix::sys::signal::Signal;
use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ANSWER_LIMIT: Duration = Duration::from_secs(1);
const READY_LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
const END_LIMIT: Duration = Duration::from_secs(5);
/// So many writes or questions in a row, each on a connection of its own, must be done before it counts as ready: HAProxy
/// takes every server for a primary until it has asked it.
const READY_WRITES: usize = 10;
/// HAProxy needs two open files for each, and refuses to start if it may not have them.
const HAPROXY_CONNECTIONS_MAX: usize = 2_000;

/// More than any measurement has.
const GATEWAY_CLIENTS_MAX: usize = 100_000;

/// A proxy on a loopback port.
#[derive(Debug)]
pub struct Proxy {
    name: &'static str,
    port: u16,
    trial: Trial,
    process: Process,
    log: PathBuf,
}

/// What must go through a proxy before it counts as ready.
#[derive(Debug)]
enum Trial {
    /// A write, after this password.
    Redis(Option<&'static str>),
    /// A login and a question.
    MariaDb(Box<Logins>),
}

/// Where a proxy listens, and what it leads to.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// Its port.
    pub port: u16,
    /// A folder for its configuration and its log.
    pub folder: &'a Path,
    /// The servers.
    pub servers: &'a [SocketAddr],
    /// What they demand.
    pub password: Option<&'static str>,
}

impl Way<'_> {
    /// Starts Backstay: a controller that has this one server to look after, with a gateway in its process. `peer_port` is
    /// for other controllers, of which there are none.
    pub fn backstay(self, backstay: &Path, peer_port: u16) -> Result<Proxy> {
        let file = self.backstay_configuration(peer_port)?;
        let arguments = ["run".into(), "--config".into(), file.into(), "--node".into(), "a".into()];
        let arguments = [&arguments[..], &["--bootstrap".into()]].concat();
        self.start("backstay", backstay, arguments, Trial::Redis(self.password))
    }

    /// Starts HAProxy, which sends everybody to the server that calls itself a primary.
    pub fn haproxy(self) -> Result<Proxy> {
        let program = haproxy()?;
        let login = self.password.map_or_else(String::new, |password| {
            format!("  tcp-check send AUTH\\ {password}\\r\\n\n  tcp-check expect string +OK\n")
        });
        let check = format!(
            "  option tcp-check\n  tcp-check connect\n{login}  \
             tcp-check send INFO\\ replication\\r\\n\n  tcp-check expect string role:master\n"
        );
        let file = self.write("haproxy.cfg", &self.haproxy_configuration(&check))?;
        let trial = Trial::Redis(self.password);
        self.start("haproxy", &program, vec!["-db".into(), "-f".into(), file.into()], trial)
    }

    /// Starts HAProxy before a MariaDB. That it takes connections is all that is asked of it; `trial` must go through.
    pub fn haproxy_to_mariadb(self, mut trial: Logins) -> Result<Proxy> {
        let program = haproxy()?;
        let file = self.write("haproxy.cfg", &self.haproxy_configuration(""))?;
        trial.target = self.address();
        let trial = Trial::MariaDb(Box::new(trial));
        self.start("haproxy", &program, vec!["-db".into(), "-f".into(), file.into()], trial)
    }

    /// Starts twemproxy with one pool; `stats_port` is for its own figures, which it insists on. It does not follow roles:
    /// it needs one server.
    pub fn twemproxy(self, stats_port: u16) -> Result<Proxy> {
        let program = twemproxy()?;
        let file = self.write("nutcracker.yml", &self.twemproxy_configuration())?;
        let stats = stats_port.to_string();
        let arguments =
            ["-c".into(), file.into(), "-a".into(), "127.0.0.1".into(), "-s".into(), stats.into()];
        self.start("twemproxy", &program, arguments.into(), Trial::Redis(self.password))
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    fn backstay_configuration(&self, peer_port: u16) -> Result<PathBuf> {
        let folder = self.folder.display();
        let (login, users) = match self.password {
            Some(password) => {
                let secret = self.write("backstay.pass", password)?;
                let source = format!("password_file = \"{}\"", secret.display());
                (format!("{source}\n"), format!("users = [ {{ name = \"default\", {source} }} ]\n"))
            }
            None => (String::new(), String::new()),
        };
        let instances = self
            .servers
            .iter()
            .zip(1..)
            .map(|(address, number)| format!("{{ name = \"r{number}\", address = \"{address}\" }}"));
        let instances: Vec<_> = instances.collect();
        let text = format!(
            "cluster = \"bench\"\n\
             [[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:{peer_port}\"\nsentinel = \"off\"\n\
             admin = \"{folder}/backstay.sock\"\nstate = \"{folder}/backstay\"\ngateway = true\n\
             [[redis]]\nname = \"bench\"\n{login}instances = [ {} ]\n\
             [[endpoints]]\nname = \"bench\"\nservice = \"bench\"\nlisten = \"{}\"\n\
             clients_max = {GATEWAY_CLIENTS_MAX}\n{users}",
            instances.join(", "),
            self.address()
        );
        self.write("backstay.toml", &text)
    }

    fn haproxy_configuration(&self, check: &str) -> String {
        let mut text = format!(
            "global\n  maxconn {HAPROXY_CONNECTIONS_MAX}\n  nbthread 2\n\
             defaults\n  mode tcp\n  timeout connect 500ms\n  timeout client 1h\n  timeout server 1h\n  timeout check 250ms\n\
             listen servers\n  bind {}\n  maxconn {HAPROXY_CONNECTIONS_MAX}\n  option redispatch 1\n{check}  \
             default-server check inter 100ms fall 2 rise 1 on-marked-down shutdown-sessions\n",
            self.address()
        );
        for (number, server) in self.servers.iter().enumerate() {
            // Writing into a string does not fail.
            let _ = writeln!(text, "  server r{} {server}", number + 1);
        }
        text
    }

    fn twemproxy_configuration(&self) -> String {
        let mut text = format!(
            "bench:\n  listen: {}\n  redis: true\n  hash: fnv1a_64\n  distribution: ketama\n  preconnect: true\n  \
             backlog: 1024\n  auto_eject_hosts: false\n",
            self.address()
        );
        if let Some(password) = self.password {
            let _ = writeln!(text, "  redis_auth: {password}");
        }
        text.push_str("  servers:\n");
        for server in self.servers {
            let _ = writeln!(text, "   - {server}:1");
        }
        text
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(file_error("write", &path))?;
        Ok(path)
    }

    fn start(
        self,
        name: &'static str,
        program: &Path,
        arguments: Vec<OsString>,
        trial: Trial,
    ) -> Result<Proxy> {
        let log = self.folder.join(format!("{name}.log"));
        let launch = Launch { name, program, arguments, folder: self.folder, log: log.clone() };
        let process = Process::start(&launch)?;
        let proxy = Proxy { name, port: self.port, trial, process, log };
        proxy.await_ready()?;
        Ok(proxy)
    }
}

impl Proxy {
    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Its process.
    pub fn process(&self) -> Process {
        self.process
    }

    /// Complains if it has ended, with its last words.
    pub fn check(&self) -> Result<()> {
        match self.process.liveness() {
            Liveness::Gone => Err(LabError::Answer {
                from: self.name.to_owned(),
                what: format!("it ended. {}", log_tail(&self.log)),
            }),
            Liveness::Running | Liveness::Stopped => Ok(()),
        }
    }

    fn await_ready(&self) -> Result<()> {
        let mut complaint = String::new();
        let mut done = 0;
        let ready = poll_every(PAUSE, READY_LIMIT, || {
            if let Err(ended) = self.check() {
                return Some(Err(ended));
            }
            while done < READY_WRITES {
                if let Err(error) = self.try_once() {
                    complaint = error.to_string();
                    done = 0;
                    return None;
                }
                done += 1;
            }
            Some(Ok(()))
        });
        ready.unwrap_or_else(|| {
            Err(LabError::Deadline {
                what: format!("that clients get through {}", self.name),
                waited: READY_LIMIT,
                hint: format!("The last one: {complaint}. {}", log_tail(&self.log)),
            })
        })
    }

    fn try_once(&self) -> io::Result<()> {
        let password = match &self.trial {
            Trial::Redis(password) => password,
            Trial::MariaDb(logins) => return logins.ask(),
        };
        let mut link = Connection::open(self.address(), ANSWER_LIMIT)?;
        let login = password.map(|password| vec!["AUTH", password]);
        for request in login.into_iter().chain([vec!["SET", "ready", "yes"]]) {
            let reply = link.call(&request)?;
            if !is_ok(&reply) {
                return Err(io::Error::other(format!("{} was answered {reply:?}", request[0])));
            }
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It may be gone already; either way there is nobody to tell.
        let _ = self.process.signal(Signal::SIGKILL);
        self.process.ends_within(END_LIMIT);
    }
}

/// The installed HAProxy.
pub fn haproxy() -> Result<PathBuf> {
    find_program("haproxy").ok_or_else(|| missing("haproxy", COMPARED, Some("haproxy")))
}

/// The installed twemproxy.
pub fn twemproxy() -> Result<PathBuf> {
    find_program("nutcracker").ok_or_else(|| missing("nutcracker (twemproxy)", COMPARED, Some("nutcracker")))
}

const COMPARED: &str = "Backstay is compared with it";

fn missing(program: &str, why: &'static str, package: Option<&str>) -> LabError {
    let remedy = package.map_or_else(
        || "Name it with its path".to_owned(),
        |package| {
            format!(
                "Install it with `apt-get install {package}`, or leave it out with --systems, then try again"
            )
        },
    );
    LabError::Missing { program: program.to_owned(), why, remedy }
}
