//! Controllers and clients that prove who they are, and those who cannot. What each end says of a refused handshake is
//! tested beside the handshake itself (`src/peers/tests.rs`).

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_server::RunError;
use backstay_server::tls::issue::Dates;
use backstay_server::tls::{Identity, Right, refusal};
use serde_json::{Value, json};
use std::fs;
use support::certificates::{Certificates, connect, dates, request};
use support::{Cluster, admin, until, within};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

#[tokio::test]
async fn three_controllers_with_certificates_elect_a_leader_and_fail_over() {
    let mut cluster = Cluster::encrypted(&["a", "b", "c"], &["r1", "r2", "r3"]);
    cluster.start_all();
    let first = cluster.wait_for_primary().await;
    let leader = cluster.wait_for_leader().await;
    let certified = until("how every certificate stands", async || {
        let status = cluster.status(leader).await?;
        status.controllers.iter().all(|it| it.certificate_expires.is_some()).then_some(status)
    })
    .await;
    assert!(certified.problems.is_empty(), "{:?}", certified.problems);
    cluster.redis(&first).kill();
    let second =
        until("another primary", async || cluster.primary().await.filter(|name| *name != first)).await;
    assert_ne!(first, second);
}

#[tokio::test]
async fn a_controller_of_another_authority_is_not_listened_to() {
    let mut cluster = Cluster::encrypted(&["a", "b", "c"], &[]);
    cluster.start_all();
    let leader = cluster.wait_for_leader().await;
    let outcast = (leader + 1) % 3;
    let witness = (leader + 2) % 3;
    cluster.kill(outcast).await;
    let other = Certificates::new(&cluster.folder.path().join("other"), &cluster.name);
    other.node(&cluster.controllers[outcast].name, 365);
    // It alone reads its files elsewhere.
    let mine = cluster.certificates.replace(other);
    cluster.start(outcast, false);
    cluster.certificates = mine;
    let alone = until("the view of the one who is shut out", async || {
        cluster.status(outcast).await.filter(|it| it.leader.is_none())
    })
    .await;
    assert!(!alone.quorum, "{alone:?}");
    let heard = until("that it is no longer heard of", async || {
        let status = cluster.status(witness).await?;
        let heard: Vec<_> = status.controllers.into_iter().map(|it| it.connected).collect();
        (!heard[outcast]).then_some(heard)
    })
    .await;
    assert_eq!(heard.iter().filter(|it| **it).count(), 2);
    assert_eq!(cluster.status(witness).await.unwrap().leader, cluster.status(leader).await.unwrap().leader);
}

#[tokio::test]
async fn certificates_that_are_not_this_controllers_or_not_in_force_stop_its_start() {
    type Spoil = fn(&Certificates);
    fn put(all: &Certificates, whose: &str, dates: Dates) {
        all.put("a", &all.issue(&all.node_identity(whose), dates));
    }
    let cases: [(&str, Spoil); 7] = [
        ("that of controller b", |all| put(all, "b", dates(-1, 30))),
        ("expired on", |all| put(all, "a", dates(-30, -1))),
        ("valid only from", |all| put(all, "a", dates(1, 30))),
        ("was not made by the authority", |all| {
            let other = Certificates::new(&all.folder.join("other"), "test");
            fs::copy(other.folder.join("authority.pem"), all.folder.join("authority.pem")).unwrap();
        }),
        ("does not belong to the certificate", |all| {
            fs::copy(all.folder.join("b.key"), all.folder.join("a.key")).unwrap();
        }),
        ("a.key cannot be read", |all| fs::remove_file(all.folder.join("a.key")).unwrap()),
        ("there is no certificate in it", |all| fs::write(all.folder.join("a.pem"), "hello\n").unwrap()),
    ];
    for (sentence, spoil) in cases {
        let mut cluster = Cluster::encrypted(&["a", "b", "c"], &[]);
        spoil(cluster.certificates.as_ref().unwrap());
        cluster.start(0, true);
        let error = cluster.ended(0).await.unwrap_err();
        assert!(matches!(error, RunError::Tls(_)), "{error:?}");
        assert_eq!(error.exit_code(), 78);
        assert!(error.to_string().contains(sentence), "{sentence}: {error}");
        assert!(!cluster.controllers[0].state.exists(), "nothing is made before the certificates are right");
    }
}

