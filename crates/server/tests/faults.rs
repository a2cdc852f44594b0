//! Redis servers that answer but cannot serve, and what is told of them while it happens.

#![allow(clippy::disallowed_methods, reason = "these tests touch the world")]

mod support;

use serde_json::Value;
use support::redis::Redis;
use support::{Cluster, SERVICE, admin, until, within};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

#[tokio::test]
async fn a_wrong_password_is_named_and_is_no_reason_to_fail_over() {
    let mut cluster = Cluster::new(&["a", "b", "c"], &[]);
    let folder = cluster.folder.path().to_owned();
    for name in ["r1", "r2", "r3"] {
        let options = ["--requirepass", "hush", "--masterauth", "hush"];
        cluster.instances.push(Redis::start(&folder, name, &options));
    }
    let password = folder.join("password");
    std::fs::write(&password, "hush\n").unwrap();
    cluster.extra = format!("password_file = \"{}\"", password.display());
    cluster.start_all();
    let primary = cluster.wait_for_primary().await;
    let replies = cluster
        .redis(&primary)
        .ask_all(&["AUTH hush", "CONFIG SET requirepass other", "CLIENT KILL TYPE normal SKIPME yes"])
        .unwrap();
    assert!(replies[..2].iter().all(|reply| reply == "+OK"), "{replies:?}");
    until("everybody names the password", async || {
        for index in 0..3 {
            let service = cluster.status(index).await?.services.into_iter().next()?;
            let instance = service.instances.iter().find(|it| it.name.as_str() == primary)?;
            if !instance.health.contains("password") {
                return None;
            }
        }
        Some(())
    })
    .await;
    let service = cluster.service().await.unwrap();
    let sentence = service.problems.iter().find(|it| it.sentence.contains("password"));
    assert!(sentence.is_some(), "{:?}", service.problems);
    assert_eq!((service.epoch.0, service.primary.unwrap().as_str()), (1, primary.as_str()));
    // The right password, in the same place, is enough.
    std::fs::write(&password, "other\n").unwrap();
    for name in ["r1", "r2", "r3"].into_iter().filter(|name| *name != primary) {
        let commands = ["AUTH hush", "CONFIG SET requirepass other", "CONFIG SET masterauth other"];
        cluster.redis(name).ask_all(&commands).unwrap();
    }
    cluster.redis(&primary).ask_all(&["AUTH other", "CLIENT KILL TYPE normal"]);
    until("it is healthy again", async || {
        let service = cluster.service().await?;
        let instance = service.instances.into_iter().find(|it| it.name.as_str() == primary)?;
        (instance.health == "up").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_password_that_cannot_be_read_stops_the_start() {
    let mut cluster = Cluster::new(&["a"], &["r1", "r2"]);
    cluster.extra = "password_env = \"BACKSTAY_TEST_NO_SUCH_VARIABLE\"".to_owned();
    cluster.start(0, true);
    let error = cluster.ended(0).await.unwrap_err();
    assert!(error.to_string().contains("BACKSTAY_TEST_NO_SUCH_VARIABLE"), "{error}");
    assert_eq!(error.exit_code(), 78);
    assert!(!cluster.controllers[0].state.exists());
}

#[tokio::test]
async fn something_that_is_no_redis_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut cluster = Cluster::new(&["a"], &["r1", "r2"]);
    cluster.redis("r2").kill();
    cluster.redis("r2").port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    cluster.start_all();
    until("it is named", async || {
        let service = cluster.service().await?;
        let instance = service.instances.into_iter().find(|it| it.name.as_str() == "r2")?;
        instance.health.contains("not what the file names").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_named() {
    let mut cluster = Cluster::new(&["a"], &["r1", "r2"]);
    let text = cluster
        .text()
        .replace(&format!("127.0.0.1:{}", cluster.instances[1].port), "no-such-host.invalid:6379");
    cluster.file = Some(text);
    cluster.start_all();
    until("it is named", async || {
        let service = cluster.service().await?;
        let instance = service.instances.into_iter().find(|it| it.name.as_str() == "r2")?;
        instance.health.contains("does not resolve").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_failover_is_told_as_it_happens() {
    let mut cluster = Cluster::with_primary().await;
    let stream = UnixStream::connect(&cluster.controllers[0].admin).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let request = format!("GET /v1/events?service={SERVICE} HTTP/1.0\r\n\r\n");
    lines.get_mut().write_all(request.as_bytes()).await.unwrap();
    while let Some(line) = within(lines.next_line()).await.unwrap() {
        if line.is_empty() {
            break; // The head is over: from now on nothing is missed.
        }
    }
    let primary = cluster.primary().await.unwrap();
    cluster.redis(&primary).kill();
    let mut kinds = Vec::new();
    while let Some(line) = within(lines.next_line()).await.unwrap() {
        let event: Value = serde_json::from_str(&line).unwrap();
        assert!(event["sentence"].is_string() && event["severity"].is_string() && event["at"].is_u64());
        let kind = event["kind"].as_str().unwrap().to_owned();
        kinds.push(kind);
        if kinds.last().is_some_and(|kind| kind == "failover_ended") {
            break;
        }
    }
    let expected = ["suspected_here", "failover_begun", "candidate_chosen", "promoted", "failover_ended"];
    let mut seen = kinds.iter();
    for kind in expected {
        assert!(seen.any(|it| it == kind), "{kind} is missing in {kinds:?}");
    }
    let status = admin::get(&cluster.controllers[0].admin, "/v1/status").await.unwrap();
    assert_eq!(status.0, 200);
}

/// The lines that a controller answers a question for events with.
async fn told(cluster: &Cluster, query: &str) -> Vec<Value> {
    let stream = UnixStream::connect(&cluster.controllers[0].admin).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let request = format!("GET /v1/events?{query} HTTP/1.0\r\n\r\n");
    lines.get_mut().write_all(request.as_bytes()).await.unwrap();
    let mut told = Vec::new();
    while let Some(line) = within(lines.next_line()).await.unwrap() {
        told.extend(serde_json::from_str(&line).ok().filter(Value::is_object));
    }
    told
}

#[tokio::test]
async fn what_happened_is_remembered_from_any_moment_on() {
    let cluster = Cluster::with_primary().await;
    let all = told(&cluster, "since=0&follow=false").await;
    assert!(all.iter().all(|line| line["seen_by"] == "a"), "{all:?}");
    assert!(all.iter().any(|line| line["service"] == SERVICE), "{all:?}");
    let last = all.last().unwrap()["at"].as_u64().unwrap();
    let newest = told(&cluster, &format!("since={last}&follow=false")).await;
    assert!(!newest.is_empty() && newest.iter().all(|line| line["at"].as_u64() >= Some(last)), "{newest:?}");
    assert!(told(&cluster, "follow=false").await.is_empty());
    let refused = told(&cluster, "follow=false&service=ordres").await;
    let sentence = refused[0]["error"].as_str().unwrap();
    assert_eq!(sentence, "there is no service called ordres; did you mean orders? known: orders");
}
