//! Facts about Redis itself, without Backstay, on which `docs/guarantees.md` relies. Each was seen once by hand; here
//! it is seen again with the version that is installed.

mod support;

use backstay_lab::load::connection::is_ok;
use backstay_lab::servers::redis::{Boot, Role};
use backstay_lab::stack::stock::StockStack;
use nix::sys::signal::Signal;
use std::fs;
use support::{
    CLOSED, SlowNetwork, accepted, error_code, follow, info, is_linked, is_primary, key_count, offset, ok,
    patient_clients, send_writes, until, write_keys,
};

const CLIENTS: usize = 40;

#[test]
fn a_replica_frozen_to_nowhere_keeps_its_offset_and_resyncs_partially() {
    let stack = StockStack::group(3).unwrap();
    let [primary, frozen, witness] = &stack.instances()[..] else {
        panic!()
    };
    write_keys(primary, "before", 100);
    until("both replicas have everything", || {
        offset(frozen) == offset(primary) && offset(witness) == offset(primary)
    });

    follow(frozen, 1);
    let at = offset(frozen);
    write_keys(primary, "after", 100);
    until("the other replica has everything", || {
        offset(witness) == offset(primary)
    });
    assert_eq!(
        offset(frozen),
        at,
        "the offset moved although the replica was frozen"
    );
    assert!(matches!(
        frozen.role().unwrap(),
        Role::Replica { linked: false, .. }
    ));

    let full_before = info(primary, "sync_full");
    follow(frozen, primary.port);
    until("the frozen replica has everything", || {
        key_count(frozen) == 200 && is_linked(frozen, primary.port)
    });
    assert_eq!(
        info(primary, "sync_full"),
        full_before,
        "the resync was not partial"
    );
}

#[test]
fn a_replica_pointed_at_a_lagging_linked_replica_loses_what_only_it_had() {
    let mut stack = StockStack::empty().unwrap();
    let primary = stack.start_redis("r1", Boot::Open).unwrap();
    let network = SlowNetwork::to(primary.address());
    let lagging = stack.start_redis("r2", Boot::ReplicaOf(network.port)).unwrap();
    let advanced = stack.start_redis("r3", Boot::ReplicaOf(primary.port)).unwrap();
    until("both are linked", || {
        is_linked(&lagging, network.port) && is_linked(&advanced, primary.port)
    });

    network.hold();
    ok(&primary, &["SET", "acknowledged", "once"]);
    until("one replica has the write", || key_count(&advanced) == 1);
    stack.signal("r1", Signal::SIGKILL).unwrap();
    assert!(is_linked(&lagging, network.port), "the lagging replica noticed");

    follow(&advanced, lagging.port);
    until("the advanced replica took the older data", || {
        is_linked(&advanced, lagging.port) && key_count(&advanced) == 0
    });
}

#[test]
fn a_fence_behind_an_outstanding_ping_lets_no_write_through() {
    let stack = StockStack::group(1).unwrap();
    let server = stack.instance("r1").unwrap();
    let mut clients = patient_clients(server, CLIENTS);
    let mut fence = patient_clients(server, 1).remove(0);

    stack.signal("r1", Signal::SIGSTOP).unwrap();
    fence.send(&[&["PING"]]).unwrap();
    send_writes(&mut clients);
    fence
        .send(&[
            &["CONFIG", "SET", "min-replicas-to-write", CLOSED],
            &["CLIENT", "KILL", "TYPE", "normal"],
        ])
        .unwrap();
    stack.signal("r1", Signal::SIGCONT).unwrap();

    assert_eq!(accepted(&mut clients), 0);
    assert_eq!(key_count(server), 0);
}

#[test]
fn a_fence_without_an_outstanding_ping_comes_too_late() {
    let stack = StockStack::group(1).unwrap();
    let server = stack.instance("r1").unwrap();
    // First, and idle since: the connection that was served last keeps its place in the kernel's list of ready ones
    // until the server looks again.
    let mut fence = patient_clients(server, 1).remove(0);
    let mut clients = patient_clients(server, CLIENTS);

    stack.signal("r1", Signal::SIGSTOP).unwrap();
    send_writes(&mut clients);
    fence
        .send(&[&["CONFIG", "SET", "min-replicas-to-write", CLOSED]])
        .unwrap();
    stack.signal("r1", Signal::SIGCONT).unwrap();

    assert!(accepted(&mut clients) > 0);
}