#[tokio::test]
async fn callers_that_stall_in_the_handshake_are_hung_up_on_and_keep_nobody_out() {
    let mut cluster = Cluster::encrypted(&["a", "b", "c"], &[]);
    cluster.start_all();
    let leader = cluster.wait_for_leader().await;
    let term = cluster.status(leader).await.unwrap().term;
    let operator = cluster.certificates.as_ref().unwrap().client("ada", Right::Operate);
    let mut silent = Vec::new();
    for call in 0..300 {
        let controller = &cluster.controllers[call % 3];
        let port = if call % 2 == 0 { controller.peer } else { controller.remote_admin };
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        if call % 4 < 2 {
            // The head of a record that never comes.
            stream.try_write(&[0x16, 3, 1, 2, 0]).unwrap();
        }
        silent.push(stream);
    }
    let victim = (leader + 1) % 3;
    cluster.kill(victim).await;
    cluster.start(victim, false);
    until("three controllers that hear each other", async || {
        let status = cluster.status(victim).await?;
        status.controllers.iter().all(|it| it.connected).then_some(())
    })
    .await;
    let port = cluster.controllers[leader].remote_admin;
    let (code, status) = request(port, &operator, "GET", "/v1/status", &Value::Null).await.unwrap();
    assert_eq!((code, &status["term"]), (200, &json!(term)));
    let mut calls = JoinSet::new();
    for mut stream in silent {
        calls.spawn(async move {
            let mut said = Vec::new();
            let _ = within(stream.read_to_end(&mut said)).await;
            said.len()
        });
    }
    assert!(calls.join_all().await.into_iter().all(|bytes| bytes < 64));
}

