//! What the port withstands: garbage, half requests, announced lengths, slow senders, too many clients.

use super::node::{Client, Node, talk};
use std::net::SocketAddr;
use std::time::Duration;

async fn port() -> SocketAddr {
    Node::new().open(Node::settings()).await
}

async fn reply_to(port: SocketAddr, bytes: &[u8]) -> String {
    let mut client = Client::connect(port).await;
    client.send(bytes).await;
    client.read_to_end().await
}

#[tokio::test]
async fn what_is_no_request_is_answered_once_and_ends_the_connection() {
    let port = port().await;
    let endless = vec![b'x'; 70_000];
    for (bytes, error) in [
        (&b"*1\r\nfoo\r\n"[..], "expected '$', got 'f'"),
        (b"*99999999999\r\n", "invalid multibulk length"),
        (b"*2147483647\r\n", "invalid multibulk length"),
        (b"*3000\r\n", "invalid multibulk length"),
        (b"*1\r\n$999999999\r\n", "invalid bulk length"),
        (b"*1\r\n$-5\r\n", "invalid bulk length"),
        (b"*x\r\n", "invalid multibulk length"),
        (b"set \"x\r\n", "unbalanced quotes in request"),
        (&endless, "too big inline request"),
    ] {
        let reply = reply_to(port, bytes).await;
        assert_eq!(reply, format!("-ERR Protocol error: {error}\r\n"), "{}", bytes.escape_ascii());
    }
    assert_eq!(talk(port, "PING").await, "+PONG\r\n");
}

#[tokio::test]
async fn any_bytes_leave_the_port_working() {
    let port = port().await;
    let mut seed = 7_u64;
    for length in [1, 17, 300, 9000] {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 56) as u8
            })
            .collect();
        let mut client = Client::connect(port).await;
        client.send(&bytes).await;
        // Some of it may be a half request: nothing has to come back.
        drop(client);
        assert_eq!(talk(port, "PING").await, "+PONG\r\n");
    }
}

#[tokio::test]
async fn a_request_that_is_never_completed_ends_the_connection() {
    let mut settings = Node::settings();
    settings.bounds.request_time_max = Duration::from_millis(50);
    let port = Node::new().open(settings).await;
    for beginning in ["", "*2\r\n$8\r\nSENT", "PING\r\nPIN"] {
        let reply = reply_to(port, beginning.as_bytes()).await;
        assert!(reply.is_empty() || reply == "+PONG\r\n", "{reply}");
    }
}

#[tokio::test]
async fn a_client_that_asked_once_may_be_idle() {
    let mut settings = Node::settings();
    settings.bounds.request_time_max = Duration::from_millis(20);
    let port = Node::new().open(settings).await;
    let mut client = Client::connect(port).await;
    client.send("PING\r\n").await;
    client.read_to("+PONG\r\n").await;
    // One that came later and said nothing was cut off meanwhile, so the limit has passed for this one, too.
    assert_eq!(reply_to(port, b"").await, "");
    client.send("PING\r\n").await;
    client.read_to("+PONG\r\n").await;
}

#[tokio::test]
async fn a_client_that_asks_without_reading_is_not_read_any_further() {
    let mut settings = Node::settings();
    settings.bounds.send_time_max = Duration::from_millis(100);
    let port = Node::new().open(settings).await;
    let client = Client::connect(port).await;
    let requests = "SENTINEL masters\r\n".repeat(1000);
    // Sooner or later the port stops reading, then gives up; until then every write goes through.
    let flood = async {
        loop {
            client.0.writable().await.unwrap();
            match client.0.try_write(requests.as_bytes()) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(super::node::PATIENCE, flood).await.expect("the port gives up");
    assert_eq!(talk(port, "PING").await, "+PONG\r\n");
}

#[tokio::test]
async fn clients_beyond_the_bound_are_told_so_and_places_become_free() {
    let mut settings = Node::settings();
    settings.bounds.connections_max = 2;
    let port = Node::new().open(settings).await;
    let mut first = Client::connect(port).await;
    let mut second = Client::connect(port).await;
    for client in [&mut first, &mut second] {
        client.send("PING\r\n").await;
        client.read_to("+PONG\r\n").await;
    }
    assert_eq!(Client::connect(port).await.read_to_end().await, "-ERR max number of clients reached\r\n");
    first.send("QUIT\r\n").await;
    first.read_to_end().await;
    assert_eq!(talk(port, "PING").await, "+PONG\r\n");
}

#[tokio::test]
async fn subscriptions_are_bounded() {
    let port = port().await;
    let mut client = Client::connect(port).await;
    for batch in 0..2 {
        let names: Vec<_> = (0..600).map(|name| format!("{batch}-{name}")).collect();
        client.send(format!("SUBSCRIBE {}\r\n", names.join(" "))).await;
    }
    let replies = client.read_to("-ERR too many subscriptions: unsubscribe from some first\r\n").await;
    assert_eq!(replies.matches("$9\r\nsubscribe\r\n").count(), 1024);
}
