//! Client libraries as applications use them, through a gateway: they are told what is about to happen, and no command of
//! theirs fails, while the primary moves and gateways take each other's place. `./dev clients` installs and runs them.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Options;
use backstay_lab::servers::gateway::GatewayServer;
use backstay_lab::servers::process::Process;
use nix::sys::signal::Signal;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use support::group::{Group, LIMIT, until};

/// How often the primary moves, and then the gateway.
const ROUNDS: u64 = 2;
/// So many commands show that a library goes on.
const ENOUGH: u64 = 500;

/// What a program says about what it did and saw so far.
#[derive(Debug, Deserialize)]
struct Account {
    library: String,
    commands: u64,
    longest_ms: u64,
    errors: Vec<String>,
    notifications: BTreeMap<String, u64>,
}

impl Account {
    fn told(&self, name: &str) -> u64 {
        self.notifications.get(name).copied().unwrap_or(0)
    }
}

/// A program that writes and reads with a library until its input ends.
struct Program {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    fn start(interpreter: &Path, script: &str, gateway: &GatewayServer) -> Self {
        let address = gateway.address();
        let mut child = Command::new(interpreter)
            .arg(repository().join("crates/lab/clients").join(script))
            .args([address.ip().to_string(), address.port().to_string()])
            .env("NODE_PATH", installed().join("node/node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}. `./dev clients` installs what is missing", interpreter.display())
            });
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, input, output: BufReader::new(output) }
    }

    fn hear(&mut self) -> Account {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("it said {line:?}: {error}"))
    }

    fn look(&mut self) -> Account {
        self.input.write_all(b"\n").unwrap();
        self.hear()
    }

    fn await_more_commands(&mut self) {
        let enough = self.look().commands + ENOUGH;
        until("more commands", || (self.look().commands >= enough).then_some(()));
    }

    /// Does something about which it must be told.
    fn is_told(&mut self, name: &str, about: impl FnOnce()) {
        let before = self.look().told(name);
        about();
        let account = until("a notification or an error", || {
            let account = self.look();
            (account.told(name) > before || !account.errors.is_empty()).then_some(account)
        });
        assert_eq!(account.errors, Vec::<String>::new(), "before {name}: {account:?}");
    }

    /// The last that it says.
    fn end(mut self) -> Account {
        drop(std::mem::replace(&mut self.input, nobody()));
        let account = self.hear();
        assert!(self.child.wait().unwrap().success());
        account
    }
}

/// An input that nobody reads.
fn nobody() -> ChildStdin {
    let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    let input = child.stdin.take().unwrap();
    let _ = child.wait();
    input
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where `./dev clients` installs the libraries.
fn installed() -> PathBuf {
    repository().join("target/clients")
}

/// Gateways of one name, of which the last one is left to the end.
struct Gateways {
    server: GatewayServer,
    running: Process,
}

impl Drop for Gateways {
    fn drop(&mut self) {
        let _ = self.running.signal(Signal::SIGKILL);
    }
}

impl Gateways {
    fn of(group: &Group) -> Self {
        let server = group.gateways().unwrap().remove(0);
        let running = group.state().unwrap().gateways.remove(0).process.expect("it runs");
        Self { server, running }
    }

    /// The next one takes the place of the one that runs, as in an upgrade.
    fn replace(&mut self, group: &Group) {
        let next = self.server.start(Path::new(env!("CARGO_BIN_EXE_backstay")), &group.config()).unwrap();
        let old = std::mem::replace(&mut self.running, next);
        assert!(old.ends_within(LIMIT), "the one before it ends by itself");
        assert!(!next.is_gone());
    }
}

/// Runs a program through everything that is planned, and returns what it saw.
fn accompany(interpreter: &Path, script: &str) -> Account {
    let group = Group::with(Options { gateways: 1, ..Options::default() });
    let mut gateways = Gateways::of(&group);
    let mut program = Program::start(interpreter, script, &gateways.server);
    until("an answer", || (program.look().commands > 0).then_some(()));
    for _ in 0..ROUNDS {
        program.await_more_commands();
        let to = group.replicas().unwrap().remove(0);
        program.is_told("MIGRATED", || {
            group.switch_over(&to.name).unwrap();
        });
        group.await_healthy(LIMIT).unwrap();
        program.await_more_commands();
        program.is_told("MOVING", || gateways.replace(&group));
    }
    program.await_more_commands();
    program.end()
}

fn expect_no_error(account: &Account, connections: u64) {
    println!("{account:?}");
    assert_eq!(account.errors, Vec::<String>::new(), "{account:?}");
    for name in ["MIGRATING", "MIGRATED", "MOVING"] {
        let told = account.told(name);
        assert!(told >= ROUNDS, "{name}: {account:?}");
        assert!(told <= ROUNDS * connections, "nobody is told twice: {name}: {account:?}");
    }
    assert!(account.longest_ms < LIMIT.as_millis() as u64, "{account:?}");
    assert!(account.library.contains(char::is_numeric), "{account:?}");
}

#[test]
#[ignore = "it wants redis-py from the package index: ./dev clients"]
fn redis_py_goes_on_while_the_primary_and_the_gateway_move() {
    expect_no_error(&accompany(&installed().join("python/bin/python"), "with-redis-py.py"), 8);
}

#[test]
#[ignore = "it wants node-redis from the package index: ./dev clients"]
fn node_redis_goes_on_while_the_primary_and_the_gateway_move() {
    expect_no_error(&accompany(Path::new("node"), "with-node-redis.js"), 4);
}
