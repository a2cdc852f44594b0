//! Servers that somebody else set up are made fit for Backstay: what changes, what is left alone, who is refused.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::load::checker::key_count;
use backstay_lab::load::connection::{Connection, error_text, is_ok, items, text};
use backstay_lab::servers::ports::Ports;
use backstay_lab::servers::redis::{RedisServer, Role};
use backstay_lab::wait::{poll_until, wait_until};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::spawn;
use std::time::Duration;
use support::{Outcome, backstay, run};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(30);
const BLOCK: &str = "backstay adopt: begin";
const KEYS: usize = 100;

/// A server as a distribution would set it up.
struct Server {
    redis: RedisServer,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn file(&self) -> PathBuf {
        self.redis.folder.join("redis.conf")
    }

    fn saved(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn setting(&self, name: &str) -> String {
        let reply = self.redis.ask(&["CONFIG", "GET", name]).unwrap();
        text(&items(&reply).unwrap()[1])
    }

    /// Everything about it that adopt could change.
    fn state(&self) -> String {
        let reply = self.redis.ask(&["CONFIG", "GET", "*"]).unwrap();
        // Redis lists them in an order of its own, which changes.
        let all = items(&reply).unwrap().chunks(2);
        let all: BTreeMap<_, _> = all.map(|pair| (text(&pair[0]), text(&pair[1]))).collect();
        let users = self.redis.ask(&["ACL", "LIST"]).unwrap();
        let names = fs::read_dir(&self.redis.folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.filter(|name| !name.to_string_lossy().ends_with("rdb")).collect();
        names.sort();
        format!("{all:?}{users:?}{}{names:?}", self.saved())
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = start(&self.redis, &["redis.conf"]);
        await_answer(&self.redis);
    }
}

/// Some servers and the file that names them.
struct Group {
    folder: TempDir,
    ports: Ports,
    servers: Vec<Server>,
    /// Lines of the service's section.
    service: String,
}

impl Group {
    /// A primary and two replicas, in step.
    fn up() -> Self {
        let mut group = Self::nobody();
        group.add("r1", "");
        let replica = format!("replicaof 127.0.0.1 {}\n", group.servers[0].redis.port);
        group.add("r2", &replica);
        group.add("r3", &replica);
        group.await_replicas();
        group
    }

    fn nobody() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("password"), "hush\n").unwrap();
        let password = folder.path().join("password");
        let service = format!("username = \"backstay\"\npassword_file = \"{}\"\n", password.display());
        Self { folder, ports: Ports::open().unwrap(), servers: Vec::new(), service }
    }

    /// Starts one more, with these lines in its file.
    fn add(&mut self, name: &str, lines: &str) {
        let redis = self.place(name);
        let text = format!(
            "# By hand.\nport {}\nbind 127.0.0.1\ndir {}\nsave \"\"\nrepl-diskless-sync-delay 0\n{lines}",
            redis.port,
            redis.folder.display()
        );
        let file = redis.folder.join("redis.conf");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let child = start(&redis, &["redis.conf"]);
        await_answer(&redis);
        self.servers.push(Server { redis, child });
    }

    fn place(&mut self, name: &str) -> RedisServer {
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        RedisServer { name: name.to_owned(), port: self.ports.claim().unwrap(), folder }
    }

    fn await_replicas(&self) {
        for server in &self.servers[1..] {
            until("a replica's link", || {
                matches!(server.redis.role(), Ok(Role::Replica { linked: true, .. })).then_some(())
            });
        }
    }

    fn fill(&self) {
        let mut link = self.servers[0].redis.connect().unwrap();
        for number in 0..KEYS {
            assert!(is_ok(&link.call(&["SET", &format!("k{number}"), "v"]).unwrap()));
        }
        for server in &self.servers {
            until("every key", || (keys(server) == KEYS).then_some(()));
        }
    }

    fn config(&mut self) -> PathBuf {
        let (a, mut instances) = (self.ports.claim().unwrap(), String::new());
        for server in &self.servers {
            let (name, port) = (&server.redis.name, server.redis.port);
            let _ = write!(instances, "{{ name = \"{name}\", address = \"127.0.0.1:{port}\" }},");
        }
        let text = format!(
            "cluster = \"test\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:{a}\"\nsentinel = \"off\"\n\
             [[redis]]\nname = \"shop\"\n{}instances = [{instances}]\n",
            self.service
        );
        let path = self.folder.path().join("backstay.toml");
        fs::write(&path, text).unwrap();
        path
    }

    fn adopt(&mut self, words: &[&str]) -> Outcome {
        let config = self.config();
        let fixed = ["adopt", "shop", "--config", config.to_str().unwrap()];
        run(self.folder.path(), &[&fixed, words].concat())
    }

    fn states(&self) -> Vec<String> {
        self.servers.iter().map(Server::state).collect()
    }

