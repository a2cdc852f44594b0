//! Reader endpoints.

use crate::support::{Front, Server, endpoint, hear, say, send, show, until};
use backstay_gateway::{Endpoint, EndpointKind, Otherwise};
use backstay_lease::Standing;
use backstay_model::{Epoch, Reader, Time};
use nix::sys::signal::Signal;

fn reader(otherwise: Otherwise) -> Front {
    let kind = EndpointKind::Reader { max_lag_bytes: 1000, otherwise };
    Front::start(Endpoint { kind, ..endpoint() })
}

fn named(server: &Server, name: &str) -> Server2 {
    server.ask(&["CONFIG", "SET", "maxclients", "1000"]);
    server.ask(&["SET", "name", name]);
    Server2 { address: server.redis.address().to_string() }
}

struct Server2 {
    address: String,
}

fn seen(server: &Server2, zone: &str, lag_bytes: u64) -> Reader {
    Reader {
        instance: "r".into(),
        address: server.address.parse().unwrap(),
        zone: zone.to_owned(),
        lag_bytes,
    }
}

fn serve(front: &Front, primary: &Server2, readers: Vec<Reader>) {
    let primary = primary.address.parse().unwrap();
    front.route(Standing::Serve { epoch: Epoch(1), primary, until: Time::MAX }, readers);
}

#[test]
fn reads_go_to_the_nearest_replica_that_is_not_too_far_behind() {
    let servers = [Server::start(), Server::start(), Server::start()];
    let [primary, near, far] = ["primary", "near", "far"];
    let [primary, near, far] =
        [named(&servers[0], primary), named(&servers[1], near), named(&servers[2], far)];
    let front = reader(Otherwise::Primary);
    let mut client = front.client();
    let mut goes_to = |readers: Vec<Reader>, expected: &str| {
        serve(&front, &primary, readers);
        until(expected, || say(&mut front.client(), "GET name") == expected);
        // Clients that are connected follow.
        until(expected, || say(&mut front.client(), "GET name") == expected);
        assert_eq!(say(&mut client, "GET name"), expected);
    };
    goes_to(vec![seen(&far, "b", 0), seen(&near, "a", 900)], "near");
    goes_to(vec![seen(&far, "b", 0), seen(&near, "a", 1001)], "far");
    goes_to(vec![seen(&far, "b", 2000), seen(&near, "a", 1001)], "primary");
    goes_to(vec![seen(&far, "b", 10), seen(&near, "b", 10)], "far");
    goes_to(vec![], "primary");
}

#[test]
fn when_no_replica_qualifies_the_choice_is_the_operators() {
    let servers = [Server::start(), Server::start()];
    let (primary, replica) = (named(&servers[0], "primary"), named(&servers[1], "replica"));
    let front = reader(Otherwise::Refuse);
    serve(&front, &primary, vec![seen(&replica, "a", 2000)]);
    until("a refusal", || say(&mut front.client(), "GET name").starts_with("NOREPLICA "));
    let front = reader(Otherwise::Any);
    serve(&front, &primary, vec![seen(&replica, "a", 2000)]);
    assert_eq!(say(&mut front.client(), "GET name"), "replica");
}

#[test]
fn a_real_replica_is_read_while_no_lease_allows_the_primary() {
    let primary = Server::start();
    let replica = Server::replica_of(&primary);
    primary.ask(&["SET", "a", "1"]);
    until("the write", || show(&replica.ask(&["GET", "a"])) == "1");
    let front = reader(Otherwise::Primary);
    let at = Server2 { address: replica.redis.address().to_string() };
    front.route(Standing::Hold { epoch: Epoch(2) }, vec![seen(&at, "a", 0)]);
    let mut client = front.client();
    assert_eq!(say(&mut client, "GET a"), "1");
    assert!(say(&mut client, "SET a 2").starts_with("READONLY "));
}

fn reads_from(front: &Front, servers: &[&Server]) {
    let at = |server: &&Server| seen(&Server2 { address: server.redis.address().to_string() }, "a", 0);
    front.route(Standing::Hold { epoch: Epoch(1) }, servers.iter().map(at).collect());
}

#[test]
fn a_read_from_a_replica_that_hangs_is_sent_to_the_next_one() {
    let (hung, next) = (Server::start(), Server::start());
    let front = reader(Otherwise::Primary);
    reads_from(&front, &[&hung]);
    let mut client = front.client();
    assert_eq!(say(&mut client, "GET a"), "nil");
    hung.process.signal(Signal::SIGSTOP).unwrap();
    send(&mut client, "GET a");
    front.await_taken();
    reads_from(&front, &[&next]);
    assert_eq!(hear(&mut client), "nil");
}

