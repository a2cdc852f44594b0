//! What clients are told that asked for it (`CLIENT MAINT_NOTIFICATIONS`).

use crate::support::{Front, Server, endpoint, hear, now, say, send, until};
use backstay_gateway::{Endpoint, EndpointKind, EndpointLimits, Listen, Otherwise};
use backstay_lab::load::connection::Connection;
use backstay_lease::Standing;
use backstay_model::{Epoch, Reader};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const DRAIN: Duration = Duration::from_secs(20);

/// A client that wants to be told, and how it can be told where to go.
fn told(front: &Front, kind: &str) -> Connection {
    let mut client = front.resp3();
    let request = format!("CLIENT MAINT_NOTIFICATIONS ON moving-endpoint-type {kind}");
    assert_eq!(say(&mut client, &request), "OK");
    client
}

/// The next frame without its number, and the number.
fn notice(client: &mut Connection) -> (String, u64) {
    let frame = hear(client);
    let words: Vec<&str> = frame.split(' ').collect();
    let number = words.get(1).and_then(|word| word.trim_end_matches(']').parse().ok());
    let number = number.unwrap_or_else(|| panic!("no notice: {frame}"));
    (
        words
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != 1)
            .map(|(_, word)| *word)
            .collect::<Vec<_>>()
            .join(" "),
        number,
    )
}

/// Nothing was sent to the client: the answer to what it asks is the next frame.
fn told_nothing(client: &mut Connection) -> bool {
    hear_after(client, "CLIENT GETNAME") == "nil"
}

fn hear_after(client: &mut Connection, line: &str) -> String {
    send(client, line);
    hear(client)
}

#[test]
fn only_who_asks_over_resp3_is_told() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut old = front.client();
    let answer = say(&mut old, "CLIENT MAINT_NOTIFICATIONS ON");
    assert_eq!(answer, "ERR CLIENT MAINT_NOTIFICATIONS needs RESP3 (HELLO 3)");
    let mut silent = front.resp3();
    let mut off = told(&front, "none");
    assert_eq!(say(&mut off, "client maint_notifications off"), "OK");
    let mut back = told(&front, "none");
    assert!(say(&mut back, "HELLO 2").contains("proto 2"));
    let mut reset = told(&front, "none");
    assert_eq!(say(&mut reset, "RESET"), "RESET");
    for wrong in ["MAYBE", "ON moving-endpoint-type", "ON moving-endpoint-type dns", "ON x none", "OFF x"] {
        let answer = say(&mut silent, &format!("CLIENT MAINT_NOTIFICATIONS {wrong}"));
        assert_eq!(answer, "ERR syntax error", "{wrong}");
    }
    assert_eq!(say(&mut told(&front, "none"), "PING"), "PONG");
    front.hold(2);
    for client in [&mut old, &mut silent, &mut off, &mut back, &mut reset] {
        assert!(told_nothing(client));
    }
}

#[test]
fn a_failover_is_told_once_to_everybody_and_so_is_its_end() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut clients = [told(&front, "none"), told(&front, "internal-ip"), told(&front, "external-fqdn")];
    for client in &mut clients {
        assert_eq!(say(client, "PING"), "PONG");
    }
    front.hold(2);
    let begins = clients.each_mut().map(notice);
    assert_eq!(begins[0].0, ">[FAILING_OVER 10 shop]");
    assert!(begins.iter().all(|begin| *begin == begins[0]), "{begins:?}");
    for client in &mut clients {
        send(client, "GET a");
    }
    front.await_held_commands(3);
    front.serve(2, &new);
    let ends = clients.each_mut().map(notice);
    assert_eq!(ends[0].0, ">[FAILED_OVER shop]");
    assert!(ends.iter().all(|end| *end == ends[0]), "{ends:?}");
    assert!(ends[0].1 > begins[0].1);
    for client in &mut clients {
        assert_eq!(hear(client), "nil");
        assert!(told_nothing(client));
    }
}

