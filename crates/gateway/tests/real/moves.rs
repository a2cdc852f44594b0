//! What clients see when the primary changes.

use crate::support::{Front, Server, endpoint, hear, now, say, send, until};
use backstay_lab::load::connection::Connection;
use backstay_lease::MARGIN;
use nix::sys::signal::Signal;
use std::time::Duration;

#[test]
fn commands_wait_for_a_primary_and_succeed() {
    let server = Server::start();
    let front = Front::start(endpoint());
    let mut clients: Vec<Connection> = (0..10).map(|_| front.client()).collect();
    for client in &mut clients {
        send(client, "INCR counter");
    }
    front.await_held_commands(10);
    front.serve(1, &server);
    let mut answers: Vec<u64> = clients.iter_mut().map(|client| hear(client).parse().unwrap()).collect();
    answers.sort_unstable();
    assert_eq!(answers, (1..=10).collect::<Vec<_>>());
}

#[test]
fn a_hold_closes_what_leads_to_the_old_primary_and_commands_go_to_the_new_one() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut client = front.client();
    assert_eq!(say(&mut client, "SET a old"), "OK");
    front.hold(2);
    until("closed connections", || old.clients().is_empty());
    send(&mut client, "SET a new");
    front.await_held_commands(1);
    front.serve(2, &new);
    assert_eq!(hear(&mut client), "OK");
    assert_eq!(crate::support::show(&old.ask(&["GET", "a"])), "old");
    assert_eq!(crate::support::show(&new.ask(&["GET", "a"])), "new");
}

#[test]
fn in_flight_at_a_hold_writes_are_unknown_and_reads_are_sent_again_unless_a_write_stands_behind_them() {
    let (old, new) = (Server::start(), Server::start());
    new.ask(&["SET", "a", "new"]);
    let front = Front::of(&old);
    let mut client = front.client();
    assert_eq!(say(&mut client, "SET a old"), "OK");
    old.process.signal(Signal::SIGSTOP).unwrap();
    for line in ["GET a", "SET a lost", "GET a", "INCR counter", "PING"] {
        send(&mut client, line);
    }
    front.await_taken();
    front.hold(2);
    front.serve(2, &new);
    // Read now, it could see what was written behind it.
    assert!(hear(&mut client).contains("not read again, for a later write"));
    assert!(hear(&mut client).starts_with("UNKNOWNOUTCOME the primary changed"));
    assert!(hear(&mut client).contains("not read again, for a later write"));
    assert!(hear(&mut client).starts_with("UNKNOWNOUTCOME "));
    assert_eq!(hear(&mut client), "PONG");
    assert_eq!(front.gateway.load().unknown, 4);
    old.process.signal(Signal::SIGCONT).unwrap();
    assert_eq!(say(&mut client, "GET a"), "new");
}

#[test]
fn nothing_is_forwarded_and_nothing_acknowledged_after_the_lease() {
    let server = Server::start();
    let front = Front::start(endpoint());
    front.serve_until(1, server.redis.address(), now() + Duration::from_secs(1));
    let mut client = front.client();
    assert_eq!(say(&mut client, "SET a 1"), "OK");
    server.process.signal(Signal::SIGSTOP).unwrap();
    send(&mut client, "SET a 2");
    // The lease ends by itself: nobody tells the gateway.
    assert!(hear(&mut client).starts_with("UNKNOWNOUTCOME "));
    server.process.signal(Signal::SIGCONT).unwrap();
    send(&mut client, "SET a 3");
    front.await_held_commands(1);
    front.serve_until(1, server.redis.address(), now() + MARGIN * 100);
    assert_eq!(hear(&mut client), "OK");
}

#[test]
fn a_crashed_server_that_returns_is_connected_to_again() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    assert_eq!(say(&mut client, "SET a 1"), "OK");
    server.kill();
    send(&mut client, "GET a");
    front.await_held_commands(1);
    let process = server.redis.start().unwrap();
    server.redis.await_answer(process).unwrap();
    assert_eq!(hear(&mut client), "nil");
    process.signal(Signal::SIGKILL).unwrap();
}

#[test]
fn an_older_epoch_is_not_listened_to() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    front.serve(5, &new);
    front.serve(4, &old);
    let mut client = front.client();
    assert_eq!(say(&mut client, "SET where new"), "OK");
    assert_eq!(crate::support::show(&new.ask(&["GET", "where"])), "new");
    assert_eq!(crate::support::show(&old.ask(&["GET", "where"])), "nil");
}

#[test]
fn a_drain_lets_finish_what_is_under_way_and_loses_nothing() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let mut clients: Vec<Connection> = (0..20).map(|_| front.client()).collect();
    for round in 0..20 {
        for client in &mut clients {
            send(client, "INCR counter");
        }
        if round == 10 {
            front.drain(2);
            front.await_held(2);
            front.serve(2, &new);
        }
        for client in &mut clients {
            hear(client).parse::<u64>().unwrap();
        }
    }
    let count =
        |server: &Server| crate::support::show(&server.ask(&["GET", "counter"])).parse::<u64>().unwrap_or(0);
    assert_eq!(count(&old) + count(&new), 400);
    assert!(count(&new) >= 180, "{}", count(&new));
    assert_eq!(front.gateway.load().unknown, 0);
}

#[test]
fn the_drain_of_an_idle_gateway_is_confirmed_and_can_be_taken_back() {
    let server = Server::start();
    let front = Front::of(&server);
    front.drain(2);
    front.await_held(2);
    let mut client = front.client();
    send(&mut client, "PING");
    front.await_held_commands(1);
    front.serve(3, &server);
    assert_eq!(hear(&mut client), "PONG");
}