#[test]
fn a_subscription_goes_on_after_a_time_without_any_replica() {
    let (old, new) = (Server::start(), Server::start());
    let front = reader(Otherwise::Refuse);
    reads_from(&front, &[&old]);
    let mut client = front.client();
    assert_eq!(say(&mut client, "SUBSCRIBE channel"), "[subscribe channel 1]");
    reads_from(&front, &[]);
    old.kill();
    until("a refusal", || say(&mut front.client(), "GET a").starts_with("NOREPLICA "));
    reads_from(&front, &[&new]);
    until("a subscriber", || show(&new.ask(&["PUBLISH", "channel", "news"])) == "1");
    assert_eq!(hear(&mut client), "[message channel news]");
}

#[test]
fn each_command_of_a_pipeline_that_no_replica_takes_is_refused() {
    let front = reader(Otherwise::Refuse);
    reads_from(&front, &[]);
    let mut client = front.client();
    until("a refusal", || say(&mut front.client(), "GET a").starts_with("NOREPLICA "));
    let before = front.gateway.load().refused;
    client
        .send(&[&["GET", "a"], &["GET", "b"], &["SET", "a", "1"], &["GET", "c"], &["CLIENT", "ID"]])
        .unwrap();
    assert!(hear(&mut client).starts_with("NOREPLICA "));
    assert!(hear(&mut client).starts_with("NOREPLICA "));
    assert!(hear(&mut client).starts_with("READONLY "));
    assert!(hear(&mut client).starts_with("NOREPLICA "));
    assert!(hear(&mut client).parse::<u64>().is_ok());
    assert_eq!(front.gateway.load().refused - before, 3);
}

#[test]
fn a_state_that_no_replica_took_never_began() {
    let server = Server::start();
    server.ask(&["SET", "a", "1"]);
    let front = reader(Otherwise::Refuse);
    reads_from(&front, &[]);
    until("a refusal", || say(&mut front.client(), "GET a").starts_with("NOREPLICA "));
    let begun =
        ["MULTI", "WATCH a", "MONITOR", "CLIENT TRACKING ON", "SUBSCRIBE x", "XREAD BLOCK 60000 STREAMS s $"];
    let mut clients: Vec<_> = begun.iter().map(|_| front.resp3()).collect();
    for (client, command) in clients.iter_mut().zip(begun) {
        assert!(say(client, command).starts_with("NOREPLICA "), "{command}");
    }
    reads_from(&front, &[&server]);
    until("a read", || say(&mut front.client(), "GET a") == "1");
    for (client, command) in clients.iter_mut().zip(begun) {
        // In a transaction it would be queued.
        assert_eq!(say(client, "GET a"), "1", "{command}");
        assert_eq!(say(client, "EXEC"), "ERR EXEC without MULTI", "{command}");
        assert_eq!(say(client, "XREAD BLOCK 1 STREAMS s $"), "nil", "{command}");
    }
    server.ask(&["SET", "a", "2"]);
    server.ask(&["PUBLISH", "x", "news"]);
    for (client, command) in clients.iter_mut().zip(begun) {
        // Neither a message, nor a change, nor what others do.
        assert_eq!(say(client, "GET a"), "2", "{command}");
    }
}

fn at(server: &Server) -> Server2 {
    Server2 { address: server.redis.address().to_string() }
}

fn drain(front: &Front, epoch: u64, readers: Vec<Reader>) {
    front.route(Standing::Drain { epoch: Epoch(epoch), until: Time::MAX }, readers);
}

#[test]
fn a_switchover_is_confirmed_and_goes_unnoticed_where_the_primary_is_read() {
    let (old, new) = (Server::start(), Server::start());
    let front = reader(Otherwise::Primary);
    front.serve(1, &old);
    let mut clients: Vec<_> = (0..20).map(|_| front.client()).collect();
    let (mut subscriber, mut blocked) = (front.client(), front.client());
    assert_eq!(say(&mut subscriber, "SUBSCRIBE channel"), "[subscribe channel 1]");
    send(&mut blocked, "XREAD BLOCK 0 STREAMS s $");
    until("a blocked client", || old.redis.info("blocked_clients").unwrap().as_deref() == Some("1"));
    for round in 0..20 {
        for client in &mut clients {
            send(client, "GET a");
        }
        if round == 10 {
            front.drain(2);
            front.await_held(2);
            assert!(old.clients().is_empty());
            front.serve(2, &new);
        }
        for client in &mut clients {
            assert_eq!(hear(client), "nil");
        }
    }
    until("a subscriber", || show(&new.ask(&["PUBLISH", "channel", "news"])) == "1");
    assert_eq!(hear(&mut subscriber), "[message channel news]");
    until("a blocked client", || new.redis.info("blocked_clients").unwrap().as_deref() == Some("1"));
    new.ask(&["XADD", "s", "1-1", "k", "v"]);
    assert_eq!(hear(&mut blocked), "[[s [[1-1 [k v]]]]]");
}

