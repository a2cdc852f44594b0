//! What clients see when the primary changes.

use crate::server::{Server, free_address};
use crate::support::{Front, endpoint, now, until};
use crate::wire::{Client, Failure, rest};
use backstay_gateway::{Endpoint, EndpointLimits};
use backstay_model::Time;
use nix::sys::signal::Signal;
use std::io::{ErrorKind, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

fn hears_nothing(client: &mut Client) -> bool {
    client.stream.set_nonblocking(true).unwrap();
    let heard = client.stream.read(&mut [0]);
    client.stream.set_nonblocking(false).unwrap();
    heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn with_grace(grace: Duration) -> Front {
    let limits = EndpointLimits { drain_grace: grace, ..EndpointLimits::default() };
    Front::start(Endpoint { limits, ..endpoint() })
}

#[test]
fn clients_wait_for_a_primary_and_hear_nothing_until_there_is_one() {
    let server = Server::start();
    let front = Front::start(endpoint());
    let mut clients: Vec<Client> = (0..10).map(|_| Client::connect(front.address).unwrap()).collect();
    front.await_waiting(10);
    assert!(clients.iter_mut().all(hears_nothing));
    front.serve(1, &server);
    for client in &mut clients {
        client.sign_in("root", "shop").unwrap();
        assert_eq!(client.value("SELECT 6 * 7"), "42");
    }
    assert_eq!((front.traffic().held_total, front.sql().commands), (10, 10));
}

#[test]
fn a_hold_closes_what_leads_to_the_old_primary_and_clients_go_to_the_new_one() {
    let (old, new) = (Server::start(), Server::start());
    let front = Front::of(&old);
    let (mut idle, mut busy) = (front.client(), front.client());
    busy.begin("SELECT SLEEP(100)").unwrap();
    until("the statement", || {
        old.ask("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP%'") == "1"
    });
    front.hold(2);
    // Not one byte, and above all no error that a page would show.
    assert_eq!((rest(&mut idle.stream), rest(&mut busy.stream)), ((0, false), (0, false)));
    assert_eq!(front.traffic().unknown, 1);
    let mut late = Client::connect(front.address).unwrap();
    front.await_waiting(1);
    front.serve(2, &new);
    late.sign_in("root", "shop").unwrap();
    assert_eq!(late.value("SELECT @@port"), new.address.port().to_string());
}

#[test]
fn nothing_is_forwarded_and_nothing_delivered_after_the_lease() {
    let server = Server::start();
    server.direct().query("CREATE TABLE shop.a (b INT)").unwrap();
    let front = Front::start(endpoint());
    front.serve_until(1, server.address, now() + Duration::from_secs(2));
    let mut client = front.client();
    client.query("INSERT INTO a VALUES (1)").unwrap();
    server.signal(Signal::SIGSTOP);
    client.begin("INSERT INTO a VALUES (2)").unwrap();
    // The lease ends by itself: nobody tells the gateway.
    assert_eq!(rest(&mut client.stream), (0, false));
    server.signal(Signal::SIGCONT);
    let mut late = Client::connect(front.address).unwrap();
    front.await_waiting(1);
    front.serve_until(1, server.address, Time::MAX);
    late.sign_in("root", "shop").unwrap();
    assert_eq!(front.traffic().unknown, 1);
}

#[test]
fn a_drain_lets_a_transaction_end_and_then_closes_its_connection() {
    let server = Server::start();
    server.direct().query("CREATE TABLE shop.orders (id INT PRIMARY KEY)").unwrap();
    let front = with_grace(Duration::from_secs(6));
    front.serve(1, &server);
    let mut client = front.client();
    client.query("START TRANSACTION").unwrap();
    client.query("INSERT INTO orders VALUES (1)").unwrap();
    front.drain(2);
    let mut late = Client::connect(front.address).unwrap();
    front.await_waiting(1);
    client.query("INSERT INTO orders VALUES (2)").unwrap();
    client.query("COMMIT").unwrap();
    assert!(!front.has_held(2));
    // Nothing more comes from it: it is let go, and that was all there was.
    assert_eq!(rest(&mut client.stream), (0, false));
    front.await_held(2);
    assert_eq!((front.traffic().unknown, front.sql().parted), (0, 1));
    assert_eq!(server.ask("SELECT COUNT(*) FROM shop.orders"), "2");
    assert!(hears_nothing(&mut late));
    front.serve(3, &server);
    late.sign_in("root", "shop").unwrap();
}

#[test]
fn a_drain_does_not_wait_for_a_statement_that_takes_longer_than_the_grace() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    client.begin("SELECT SLEEP(100)").unwrap();
    until("the statement", || front.sql().commands == 1);
    front.drain(2);
    front.await_held(2);
    assert_eq!(rest(&mut client.stream), (0, false));
    assert_eq!(front.traffic().unknown, 1);
}

#[test]
fn the_drain_of_an_idle_gateway_is_confirmed_at_once() {
    let server = Server::start();
    let front = with_grace(Duration::from_secs(3600));
    front.serve(1, &server);
    front.drain(2);
    front.await_held(2);
}

#[test]
fn a_server_that_does_not_listen_yet_is_tried_until_it_does() {
    let address = free_address();
    let front = Front::start(endpoint());
    front.serve_until(1, address, Time::MAX);
    let mut client = Client::connect(front.address).unwrap();
    until("a failed connection", || front.sql().connects_failed > 1);
    let Some(_server) = Server::at(address, &[]) else {
        return;
    };
    client.sign_in("root", "shop").unwrap();
    assert_eq!(client.value("SELECT 1"), "1");
}

#[test]
fn a_client_of_a_server_that_is_killed_is_closed_and_the_next_one_waits() {
    let server = Server::start();
    let front = Front::of(&server);
    let mut client = front.client();
    server.kill();
    assert_eq!(rest(&mut client.stream).0, 0);
    let mut late = Client::connect(front.address).unwrap();
    until("a failed connection", || front.sql().connects_failed > 0);
    assert!(hears_nothing(&mut late));
}

/// Writes as WordPress does: a broken connection is made again, and the statement said again.
fn page(front: &Front, who: usize, ends: &AtomicBool, acknowledged: &AtomicU64, again: &AtomicU64) {
    let mut number = 0;
    while !ends.load(Relaxed) {
        // Also one that is signing in when the primary moves is let in.
        let mut client = Client::open(front.address, "page", "shop").unwrap();
        for _ in 0..50 {
            match client.query(&format!("INSERT INTO orders VALUES ({who}, {number})")) {
                Ok(_) => drop(acknowledged.fetch_add(1, Relaxed)),
                Err(Failure::Gone) => {
                    again.fetch_add(1, Relaxed);
                    break;
                }
                Err(said) => panic!("{said:?}"),
            }
            number += 1;
        }
    }
}

#[test]
fn in_a_planned_move_no_client_hears_that_the_old_primary_is_read_only_and_no_order_is_lost() {
    let (old, new) = (Server::start(), Server::start());
    for server in [&old, &new] {
        server
            .direct()
            .query("CREATE TABLE shop.orders (who INT, number INT, PRIMARY KEY (who, number))")
            .unwrap();
    }
    // Long enough for every statement to end, however busy the machine is.
    let front = with_grace(Duration::from_millis(1500));
    front.serve(1, &old);
    let (ends, acknowledged, again) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for who in 0..4 {
            let (front, ends, acknowledged, again) = (&front, &ends, &acknowledged, &again);
            scope.spawn(move || page(front, who, ends, acknowledged, again));
        }
        let more = |count| {
            let before = acknowledged.load(Relaxed);
            until("orders", || acknowledged.load(Relaxed) >= before + count);
        };
        more(500);
        for round in 0..3 {
            let (from, to) = if round % 2 == 0 { (&old, &new) } else { (&new, &old) };
            front.drain(round + 2);
            front.await_held(round + 2);
            from.direct().query("SET GLOBAL read_only = 1").unwrap();
            to.direct().query("SET GLOBAL read_only = 0").unwrap();
            front.serve(round + 2, to);
            more(500);
        }
        ends.store(true, Relaxed);
    });
    let count = |server: &Server| server.ask("SELECT COUNT(*) FROM shop.orders").parse::<u64>().unwrap();
    let (stored, acknowledged) = (count(&old) + count(&new), acknowledged.into_inner());
    let unknown = front.traffic().unknown;
    assert!(stored >= acknowledged && stored <= acknowledged + unknown, "{stored} {acknowledged} {unknown}");
    // Between two statements, so no outcome was unknown.
    assert_eq!(unknown, 0, "{} were said again", again.into_inner());
}
