//! A gateway is replaced by another one while clients come and go: none is refused, and none loses a command.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Options;
use backstay_lab::servers::gateway::GatewayServer;
use backstay_lab::servers::process::{Launch, Process};
use nix::sys::signal::Signal;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use support::group::{Group, LIMIT, until};

/// Where a client connects, again and again.
#[derive(Clone)]
enum Door {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Door {
    fn connect(&self) -> std::io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_read_timeout(Some(LIMIT))?;
                Box::new(stream)
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(LIMIT))?;
                Box::new(stream)
            }
        })
    }

    /// One connection, two commands.
    fn visit(&self, key: &str) -> Result<(), String> {
        let mut stream = self.connect().map_err(|error| format!("connect: {error}"))?;
        for request in [format!("INCR {key}\r\n"), format!("GET {key}\r\n")] {
            stream.write_all(request.as_bytes()).map_err(|error| format!("write: {error}"))?;
            let (mut reply, mut part) = (Vec::new(), [0; 256]);
            let lines = if request.starts_with("GET") { 2 } else { 1 };
            while reply.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")).count()
                < lines
            {
                match stream.read(&mut part) {
                    Ok(0) => return Err(format!("hung up after {} bytes for {request}", reply.len())),
                    Ok(read) => reply.extend_from_slice(&part[..read]),
                    Err(error) => return Err(format!("read: {error}")),
                }
            }
            if reply.starts_with(b"-") {
                return Err(String::from_utf8_lossy(&reply).into_owned());
            }
        }
        Ok(())
    }
}

