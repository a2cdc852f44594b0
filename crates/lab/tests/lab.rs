//! The lab itself, on real Redis servers, without controllers: faults take effect, and nothing is left.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

use backstay_lab::load::connection::{error_text, is_ok, text};
use backstay_lab::servers::process::{Liveness, Process};
use backstay_lab::servers::redis::{RedisServer, Role};
use backstay_lab::stack::view::{LabView, RoleView};
use backstay_lab::{Fault, Lab, LabError, Options, ScopedLab};
use std::fs;
use std::time::Duration;

fn redis_only(count: usize) -> Options {
    Options { controllers: 0, redis: count, remember: false, ..Options::default() }
}

fn process(lab: &Lab, name: &str) -> Process {
    let state = lab.state().unwrap();
    let found = state.processes().into_iter().find(|(found, _)| *found == name);
    found.unwrap().1
}

fn open(server: &RedisServer) {
    assert!(is_ok(&server.ask(&["REPLICAOF", "NO", "ONE"]).unwrap()));
}

fn ask(server: &RedisServer, request: &[&str]) -> String {
    text(&server.ask(request).unwrap())
}

#[test]
fn a_killed_instance_is_gone_when_the_fault_returns() {
    let lab = ScopedLab::up(&redis_only(1)).unwrap();
    let report = lab.fault(Fault::Kill, "r1").unwrap();
    assert!(report.at_unix_ns > 0);
    assert_eq!(process(&lab, "r1").liveness(), Liveness::Gone);
    let view = lab.status().unwrap();
    let instance = &view.services[0].instances[0];
    assert_eq!((instance.pid, instance.role), (None, RoleView::Unknown));
}

#[test]
fn a_hung_instance_stands_still_until_it_is_resumed() {
    let lab = ScopedLab::up(&redis_only(1)).unwrap();
    lab.fault(Fault::Hang, "r1").unwrap();
    assert_eq!(process(&lab, "r1").liveness(), Liveness::Stopped);
    assert_eq!(lab.status().unwrap().services[0].instances[0].state, Liveness::Stopped);
    lab.fault(Fault::Resume, "r1").unwrap();
    assert!(lab.instance("r1").unwrap().answers());
}

#[test]
fn a_restarted_instance_comes_back_with_its_data() {
    let lab = ScopedLab::up(&redis_only(1)).unwrap();
    let server = lab.instance("r1").unwrap();
    open(&server);
    assert!(is_ok(&server.ask(&["SET", "key", "value"]).unwrap()));
    let before = process(&lab, "r1");
    lab.fault(Fault::Restart, "r1").unwrap();
    assert_ne!(process(&lab, "r1"), before);
    assert_eq!(ask(&server, &["GET", "key"]), "value");
}

#[test]
fn a_dead_instance_is_started_by_restart() {
    let lab = ScopedLab::up(&redis_only(1)).unwrap();
    lab.fault(Fault::Kill, "r1").unwrap();
    lab.fault(Fault::Restart, "r1").unwrap();
    assert!(lab.instance("r1").unwrap().answers());
}

#[test]
fn a_hung_instance_is_killed_and_started_by_restart() {
    let lab = ScopedLab::up(&redis_only(1)).unwrap();
    lab.fault(Fault::Hang, "r1").unwrap();
    lab.fault(Fault::Restart, "r1").unwrap();
    assert!(lab.instance("r1").unwrap().answers());
}

#[test]
fn an_instance_restarted_empty_keeps_its_protected_boot() {
    let lab = ScopedLab::up(&redis_only(1)).unwrap();
    let server = lab.instance("r1").unwrap();
    open(&server);
    assert!(is_ok(&server.ask(&["SET", "key", "value"]).unwrap()));
    assert!(is_ok(&server.ask(&["SAVE"]).unwrap()));
    lab.fault(Fault::RestartEmpty, "r1").unwrap();
    assert!(matches!(server.role().unwrap(), Role::Replica { of: 1, .. }));
    assert_eq!(ask(&server, &["GET", "key"]), "");
    let reply = server.ask(&["SET", "key", "value"]).unwrap();
    assert!(error_text(&reply).unwrap().starts_with("READONLY"));
}

#[test]
fn a_lab_that_was_taken_down_leaves_nothing() {
    let lab = Lab::up(&redis_only(3)).unwrap();
    lab.fault(Fault::Hang, "r2").unwrap();
    lab.fault(Fault::Kill, "r3").unwrap();
    let processes: Vec<Process> =
        lab.state().unwrap().processes().into_iter().map(|(_, process)| process).collect();
    assert_eq!(processes.len(), 3);
    let report = lab.down().unwrap();
    assert_eq!((report.ended, report.removed_dir), (2, true));
    assert!(processes.iter().all(|process| process.liveness() == Liveness::Gone));
    assert!(!lab.dir().exists());
    assert!(matches!(Lab::open(lab.dir()), Err(LabError::NoLab { .. })));
}

