//! What a controller saw and did, read afterwards and as it happens.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Fault;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use support::backstay;
use support::group::{Group, LIMIT, until};

/// A command that goes on, and the lines that it has said.
struct Follower {
    process: Child,
    lines: Receiver<String>,
    _temporary: tempfile::TempDir,
}

impl Follower {
    fn of(group: &Group, node: &str, words: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let file = group.config();
        let whom = ["--config", file.to_str().unwrap(), "--node", node];
        let mut command = backstay(temporary.path());
        command.args(["events", "--follow"]).args(words).args(whom);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let (said, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| said.send(line))
        });
        Self { process, lines, _temporary: temporary }
    }

    fn next(&self) -> String {
        self.lines.recv_timeout(LIMIT).expect("a line in time")
    }

    /// Waits until it ends.
    fn end(&mut self) -> (Option<i32>, String) {
        let status = until("its end", || self.process.try_wait().unwrap());
        let mut stderr = String::new();
        let mut from = self.process.stderr.take().unwrap();
        std::io::Read::read_to_string(&mut from, &mut stderr).unwrap();
        (status.code(), stderr)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It is ours and has no state that anybody needs.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn object(line: &str) -> Value {
    let value: Value = serde_json::from_str(line).unwrap();
    for key in ["at", "seen_by", "service", "kind", "severity", "sentence"] {
        assert!(value.get(key).is_some(), "{key} is missing: {line}");
    }
    value
}

#[test]
fn a_failover_is_read_as_it_happens_and_afterwards() {
    let group = Group::up();
    let (primary, epoch) = (group.named_primary(), group.epoch());
    let follower = Follower::of(&group, "a", &["mymaster", "--since", "10m", "-o", "json"]);
    let first = object(&follower.next());
    assert_eq!(first["seen_by"], "a");
    group.fault(Fault::Kill, &primary.name).unwrap();
    let mut seen = BTreeSet::new();
    while !seen.contains("failover_ended") || !seen.contains("suspected_here") {
        seen.insert(object(&follower.next())["kind"].as_str().unwrap().to_owned());
    }
    assert!(seen.contains("failover_begun") && seen.contains("promoted"), "{seen:?}");
    group.await_failover(epoch);

    let all = group.told(&["events", "-o", "json"]);
    let kinds: Vec<_> = all.lines().map(|line| object(line)["kind"].as_str().unwrap().to_owned()).collect();
    assert!(kinds.contains(&"leader_elected".to_owned()), "{kinds:?}");
    assert!(kinds.contains(&"promoted".to_owned()), "{kinds:?}");
    let told = group.told(&["events", "mymaster", "--since", "1d"]);
    assert!(told.contains(&format!("{} (", primary.name)) && told.contains("as seen from here"), "{told}");
    let refused = group.backstay(&["events", "mymastr"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("did you mean mymaster? known: mymaster"), "{refused:?}");
}

#[test]
fn a_controller_that_is_lost_is_said_to_be() {
    let group = Group::of(3, 1);
    for fault in [Fault::Kill, Fault::Restart] {
        let mut follower = Follower::of(&group, "b", &["--since", "10m"]);
        // It is connected.
        follower.next();
        group.fault(fault, "b").unwrap();
        let (code, stderr) = follower.end();
        assert_eq!(code, Some(4), "{fault:?}: {stderr}");
        assert!(stderr.starts_with("error: b was lost, so nothing more is heard from it\n"), "{stderr}");
        group.fault(Fault::Restart, "b").unwrap();
        until("an answer", || group.status_of("b"));
    }
    let mut follower = Follower::of(&group, "c", &["--since", "10m"]);
    follower.next();
    group.fault(Fault::Hang, "c").unwrap();
    let (code, stderr) = follower.end();
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stderr.contains("no sign of life"), "{stderr}");
    group.fault(Fault::Resume, "c").unwrap();
}
