//! What wrong input leads to: a message that says what to do, and the documented exit code.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;
use support::{backstay, run, succeed};

const GOOD: &str = r#"
cluster = "shop"
[[controllers]]
name = "alpha"
address = "127.0.0.1:7601"
[[controllers]]
name = "bravo"
address = "127.0.0.1:7602"
sentinel = "off"
[[controllers]]
name = "charlie"
address = "127.0.0.1:7603"
sentinel = "off"
[[redis]]
name = "mymaster"
instances = [{ name = "r1", address = "127.0.0.1:6379" }, { name = "r2", address = "127.0.0.1:6380" }]
"#;

const BAD: &str = "cluster = \"shop\"\n[[controllers]]\nname = \"a\"\naddres = \"127.0.0.1:7601\"\n\
                   [[redis]]\nname = \"m\"\ndown_after = \"10\"\n";

fn file(folder: &Path, text: &str) -> String {
    let path = folder.join("backstay.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_mistake_of_a_file_is_shown_at_once_with_its_place_and_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), BAD);
    let checked = run(folder.path(), &["config", "check", &path]);
    assert_eq!(checked.code, Some(1));
    assert!(checked.stdout.is_empty());
    for part in [
        "has no address",
        "no setting called 'addres'",
        "Did you mean 'address'?",
        "'10' is not a duration",
        ":7:",
    ] {
        assert!(checked.stderr.contains(part), "{part}: {}", checked.stderr);
    }
    // A start refuses the same file in the same words, and says that the file must be corrected.
    let started = run(folder.path(), &["run", "--config", &path, "--node", "a"]);
    assert_eq!(started.code, Some(78));
    assert_eq!(started.stderr, checked.stderr);
    let as_json = run(folder.path(), &["config", "check", &path, "-o", "json"]);
    assert_eq!(as_json.code, Some(1));
    let verdict: serde_json::Value = serde_json::from_str(&as_json.stdout).unwrap();
    assert_eq!(verdict["ok"], false);
    assert!(verdict["findings"].as_array().unwrap().iter().any(|finding| finding["line"] == 4));
}

#[test]
fn a_correct_file_is_called_so_and_what_is_shown_of_it_is_correct_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), GOOD);
    let checked = succeed(folder.path(), &["config", "check", &path]);
    assert!(
        checked.ends_with("is correct: 3 controllers, 1 service, 2 instances, 0 warnings\n"),
        "{checked}"
    );
    let shown = succeed(folder.path(), &["config", "show", &path]);
    assert!(shown.contains("down_after = \"1s\""), "{shown}");
    let as_json = succeed(folder.path(), &["config", "show", &path, "-o", "json"]);
    let as_json: serde_json::Value = serde_json::from_str(&as_json).unwrap();
    assert_eq!(as_json["cluster"], "shop");
    assert_eq!(as_json["controllers"][1]["sentinel"], "off");
    assert_eq!(as_json["redis"][0]["down_after"], "1s");
    assert_eq!(as_json["redis"][0]["instances"][1]["address"], "127.0.0.1:6380");
    let path = file(folder.path(), &shown);
    succeed(folder.path(), &["config", "check", &path]);
}

#[test]
fn warnings_are_shown_and_do_not_fail_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let alone = GOOD.replace(", { name = \"r2\", address = \"127.0.0.1:6380\" }", "");
    let path = file(folder.path(), &alone);
    let checked = succeed(folder.path(), &["config", "check", &path]);
    assert!(checked.contains("one instance: there is nothing to fail over to"), "{checked}");
    assert!(checked.ends_with("1 instance, 1 warning\n"), "{checked}");
    assert!(!checked.contains('\u{1b}'));
}

#[test]
fn a_node_that_the_file_does_not_know_is_refused_with_the_names_it_knows() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), GOOD);
    for (arguments, code) in [
        (["run", "--config", &path, "--node", "alhpa"], 78),
        (["status", "--config", &path, "--node", "alhpa"], 1),
    ] {
        let refused = run(folder.path(), &arguments);
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(refused.stderr.contains("has no controller called 'alhpa'"), "{refused:?}");
        assert!(
            refused.stderr.contains("Did you mean 'alpha'? It has these: alpha, bravo, charlie."),
            "{refused:?}"
        );
    }
}

#[test]
fn a_missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code) in [
        (&["config", "check", "/nowhere.toml"][..], 1),
        (&["config", "show", "/nowhere.toml"], 1),
        (&["status", "--config", "/nowhere.toml"], 1),
        (&["run", "--config", "/nowhere.toml", "--node", "a"], 78),
    ] {
        let refused = run(folder.path(), arguments);
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(refused.stderr.starts_with("error: /nowhere.toml cannot be read\n  why: "), "{refused:?}");
        assert!(refused.stderr.contains("\n  next: "), "{refused:?}");
    }
}

