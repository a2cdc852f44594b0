//! What a gateway says of its traffic: which commands, how long they took, which of them were slow.

use crate::support::{Front, Server, endpoint, hear, say, send, until};
use backstay_gateway::{EndpointLimits, User};
use backstay_lab::load::connection::Connection;
use backstay_model::{EndpointTraffic, FamilyTraffic, SlowCommand, SlowOutcome, UnixMicros};
use std::time::Duration;

fn traffic(front: &Front) -> EndpointTraffic {
    front.gateway.look().traffic().remove(0)
}

fn family(front: &Front, name: &str) -> FamilyTraffic {
    traffic(front).families.into_iter().find(|it| it.family == name).unwrap_or_default()
}

fn counts(front: &Front, name: &str) -> (u64, u64) {
    let family = family(front, name);
    (family.commands, family.errors)
}

fn slow(front: &Front) -> Vec<SlowCommand> {
    front.gateway.look().slow(UnixMicros(1 << 50))
}

/// One that remembers every command.
fn watchful(server: &Server, users: Vec<User>) -> Front {
    let mut endpoint = endpoint();
    endpoint.users = users;
    endpoint.limits = EndpointLimits { slow: Some(Duration::from_nanos(1)), ..EndpointLimits::default() };
    let front = Front::start(endpoint);
    front.serve(1, server);
    front
}

#[test]
fn commands_are_counted_by_what_they_are_about_with_their_errors() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    say(&mut client, "SET k v");
    say(&mut client, "GET k");
    assert!(say(&mut client, "LPUSH k x").starts_with("WRONGTYPE"));
    say(&mut client, "JSON.SET a b c");
    say(&mut client, "CLIENT ID");
    say(&mut client, "REPLICAOF NO ONE");
    for _ in 0..2 {
        say(&mut client, "MULTI");
        say(&mut client, "HSET h f v");
        say(&mut client, "EXEC");
    }
    assert_eq!(counts(&front, "string"), (2, 0));
    assert_eq!(counts(&front, "list"), (1, 1));
    assert_eq!(counts(&front, "other"), (1, 1));
    assert_eq!(counts(&front, "connection"), (1, 0));
    assert_eq!(counts(&front, "server"), (1, 1));
    assert_eq!(counts(&front, "transaction"), (4, 0));
    assert_eq!(counts(&front, "hash"), (2, 0));
    let strings = family(&front, "string");
    assert!(strings.max_us > 0 && strings.quantile_us(0.5) <= strings.max_us, "{strings:?}");
    assert_eq!(strings.latency.iter().map(|it| it.1).sum::<u64>(), 2);
    let all = traffic(&front);
    assert_eq!((all.refused, all.replayed, all.unknown), (1, 0, 0));
    assert!(all.bytes_in > 100 && all.bytes_out > 50, "{all:?}");
}

#[test]
fn replies_that_arrive_together_are_each_counted_where_they_belong() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    let mut requests: Vec<&[&str]> = Vec::new();
    for _ in 0..100 {
        requests.extend([&["SET", "k", "v"][..], &["SADD", "k", "x"], &["SADD", "s", "x"], &["PING"]]);
    }
    client.send(&requests).unwrap();
    for _ in 0..requests.len() {
        hear(&mut client);
    }
    assert_eq!(counts(&front, "string"), (100, 0));
    assert_eq!(counts(&front, "set"), (200, 100));
    assert_eq!(counts(&front, "connection"), (100, 0));
}

#[test]
fn connections_and_clients_are_counted_by_kind() {
    let server = Server::start();
    let front = Front::of(&server);
    let (mut one, mut other) = (front.client(), front.client());
    say(&mut one, "SET k v");
    say(&mut other, "WATCH k");
    until("a shared and an own connection", || {
        let all = traffic(&front);
        (all.clients, all.connections.shared, all.connections.own_used, all.connections.own_idle)
            == (2, 1, 1, 0)
    });
    say(&mut other, "UNWATCH");
    drop(one);
    until("the own one is free", || {
        let all = traffic(&front);
        (all.clients, all.connections.own_used, all.connections.own_idle) == (1, 0, 1)
    });
    let connections = traffic(&front).connections;
    assert_eq!((connections.shared_opened, connections.own_opened), (1, 1));
    assert_eq!((connections.shared_closed, connections.own_closed), (0, 0));
    front.hold(2);
    let connections = traffic(&front).connections;
    assert_eq!((connections.shared_closed, connections.own_closed), (1, 1));
}