#[test]
fn a_replica_that_is_near_enough_again_is_read_while_the_primary_is_drained() {
    let (old, replica) = (Server::start(), Server::start());
    named(&old, "primary");
    let near = named(&replica, "replica");
    let front = reader(Otherwise::Primary);
    front.serve(1, &old);
    let (mut plain, mut blocked, mut late) = (front.client(), front.client(), front.client());
    assert_eq!(say(&mut plain, "GET name"), "primary");
    assert_eq!(say(&mut late, "GET name"), "primary");
    send(&mut blocked, "XREAD BLOCK 0 STREAMS s $");
    until("a blocked client", || old.redis.info("blocked_clients").unwrap().as_deref() == Some("1"));
    // It answers nothing now, so that the drain lasts.
    old.process.signal(Signal::SIGSTOP).unwrap();
    drain(&front, 2, vec![seen(&near, "a", 0)]);
    assert_eq!(say(&mut plain, "GET name"), "replica");
    assert!(front.held.lock().unwrap().is_empty());
    old.process.signal(Signal::SIGCONT).unwrap();
    front.await_held(2);
    assert_eq!(say(&mut late, "GET name"), "replica");
    until("a blocked client", || replica.redis.info("blocked_clients").unwrap().as_deref() == Some("1"));
    replica.ask(&["XADD", "s", "1-1", "k", "v"]);
    assert_eq!(hear(&mut blocked), "[[s [[1-1 [k v]]]]]");
}

#[test]
fn a_replica_that_is_left_as_a_drain_begins_is_read_no_more() {
    let servers = [Server::start(), Server::start()];
    let (left, next) = (named(&servers[0], "left"), named(&servers[1], "next"));
    let front = reader(Otherwise::Primary);
    serve(&front, &left, vec![seen(&left, "a", 0)]);
    let mut client = front.client();
    until("a read", || say(&mut front.client(), "GET name") == "left");
    assert_eq!(say(&mut client, "GET name"), "left");
    drain(&front, 2, vec![seen(&next, "a", 0)]);
    front.await_held(2);
    assert_eq!(say(&mut client, "GET name"), "next");
}

#[test]
fn states_leave_a_replica_that_is_not_listed_any_more() {
    let (left, next) = (Server::start(), Server::start());
    let front = reader(Otherwise::Refuse);
    reads_from(&front, &[&left]);
    let (mut subscriber, mut blocked, mut watching) = (front.client(), front.client(), front.client());
    assert_eq!(say(&mut subscriber, "SUBSCRIBE channel"), "[subscribe channel 1]");
    send(&mut blocked, "XREAD BLOCK 0 STREAMS s $");
    until("a blocked client", || left.redis.info("blocked_clients").unwrap().as_deref() == Some("1"));
    assert_eq!(say(&mut watching, "WATCH a"), "OK");
    // Elsewhere is better, and yet they stay.
    front.route(Standing::Hold { epoch: Epoch(1) }, vec![seen(&at(&left), "b", 0), seen(&at(&next), "a", 0)]);
    front.await_taken();
    assert_eq!(show(&left.ask(&["PUBLISH", "channel", "old news"])), "1");
    assert_eq!(hear(&mut subscriber), "[message channel old news]");
    reads_from(&front, &[&next]);
    until("nobody", || left.clients().is_empty());
    until("a subscriber", || show(&next.ask(&["PUBLISH", "channel", "news"])) == "1");
    assert_eq!(hear(&mut subscriber), "[message channel news]");
    until("a blocked client", || next.redis.info("blocked_clients").unwrap().as_deref() == Some("1"));
    next.ask(&["XADD", "s", "1-1", "k", "v"]);
    assert_eq!(hear(&mut blocked), "[[s [[1-1 [k v]]]]]");
    assert_eq!(say(&mut watching, "MULTI"), "OK");
    assert_eq!(say(&mut watching, "EXEC"), "nil");
}
