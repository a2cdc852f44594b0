//! What a server refuses leaves the client's state as it was, and nothing to the next one on that connection.

use crate::support::{Front, Server, endpoint, hear, say, send, until};
use backstay_gateway::{Endpoint, EndpointKind, Otherwise};
use backstay_lab::load::connection::Connection;

/// A server whose users may not say this.
fn without(command: &str) -> Server {
    let server = Server::start();
    server.ask(&["ACL", "SETUSER", "default", &format!("-{command}")]);
    server
}

/// What these lines are answered, sent at once.
fn together(client: &mut Connection, lines: &[&str]) -> Vec<String> {
    let words: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
    let requests: Vec<&[&str]> = words.iter().map(Vec::as_slice).collect();
    client.send(&requests).unwrap();
    let first_words = |text: String| text.split(' ').take(2).collect::<Vec<_>>().join(" ");
    lines.iter().map(|_| first_words(hear(client))).collect()
}

fn await_own(front: &Front, count: u64) {
    until("own connections in use", || front.gateway.look().traffic()[0].connections.own_used == count);
}

#[test]
fn who_may_not_watch_watches_nothing() {
    let (server, next) = (without("watch"), Server::start());
    let front = Front::of(&server);
    let mut client = front.client();
    assert!(say(&mut client, "WATCH a").starts_with("NOPERM"));
    await_own(&front, 0);
    assert_eq!(together(&mut client, &["WATCH a", "WATCH"]), ["NOPERM this", "ERR wrong"]);
    front.hold(2);
    front.serve(3, &next);
    assert_eq!(together(&mut client, &["MULTI", "SET a 1", "EXEC"]), ["OK", "QUEUED", "[OK]"]);
}

#[test]
fn a_refused_watch_changes_nothing_about_the_others() {
    for (lines, executed) in [
        (&["WATCH a", "WATCH"][..], "nil"),
        (&["WATCH", "WATCH a"], "nil"),
        (&["WATCH a", "UNWATCH", "WATCH"], "[OK]"),
        (&["WATCH", "UNWATCH", "WATCH a"], "nil"),
        (&["WATCH a", "MULTI", "EXEC", "WATCH"], "[OK]"),
    ] {
        let (server, next) = (Server::start(), Server::start());
        let front = Front::of(&server);
        let mut client = front.client();
        together(&mut client, lines);
        front.hold(2);
        front.serve(3, &next);
        assert_eq!(together(&mut client, &["MULTI", "SET a 1", "EXEC"])[2], executed, "{lines:?}");
    }
}

#[test]
fn a_refused_multi_begins_no_transaction() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    assert_eq!(together(&mut client, &["MULTI x", "SET a 1", "EXEC"]), ["ERR wrong", "OK", "ERR EXEC"]);
    assert_eq!(together(&mut client, &["MULTI x", "DISCARD"]), ["ERR wrong", "ERR DISCARD"]);
    assert!(say(&mut client, "MULTI x").starts_with("ERR"));
    await_own(&front, 0);
    assert_eq!(say(&mut client, "SELECT 1"), "OK");
    let lines = ["MULTI x", "SET a 1", "EXEC", "MULTI", "SET b 1", "EXEC"];
    let answers = ["ERR wrong", "OK", "ERR EXEC", "OK", "QUEUED", "[OK]"];
    assert_eq!(together(&mut client, &lines), answers);
}

#[test]
fn a_discard_that_is_refused_leaves_its_transaction_to_nobody() {
    for server in [Server::start(), without("discard")] {
        let front = Front::of(&server);
        let mut client = front.client();
        let refused = say_all(&mut client, &["MULTI", "SET a 1", "DISCARD x"]);
        assert!(refused.starts_with("ERR wrong") || refused.starts_with("NOPERM"), "{refused}");
        drop(client);
        until("no client", || front.gateway.load().clients == 0);
        let mut next = front.client();
        assert_eq!(together(&mut next, &["MULTI", "GET a", "EXEC"]), ["OK", "QUEUED", "[nil]"]);
    }
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    let lines = ["MULTI", "SET a 1", "DISCARD x", "SET a 2", "EXEC", "GET a"];
    let answers = ["OK", "QUEUED", "ERR wrong", "QUEUED", "EXECABORT Transaction", "nil"];
    assert_eq!(together(&mut client, &lines), answers);
}

#[test]
fn what_may_not_be_unwatched_is_watched_for_nobody_else() {
    for (server, line) in [(without("unwatch"), "UNWATCH"), (Server::start(), "UNWATCH x")] {
        let front = Front::of(&server);
        let (mut client, mut next) = (front.client(), front.client());
        assert_eq!(say(&mut client, "WATCH a"), "OK");
        let refused = say(&mut client, line);
        assert!(refused.starts_with("ERR wrong") || refused.starts_with("NOPERM"), "{refused}");
        assert_eq!(say(&mut next, "MULTI"), "OK");
        server.ask(&["SET", "a", "9"]);
        assert_eq!(together(&mut next, &["GET a", "EXEC"]), ["QUEUED", "[9]"]);
        // As on the server.
        assert_eq!(together(&mut client, &["MULTI", "GET a", "EXEC"]), ["OK", "QUEUED", "nil"]);
    }
}

fn say_all(client: &mut Connection, lines: &[&str]) -> String {
    lines.iter().map(|line| say(client, line)).last().unwrap()
}

#[test]
fn a_write_that_a_reader_address_refuses_is_the_only_one_that_skip_is_about() {
    let server = Server::start();
    let front = Front::start(Endpoint {
        kind: EndpointKind::Reader { max_lag_bytes: 1, otherwise: Otherwise::Primary },
        ..endpoint()
    });
    front.serve(1, &server);
    let mut client = front.client();
    send(&mut client, "CLIENT REPLY SKIP");
    send(&mut client, "SET a 1");
    assert_eq!(say(&mut client, "SET a 2"), "READONLY this address is for reads alone");
}