#[tokio::test]
async fn renewed_certificates_are_used_without_a_restart_and_broken_ones_are_not() {
    let mut cluster = Cluster::encrypted(&["a", "b", "c"], &[]);
    cluster.start_all();
    let leader = cluster.wait_for_leader().await;
    let term = cluster.status(leader).await.unwrap().term;
    let renewed = (leader + 1) % 3;
    let name = cluster.controllers[renewed].name.clone();
    let certificates = cluster.certificates.take().unwrap();
    let expires = async |cluster: &Cluster| {
        let status = cluster.status(leader).await?;
        status.controllers.into_iter().find(|it| it.name.as_str() == name)?.certificate_expires
    };
    let before = until("when it ends", async || expires(&cluster).await).await;
    let soon = certificates.issue(&certificates.node_identity(&name), dates(-300, 20));
    certificates.put(&name, &soon);
    // The leader hears of it from the one whose it is, and it ends soon.
    until("the new end", async || expires(&cluster).await.filter(|end| *end < before)).await;
    let problems = cluster.status(leader).await.unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].code, "CertificateExpires");
    assert!(
        problems[0].sentence.contains(&format!("of controller {name} expires in 19 days")),
        "{problems:?}"
    );
    // Half a file changes nothing and is told.
    certificates.node(&name, 400);
    let file = certificates.folder.join(format!("{name}.pem"));
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    until("the trouble", async || {
        let problems = cluster.status(leader).await?.problems;
        problems.iter().any(|it| it.code == "CertificateUnusable").then_some(())
    })
    .await;
    assert!(expires(&cluster).await < Some(before));
    fs::write(&file, &whole).unwrap();
    until("the newest end", async || expires(&cluster).await.filter(|end| *end > before)).await;
    assert!(cluster.status(leader).await.unwrap().problems.is_empty());
    // Nobody lost a connection over it, and new ones are made.
    assert_eq!(cluster.status(leader).await.unwrap().term, term);
    cluster.certificates = Some(certificates);
    let third = (leader + 2) % 3;
    cluster.kill(third).await;
    cluster.start(third, false);
    until("three controllers that hear each other", async || {
        let status = cluster.status(third).await?;
        status.controllers.iter().all(|it| it.connected).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_client_may_do_what_its_certificate_says_and_its_name_goes_on_record() {
    let mut cluster = Cluster::encrypted(&["a"], &["r1", "r2"]);
    cluster.start_all();
    cluster.wait_for_leader().await;
    let certificates = cluster.certificates.as_ref().unwrap();
    let (ada, eve) = (certificates.client("ada", Right::Operate), certificates.client("eve", Right::Read));
    let port = cluster.controllers[0].remote_admin;
    for path in ["/v1/status", "/v1/history", "/v1/explain/orders"] {
        assert_eq!(request(port, &eve, "GET", path, &Value::Null).await.unwrap().0, 200, "{path}");
    }
    let pause = json!({"for_seconds": 60, "by": "root"});
    let decide = json!({"service": "orders", "instance": "r1", "by": "root"});
    for (path, body) in
        [("/v1/pause", &pause), ("/v1/resume", &json!({"by": "root"})), ("/v1/decide", &decide)]
    {
        let (code, answer) = request(port, &eve, "POST", path, body).await.unwrap();
        let sentence = answer["error"].as_str().unwrap();
        assert!(code == 403 && sentence.contains("eve may only read, so nothing was changed"), "{answer}");
    }
    let (code, answer) = request(port, &ada, "POST", "/v1/pause", &pause).await.unwrap();
    assert_eq!(code, 200, "{answer}");
    let (_, status) = admin::get(&cluster.controllers[0].admin, "/v1/status").await.unwrap();
    assert_eq!(status["services"][0]["paused"]["by"], "ada (root)");
}

#[tokio::test]
async fn only_clients_of_this_cluster_are_served_over_tls() {
    let mut cluster = Cluster::encrypted(&["a"], &[]);
    cluster.start_all();
    cluster.wait_for_leader().await;
    let port = cluster.controllers[0].remote_admin;
    let mine = cluster.certificates.as_ref().unwrap();
    let other = Certificates::new(&cluster.folder.path().join("other"), "test");
    let stranger = other.client("ada", Right::Operate);
    // It knows whom it calls, so that only this controller can refuse.
    fs::copy(mine.folder.join("authority.pem"), other.folder.join("authority.pem")).unwrap();
    let elsewhere = Identity::Client { cluster: "another".into(), name: "ada".into(), right: Right::Operate };
    let foreign = mine.put("foreign", &mine.issue(&elsewhere, dates(-1, 30)));
    let ada = Identity::Client { cluster: "test".into(), name: "ada".into(), right: Right::Operate };
    let expired = mine.put("expired", &mine.issue(&ada, dates(-30, -1)));
    let node = mine.folder.join("a.pem");
    for (certificate, alert) in [
        (&stranger, "another authority made it"),
        (&foreign, "that of another cluster"),
        (&expired, "expired or not yet valid"),
        (&node, "of a client where a controller is needed or the other way round"),
    ] {
        let error = request(port, certificate, "GET", "/v1/status", &Value::Null).await.unwrap_err();
        let why = refusal(&error).unwrap_or_else(|| panic!("{error}"));
        assert!(why.contains(alert), "{alert}: {why}");
    }
    // A client on the port of the controllers is none.
    let ada = mine.client("ada", Right::Operate);
    let mut stream = connect(cluster.controllers[0].peer, &ada).await.unwrap();
    let error = within(stream.read_u8()).await.unwrap_err();
    assert!(refusal(&error).is_some(), "{error}");
}