#[test]
fn a_switchover_is_one_migration_also_if_the_old_primary_dies_in_it() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = told(&front, "none");
    assert_eq!(say(&mut client, "PING"), "PONG");
    front.drain(2);
    let (frame, begin) = notice(&mut client);
    assert_eq!(frame, ">[MIGRATING 10 shop]");
    front.hold(3);
    front.serve(3, &new);
    let (frame, end) = notice(&mut client);
    assert_eq!(frame, ">[MIGRATED shop]");
    assert!(end > begin);
    assert!(told_nothing(&mut client));
}

#[test]
fn who_comes_while_commands_wait_is_told_so_but_not_at_the_very_start() {
    let server = Server::start();
    let front = Front::start(endpoint());
    let mut early = told(&front, "none");
    front.serve(1, &server);
    assert_eq!(say(&mut early, "PING"), "PONG");
    front.hold(2);
    let (frame, number) = notice(&mut early);
    assert_eq!(frame, ">[FAILING_OVER 10 shop]");
    let mut late = told(&front, "none");
    assert_eq!(notice(&mut late), (frame, number));
    assert_eq!(say(&mut late, "CLIENT MAINT_NOTIFICATIONS ON"), "OK");
    front.serve(2, &server);
    for client in [&mut early, &mut late] {
        assert_eq!(notice(client).0, ">[FAILED_OVER shop]");
        assert!(told_nothing(client));
    }
}

#[test]
fn the_end_of_a_lease_is_told_too() {
    let server = Server::start();
    let front = Front::start(endpoint());
    front.serve_until(1, server.redis.address(), now() + Duration::from_secs(1));
    let mut client = told(&front, "none");
    assert_eq!(notice(&mut client).0, ">[FAILING_OVER 10 shop]");
    front.serve(1, &server);
    assert_eq!(notice(&mut client).0, ">[FAILED_OVER shop]");
}

#[test]
fn clients_that_block_or_are_in_a_transaction_are_told_between_two_replies() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut popping = told(&front, "none");
    send(&mut popping, "BLPOP list 0");
    until("a blocked client", || old.redis.info("blocked_clients").unwrap().as_deref() == Some("1"));
    let mut buying = told(&front, "none");
    assert_eq!(say(&mut buying, "MULTI"), "OK");
    assert_eq!(say(&mut buying, "SET a 1"), "QUEUED");
    front.drain(2);
    assert_eq!(notice(&mut buying).0, ">[MIGRATING 10 shop]");
    front.await_held(2);
    front.serve(2, &new);
    assert_eq!(notice(&mut buying).0, ">[MIGRATED shop]");
    assert!(say(&mut buying, "EXEC").starts_with("EXECABORT "));
    assert_eq!(notice(&mut popping).0, ">[MIGRATING 10 shop]");
    assert_eq!(notice(&mut popping).0, ">[MIGRATED shop]");
    new.ask(&["RPUSH", "list", "x"]);
    assert_eq!(hear(&mut popping), "[list x]");
}

#[test]
fn who_reads_from_a_replica_does_not_hear_of_the_primary() {
    let primary = Server::start();
    let replica = Server::replica_of(&primary);
    let kind = EndpointKind::Reader { max_lag_bytes: 1 << 20, otherwise: Otherwise::Primary };
    let front = Front::start(Endpoint { kind, ..endpoint() });
    let reader = || {
        vec![Reader {
            instance: "r2".into(),
            address: replica.redis.address().to_string().parse().unwrap(),
            zone: String::new(),
            lag_bytes: 0,
        }]
    };
    front.route(Standing::Hold { epoch: Epoch(1) }, reader());
    let mut client = told(&front, "none");
    assert_eq!(say(&mut client, "GET a"), "nil");
    front.route(Standing::Hold { epoch: Epoch(2) }, reader());
    front.await_held(2);
    assert!(told_nothing(&mut client));
    front.route(Standing::Hold { epoch: Epoch(3) }, Vec::new());
    assert_eq!(notice(&mut client).0, ">[FAILING_OVER 10 shop]");
    front.route(Standing::Hold { epoch: Epoch(4) }, reader());
    assert_eq!(notice(&mut client).0, ">[FAILED_OVER shop]");
}

