//! The whole product from an operator's chair: a lab of real servers, a primary that dies, and what each command says.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use support::{backstay, run, succeed};

const PATIENCE: Duration = Duration::from_secs(20);

/// Takes the lab down, however the test ends.
struct Cleanup<'a>(&'a Path);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let _ = run(self.0, &["lab", "down"]);
    }
}

fn json(temporary: &Path, arguments: &[&str]) -> Value {
    serde_json::from_str(&succeed(temporary, arguments)).expect("JSON")
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn healthy(temporary: &Path) -> bool {
    run(temporary, &["status", "--check"]).code == Some(0)
}

/// What the real `redis-cli` is told by a controller's Sentinel port.
fn sentinel(controller: &Value, words: &[&str]) -> String {
    let address = controller["sentinel"].as_str().unwrap();
    let (_, port) = address.rsplit_once(':').unwrap();
    let output = Command::new("redis-cli").args(["-p", port]).args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().replace('\n', ":")
}

/// A client that waits for the primary to move, as client libraries do, and the file with what it hears.
struct Listener {
    process: Child,
    heard: PathBuf,
}

impl Listener {
    fn at(controller: &Value, folder: &Path) -> Self {
        let heard = folder.join(format!("{}.heard", controller["name"].as_str().unwrap()));
        let port = controller["sentinel"].as_str().unwrap().rsplit_once(':').unwrap().1;
        let process = Command::new("redis-cli")
            .args(["-p", port, "subscribe", "+switch-master"])
            .stdout(std::fs::File::create(&heard).unwrap())
            .spawn()
            .unwrap();
        let listener = Self { process, heard };
        until("a subscription", || listener.heard().contains("subscribe"));
        listener
    }

    fn heard(&self) -> String {
        std::fs::read_to_string(&self.heard).unwrap()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // It is ours and has no state that anybody needs.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Kills the primary; returns when a write through its successor was acknowledged.
fn kill_and_await_failover(here: &Path, primary: &str) {
    let before: u64 = json(here, &["history", "-o", "json"]).as_array().unwrap().len() as u64;
    let fault = json(here, &["lab", "fault", "kill", primary]);
    assert!(fault["at_unix_ns"].as_u64().unwrap() > 0);
    until("a failover", || {
        let records = json(here, &["history", "mymaster", "-o", "json"]);
        let records = records.as_array().unwrap();
        records.len() as u64 > before
            && records.iter().all(|record| !record["moments"]["first_write"].is_null())
    });
}

#[test]
fn a_primary_dies_in_the_lab_and_every_command_tells_about_it() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let lab = json(here, &["lab", "up", "--controllers", "3", "--redis", "3", "--json"]);
    let _cleanup = Cleanup(here);
    assert_eq!(lab["controllers"].as_array().unwrap().len(), 3);
    assert_eq!(lab["gateways"], serde_json::json!([]));
    until("health", || healthy(here));

    let status = json(here, &["status", "-o", "json"]);
    let primary = status["services"][0]["primary"].as_str().unwrap().to_owned();
    let explained = succeed(here, &["explain", "mymaster"]);
    assert!(explained.starts_with("mymaster: no failover: 0 of 3 controllers"), "{explained}");

    let controllers = lab["controllers"].as_array().unwrap();
    let listeners: Vec<_> = controllers.iter().map(|controller| Listener::at(controller, here)).collect();

    kill_and_await_failover(here, &primary);
    let status = json(here, &["status", "-o", "json"]);
    let address = status["services"][0]["address"].as_str().unwrap();
    assert_ne!(status["services"][0]["primary"], primary.as_str());
    for controller in controllers {
        until("the new address on every port", || {
            sentinel(controller, &["sentinel", "get-master-addr-by-name", "mymaster"]) == address
        });
    }
    for listener in &listeners {
        until("a message", || listener.heard().ends_with('\n') && listener.heard().contains("mymaster "));
        assert_eq!(listener.heard().matches("message").count(), 1, "{}", listener.heard());
        assert!(listener.heard().trim_end().ends_with(&address.replace(':', " ")));
    }
    // The dead one is missing, and whoever monitors is told so.
    assert_eq!(run(here, &["status", "--check"]).code, Some(3));
    assert!(succeed(here, &["status"]).contains("refuses connections"));
    let history = succeed(here, &["history"]);
    assert!(history.contains(&format!("{primary} to ")) && history.contains("first write"), "{history}");

    json(here, &["lab", "fault", "restart", &primary]);
    until("health again", || healthy(here));
    let shown = json(here, &["lab", "status", "-o", "json"]);
    let roles = shown["services"][0]["instances"].as_array().unwrap();
    assert_eq!(roles.iter().filter(|instance| instance["role"] == "primary").count(), 1);

    let down = succeed(here, &["lab", "down"]);
    assert!(down.starts_with("the lab is down: 6 processes ended"), "{down}");
    assert_eq!(run(here, &["status"]).code, Some(4));
}

#[test]
fn a_lab_has_a_mariadb_group_if_it_is_asked_for_one() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let refused = run(here, &["lab", "up", "--mariadb", "2", "--durability", "majority"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("needs exactly 3 MariaDB instances"), "{refused:?}");
    let lab = json(here, &["lab", "up", "--controllers", "0", "--redis", "1", "--mariadb", "2", "--json"]);
    let _cleanup = Cleanup(here);
    let orders = &lab["services"][1];
    assert_eq!((&orders["name"], &orders["engine"]), (&"orders".into(), &"mariadb".into()));
    json(here, &["lab", "fault", "kill", "m1"]);
    let shown = succeed(here, &["lab", "status"]);
    assert!(shown.contains("orders (mariadb)"), "{shown}");
    let line = |name: &str| shown.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(line("m1").contains("dead") && line("m2").contains("replica"), "{shown}");
    json(here, &["lab", "fault", "restart", "m1"]);
    let down = succeed(here, &["lab", "down"]);
    assert!(down.starts_with("the lab is down: 3 processes ended"), "{down}");
}

#[test]
fn an_operator_pauses_and_resumes_through_any_controller() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let lab = json(here, &["lab", "up", "--redis", "2", "--json"]);
    let _cleanup = Cleanup(here);
    let config = format!("{}/backstay.toml", lab["dir"].as_str().unwrap());
    for node in ["a", "b", "c"] {
        let whom = ["--config", &config, "--node", node];
        let paused = succeed(here, &[&["pause", "mymaster", "--for", "10m"][..], &whom].concat());
        assert!(paused.starts_with("paused mymaster until "), "{paused}");
        until("the pause on every controller", || {
            succeed(here, &[&["status", "--local"][..], &whom].concat())
                .contains("by ada: nothing automatic happens")
        });
        let would = json(here, &[&["resume", "--dry-run", "-o", "json"][..], &whom].concat());
        assert_eq!(would["would"], "resume automatic action on mymaster");
        assert!(would["means"][0].as_str().unwrap().contains("it would end the pause until"), "{would}");
        let resumed = succeed(here, &[&["resume"][..], &whom].concat());
        assert!(resumed.starts_with("resumed mymaster"), "{resumed}");
    }
    let would = succeed(here, &["pause", "--for", "1m", "--dry-run"]);
    assert!(would.starts_with("this would pause mymaster until about "), "{would}");
    assert!(json(here, &["status", "-o", "json"])["services"][0]["paused"].is_null());
    for (refused, why) in [
        (&["pause", "mymastr", "--for", "1m"][..], "did you mean mymaster? known: mymaster"),
        (&["resume", "mymastr"], "did you mean mymaster?"),
        (&["resume", "mymastr", "--dry-run"], "did you mean mymaster?"),
        (&["explain", "mymastr"], "did you mean mymaster?"),
        (&["history", "mymastr"], "did you mean mymaster?"),
        (&["events", "mymastr"], "did you mean mymaster?"),
        (&["decide", "mymastr", "r1"], "did you mean mymaster?"),
        (&["decide", "mymaster", "r11"], "did you mean r1? known: r1, r2"),
        (&["lab", "fault", "kill", "r11"], "did you mean r1?"),
        (&["pause", "nobody", "--for", "1m"], "there is no service called nobody"),
        (&["resume", "nobody"], "there is no service called nobody"),
        (&["explain", "nobody"], "there is no service called nobody"),
        (&["history", "nobody"], "there is no service called nobody"),
        (&["decide", "mymaster", "r9"], "has no instance called r9"),
        (&["decide", "mymaster", "r1"], "has nothing to decide"),
        (&["lab", "fault", "kill", "r9"], "the lab has nothing called 'r9'"),
    ] {
        let outcome = run(here, refused);
        assert_eq!(outcome.code, Some(1), "{refused:?}: {outcome:?}");
        assert!(outcome.stderr.contains(why), "{outcome:?}");
    }
    // One that lost the others is passed over for one that did not.
    json(here, &["lab", "fault", "hang", "a"]);
    let status = json(here, &["status", "--config", &config, "-o", "json"]);
    assert_ne!(status["node"], "a");
    json(here, &["lab", "fault", "resume", "a"]);
}

#[test]
fn a_controller_stops_in_good_order_when_it_is_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let lab = json(here, &["lab", "up", "--redis", "1", "--json"]);
    let _cleanup = Cleanup(here);
    json(here, &["lab", "fault", "kill", "a"]);
    let config = format!("{}/backstay.toml", lab["dir"].as_str().unwrap());
    let log = std::fs::File::create(here.join("log")).unwrap();
    let mut controller = backstay(here)
        .args(["run", "--config", &config, "--node", "a", "--log", "json"])
        .stderr(log)
        .spawn()
        .unwrap();
    let whom = ["--config", &config, "--node", "a"];
    until("it answers", || run(here, &[&["status"][..], &whom].concat()).code == Some(0));
    let pid = nix::unistd::Pid::from_raw(controller.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(controller.wait().unwrap().code(), Some(0));
    let log = std::fs::read_to_string(here.join("log")).unwrap();
    assert!(log.contains("stops, as asked"), "{log}");
    for line in log.lines() {
        serde_json::from_str::<Value>(line).expect("every line of the log is JSON");
    }
}