#[test]
fn a_mariadb_that_the_file_has_already_is_sent_to_the_doctor_and_nothing_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let orders = "[[mariadb]]\nname = \"orders\"\nusername = \"b\"\npassword_env = \"PASS\"\n\
                  instances = [ { name = \"db1\", address = \"127.0.0.1:1\" }, { name = \"db2\", address = \"127.0.0.1:2\" } ]\n";
    let path = file(folder.path(), &format!("{GOOD}{orders}"));
    let refused = run(folder.path(), &["adopt", "orders", "--config", &path]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("the service orders is a MariaDB"), "{refused:?}");
    assert!(refused.stderr.contains("nothing was changed"), "{refused:?}");
    assert!(refused.stderr.contains("backstay doctor mariadb orders"), "{refused:?}");
}

#[test]
fn a_cluster_that_does_not_answer_has_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let admin =
        |name: &str| format!("name = \"{name}\"\nadmin = \"{}/{name}.sock\"", folder.path().display());
    let names = ["alpha", "bravo", "charlie"];
    let text = names
        .iter()
        .fold(GOOD.to_owned(), |text, name| text.replace(&format!("name = \"{name}\""), &admin(name)));
    let path = file(folder.path(), &text);
    let unreachable = run(folder.path(), &["status", "--config", &path]);
    assert_eq!(unreachable.code, Some(4));
    for part in [
        "error: no controller answers",
        "alpha (",
        "bravo (",
        "charlie (",
        "it is not running",
        "next: start one",
    ] {
        assert!(unreachable.stderr.contains(part), "{part}: {}", unreachable.stderr);
    }
    let unreachable = run(folder.path(), &["pause", "--for", "1m", "--socket", "/nowhere.sock"]);
    assert_eq!(unreachable.code, Some(4));
    // A file, and somebody who speaks something else.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = run(folder.path(), &["events", "--socket", file.to_str().unwrap()]);
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("it is a file and not a socket"), "{refused:?}");
    let socket = folder.path().join("stranger.sock");
    let stranger = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for stream in stranger.incoming().map_while(Result::ok) {
            // Whatever is asked.
            let _ = (&stream).read(&mut [0; 1024]);
            let _ = (&stream).write_all(b"-ERR unknown command\r\n");
        }
    });
    for words in [&["status"][..], &["events"], &["pause", "--for", "1m"]] {
        let refused = run(folder.path(), &[words, &["--socket", socket.to_str().unwrap()]].concat());
        assert_eq!(refused.code, Some(4), "{refused:?}");
        assert!(refused.stderr.contains("what answers there is not a controller"), "{refused:?}");
    }
    // Without any lab there is nobody to ask.
    let nobody = run(folder.path(), &["explain", "mymaster"]);
    assert_eq!(nobody.code, Some(4));
    assert!(nobody.stderr.starts_with("error: no controller was named\n"), "{nobody:?}");
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["frobnicate"][..],
        &[],
        &["explain"],
        &["pause", "--for", "10"],
        &["pause", "--for", "0s"],
        &["pause"],
        &["status", "--node", "a"],
        &["lab", "fault", "explode", "r1"],
        &["lab", "fault", "kill"],
        &["lab", "up", "--redis", "many"],
    ] {
        let refused = run(folder.path(), arguments);
        assert_eq!(refused.code, Some(2), "{arguments:?}: {refused:?}");
        assert!(refused.stdout.is_empty());
    }
}

#[test]
fn a_lab_that_makes_no_sense_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        &["lab", "up", "--redis", "0"][..],
        &["lab", "up", "--controllers", "99"],
        &["lab", "status"],
        &["lab", "down"],
        &["lab", "fault", "kill", "r1"],
    ] {
        let refused = run(folder.path(), arguments);
        assert_eq!(refused.code, Some(1), "{arguments:?}: {refused:?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_help_names_the_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let help = succeed(folder.path(), &["--help"]);
    for line in
        ["Exit codes:", "no controller could be reached", "`status --check` found something unhealthy"]
    {
        assert!(help.contains(line), "{help}");
    }
    assert!(succeed(folder.path(), &["--version"]).starts_with("backstay "));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), GOOD);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = backstay(folder.path())
        .args(["config", "show", &path])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}

#[test]
fn there_is_a_doctor_for_mariadb_alone_and_a_redis_is_sent_to_adopt() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), GOOD);
    for (words, code, part) in [
        (&["doctor"][..], 1, "no MariaDB service"),
        (&["doctor", "mymaster"], 1, "backstay adopt mymaster --dry-run"),
        (&["doctor", "mariadb", "mymastr"], 1, "no service called 'mymastr'"),
        (&["doctor", "redis", "mymaster"], 2, "no doctor for 'redis'"),
        (&["adopt", "orders", "--mariadb", "nowhere"], 2, "nowhere"),
        (&["adopt", "orders", "--mariadb", "127.0.0.1:1"], 2, "--admin-user"),
    ] {
        let outcome = run(folder.path(), &[words, &["--config", &path]].concat());
        assert!(outcome.code == Some(code) && outcome.stderr.contains(part), "{words:?}: {outcome:?}");
    }
}
