//! Whatever goes wrong, no server is left behind and the message says what to do.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

use backstay_lab::wait::{poll_until, wait_until};
use backstay_lab::{Lab, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// How many processes work in a folder below `folder`.
fn processes_in(folder: &Path) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok())
        .filter(|cwd| cwd.starts_with(folder))
        .count()
}

fn bench() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay-bench"));
    command.args(["failover", "--systems", "sentinel", "--faults", "crash", "--runs", "1"]);
    command
}

/// Interrupts a benchmark once it has started so many servers.
fn interrupt(command: &mut Command, servers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let mut running =
        command.env("TMPDIR", folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = || (processes_in(folder.path()) >= servers).then_some(());
    wait_until("the servers' start", LIMIT, started).unwrap();
    kill(Pid::from_raw(running.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(130));
    assert_eq!(processes_in(folder.path()), 0);
    let folders = fs::read_dir(folder.path()).unwrap().flatten().filter(|entry| entry.path().is_dir());
    assert_eq!(folders.count(), 0);
}

#[test]
fn an_interrupted_benchmark_ends_its_servers_and_removes_its_folders() {
    interrupt(&mut bench(), 4);
}

#[test]
fn an_interrupted_gateway_benchmark_ends_its_servers_and_its_tool_and_removes_its_folders() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backstay-bench"));
    command.args([
        "gateway",
        "--systems",
        "direct",
        "--cases",
        "get-c50",
        "--round-ms",
        "20000",
        "--runs",
        "0",
    ]);
    // Redis and redis-benchmark.
    interrupt(&mut command, 2);
}

#[test]
fn without_redis_the_message_says_what_to_install() {
    let output = bench().env("PATH", "").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("redis-server was not found"), "{message}");
    assert!(message.contains("apt-get install redis-server"), "{message}");
}

#[test]
fn a_controller_that_ends_at_its_start_fails_the_lab_with_its_last_words_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("backstay");
    fs::write(&program, "#!/bin/sh\necho \"the moon is in the wrong place\"\nexit 1\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let dir = folder.path().join("lab");
    let error = Lab::up(&Options {
        controllers: 1,
        redis: 2,
        dir: Some(dir.clone()),
        backstay: Some(program),
        ..Options::default()
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("the moon is in the wrong place"), "{error}");
    assert!(poll_until(LIMIT, || (processes_in(folder.path()) == 0).then_some(())).is_some());
    assert!(!dir.exists());
}

#[test]
fn without_the_backstay_program_nothing_is_started() {
    let error = Lab::up(&Options { backstay: Some("/nowhere/backstay".into()), ..Options::default() })
        .unwrap_err()
        .to_string();
    assert!(error.contains("backstay was not found") && error.contains("--backstay"), "{error}");
}
