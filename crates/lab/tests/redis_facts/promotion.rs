//! Orders that run later than they were given.

use crate::support::{CLOSED, accepted, error_code, is_primary, ok, patient_clients, send_writes, until};
use backstay_lab::load::connection::is_ok;
use backstay_lab::servers::redis::Role;
use backstay_lab::stack::stock::StockStack;
use nix::sys::signal::Signal;

const CLIENTS: usize = 40;

#[test]
fn a_promotion_sent_to_a_stopped_replica_runs_when_it_wakes_although_its_connection_is_closed() {
    let stack = StockStack::group(2).unwrap();
    let [primary, replica] = &stack.instances()[..] else { panic!() };
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
    link.send(&[&["CONFIG", "SET", "min-replicas-to-write", CLOSED], &["REPLICAOF", "NO", "ONE"]]).unwrap();
    drop(link);
    stack.signal("r2", Signal::SIGCONT).unwrap();

    until("the replica was promoted", || is_primary(replica));
    assert_eq!(error_code(&replica.ask(&["SET", "key", "value"]).unwrap()), "NOREPLICAS");
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
