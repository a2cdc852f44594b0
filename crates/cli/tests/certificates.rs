//! `backstay cert`, what `config check` says of certificates, and a whole lab with them.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::stack::certificates::{FOLDER, of_operator};
use backstay_lab::{Fault, Options};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use support::group::{Group, until};
use support::{run, succeed};

fn controller(name: &str, number: u8) -> String {
    format!("[[controllers]]\nname = \"{name}\"\naddress = \"10.0.0.{number}:7601\"\nsentinel = \"off\"\n")
}

/// A file for three controllers whose certificates are in `folder/certs`.
fn file(folder: &Path) -> String {
    let certs = folder.join("certs");
    let certs = certs.display();
    let mut text = format!(
        "cluster = \"shop\"\n[tls]\nauthority = \"{certs}/authority.pem\"\ncertificate = \"{certs}/{{node}}.pem\"\n\
         key = \"{certs}/{{node}}.key\"\n"
    );
    for (name, number) in [("a", 1), ("b", 2), ("c", 3)] {
        text.push_str(&controller(name, number));
    }
    text += "[[redis]]\nname = \"m\"\ninstances = [{ name = \"r1\", address = \"10.0.0.1:6379\" }, { name = \"r2\", \
             address = \"10.0.0.2:6379\" }]\n";
    let path = folder.join("backstay.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn an_authority_makes_certificates_for_controllers_and_clients() {
    let folder = tempfile::tempdir().unwrap();
    let (config, here) = (file(folder.path()), folder.path());
    let certs = here.join("certs");
    let dir = certs.to_str().unwrap();
    let made = succeed(here, &["cert", "authority", "--config", &config, "--dir", dir]);
    assert!(made.contains("Keep") && made.contains("backstay cert node"), "{made}");
    let mode = |name: &str| fs::metadata(certs.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("authority.key"), mode("authority.pem")), (0o600, 0o644));
    let before = fs::read(certs.join("authority.key")).unwrap();
    let again = run(here, &["cert", "authority", "--config", &config, "--dir", dir]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("exists already, so nothing was written"), "{}", again.stderr);
    assert_eq!(fs::read(certs.join("authority.key")).unwrap(), before);

    succeed(here, &["cert", "node", "a", "--config", &config, "--dir", dir, "--host", "a.shop.internal"]);
    let shown = succeed(here, &["cert", "show", &format!("{dir}/a.pem")]);
    assert!(
        shown.contains("backstay://shop/node/a") && shown.contains("10.0.0.1, a.shop.internal"),
        "{shown}"
    );
    assert_eq!(mode("a.key"), 0o600);
    let existing = run(here, &["cert", "node", "a", "--config", &config, "--dir", dir]);
    assert!(existing.code == Some(1) && existing.stderr.contains("--replace"), "{existing:?}");
    succeed(here, &["cert", "node", "a", "--config", &config, "--dir", dir, "--replace", "--days", "7"]);

    let client = ["cert", "client", "eve", "--cluster", "shop", "--dir", dir, "--read-only", "-o", "json"];
    let made: serde_json::Value = serde_json::from_str(&succeed(here, &client)).unwrap();
    assert_eq!(made["identity"], "backstay://shop/client/read/eve");
    for name in ["authority", "a/b", "..", "", "a b"] {
        let refused = run(here, &["cert", "client", name, "--cluster", "shop", "--dir", dir]);
        assert!(
            refused.code == Some(1) && refused.stderr.contains("cannot be a name"),
            "{name}: {refused:?}"
        );
    }
    let unknown = run(here, &["cert", "node", "d", "--config", &config, "--dir", dir]);
    assert!(unknown.stderr.contains("no controller called 'd'"), "{unknown:?}");
    assert!(!certs.join("d.key").exists());
    let nowhere = run(here, &["cert", "node", "a", "--cluster", "shop", "--dir", &format!("{dir}/none")]);
    assert!(nowhere.stderr.contains("backstay cert authority"), "{nowhere:?}");
}