#[test]
fn a_command_that_had_to_wait_for_a_primary_is_slow_and_says_so() {
    let server = Server::start();
    let front = Front::of(&server);
    front.hold(2);
    let mut client = front.client();
    say(&mut client, "CLIENT SETNAME cart");
    send(&mut client, "SET basket secret");
    let long = Duration::from_millis(20).as_micros() as u64;
    until("a long wait", || traffic(&front).held == 1 && traffic(&front).held_longest_us > long);
    front.serve(3, &server);
    assert_eq!(hear(&mut client), "OK");
    until("nobody waits", || traffic(&front).held == 0);
    let log = slow(&front);
    let [only] = &log[..] else {
        panic!("one command was slow: {log:?}");
    };
    assert_eq!((&*only.command, only.key.as_deref(), &*only.name), ("set", Some("basket"), "cart"));
    assert_eq!((only.together, only.outcome, &*only.family), (1, SlowOutcome::Answered, "string"));
    assert!(only.held_us > long && only.took_us >= only.held_us, "{only:?}");
    assert!(only.client.starts_with("127.0.0.1:"), "{only:?}");
    let family = family(&front, "string");
    assert!(family.max_us > long && family.quantile_us(0.5) > long, "{family:?}");
    assert!(traffic(&front).held_total >= 1);
}

#[test]
fn a_write_with_an_unknown_outcome_is_an_error_and_slow() {
    let server = Server::start();
    let front = watchful(&server, Vec::new());
    let mut client = front.client();
    say(&mut client, "SET k v");
    let _ = server.process.signal(nix::sys::signal::Signal::SIGSTOP);
    send(&mut client, "INCR counter");
    front.await_taken();
    front.hold(2);
    until("an unknown outcome", || traffic(&front).unknown == 1);
    let last = slow(&front).pop().unwrap();
    assert_eq!((&*last.command, last.outcome), ("incr", SlowOutcome::Unknown));
    assert_eq!(counts(&front, "string"), (2, 1));
    assert!(hear(&mut client).starts_with("UNKNOWNOUTCOME"));
    assert_eq!(counts(&front, "string"), (2, 1));
}

#[test]
fn commands_that_came_together_are_one_entry_of_the_slow_log() {
    let server = Server::start();
    let front = watchful(&server, Vec::new());
    let mut client = front.client();
    client.send(&[&["SET", "first", "secret"], &["GET", "second"], &["PING"]]).unwrap();
    for _ in 0..3 {
        hear(&mut client);
    }
    let log = slow(&front);
    assert_eq!(log.iter().map(|it| it.together).sum::<u64>(), 3, "{log:?}");
    assert_eq!((&*log[0].command, log[0].key.as_deref()), ("set", Some("first")));
    assert!(!format!("{log:?}").contains("secret"));
}

#[test]
fn what_waits_because_its_client_wants_it_is_not_slow_and_neither_is_signing_in() {
    let server = Server::start();
    let user = User { name: "default".into(), password: "secret".into(), login: None };
    let front = watchful(&server, vec![user]);
    let mut client = front.client();
    say(&mut client, "AUTH secret");
    assert_eq!(say(&mut client, "BLPOP nothing 0.02"), "nil");
    assert_eq!(say(&mut client, "XREAD BLOCK 20 STREAMS nothing $"), "nil");
    say(&mut client, "HELLO 3 AUTH default secret");
    assert_eq!(slow(&front), Vec::new());
    assert_eq!(counts(&front, "blocking"), (2, 0));
    assert_eq!(counts(&front, "connection"), (2, 0));
    assert!(family(&front, "blocking").max_us >= 20_000);
}

#[test]
fn without_a_threshold_nothing_is_remembered() {
    let server = Server::start();
    let mut endpoint = endpoint();
    endpoint.limits = EndpointLimits { slow: None, ..EndpointLimits::default() };
    let front = Front::start(endpoint);
    let mut client = Connection::open(front.address, crate::support::LIMIT).unwrap();
    send(&mut client, "SET k v");
    until("a wait", || traffic(&front).held_longest_us > 20_000);
    front.serve(1, &server);
    assert_eq!(hear(&mut client), "OK");
    assert_eq!(slow(&front), Vec::new());
}
