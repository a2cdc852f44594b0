//! What clients hear that cannot be connected, and what is counted of it.

use crate::server::{Server, free_address};
use crate::support::{Front, endpoint, until};
use crate::wire::{Client, Failure, rest};
use backstay_gateway::{Endpoint, EndpointLimits};
use backstay_model::Time;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

fn limited(limits: EndpointLimits) -> Front {
    Front::start(Endpoint { limits, ..endpoint() })
}

fn refusal(client: &mut Client) -> (u16, String) {
    match client.receive() {
        Err(Failure::Said(number, text)) => (number, text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_waited_for_too_long_is_told_why_and_clients_show_it() {
    let front = limited(EndpointLimits { hold_max: Duration::from_millis(200), ..EndpointLimits::default() });
    let (number, text) = refusal(&mut Client::connect(front.address).unwrap());
    assert_eq!(number, 1053);
    assert_eq!(text, "#08S01Waited 200 ms for a server: there is no primary now; see `backstay status`");
    let shown = |options: &[&str]| {
        let port = format!("-P{}", front.address.port());
        let mut client = Command::new("mariadb");
        let client =
            client.args(["--no-defaults", "-h127.0.0.1", &port]).args(options).args(["-e", "SELECT 1"]);
        String::from_utf8(client.output().unwrap().stderr).unwrap()
    };
    assert!(shown(&["--skip-ssl"]).starts_with("ERROR 1053 (08S01): Waited 200 ms for a server"));
    // One that wants TLS shows it, too.
    assert!(shown(&[]).contains("1053") && shown(&[]).contains("Waited 200 ms for a server"));
    assert!(front.traffic().refused >= 3);
}

#[test]
fn who_waited_for_a_server_that_does_not_listen_is_told_its_address() {
    let front = limited(EndpointLimits { hold_max: Duration::from_millis(200), ..EndpointLimits::default() });
    let nobody = free_address();
    front.serve_until(1, nobody, Time::MAX);
    let (number, text) = refusal(&mut Client::connect(front.address).unwrap());
    assert_eq!(number, 1053);
    assert!(text.contains(&nobody.to_string()) && text.contains("Connection refused"), "{text}");
}

#[test]
fn so_many_may_wait_and_so_many_be_connected() {
    let server = Server::start();
    let front = limited(EndpointLimits { held_commands_max: 2, clients_max: 3, ..EndpointLimits::default() });
    let mut waiting: Vec<Client> = (0..2).map(|_| Client::connect(front.address).unwrap()).collect();
    front.await_waiting(2);
    let (number, text) = refusal(&mut Client::connect(front.address).unwrap());
    assert!(number == 1040 && text.starts_with("#08004") && text.contains("held_max"), "{number} {text}");
    front.serve(1, &server);
    for client in &mut waiting {
        client.sign_in("root", "").unwrap();
    }
    let third = front.client();
    let (number, text) = refusal(&mut Client::connect(front.address).unwrap());
    assert!(number == 1040 && text.contains("clients_max"), "{number} {text}");
    drop(third);
    until("a place", || front.traffic().clients == 2);
    front.client();
}

#[test]
fn what_a_server_refuses_reaches_the_client_and_is_counted_by_its_reason() {
    let server = Server::with(&["--max-connections=10"]);
    let front = Front::of(&server);
    // A wrong password.
    let denied = Client::open(front.address, "app", "shop").unwrap_err();
    assert!(matches!(denied, Failure::Said(1045, _)), "{denied:?}");
    let mut clients = Vec::new();
    let full = loop {
        match Client::open(front.address, "root", "") {
            Ok(client) => clients.push(client),
            Err(full) => break full,
        }
        assert!(clients.len() < 20);
    };
    assert!(matches!(full, Failure::Said(1040, _)), "{full:?}");
    for statement in [
        "DROP USER app@'%', page@'%'",
        "DELETE FROM mysql.global_priv WHERE host <> 'localhost'",
        "FLUSH PRIVILEGES",
    ] {
        clients[0].query(statement).unwrap();
    }
    clients.truncate(2);
    let host = Client::open(front.address, "root", "").unwrap_err();
    until("room", || !matches!(Client::open(front.address, "root", ""), Err(Failure::Said(1040, _))));
    let counted = front.sql();
    assert!(matches!(host, Failure::Said(1130 | 1040, _)), "{host:?}");
    assert_eq!(counted.login_denied, 1);
    assert!(counted.too_many >= 1 && counted.host_denied >= 1 && counted.connects_failed == 0, "{counted:?}");
}

/// A server that says one thing to everybody.
fn speaker(says: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(says);
        }
    });
    address
}

#[test]
fn a_host_that_is_blocked_after_too_many_errors_is_counted() {
    let front = Front::start(endpoint());
    front.serve_until(1, speaker(b"\x10\0\0\0\xff\x69\x04Host is block"), Time::MAX);
    let (number, text) = refusal(&mut Client::connect(front.address).unwrap());
    assert_eq!((number, &*text), (1129, "Host is block"));
    assert_eq!(front.sql().host_blocked, 1);
}

#[test]
fn a_server_that_hangs_up_without_a_word_is_tried_again_while_the_client_waits() {
    let front = Front::start(endpoint());
    front.serve_until(1, speaker(b""), Time::MAX);
    let mut client = Client::connect(front.address).unwrap();
    until("failed connections", || front.sql().connects_failed >= 3);
    let server = Server::start();
    front.serve(2, &server);
    client.sign_in("root", "").unwrap();
}

#[test]
fn who_speaks_nonsense_or_nothing_disturbs_nobody() {
    let server = Server::with(&["--connect-timeout=2"]);
    let front = Front::of(&server);
    let mut good = front.client();
    let mut silent = Client::connect(front.address).unwrap();
    for nonsense in [&b"GET / HTTP/1.1\r\nHost: shop\r\n\r\n"[..], b"\xff\xff\xff\0\x85\xa6\x0f", &[0; 5000]]
    {
        let mut client = Client::connect(front.address).unwrap();
        client.stream.write_all(nonsense).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        rest(&mut client.stream);
    }
    // The server does not wait for it for ever.
    rest(&mut silent.stream);
    assert_eq!(good.value("SELECT 1"), "1");
    until("nobody else", || front.traffic().clients == 1);
}
