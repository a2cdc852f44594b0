//! T2: what a crashed primary is when it comes back.

use crate::relay::salvage;
use crate::support::{
    ask, cut_off, demote, forgetful, insertion, log_of, order, orders, promote, replica_state, shop, until,
    waiting_order, written,
};
use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::stack::mariadb::{MariaDbGroup, await_linked, await_same, follow};

#[test]
fn a_primary_that_crashes_is_closed_and_has_taken_back_an_acknowledged_order_when_it_restarts() {
    let mut group = MariaDbGroup::start_acknowledged_with(2, &forgetful()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    order(primary, "acknowledged");
    let before = written(primary);
    await_same(replica, primary).unwrap();
    group.kill("m1").unwrap();
    group.start_again("m1").unwrap();

    assert!(log_of(primary).contains(&format!("to remove transactions starting from GTID {before}")));
    assert!(orders(primary).is_empty());
    assert_eq!(orders(replica), ["acknowledged"]);
    assert_eq!(shop(primary).ask(&insertion("closed")).unwrap_err().code(), 1290);
}

#[test]
fn a_primary_opened_again_after_a_crash_leaves_its_replica_behind_with_another_history() {
    let mut group = MariaDbGroup::start_acknowledged_with(2, &forgetful()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    order(primary, "acknowledged");
    group.kill("m1").unwrap();
    group.start_again("m1").unwrap();
    // With one order less than its replica.
    ask(primary, "SET GLOBAL read_only=OFF");
    until("the replica is told that its history is not the primary's", || {
        replica_state(replica, "Last_IO_Errno") == "1236"
    });
    assert!(replica_state(replica, "Last_IO_Error").contains("which is not in the master's binlog"));
    assert_eq!(orders(replica), ["acknowledged"]);
}

#[test]
fn a_primary_opened_again_writes_other_orders_under_the_numbers_of_lost_ones_and_nobody_notices() {
    let mut group = MariaDbGroup::start_acknowledged_with(2, &forgetful()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    order(primary, "acknowledged");
    await_same(replica, primary).unwrap();
    let number = written(primary);
    ask(replica, "STOP SLAVE");
    group.kill("m1").unwrap();
    group.start_again("m1").unwrap();
    ask(primary, "SET GLOBAL read_only=OFF");
    order(primary, "another");
    assert_eq!(written(primary), number);
    order(primary, "third");

    ask(replica, "START SLAVE");
    await_linked(replica).unwrap();
    await_same(replica, primary).unwrap();
    assert_eq!(orders(primary), ["another", "third"]);
    assert_eq!(orders(replica), ["acknowledged", "third"]);
}

#[test]
fn a_primary_in_the_primarys_role_keeps_an_unacknowledged_order_and_cannot_follow() {
    let mut group =
        MariaDbGroup::start_acknowledged_with(3, &forgetful().with("init_rpl_role", "MASTER")).unwrap();
    let [old, new, other] = &group.instances()[..] else { panic!() };
    order(old, "acknowledged");
    group.await_caught_up().unwrap();
    cut_off(&[new.clone(), other.clone()]);
    let pending = waiting_order(old, "unacknowledged");
    group.kill("m1").unwrap();
    assert!(pending.end().is_err());
    promote(new);
    follow(other, new).unwrap();
    order(new, "after");

    group.start_again("m1").unwrap();
    assert_eq!(orders(old), ["acknowledged", "unacknowledged"]);
    demote(old, new);
    until("the old primary is turned away", || replica_state(old, "Last_IO_Errno") == "1236");
}

#[test]
fn a_primary_in_the_replicas_role_takes_an_unacknowledged_order_back_and_can_follow() {
    let mut group = MariaDbGroup::start_acknowledged(3).unwrap();
    let [old, new, other] = &group.instances()[..] else { panic!() };
    order(old, "acknowledged");
    group.await_caught_up().unwrap();
    cut_off(&[new.clone(), other.clone()]);
    let pending = waiting_order(old, "unacknowledged");
    group.kill("m1").unwrap();
    assert!(pending.end().is_err());
    promote(new);
    follow(other, new).unwrap();
    order(new, "after");

    group.start_again("m1").unwrap();
    demote(old, new);
    await_linked(old).unwrap();
    await_same(old, new).unwrap();
    assert_eq!(orders(old), ["acknowledged", "after"]);
}

/// Three servers that were killed together and started again, after an order that all of them had.
fn crashed_at_once(settings: &Settings) -> (MariaDbGroup, Vec<MariaDbServer>) {
    let mut group = MariaDbGroup::start_acknowledged_with(3, settings).unwrap();
    let servers = group.instances();
    order(&servers[0], "acknowledged");
    group.await_caught_up().unwrap();
    for server in &servers {
        group.kill(&server.name).unwrap();
    }
    for server in &servers {
        group.start_again(&server.name).unwrap();
    }
    (group, servers)
}

#[test]
fn all_servers_crashed_at_once_take_an_acknowledged_order_back_and_only_relay_logs_still_hold_it() {
    let (_group, servers) = crashed_at_once(&forgetful());
    for server in &servers {
        assert!(orders(server).is_empty(), "{}", server.name);
    }
    for replica in &servers[1..] {
        salvage(replica);
        assert_eq!(orders(replica), ["acknowledged"]);
    }
}

#[test]
fn all_servers_crashed_at_once_in_the_primarys_role_keep_what_was_acknowledged() {
    let (_group, servers) = crashed_at_once(&forgetful().with("init_rpl_role", "MASTER"));
    for server in &servers {
        assert_eq!(orders(server), ["acknowledged"], "{}", server.name);
    }
}

#[test]
fn nobody_can_ask_a_server_in_which_role_it_starts() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap();
    assert_eq!(server.connect().unwrap().ask("SELECT @@global.init_rpl_role").unwrap_err().code(), 1193);
}
