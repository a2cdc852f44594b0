//! A controller whose user may open too few files says so at its start, before it takes instances for silent.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use std::fmt::Write as _;
use std::process::Command;
use support::backstay;

#[test]
fn too_few_open_files_for_the_instances_are_an_error_with_the_limit_to_set() {
    let folder = tempfile::tempdir().unwrap();
    let admin = folder.path().join("a.sock");
    let state = folder.path().join("a");
    let mut text = format!(
        "cluster = \"shop\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:7601\"\nsentinel = \"off\"\nadmin = {admin:?}\n\
         state = {state:?}\n"
    );
    for (name, port) in [("b", 7602), ("c", 7603)] {
        let _ = write!(
            text,
            "[[controllers]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\nsentinel = \"off\"\n"
        );
    }
    for service in 0..70 {
        let _ = write!(text, "[[redis]]\nname = \"g{service}\"\ninstances = [\n");
        for instance in 1..=3 {
            let port = 20_000 + service * 10 + instance;
            let _ =
                writeln!(text, "  {{ name = \"g{service}-{instance}\", address = \"127.0.0.1:{port}\" }},");
        }
        text.push_str("]\n");
    }
    let file = folder.path().join("backstay.toml");
    std::fs::write(&file, text).unwrap();
    let backstay = backstay(folder.path());
    let ended = Command::new("sh")
        .args(["-c", "ulimit -n 128; exec \"$@\"", "sh"])
        .arg(backstay.get_program())
        .args(["run", "--bootstrap", "--node", "a", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(71), "{said}");
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["may open 128 files", "210 instances need 274", "LimitNOFILE="] {
        assert!(words.contains(part), "{part}: {said}");
    }
}