#[test]
fn a_folder_that_the_user_made_keeps_what_the_lab_did_not_write() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine.txt"), "mine").unwrap();
    let options = Options { dir: Some(folder.path().to_path_buf()), ..redis_only(1) };
    let lab = Lab::up(&options).unwrap();
    let second = Lab::up(&options).unwrap_err().to_string();
    assert!(second.contains("there is a lab in"), "{second}");
    let report = lab.down().unwrap();
    assert!(!report.removed_dir);
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["mine.txt"]);
}

#[test]
fn a_folder_that_the_lab_made_stays_if_the_user_put_something_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("lab");
    let options = Options { dir: Some(dir.clone()), ..redis_only(1) };
    let lab = Lab::up(&options).unwrap();
    fs::write(dir.join("mine.txt"), "mine").unwrap();
    assert!(!lab.down().unwrap().removed_dir);
    assert!(dir.join("mine.txt").exists());
    fs::remove_dir_all(&dir).unwrap();

    let lab = Lab::up(&options).unwrap();
    assert!(lab.down().unwrap().removed_dir);
    assert!(!dir.exists());
}

#[test]
fn a_second_command_finds_the_lab_by_its_folder_and_knows_its_processes() {
    let lab = ScopedLab::up(&redis_only(2)).unwrap();
    let other = Lab::open(lab.dir()).unwrap();
    other.fault(Fault::Kill, "r2").unwrap();
    other.fault(Fault::Restart, "r2").unwrap();
    assert_eq!(process(&lab, "r2"), process(&other, "r2"));
    assert_eq!(lab.status().unwrap(), other.status().unwrap());
}

#[test]
fn the_file_lab_json_has_the_documented_shape() {
    let lab = ScopedLab::up(&redis_only(1)).unwrap();
    let text = fs::read_to_string(lab.dir().join("lab.json")).unwrap();
    let view: LabView = serde_json::from_str(&text).unwrap();
    assert_eq!(view, lab.status().unwrap());
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(json["dir"].is_string() && json["controllers"].is_array() && json["gateways"].is_array());
    let service = &json["services"][0];
    assert_eq!((&service["name"], &service["engine"]), (&"mymaster".into(), &"redis".into()));
    let instance = &service["instances"][0];
    assert_eq!((&instance["name"], &instance["role"]), (&"r1".into(), &"replica".into()));
    assert!(instance["addr"].as_str().unwrap().starts_with("127.0.0.1:") && instance["pid"].is_number());
}

#[test]
fn an_unknown_name_is_answered_with_the_names_that_exist() {
    let lab = ScopedLab::up(&redis_only(2)).unwrap();
    let error = lab.fault(Fault::Kill, "r9").unwrap_err().to_string();
    assert!(error.contains("'r9'") && error.contains("r1, r2"), "{error}");
}

#[test]
fn killing_the_dead_is_refused_with_the_next_command() {
    let lab = ScopedLab::up(&redis_only(1)).unwrap();
    lab.fault(Fault::Kill, "r1").unwrap();
    let error = lab.fault(Fault::Kill, "r1").unwrap_err().to_string();
    assert!(error.contains("fault restart r1"), "{error}");
}

#[test]
fn a_pid_that_was_given_to_somebody_else_is_not_signalled() {
    let lab = ScopedLab::up(&redis_only(1)).unwrap();
    let mut bystander = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let stranger = Process::of_pid(bystander.id() as i32).unwrap();
    let mut state = lab.state().unwrap();
    let ours = state.instances[0].process.unwrap();
    state.note("r1", Process { started: stranger.started - 1, ..stranger });
    state.save(lab.dir()).unwrap();

    assert!(matches!(lab.fault(Fault::Kill, "r1"), Err(LabError::Refused(_))));
    assert_eq!(stranger.liveness(), Liveness::Running);

    state.note("r1", ours);
    state.save(lab.dir()).unwrap();
    bystander.kill().unwrap();
    bystander.wait().unwrap();
}

#[test]
fn a_folder_whose_sockets_would_have_too_long_names_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(110));
    let options = Options {
        controllers: 1,
        dir: Some(long.clone()),
        backstay: Some(std::env::current_exe().unwrap()),
        ready_limit: Duration::from_secs(1),
        ..redis_only(1)
    };
    let error = Lab::up(&options).unwrap_err().to_string();
    assert!(error.contains("shorter --dir"), "{error}");
    assert!(!long.exists());
}