    fn expect_adopted(&mut self) {
        for server in &self.servers {
            assert_eq!(server.setting("repl-ping-replica-period"), "1");
            assert_eq!(server.setting("repl-backlog-size"), "16777216");
            assert_eq!(server.saved().matches(BLOCK).count(), 1, "{}", server.saved());
            assert!(server.saved().contains("\nreplicaof 127.0.0.1 1\n"), "{}", server.saved());
            let mut link = server.redis.connect().unwrap();
            assert!(is_ok(&link.call(&["AUTH", "backstay", "hush"]).unwrap()));
            assert!(error_text(&link.call(&["FLUSHALL"]).unwrap()).unwrap().starts_with("NOPERM"));
        }
        let again = self.adopt(&["--yes"]);
        assert_eq!(again.code, Some(0), "{again:?}");
        assert!(again.stdout.contains("nothing to do"), "{again:?}");
    }
}

fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_until(what, LIMIT, look).unwrap()
}

fn keys(server: &Server) -> usize {
    key_count(server.redis.address()).map_or(usize::MAX, |count| count as usize)
}

fn start(redis: &RedisServer, words: &[&str]) -> Child {
    Command::new("redis-server")
        .args(words)
        .current_dir(&redis.folder)
        .stdin(Stdio::null())
        .stdout(fs::File::options().append(true).create(true).open(redis.log()).unwrap())
        .spawn()
        .expect("redis-server is installed")
}

/// It listens: what it answers is the test's business.
fn await_answer(redis: &RedisServer) {
    until("an answer", || redis.ask(&["PING"]).ok());
}