#[test]
fn a_wrong_certificate_is_shown_at_the_setting_that_names_it_and_stops_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let (config, here) = (file(folder.path()), folder.path());
    let certs = here.join("certs");
    let dir = certs.to_str().unwrap();
    let refused = |part: &str| {
        let checked = run(here, &["config", "check", &config, "-o", "json"]);
        assert_eq!(checked.code, Some(1), "{checked:?}");
        let verdict: serde_json::Value = serde_json::from_str(&checked.stdout).unwrap();
        let finding = &verdict["findings"][0];
        assert!(finding["message"].as_str().unwrap().contains(part), "{part}: {finding}");
        let started = run(here, &["run", "--config", &config, "--node", "a", "--bootstrap"]);
        assert_eq!(started.code, Some(78), "{started:?}");
        finding["line"].as_u64().unwrap()
    };
    assert_eq!(refused("authority.pem cannot be read"), 3);
    succeed(here, &["cert", "authority", "--config", &config, "--dir", dir]);
    assert_eq!(refused("no controller's certificate is on this machine"), 4);
    succeed(here, &["cert", "node", "a", "--config", &config, "--dir", dir]);
    succeed(here, &["config", "check", &config]);
    succeed(here, &["config", "check", &config, "--node", "a"]);
    let other = run(here, &["config", "check", &config, "--node", "b"]);
    assert!(other.code == Some(1) && other.stderr.contains("b.pem"), "{other:?}");
    succeed(here, &["cert", "node", "b", "--config", &config, "--dir", dir]);
    fs::copy(certs.join("b.pem"), certs.join("a.pem")).unwrap();
    assert_eq!(refused("that of controller b of cluster shop, and that of controller a"), 4);
    succeed(here, &["cert", "node", "a", "--config", &config, "--dir", dir, "--replace"]);
    fs::copy(certs.join("b.key"), certs.join("a.key")).unwrap();
    assert_eq!(refused("does not belong to the certificate"), 5);
}

#[test]
fn a_lab_with_certificates_fails_over_and_is_asked_over_tls() {
    let group = Group::with(Options { tls: true, ..Options::default() });
    let (old, epoch) = (group.named_primary(), group.epoch());
    group.fault(Fault::Kill, &old.name).unwrap();
    let failover = group.await_failover(epoch);
    assert_eq!(failover.epoch.0, epoch + 1);

    let state = group.state().unwrap();
    let ports = state.controllers.iter().filter_map(|member| member.server.remote_admin);
    let servers: Vec<_> = ports.map(|port| format!("localhost:{port}")).collect();
    let certificate = of_operator(group.dir());
    let certificate = certificate.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let ask = |words: &[&str], certificate: &str| {
        let to = ["--server", &servers.join(","), "--cert", certificate];
        run(folder.path(), &[words, &to].concat())
    };
    let status = ask(&["status"], certificate);
    assert!(status.code == Some(0) && status.stdout.contains("certificate until"), "{status:?}");
    let paused = ask(&["pause", "--for", "1m", "--by", "root"], certificate);
    assert_eq!(paused.code, Some(0), "{paused:?}");
    until("the pause on record", || group.told(&["status"]).contains("by operator (root)").then_some(()));
    assert_eq!(ask(&["resume"], certificate).code, Some(0));

    let config = group.config();
    let certs = group.dir().join(FOLDER);
    let (config, certs) = (config.to_str().unwrap(), certs.to_str().unwrap());
    succeed(folder.path(), &["cert", "client", "eve", "--config", config, "--dir", certs, "--read-only"]);
    let eve = format!("{certs}/eve.pem");
    assert_eq!(ask(&["status"], &eve).code, Some(0));
    let refused = ask(&["pause", "--for", "1m"], &eve);
    assert!(refused.code == Some(1) && refused.stderr.contains("eve may only read"), "{refused:?}");
    let node = ask(&["status"], &format!("{certs}/a.pem"));
    assert!(
        node.code == Some(4) && node.stderr.contains("does not accept this side's certificate"),
        "{node:?}"
    );
    let bare = run(folder.path(), &["status", "--server", &servers[0]]);
    assert!(bare.code == Some(2) && bare.stderr.contains("--server needs a certificate"), "{bare:?}");
}
