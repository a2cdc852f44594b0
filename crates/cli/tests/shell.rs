//! What the shell and `man` are given, and colours where they are wanted.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{backstay, run, succeed};

const COMMANDS: [&str; 12] = [
    "run", "status", "watch", "history", "events", "explain", "pause", "resume", "decide", "config", "lab",
    "man",
];

#[test]
fn the_completion_script_of_bash_is_valid_and_completes_commands_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let script = succeed(folder.path(), &["completions", "bash"]);
    let file = folder.path().join("backstay.bash");
    fs::write(&file, &script).unwrap();
    let valid = Command::new("bash").arg("-n").arg(&file).output().unwrap();
    assert!(valid.status.success() && valid.stderr.is_empty(), "{valid:?}");
    let complete = |words: &[&str]| {
        let ask = format!(
            "source '{}'; COMP_WORDS=({}); COMP_CWORD={}; _backstay backstay \"${{COMP_WORDS[COMP_CWORD]}}\" ''; \
             echo \"${{COMPREPLY[@]}}\"",
            file.display(),
            words.join(" "),
            words.len() - 1
        );
        let output = Command::new("bash").args(["--norc", "-c", &ask]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete(&["backstay", "hist"]).trim(), "history");
    assert_eq!(complete(&["backstay", "events", "--fol"]).trim(), "--follow");
    assert_eq!(complete(&["backstay", "lab", "fault", "restart-e"]).trim(), "restart-empty");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        let script = succeed(folder.path(), &["completions", shell]);
        assert!(COMMANDS.iter().all(|command| script.contains(command)), "{shell}");
    }
    assert_eq!(run(folder.path(), &["completions", "tcsh"]).code, Some(2));
}

/// The page as a terminal shows it, if there is something that can; else as it stands.
fn rendered(page: &str) -> String {
    let groff = Command::new("groff")
        .args(["-man", "-Tascii", "-ww", "-P-cbou"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut groff) = groff else {
        return page.replace("\\-", "-");
    };
    groff.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = groff.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn there_is_a_manual_page_for_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let page = rendered(&succeed(folder.path(), &["man"]));
    for part in COMMANDS.iter().chain(&["no controller could be reached", "BACKSTAY_SOCKET", "--color"]) {
        assert!(page.contains(part), "{part}: {page}");
    }
    let pages = folder.path().join("share/man/man1");
    succeed(folder.path(), &["man", "--dir", pages.to_str().unwrap()]);
    for command in COMMANDS {
        let page = fs::read_to_string(pages.join(format!("backstay-{command}.1"))).unwrap();
        assert!(rendered(&page).contains("SYNOPSIS"), "{page}");
    }
    assert!(pages.join("backstay-config-check.1").exists() && pages.join("backstay.1").exists());
    let refused = run(folder.path(), &["man", "--dir", "/proc/man1"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("cannot be written to /proc/man1"), "{refused:?}");
}

#[test]
fn colours_are_where_the_command_line_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backstay.toml");
    fs::write(&path, "cluster = 5\n").unwrap();
    let check = |words: &[&str], no_color: &str| {
        let mut command = backstay(folder.path());
        command.args(["config", "check"]).arg(&path).args(words).env("NO_COLOR", no_color);
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    assert!(!check(&[], "").contains('\u{1b}'));
    assert!(check(&["--color", "always"], "1").contains('\u{1b}'));
    assert!(!check(&["--color", "never"], "").contains('\u{1b}'));
}

#[test]
fn a_mistyped_command_leads_to_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    for (typed, meant) in [("stauts", "status"), ("histroy", "history"), ("wacth", "watch")] {
        let refused = run(folder.path(), &[typed]);
        assert_eq!(refused.code, Some(2));
        assert!(refused.stderr.contains(&format!("'{meant}'")), "{refused:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_for_any_command() {
    let folder = tempfile::tempdir().unwrap();
    for words in [&["--help"][..], &["man"], &["completions", "bash"], &["help", "events"]] {
        assert_eq!(into_closed_pipe(folder.path(), words), (Some(0), String::new()), "{words:?}");
    }
}

fn into_closed_pipe(temporary: &Path, words: &[&str]) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = backstay(temporary).args(words).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