fn heir_of(front: &Front, server: &Server) -> Front {
    let heir = Front::start(Endpoint { listen: vec![Listen::Tcp(front.address)], ..endpoint() });
    heir.serve(1, server);
    heir
}

fn is_closed(client: &mut Connection) -> bool {
    client.receive().is_err_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof)
}

#[test]
fn who_can_go_to_a_successor_is_told_and_served_until_it_goes() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut clients = [told(&front, "none"), told(&front, "internal-ip"), told(&front, "external-ip")];
    let mut named = told(&front, "internal-fqdn");
    let mut plain = front.client();
    for client in clients.iter_mut().chain([&mut named, &mut plain]) {
        assert_eq!(say(client, "PING"), "PONG");
    }
    let heir = heir_of(&front, &server);
    front.gateway.leave(DRAIN);
    let notices = clients.each_mut().map(notice);
    let here = format!(">[MOVING 20 {}]", front.address);
    assert_eq!(notices.each_ref().map(|it| &*it.0), [">[MOVING 20 nil]", &here, &here]);
    assert!(notices.iter().all(|notice| notice.1 == notices[0].1), "{notices:?}");
    // Nobody can tell it a name, and an address is not what it asked for.
    assert!(is_closed(&mut named) && is_closed(&mut plain));
    assert_eq!(say(&mut clients[0], "SET a 1"), "OK");
    assert_eq!(say(&mut heir.client(), "GET a"), "1");
    assert!(!front.gateway.has_left());
    // Routes are still followed.
    front.hold(2);
    assert_eq!(notice(&mut clients[0]).0, ">[FAILING_OVER 10 shop]");
    front.serve(2, &server);
    assert_eq!(notice(&mut clients[0]).0, ">[FAILED_OVER shop]");
    assert_eq!(say(&mut clients[0], "GET a"), "1");
    drop(clients);
    until("the end", || front.gateway.has_left());
    assert_eq!(say(&mut heir.client(), "GET a"), "1");
}

#[test]
fn the_drain_ends_for_who_does_not_go() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = told(&front, "none");
    let _heir = heir_of(&front, &server);
    front.gateway.leave(Duration::from_secs(1));
    assert_eq!(notice(&mut client).0, ">[MOVING 1 nil]");
    assert!(is_closed(&mut client));
    until("the end", || front.gateway.has_left());
}

#[test]
fn without_a_successor_nobody_is_told_to_go_and_the_gateway_ends_at_once() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = told(&front, "none");
    assert_eq!(say(&mut client, "SET a 1"), "OK");
    front.gateway.leave(DRAIN);
    assert!(is_closed(&mut client));
    until("the end", || front.gateway.has_left());
    assert!(TcpStream::connect(front.address).is_err());
}

#[test]
fn an_endpoint_that_listens_everywhere_names_no_address() {
    let server = Server::start();
    let front =
        Front::start(Endpoint { listen: vec![Listen::Tcp("0.0.0.0:0".parse().unwrap())], ..endpoint() });
    front.serve(1, &server);
    let port = front.address.port();
    let front = Front { address: SocketAddr::from(([127, 0, 0, 1], port)), ..front };
    let (mut same, mut named) = (told(&front, "none"), told(&front, "internal-ip"));
    let listen = vec![Listen::Tcp(SocketAddr::from(([0, 0, 0, 0], port)))];
    let _heir = Front::start(Endpoint { listen, limits: EndpointLimits::default(), ..endpoint() });
    front.gateway.leave(DRAIN);
    assert_eq!(notice(&mut same).0, ">[MOVING 20 nil]");
    assert!(is_closed(&mut named));
}
