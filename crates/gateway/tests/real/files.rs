//! A gateway that may open no more files. It is a process of its own: the limit holds for all of one.

use crate::support::{Front, LIMIT, endpoint, say};
use backstay_lab::load::connection::Connection;
use nix::sys::resource::{Resource, setrlimit};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const CHILD: &str = "BACKSTAY_TEST_OF_FILES";
const FILES_MAX: u64 = 60;

/// Counts what is said about clients that cannot be accepted.
struct Counting(Arc<AtomicU64>);

impl Subscriber for Counting {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Serves in the other process: says where, and for each line that it is told how often it has complained.
fn serve() {
    let warnings = Arc::new(AtomicU64::new(0));
    tracing::subscriber::set_global_default(Counting(warnings.clone())).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, FILES_MAX, FILES_MAX).unwrap();
    let front = Front::start(endpoint());
    println!("\nat {}", front.address);
    for line in std::io::stdin().lines() {
        line.unwrap();
        println!("\nat {}", warnings.load(Ordering::SeqCst));
    }
}

struct Other {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Other {
    fn start() -> Self {
        let name = "files::without_files_clients_wait_and_little_is_said_of_it";
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        Self { process, lines }
    }

    fn hear<T: std::str::FromStr>(&mut self) -> T {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended");
            // The harness of the tests says something, too.
            if let Some(Ok(said)) = line.trim().strip_prefix("at ").map(str::parse) {
                return said;
            }
        }
    }

    fn warnings(&mut self) -> u64 {
        self.process.stdin.as_ref().unwrap().write_all(b"?\n").unwrap();
        self.hear()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn without_files_clients_wait_and_little_is_said_of_it() {
    if std::env::var_os(CHILD).is_some() {
        return serve();
    }
    let mut other = Other::start();
    let address: SocketAddr = other.hear();
    let mut clients: Vec<Connection> =
        (0..2 * FILES_MAX).map(|_| Connection::open(address, LIMIT).unwrap()).collect();
    let mut early = clients.swap_remove(0);
    for _ in 0..500 {
        assert!(say(&mut early, "CLIENT ID").parse::<u64>().is_ok());
    }
    assert_eq!(other.warnings(), 1);
    // Who waited comes in when others go.
    let mut late = clients.pop().unwrap();
    drop(clients);
    assert!(say(&mut late, "CLIENT ID").parse::<u64>().is_ok());
    assert_eq!(other.warnings(), 1);
}
