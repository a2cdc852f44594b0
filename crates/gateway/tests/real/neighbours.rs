//! What one client does, another one never feels.

use crate::support::{Front, LIMIT, Server, endpoint, hear, say, send, until};
use backstay_gateway::{Endpoint, User};
use backstay_lab::load::connection::Connection;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn shared_connection(server: &Server) -> String {
    let all = server.clients();
    assert_eq!(all.len(), 1, "{all:?}");
    all[0].split(' ').next().unwrap().to_owned()
}

#[test]
fn words_at_which_redis_hangs_up_do_not_end_the_shared_connection() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    assert_eq!(say(&mut client, "SET a 1"), "OK");
    let before = shared_connection(&server);
    for word in ["POST", "host:"] {
        let answer = say(&mut front.client(), &format!("{word} a"));
        assert!(answer.contains("is not allowed through a gateway"), "{answer}");
    }
    assert_eq!(say(&mut client, "GET a"), "1");
    assert_eq!(shared_connection(&server), before);
}

#[test]
fn a_blocking_command_is_one_however_its_timeout_is_written() {
    let server = Server::start();
    let front = Front::of(&server);
    assert_eq!(say(&mut front.client(), "XGROUP CREATE s STREAMS $ MKSTREAM"), "OK");
    assert_eq!(say(&mut front.client(), "XGROUP CREATE s BLOCK $ MKSTREAM"), "OK");
    let blocking = [
        "BLPOP list 0x7fff",
        "BLMPOP 0x7fff 1 list LEFT",
        "XREADGROUP GROUP STREAMS me BLOCK 0 STREAMS s >",
        "XREADGROUP GROUP BLOCK me BLOCK 0 STREAMS s >",
    ];
    let mut blocked: Vec<Connection> = Vec::new();
    for (number, command) in blocking.into_iter().enumerate() {
        let mut client = front.client();
        send(&mut client, command);
        let expected = (number + 1).to_string();
        until(command, || server.redis.info("blocked_clients").unwrap().as_deref() == Some(&*expected));
        blocked.push(client);
        let mut other = Connection::open(front.address, Duration::from_secs(2)).unwrap();
        other.send(&[&["GET", "a"]]).unwrap();
        assert!(other.receive().is_ok(), "{command} blocks everybody");
    }
}

#[test]
fn tracking_that_cannot_be_changed_goes_on_for_its_client_alone() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut tracking = front.resp3();
    assert_eq!(say(&mut tracking, "CLIENT TRACKING ON"), "OK");
    assert!(say(&mut tracking, "CLIENT TRACKING ON BCAST").starts_with("ERR "));
    let mut other = front.resp3();
    assert_eq!(say(&mut other, "MULTI"), "OK");
    assert_eq!(say(&mut tracking, "GET a"), "nil");
    server.ask(&["SET", "a", "1"]);
    assert_eq!(hear(&mut tracking), ">[invalidate [a]]");
    server.ask(&["FLUSHALL"]);
    assert_eq!(say(&mut other, "EXEC"), "[]");
}

#[test]
fn a_stranger_cannot_make_the_gateway_keep_much() {
    let user = User { name: "app".into(), password: "right".into(), login: None };
    let front = Front::start(Endpoint { users: vec![user], ..endpoint() });
    let mut client = TcpStream::connect(front.address).unwrap();
    client.set_read_timeout(Some(LIMIT)).unwrap();
    client.write_all(b"*2\r\n$4\r\nAUTH\r\n$100000000\r\n").unwrap();
    // It may have hung up before it was given everything.
    let _ = client.write_all(&vec![b'x'; 256 * 1024]);
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    until("no client", || front.gateway.load().clients == 0);
}

#[test]
fn databases_that_do_not_exist_are_refused_one_after_the_other() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    for number in 100..200 {
        let answer = say(&mut client, &format!("SELECT {number}"));
        assert!(answer.starts_with("ERR DB index"), "{number}: {answer}");
    }
    assert_eq!(say(&mut front.client(), "MULTI"), "OK");
}

#[test]
fn a_name_cannot_look_like_another_client() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    assert!(say(&mut client, "HELLO 3 SETNAME me\nid=7").starts_with("ERR Client names cannot contain"));
    assert_eq!(say(&mut client, "CLIENT GETNAME"), "nil");
}
