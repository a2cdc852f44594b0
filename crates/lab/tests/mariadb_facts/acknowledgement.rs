//! What frees a commit that waits for an acknowledgement, and what its client is told.

use crate::support::{
    Pending, ask, cut_off, insertion, order, orders, shop, until, waiting, waiting_order, written,
};
use backstay_lab::load::sql::{Account, SqlError};
use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::stack::mariadb::{MariaDbGroup, await_same};

/// A primary whose only replica is cut off, and an order on it that waits.
fn stuck() -> (MariaDbGroup, MariaDbServer, MariaDbServer, Pending) {
    let group = MariaDbGroup::start_acknowledged(2).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    cut_off(std::slice::from_ref(replica));
    let pending = waiting_order(primary, "waits");
    // Nobody sees it before it is acknowledged.
    assert!(orders(primary).is_empty());
    let (primary, replica) = (primary.clone(), replica.clone());
    (group, primary, replica, pending)
}

#[test]
fn a_killed_connection_gets_no_answer_and_its_order_is_committed_here_all_the_same() {
    let (_group, primary, replica, pending) = stuck();
    ask(&primary, &format!("KILL {}", pending.id));
    let error = pending.end().unwrap_err();
    assert!(matches!(error, SqlError::Gone(_)), "{error}");
    assert_eq!(orders(&primary), ["waits"]);
    ask(&replica, "START SLAVE IO_THREAD");
    await_same(&replica, &primary).unwrap();
    assert_eq!(orders(&replica), ["waits"]);
}

#[test]
fn a_killed_query_is_answered_ok_while_the_order_is_nowhere_else() {
    let (_group, primary, replica, pending) = stuck();
    ask(&primary, &format!("KILL QUERY {}", pending.id));
    assert_eq!(pending.end().unwrap().changed, 1);
    assert_eq!(orders(&primary), ["waits"]);
    assert!(orders(&replica).is_empty());
}

#[test]
fn acknowledgements_switched_off_answer_ok_while_the_order_is_nowhere_else() {
    let (_group, primary, replica, pending) = stuck();
    ask(&primary, "SET GLOBAL rpl_semi_sync_master_enabled=OFF");
    assert_eq!(pending.end().unwrap().changed, 1);
    assert_eq!(orders(&primary), ["waits"]);
    assert!(orders(&replica).is_empty());
}

#[test]
fn a_shutdown_gives_no_answer_to_an_order_that_waits() {
    let (group, _primary, _replica, pending) = stuck();
    group.shut_down("m1").unwrap();
    let error = pending.end().unwrap_err();
    assert!(matches!(error, SqlError::Gone(_)), "{error}");
}

#[test]
fn only_the_first_of_several_orders_that_wait_is_counted_and_can_be_ended() {
    let (_group, primary, replica, first) = stuck();
    let position = written(&primary);
    let second = Pending::start(shop(&primary), &insertion("second"));
    until("the second order is in the log", || written(&primary) != position);
    assert_eq!(waiting(&primary), 1);
    let there = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id={}", second.id);
    ask(&primary, &format!("KILL {}", second.id));
    assert!(second.end().is_err());
    assert_eq!(primary.value(&there).unwrap(), "1");

    // Its turn comes when the first is gone, and it is killed already.
    ask(&primary, &format!("KILL {}", first.id));
    assert!(first.end().is_err());
    until("the second order has ended", || primary.value(&there).unwrap() == "0");
    assert_eq!(orders(&primary), ["waits", "second"]);
    ask(&replica, "START SLAVE IO_THREAD");
    await_same(&replica, &primary).unwrap();
    assert_eq!(orders(&replica), ["waits", "second"]);
}

#[test]
fn a_primary_without_a_replica_waits_with_its_first_statement() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let primary = group.instance("m1").unwrap();
    ask(primary, "SET GLOBAL rpl_semi_sync_master_enabled=ON");
    let account = Pending::start(primary.connect().unwrap(), "CREATE USER somebody@'%'");
    until("it waits", || waiting(primary) == 1);
    ask(primary, &format!("KILL {}", account.id));
    assert!(account.end().is_err());
    assert!(primary.connect_as(&Account::new("somebody", "")).is_ok());
}

#[test]
fn without_wait_no_slave_a_primary_whose_replica_goes_answers_ok_by_itself() {
    let settings = Settings::recipe().with("rpl_semi_sync_master_wait_no_slave", "OFF");
    let group = MariaDbGroup::start_acknowledged_with(2, &settings).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    cut_off(std::slice::from_ref(replica));
    let mut link = shop(primary);
    link.ask(&insertion("alone")).unwrap();
    assert_eq!(orders(primary), ["alone"]);
    assert!(orders(replica).is_empty());
}

#[test]
fn one_acknowledgement_of_two_is_enough() {
    let group = MariaDbGroup::start_acknowledged(3).unwrap();
    let [primary, one, other] = &group.instances()[..] else { panic!() };
    cut_off(std::slice::from_ref(other));
    order(primary, "acknowledged by one");
    await_same(one, primary).unwrap();
    assert!(orders(other).is_empty());
}

#[test]
fn a_replica_that_waits_for_acknowledgements_itself_applies_nothing() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    ask(replica, "SET GLOBAL rpl_semi_sync_master_enabled=ON");
    order(primary, "one");
    let stuck =
        "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for semi-sync%'";
    until("its applier waits", || replica.value(stuck).unwrap() != "0");
    assert!(orders(replica).is_empty());
    ask(replica, "SET GLOBAL rpl_semi_sync_master_enabled=OFF");
    await_same(replica, primary).unwrap();
    assert_eq!(orders(replica), ["one"]);
}