#[test]
fn servers_are_adopted_while_they_run_and_a_restart_without_data_wipes_nobody() {
    let mut group = Group::up();
    group.fill();
    let outcome = group.adopt(&["--yes"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!format!("{outcome:?}").contains("hush"));
    group.expect_adopted();
    assert_eq!(fs::metadata(group.servers[1].file()).unwrap().permissions().mode() & 0o777, 0o640);
    let before =
        fs::read_to_string(group.servers[1].redis.folder.join("redis.conf.before-backstay")).unwrap();
    assert!(before.starts_with("# By hand.") && !before.contains(BLOCK), "{before}");

    group.servers[0].kill();
    group.servers[0].start_again();
    let refused = group.servers[0].redis.ask(&["SET", "k", "v"]).unwrap();
    assert!(error_text(&refused).is_some_and(|text| text.starts_with("READONLY")), "{refused:?}");
    for server in &group.servers[1..] {
        until("that the replica was turned away", || {
            fs::read_to_string(server.redis.log()).unwrap().contains("NOMASTERLINK").then_some(())
        });
        assert_eq!(keys(server), KEYS);
    }
}

#[test]
fn a_dry_run_and_a_missing_yes_change_nothing() {
    let mut group = Group::up();
    let before = group.states();
    let dry = group.adopt(&["--dry-run"]);
    assert_eq!(dry.code, Some(0), "{dry:?}");
    assert!(dry.stdout.contains("+ replicaof 127.0.0.1 1") && dry.stdout.contains("- replicaof"), "{dry:?}");
    let json = group.adopt(&["--dry-run", "-o", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["instances"][0]["file"]["place"], "here");
    let unasked = group.adopt(&[]);
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert_eq!(group.states(), before);
}

#[test]
fn an_adoption_that_was_killed_is_finished_by_the_next() {
    let mut group = Group::up();
    let config = group.config();
    let words = ["adopt", "shop", "--yes", "--config", config.to_str().unwrap()];
    let mut command = backstay(group.folder.path());
    let mut child = command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Somewhere between the first step and the last.
    let first = &group.servers[0];
    poll_until(LIMIT, || (first.setting("repl-ping-replica-period") == "1").then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    // What a kill in the middle of a write leaves.
    fs::write(first.redis.folder.join("redis.conf.backstay-adopt"), "half").unwrap();
    let outcome = group.adopt(&["--yes"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    group.expect_adopted();
}

#[test]
fn a_server_without_a_file_and_one_that_is_not_seen_to_run_here_are_left_to_the_operator() {
    let mut group = Group::up();
    let redis = group.place("r4");
    let (port, primary) = (redis.port.to_string(), group.servers[0].redis.port.to_string());
    let words = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--replicaof", "127.0.0.1", &primary];
    let child = start(&redis, &words);
    await_answer(&redis);
    group.servers.push(Server { redis, child });
    // Behind a forwarder nobody can tell whose process it is.
    let real = group.servers[2].redis.port;
    let untouched = group.servers[2].saved();
    group.servers[2].redis.port = forwarder_to(real);

    let outcome = group.adopt(&["--yes"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("r3, r4") && outcome.stderr.contains("--instance"), "{outcome:?}");
    assert!(outcome.stdout.contains("without a configuration file"), "{outcome:?}");
    assert!(outcome.stdout.contains("does not run on this machine"), "{outcome:?}");
    assert_eq!(group.servers[2].saved(), untouched);
    for server in &group.servers {
        assert_eq!(server.setting("repl-ping-replica-period"), "1");
    }
    // On its own host it is done.
    group.servers[2].redis.port = real;
    let outcome = group.adopt(&["--yes", "--instance", "r3"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(group.servers[2].saved().contains(BLOCK));
}

fn forwarder_to(port: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let own = listener.local_addr().unwrap().port();
    spawn(move || {
        for inbound in listener.incoming().flatten() {
            let outbound = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let (mut from, mut to) = (inbound.try_clone().unwrap(), outbound.try_clone().unwrap());
            spawn(move || io::copy(&mut from, &mut to));
            let (mut from, mut to) = (outbound, inbound);
            spawn(move || io::copy(&mut from, &mut to));
        }
    });
    own
}

#[test]
fn without_the_right_login_nothing_is_changed_and_with_an_administrators_all_is() {
    let mut group = Group::nobody();
    group.add("r1", "requirepass admin\nmasterauth admin\n");
    let outcome = group.adopt(&["--yes"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("r1") && outcome.stderr.contains("--admin-user"), "{outcome:?}");
    assert!(!group.servers[0].saved().contains(BLOCK));
    fs::write(group.folder.path().join("wrong"), "wrong\n").unwrap();
    let wrong = group.folder.path().join("wrong");
    let outcome = group.adopt(&["--yes", "--admin-password-file", wrong.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(!group.servers[0].saved().contains(BLOCK));
    fs::write(&wrong, "admin\n").unwrap();
    let outcome = group.adopt(&["--yes", "--admin-password-file", wrong.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(group.servers[0].saved().contains(BLOCK));
    let mut link = group.servers[0].redis.connect().unwrap();
    assert!(is_ok(&link.call(&["AUTH", "backstay", "hush"]).unwrap()));
}

#[test]
fn one_that_cannot_be_reached_stops_the_whole_and_is_named() {
    let mut group = Group::up();
    group.servers[2].kill();
    let before: Vec<_> = group.servers[..2].iter().map(Server::state).collect();
    let outcome = group.adopt(&["--yes"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("nothing was changed") && outcome.stderr.contains("r3"), "{outcome:?}");
    assert!(!outcome.stderr.contains("r1"), "{outcome:?}");
    assert_eq!(group.servers[..2].iter().map(Server::state).collect::<Vec<_>>(), before);
}

#[test]
fn what_belongs_to_somebody_else_is_not_touched() {
    let mut group = Group::up();
    // A stranger's replica: its primary is not in the file.
    let stranger = group.servers.remove(0);
    let outcome = group.adopt(&["--yes"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("somebody else's"), "{outcome:?}");
    group.servers.insert(0, stranger);
    // A Sentinel manages it.
    let redis = group.place("sentinel");
    let sentinel = format!(
        "port {}\nbind 127.0.0.1\nsentinel monitor shop 127.0.0.1 {} 1\n",
        redis.port, group.servers[0].redis.port
    );
    fs::write(redis.folder.join("redis.conf"), sentinel).unwrap();
    let child = start(&redis, &["redis.conf", "--sentinel"]);
    let sentinel = Server { redis, child };
    until("the Sentinel's subscription", || {
        let clients = group.servers[0].redis.ask(&["CLIENT", "LIST", "TYPE", "pubsub"]).ok()?;
        text(&clients).contains("name=sentinel-").then_some(())
    });
    let outcome = group.adopt(&["--yes"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("Sentinel"), "{outcome:?}");
    drop(sentinel);
    assert!(!group.servers[0].saved().contains(BLOCK));
    // Not in the file at all.
    for words in [["--instance", "r9"], ["--instance", "r"]] {
        let outcome = group.adopt(&words);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains("r1, r2, r3"), "{outcome:?}");
    }
}

#[test]
fn users_in_an_acl_file_are_saved_there_and_the_server_starts_with_it_again() {
    let mut group = Group::nobody();
    let users = group.folder.path().join("users.acl");
    fs::write(&users, "user default on nopass ~* &* +@all\n").unwrap();
    group.add("r1", &format!("aclfile {}\n", users.display()));
    let outcome = group.adopt(&["--yes"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(fs::read_to_string(&users).unwrap().contains("user backstay "));
    assert!(!group.servers[0].saved().contains("user backstay"));
    group.servers[0].kill();
    group.servers[0].start_again();
    group.expect_adopted();
}

#[test]
fn a_file_that_config_rewrite_has_opened_again_is_mended() {
    let mut group = Group::up();
    assert_eq!(group.adopt(&["--yes"]).code, Some(0));
    for server in &group.servers {
        assert!(is_ok(&server.redis.ask(&["CONFIG", "REWRITE"]).unwrap()));
        assert!(
            !server.saved().contains("\nreplicaof 127.0.0.1 1\n"),
            "REWRITE leaves it by now: say so in the guide"
        );
    }
    let outcome = group.adopt(&["--yes"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    group.expect_adopted();
    let mut link =
        Connection::open(SocketAddr::from((Ipv4Addr::LOCALHOST, group.servers[0].redis.port)), LIMIT)
            .unwrap();
    assert!(is_ok(&link.call(&["SET", "k", "v"]).unwrap()), "the primary stays one");
}