#[test]
fn writes_older_than_the_ping_are_executed_but_the_disconnection_takes_their_answers_away() {
    let stack = StockStack::group(1).unwrap();
    let server = stack.instance("r1").unwrap();
    let mut fence = patient_clients(server, 1).remove(0);
    let mut clients = patient_clients(server, CLIENTS);

    stack.signal("r1", Signal::SIGSTOP).unwrap();
    send_writes(&mut clients);
    fence.send(&[&["PING"]]).unwrap();
    fence
        .send(&[
            &["CONFIG", "SET", "min-replicas-to-write", CLOSED],
            &["CLIENT", "KILL", "TYPE", "normal"],
        ])
        .unwrap();
    stack.signal("r1", Signal::SIGCONT).unwrap();

    assert_eq!(accepted(&mut clients), 0);
    assert!(key_count(server) > 0);
}

#[test]
fn a_promotion_sent_to_a_stopped_replica_runs_when_it_wakes_although_its_connection_is_closed() {
    let stack = StockStack::group(2).unwrap();
    let [primary, replica] = &stack.instances()[..] else {
        panic!()
    };
    stack.signal("r2", Signal::SIGSTOP).unwrap();
    let mut link = replica.connect().unwrap();
    link.send(&[&["REPLICAOF", "NO", "ONE"]]).unwrap();
    drop(link);
    stack.signal("r2", Signal::SIGCONT).unwrap();

    until("the replica took itself for a primary", || is_primary(replica));
    ok(replica, &["SET", "second", "primary"]);
    ok(primary, &["SET", "first", "primary"]);
}

#[test]
fn a_replica_promoted_closed_answers_noreplicas_until_it_is_opened() {
    let stack = StockStack::group(2).unwrap();
    let replica = stack.instance("r2").unwrap();
    stack.signal("r2", Signal::SIGSTOP).unwrap();
    let mut link = replica.connect().unwrap();
    link.send(&[
        &["CONFIG", "SET", "min-replicas-to-write", CLOSED],
        &["REPLICAOF", "NO", "ONE"],
    ])
    .unwrap();
    drop(link);
    stack.signal("r2", Signal::SIGCONT).unwrap();

    until("the replica was promoted", || is_primary(replica));
    assert_eq!(
        error_code(&replica.ask(&["SET", "key", "value"]).unwrap()),
        "NOREPLICAS"
    );
    ok(replica, &["CONFIG", "SET", "min-replicas-to-write", "0"]);
    ok(replica, &["SET", "key", "value"]);
}

#[test]
fn a_freeze_queued_behind_a_promotion_reverts_it_with_no_write_in_between() {
    let stack = StockStack::group(2).unwrap();
    let replica = stack.instance("r2").unwrap();
    let mut clients = patient_clients(replica, CLIENTS);
    let mut order = patient_clients(replica, 1).remove(0);

    stack.signal("r2", Signal::SIGSTOP).unwrap();
    order.send(&[&["REPLICAOF", "NO", "ONE"]]).unwrap();
    send_writes(&mut clients);
    order.send(&[&["REPLICAOF", "127.0.0.1", "1"]]).unwrap();
    stack.signal("r2", Signal::SIGCONT).unwrap();

    assert!(is_ok(&order.receive().unwrap()) && is_ok(&order.receive().unwrap()));
    assert_eq!(accepted(&mut clients), 0);
    assert!(matches!(replica.role().unwrap(), Role::Replica { of: 1, .. }));
}

