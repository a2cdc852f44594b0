//! Garbage, half frames, huge lengths and slow senders on the ports of a controller, and peers that are none.

mod support;

use serde_json::json;
use std::path::Path;
use support::{Cluster, admin, until, within};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

/// Sends bytes and waits until the other side ends the connection. What it said.
async fn cut_off(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    // It may hang up while we talk.
    let _ = stream.write_all(bytes).await;
    let _ = within(stream.read_to_end(&mut said)).await;
    said
}

async fn peer_port(cluster: &Cluster, index: usize) -> TcpStream {
    TcpStream::connect(("127.0.0.1", cluster.controllers[index].peer)).await.unwrap()
}

#[tokio::test]
async fn garbage_on_the_peer_port_is_hung_up_on_and_changes_nothing() {
    let mut cluster = Cluster::new(&["a", "b", "c"], &[]);
    cluster.start_all();
    cluster.wait_for_leader().await;
    let pieces: [&'static [u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xff; 4096],
        &[0x00, 0x00, 0x00, 0x05, 1, 2, 3, 4, 5],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0x00, 0x00, 0x04, 0x00, 0x01],
        b"",
    ];
    let mut calls = JoinSet::new();
    for call in 0..40 {
        let stream = peer_port(&cluster, call % 3).await;
        calls.spawn(cut_off(stream, pieces[call % pieces.len()]));
    }
    for said in calls.join_all().await {
        assert!(said.len() < 64, "{said:?}");
    }
    let leader = cluster.wait_for_leader().await;
    until("that all are in touch", async || {
        let status = cluster.status(leader).await?;
        (status.quorum && status.controllers.iter().all(|it| it.connected)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn callers_that_say_nothing_do_not_keep_peers_out() {
    let mut cluster = Cluster::new(&["a", "b", "c"], &[]);
    cluster.start_all();
    cluster.wait_for_leader().await;
    let mut silent = Vec::new();
    for call in 0..300 {
        silent.push(peer_port(&cluster, call % 3).await);
    }
    cluster.kill(0).await;
    cluster.start(0, false);
    until("three controllers that hear each other", async || {
        let status = cluster.status(0).await?;
        status.controllers.iter().all(|it| it.connected).then_some(())
    })
    .await;
    let mut calls = JoinSet::new();
    for stream in silent {
        calls.spawn(cut_off(stream, b""));
    }
    assert!(calls.join_all().await.iter().all(Vec::is_empty));
}

#[tokio::test]
async fn a_controller_of_another_cluster_is_refused() {
    let mut cluster = Cluster::new(&["a", "b", "c"], &[]);
    let mut other = Cluster::new(&["a", "b", "c"], &[]);
    "another".clone_into(&mut other.name);
    // Its c takes the first cluster's a and b for its own.
    for index in 0..2 {
        other.controllers[index].peer = cluster.controllers[index].peer;
    }
    cluster.start_all();
    other.start(2, true);
    let leader = cluster.wait_for_leader().await;
    until("the stranger's own view", async || other.status(2).await).await;
    assert_eq!(cluster.wait_for_leader().await, leader);
    let alone = other.status(2).await.unwrap();
    assert!(!alone.quorum && alone.leader.is_none(), "{alone:?}");
    assert_eq!(alone.controllers.iter().filter(|it| it.connected).count(), 1);
}

async fn said(socket: &Path, bytes: &[u8]) -> String {
    let stream = UnixStream::connect(socket).await.unwrap();
    String::from_utf8_lossy(&cut_off(stream, bytes).await).into_owned()
}

#[tokio::test]
async fn nonsense_on_the_admin_socket_gets_a_sentence_and_is_bounded() {
    let mut cluster = Cluster::new(&["a"], &["r1", "r2"]);
    cluster.start_all();
    cluster.wait_for_leader().await;
    let socket = cluster.controllers[0].admin.clone();
    assert!(said(&socket, b"\x00\x01garbage\r\n\r\n").await.contains("400"));
    let long = [b"GET /".to_vec(), vec![b'x'; 100_000], b" HTTP/1.1\r\n\r\n".to_vec()].concat();
    let refused = said(&socket, &long).await;
    assert!(refused.is_empty() || refused.contains(" 4"), "{refused}");
    let expected = [
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/pause", 405),
        ("GET", "/v1/explain/nobody", 404),
        ("GET", "/v1/history?service=nobody", 404),
        ("GET", "/v1/status?local=perhaps", 400),
        ("GET", "/v1/history?service=orders", 200),
        ("GET", "/v1/explain/orders", 200),
    ];
    for (_, path, code) in expected {
        let (found, body) = admin::get(&socket, path).await.unwrap();
        assert_eq!(found, code, "{path}: {body}");
        assert!(code == 200 || body["error"].is_string(), "{path}: {body}");
    }
    for (path, body, code) in [
        ("/v1/pause", json!({"by": "me"}), 400),
        ("/v1/pause", json!({"for_seconds": 0, "by": "me"}), 409),
        ("/v1/pause", json!({"for_seconds": 9, "by": "a\u{7}b"}), 400),
        ("/v1/pause", json!({"for_seconds": 9, "by": "me", "service": "nobody"}), 404),
        ("/v1/resume", json!({"by": "me", "surprise": 1}), 400),
        ("/v1/resume", json!({"by": "x".repeat(20_000)}), 413),
        ("/v1/decide", json!({"service": "orders", "instance": "nobody", "by": "me"}), 404),
        ("/v1/pause", json!({"for_seconds": 9, "by": "me"}), 200),
        ("/v1/resume", json!({"by": "me", "service": "orders"}), 200),
    ] {
        let (found, answer) = admin::post(&socket, path, &body).await.unwrap();
        assert_eq!(found, code, "{path} {body}: {answer}");
        assert!(code == 200 || answer["error"].is_string(), "{path}: {answer}");
    }
}

#[tokio::test]
async fn without_a_leader_a_wish_is_refused_and_the_status_says_so() {
    let mut cluster = Cluster::new(&["a", "b", "c"], &["r1", "r2"]);
    cluster.start(0, true);
    let status = until("a view", async || cluster.status(0).await).await;
    assert!(!status.quorum && status.leader.is_none());
    let socket = cluster.controllers[0].admin.clone();
    let body = json!({"for_seconds": 9, "by": "me"});
    let (code, answer) = admin::post(&socket, "/v1/pause", &body).await.unwrap();
    assert_eq!(code, 503, "{answer}");
    assert!(answer["error"].as_str().unwrap().contains("nothing was changed"), "{answer}");
}
