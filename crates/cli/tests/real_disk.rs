//! State folders that the user may not use: what the operator reads, and the status for whoever restarts the process.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::servers::ports::Ports;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// The status that says: the state folder cannot be read or written.
const IO_ERROR: i32 = 74;

/// A file with one controller whose state is in `folder`.
fn write_file(folder: &Path, ports: &mut Ports) {
    let (peer, redis) = (ports.claim().unwrap(), ports.claim().unwrap());
    let text = format!(
        "cluster = \"shop\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:{peer}\"\nsentinel = \"off\"\n\
         admin = \"{0}/a.sock\"\nstate = \"{0}/state\"\n[[redis]]\nname = \"m\"\ninstances = [{{ name = \"r1\", address = \"127.0.0.1:{redis}\" }}]\n",
        folder.display()
    );
    fs::write(folder.join("backstay.toml"), text).unwrap();
}

/// Runs the controller as somebody who is not root, until it ends by itself; `None`: that cannot be done here.
fn run_as_nobody(folder: &Path, words: &[&str]) -> Option<(Option<i32>, String)> {
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let program = env!("CARGO_BIN_EXE_backstay");
    let mut command = Command::new(if is_root { "setpriv" } else { program });
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
    }
    let file = folder.join("backstay.toml");
    let output = command
        .args(["run", "--node", "a", "--config"])
        .arg(file)
        .args(words)
        .current_dir("/")
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if !matches!(output.status.code(), Some(126 | 127)) => {
            Some((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
        }
        other => {
            eprintln!("SKIPPED: the program cannot be run as another user here: {other:?}");
            None
        }
    }
}

#[test]
fn a_state_folder_of_another_user_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut ports = Ports::open().unwrap();
    write_file(folder.path(), &mut ports);
    let state = folder.path().join("state");
    fs::create_dir(&state).unwrap();
    // It holds what looks like a state, and is closed to this user.
    fs::write(state.join("backstay.redb"), [0; 4096]).unwrap();
    fs::set_permissions(state.join("backstay.redb"), fs::Permissions::from_mode(0o000)).unwrap();
    let Some((code, said)) = run_as_nobody(folder.path(), &[]) else {
        return;
    };
    assert_eq!(code, Some(IO_ERROR), "{said}");
    assert!(said.contains("Permission denied") && said.contains("the rights"), "{said}");
    assert!(said.contains("backstay.redb"), "{said}");

    // A folder that may not even be looked into must not be taken for an empty one.
    fs::set_permissions(&state, fs::Permissions::from_mode(0o000)).unwrap();
    let (code, said) = run_as_nobody(folder.path(), &[]).unwrap();
    assert_eq!(code, Some(IO_ERROR), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
    let (code, said) = run_as_nobody(folder.path(), &["--bootstrap"]).unwrap();
    assert_eq!(code, Some(IO_ERROR), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "nothing was made there");
}