#[test]
fn a_protected_primary_restarted_empty_refuses_writes_and_its_replicas_keep_every_key() {
    let mut stack = StockStack::empty().unwrap();
    let primary = stack.start_redis("r1", Boot::Protected).unwrap();
    ok(&primary, &["REPLICAOF", "NO", "ONE"]);
    let replica = stack.start_redis("r2", Boot::Protected).unwrap();
    follow(&replica, primary.port);
    write_keys(&primary, "kept", 100);
    until("the replica has every key", || key_count(&replica) == 100);

    stack.signal("r1", Signal::SIGKILL).unwrap();
    primary.remove_data().unwrap();
    stack.start_again("r1").unwrap();

    assert_eq!(
        error_code(&primary.ask(&["SET", "key", "value"]).unwrap()),
        "READONLY"
    );
    until("the replica asked for a resync and was turned away", || {
        fs::read_to_string(replica.log())
            .unwrap()
            .contains("NOMASTERLINK")
    });
    assert_eq!(key_count(&replica), 100);
}

#[test]
fn an_unprotected_primary_restarted_empty_takes_writes_and_wipes_its_replicas() {
    let mut stack = StockStack::group(2).unwrap();
    let [primary, replica] = &stack.instances()[..] else {
        panic!()
    };
    write_keys(primary, "wiped", 100);
    until("the replica has every key", || key_count(replica) == 100);

    stack.signal("r1", Signal::SIGKILL).unwrap();
    primary.remove_data().unwrap();
    stack.start_again("r1").unwrap();

    ok(primary, &["SET", "key", "value"]);
    until("the replica lost its keys", || key_count(replica) <= 1);
}

#[test]
fn a_replica_restarted_from_an_old_file_shows_the_same_history_and_an_older_offset() {
    let mut stack = StockStack::empty().unwrap();
    let primary = stack.start_redis("r1", Boot::Open).unwrap();
    let replica = stack.start_redis("r2", Boot::Protected).unwrap();
    follow(&replica, primary.port);
    // A primary without replicas counts nothing: what it holds when the first one comes is at offset 0.
    until("the replica is linked", || is_linked(&replica, primary.port));
    write_keys(&primary, "old", 10);
    until("the replica has the old keys", || key_count(&replica) == 10);
    ok(&replica, &["SAVE"]);
    write_keys(&primary, "new", 10);
    until("the replica has the new keys", || key_count(&replica) == 20);
    let (history, run, before) = (
        info(&replica, "master_replid"),
        info(&replica, "run_id"),
        offset(&replica),
    );

    stack.signal("r2", Signal::SIGKILL).unwrap();
    stack.start_again("r2").unwrap();

    assert_eq!(info(&replica, "master_replid"), history);
    assert_ne!(info(&replica, "run_id"), run);
    assert_eq!(key_count(&replica), 10);
    let after: i64 = info(&replica, "master_repl_offset").parse().unwrap();
    assert!(0 < after && after < before, "{after} is not older than {before}");
}

#[test]
fn a_fence_is_written_to_the_file_by_a_config_rewrite() {
    let stack = StockStack::group(1).unwrap();
    let server = stack.instance("r1").unwrap();
    ok(server, &["CONFIG", "SET", "min-replicas-to-write", CLOSED]);
    ok(server, &["CONFIG", "REWRITE"]);
    let file = fs::read_to_string(server.folder.join("redis.conf")).unwrap();
    assert!(file.contains(&format!("min-replicas-to-write {CLOSED}")));
}

#[test]
fn a_fresh_copy_is_linked_up_to_a_second_before_it_receives_what_is_written() {
    let mut stack = StockStack::empty().unwrap();
    let primary = stack.start_redis("r1", Boot::Open).unwrap();
    // The gap depends on when the replica's clock ticks next: not every copy shows it.
    let seen = (0..5).any(|number| {
        let name = format!("copy{number}");
        let replica = stack.start_redis(&name, Boot::ReplicaOf(primary.port)).unwrap();
        until("the copy is linked", || is_linked(&replica, primary.port));
        ok(&primary, &["SET", &name, "acknowledged"]);
        let missing = key_count(&replica) < key_count(&primary);
        until("the copy has the write", || {
            key_count(&replica) == key_count(&primary)
        });
        missing
    });
    assert!(seen);
}