/// A client that comes and goes in a tight loop.
struct Visitor {
    stop: Arc<AtomicBool>,
    visits: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Visitor {
    fn start(door: Door, key: String) -> Self {
        let (stop, visits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopping, count) = (Arc::clone(&stop), Arc::clone(&visits));
        let thread = std::thread::spawn(move || {
            let mut wrong = Vec::new();
            while !stopping.load(Ordering::Relaxed) && wrong.len() < 10 {
                match door.visit(&key) {
                    Ok(()) => drop(count.fetch_add(1, Ordering::Relaxed)),
                    Err(what) => wrong.push(what),
                }
            }
            wrong
        });
        Self { stop, visits, thread }
    }

    fn await_more(&self, count: u64) {
        let enough = self.visits.load(Ordering::Relaxed) + count;
        until("more visits", || {
            (self.visits.load(Ordering::Relaxed) >= enough || self.thread.is_finished()).then_some(())
        });
    }

    /// What went wrong, and how many visits did not.
    fn end(self) -> (Vec<String>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        (self.thread.join().unwrap(), self.visits.load(Ordering::Relaxed))
    }
}

/// Gateways of one name, one after the other, with a Unix socket, too.
struct Succession {
    group: Group,
    gateway: GatewayServer,
    config: PathBuf,
    socket: PathBuf,
    started: u32,
    processes: Vec<Process>,
}

impl Drop for Succession {
    fn drop(&mut self) {
        for process in &self.processes {
            let _ = process.signal(Signal::SIGKILL);
        }
    }
}

impl Succession {
    fn begin() -> Self {
        let group = Group::with(Options { gateways: 1, ..Options::default() });
        let gateway = group.gateways().unwrap().remove(0);
        // Only its addresses are wanted.
        group.fault(backstay_lab::Fault::Kill, &gateway.name).unwrap();
        let (config, socket) = (group.dir().join("behind.toml"), group.dir().join("shop.redis"));
        let mut text = std::fs::read_to_string(group.config()).unwrap();
        let _ = write!(
            text,
            "\n[[endpoints]]\nname = \"local\"\nservice = \"{}\"\nsocket = \"{}\"\n",
            group.state().unwrap().service,
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        Self { group, gateway, config, socket, started: 0, processes: Vec::new() }
    }

    /// One more; its log tells what it does.
    fn start(&mut self) -> Process {
        self.started += 1;
        let process = Process::start(&Launch {
            name: &self.gateway.name,
            program: Path::new(env!("CARGO_BIN_EXE_backstay")),
            arguments: vec![
                "gateway".into(),
                "--config".into(),
                (&self.config).into(),
                "--name".into(),
                (&self.gateway.name).into(),
                "--control".into(),
                self.group.dir().into(),
            ],
            folder: self.group.dir(),
            log: self.group.dir().join(format!("successor-{}.log", self.started)),
        })
        .unwrap();
        self.processes.push(process);
        process
    }

    fn doors(&self) -> [Door; 2] {
        [Door::Tcp(self.gateway.address()), Door::Unix(self.socket.clone())]
    }

    fn control(&self) -> PathBuf {
        self.gateway.control()
    }

    fn traffic(&self, words: &[&str]) -> support::Outcome {
        let folder = self.group.dir().to_str().unwrap();
        support::run(self.group.dir(), &[&["traffic", "--control", folder][..], words].concat())
    }

    /// The number of the process that answers at the control socket.
    fn serving(&self) -> Option<u64> {
        let outcome = self.traffic(&["--total", "-o", "json"]);
        let value: serde_json::Value = serde_json::from_str(&outcome.stdout).ok()?;
        value[0]["process"].as_u64()
    }

    fn await_serving(&self, process: Process) {
        until("the control socket", || (self.serving() == Some(process.pid as u64)).then_some(()));
    }
}

#[test]
fn no_client_notices_that_its_gateway_is_replaced_five_times() {
    let mut succession = Succession::begin();
    let mut last = succession.start();
    succession.await_serving(last);
    let doors = succession.doors();
    for door in &doors {
        until("a primary behind the gateway", || door.visit("warm").ok());
    }
    let visitors: Vec<_> =
        (0..4).map(|number| Visitor::start(doors[number % 2].clone(), format!("visitor:{number}"))).collect();
    for _ in 0..5 {
        for visitor in &visitors {
            visitor.await_more(20);
        }
        let next = succession.start();
        assert!(last.ends_within(LIMIT), "the one before it ends by itself");
        succession.await_serving(next);
        last = next;
    }
    let log = std::fs::read_to_string(succession.group.dir().join("successor-6.log")).unwrap();
    assert!(log.contains("at 3 sockets"), "they were all handed over: {log}");
    for visitor in &visitors {
        visitor.await_more(20);
    }
    let primary = succession.group.primary().unwrap();
    for (number, visitor) in visitors.into_iter().enumerate() {
        let (wrong, visits) = visitor.end();
        assert_eq!(wrong, Vec::<String>::new(), "visitor {number}, {visits} visits");
        let key = format!("visitor:{number}");
        let counted = primary.ask(&["GET", &key]).unwrap();
        assert_eq!(backstay_lab::load::connection::text(&counted), visits.to_string());
    }
    assert!(succession.control().exists() && succession.socket.exists());
    last.signal(Signal::SIGTERM).unwrap();
    assert!(last.ends_within(LIMIT));
    assert!(!succession.control().exists() && !succession.socket.exists(), "nothing is left");
}

#[test]
fn a_gateway_that_hangs_is_replaced_and_harms_nobody_when_it_wakes_up() {
    let mut succession = Succession::begin();
    let old = succession.start();
    succession.await_serving(old);
    let [_, unix] = succession.doors();
    until("a primary behind the gateway", || unix.visit("warm").ok());
    old.signal(Signal::SIGSTOP).unwrap();
    let new = succession.start();
    succession.await_serving(new);
    until("a primary behind the next one", || unix.visit("warm").ok());
    old.signal(Signal::SIGCONT).unwrap();
    old.signal(Signal::SIGTERM).unwrap();
    assert!(old.ends_within(LIMIT));
    assert_eq!(succession.serving(), Some(new.pid as u64));
    for number in 0..20 {
        assert_eq!(unix.visit(&format!("key:{number}")), Ok(()));
    }
}

#[test]
fn a_gateway_without_a_lease_waits_while_the_one_before_it_serves() {
    let mut succession = Succession::begin();
    let old = succession.start();
    succession.await_serving(old);
    let doors = succession.doors();
    for door in &doors {
        until("a primary behind the gateway", || door.visit("warm").ok());
    }
    // Nobody answers the next one.
    let mut text = std::fs::read_to_string(&succession.config).unwrap();
    let config = backstay_config::Config::parse("behind.toml", &text).unwrap();
    for (number, controller) in config.spec.controllers.iter().enumerate() {
        text = text.replace(&controller.address.to_string(), &format!("127.0.0.1:{}", number + 1));
    }
    std::fs::write(&succession.config, text).unwrap();
    let log = |number: u32| succession.group.dir().join(format!("successor-{number}.log"));
    let (second, third) = (log(2), log(3));
    let says = |log: &Path, words: &str| {
        std::fs::read_to_string(log).is_ok_and(|text| text.contains(words)).then_some(())
    };
    let waits = "this gateway waits: the one before it serves";
    let gives_up = succession.start();
    until("the next one waits", || says(&second, waits));
    gives_up.signal(Signal::SIGTERM).unwrap();
    assert!(gives_up.ends_within(LIMIT));
    let new = succession.start();
    until("the one after it waits", || says(&third, waits));
    assert_eq!(succession.serving(), Some(old.pid as u64));
    for door in &doors {
        assert_eq!(door.visit("visited"), Ok(()));
    }
    // The old way: it goes whether or not somebody comes after it, and no door is closed for a moment.
    old.signal(Signal::SIGTERM).unwrap();
    until("the next one serves", || {
        doors[1].connect().expect("the Unix socket is always there");
        doors[0].connect().expect("the port is always there");
        says(&third, "takes the place of the gateway before it at 3 sockets")
    });
    assert!(old.ends_within(LIMIT));
    succession.await_serving(new);
    let mut client = doors[1].connect().unwrap();
    client.write_all(b"CLIENT ID\r\n").unwrap();
    assert!(client.read(&mut [0; 64]).unwrap() > 0);
}

#[test]
fn of_two_successors_at_a_time_one_remains() {
    let mut succession = Succession::begin();
    let old = succession.start();
    succession.await_serving(old);
    let [_, unix] = succession.doors();
    until("a primary behind the gateway", || unix.visit("warm").ok());
    for _ in 0..3 {
        succession.start();
    }
    let left = || succession.processes.iter().filter(|it| !it.is_gone()).copied().collect::<Vec<_>>();
    until("one of four", || (left().len() == 1).then_some(()));
    succession.await_serving(left()[0]);
    assert_eq!(unix.visit("visited"), Ok(()));
}

#[test]
fn of_three_that_start_together_and_follow_nobody_one_remains() {
    let mut succession = Succession::begin();
    // Without a Unix socket, which only one could open.
    succession.config = succession.group.config();
    let [tcp, _] = succession.doors();
    for _ in 0..3 {
        let before = succession.processes.len();
        let all: Vec<_> = (0..3).map(|_| succession.start()).collect();
        let left = || all.iter().filter(|it| !it.is_gone()).copied().collect::<Vec<_>>();
        until("one of three", || (left().len() == 1).then_some(()));
        let last = left()[0];
        succession.await_serving(last);
        until("a primary behind the gateway", || tcp.visit("visited").ok());
        for (number, process) in all.iter().enumerate().filter(|(_, process)| process.pid != last.pid) {
            let log = succession.group.dir().join(format!("successor-{}.log", before + number + 1));
            let log = std::fs::read_to_string(log).unwrap();
            assert!(
                log.contains("another gateway of this name serves: this one leaves"),
                "{process:?}: {log}"
            );
        }
        last.signal(Signal::SIGTERM).unwrap();
        assert!(last.ends_within(LIMIT));
    }
}

#[test]
fn traffic_shows_what_went_through_and_what_was_slow() {
    let mut succession = Succession::begin();
    let gateway = succession.start();
    succession.await_serving(gateway);
    let [tcp, unix] = succession.doors();
    until("a primary behind the gateway", || tcp.visit("warm").ok());
    let stop = AtomicBool::new(false);
    let shown = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                unix.visit("visited").unwrap();
            }
        });
        let shown = succession.traffic(&[]);
        stop.store(true, Ordering::Relaxed);
        shown
    });
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for word in [
        "/ local",
        "/ primary",
        "per second",
        "string",
        "connections: 1 shared",
        "no command in the last second",
    ] {
        assert!(shown.stdout.contains(word), "{word}: {}", shown.stdout);
    }
    let total = succession.traffic(&[&*succession.gateway.name, "--total", "-o", "json"]);
    let total: serde_json::Value = serde_json::from_str(&total.stdout).unwrap();
    let endpoints = total[0]["endpoints"].as_array().unwrap();
    let local = endpoints.iter().find(|it| it["endpoint"] == "local").unwrap();
    assert!(local["families"][0]["commands"].as_u64().unwrap() >= 2, "{local}");
    // Held for longer than the threshold: the first one waited for a connection, or for a primary.
    assert_eq!(succession.traffic(&["--slow"]).code, Some(0));
    let other = succession.traffic(&["nobody"]);
    assert_eq!(other.code, Some(4), "{other:?}");
    assert!(other.stderr.contains("no gateway called 'nobody'"), "{other:?}");
    let empty = tempfile::tempdir().unwrap();
    let none = support::run(empty.path(), &["traffic", "--control", empty.path().to_str().unwrap()]);
    assert_eq!(none.code, Some(4), "{none:?}");
    assert!(none.stderr.contains("no gateway answers on this machine"), "{none:?}");
}
