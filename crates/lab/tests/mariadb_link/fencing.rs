//! Freezing, closing and fencing: what keeps an old primary's writes from being acknowledged.

use crate::driver::{
    Driver, INSERT, grant_least, majority, order_in_background, orders, plain, shop, until, variable, waiting,
};
use backstay_lab::servers::mariadb::Settings;
use backstay_lab::stack::mariadb::{MariaDbGroup, await_same};
use backstay_model::{Action, Address, Evidence, Fault, Health, ReplOffset, Role};
use std::time::{Duration, Instant};

#[test]
fn a_replica_is_frozen_while_its_primary_hangs() {
    let group = MariaDbGroup::start_acknowledged(2).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(replica);
    let mut driver = Driver::connected(replica, majority());
    shop(primary).ask(INSERT).unwrap();
    await_same(replica, primary).unwrap();
    let written = primary.value("SELECT @@gtid_binlog_pos").unwrap();
    group.stop("m1").unwrap();
    let began = Instant::now();
    driver.order(Action::Freeze);
    let frozen = driver.frozen();
    assert!(began.elapsed() < Duration::from_secs(5), "it took {:?}", began.elapsed());
    assert_eq!(format!("{}-{}", frozen.replid, frozen.offset), written);
    let nowhere = Role::Replica { of: Address::nowhere(), link_up: false, syncing: false };
    assert_eq!(frozen.role, nowhere);
    assert!(!frozen.sql.stalled, "what it has it still applies");
    group.resume("m1").unwrap();
}

#[test]
fn a_replica_whose_applying_stands_is_frozen_with_all_that_it_received() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(replica);
    replica.ask("STOP SLAVE SQL_THREAD").unwrap();
    shop(primary).ask(INSERT).unwrap();
    let written = primary.value("SELECT @@gtid_binlog_pos").unwrap();
    let mut driver = Driver::connected(replica, plain());
    driver.replication(|seen| seen.sql.stalled && format!("{}-{}", seen.replid, seen.offset) == written);
    group.kill("m1").unwrap();
    driver.order(Action::Freeze);
    let frozen = driver.frozen();
    assert_eq!(format!("{}-{}", frozen.replid, frozen.offset), written);
    // Started while nothing is received it would throw that away: it is left as it is.
    assert!(frozen.sql.stalled && orders(replica) == 0);
}

#[test]
fn closing_behind_a_commit_that_waits_for_an_acknowledgement_says_what_stands_in_the_way() {
    let group = MariaDbGroup::start_acknowledged(2).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(primary);
    let mut driver = Driver::connected(primary, majority());
    replica.ask("STOP SLAVE IO_THREAD").unwrap();
    let order = order_in_background(primary);
    until("that it waits", || waiting(primary) == 1);
    let began = Instant::now();
    driver.order(Action::Pause { duration: Duration::from_secs(10) });
    assert_eq!(driver.refusal(), Fault::Locked);
    assert!(began.elapsed() < Duration::from_secs(3), "it took {:?}", began.elapsed());
    assert_eq!((variable(primary, "read_only"), waiting(primary)), ("0".to_owned(), 1));
    // A fence has its way, and tells nobody that a write was acknowledged.
    driver.order(Action::Fence);
    driver.replication(|seen| seen.is_primary() && seen.closed);
    assert_eq!(order.join().unwrap().unwrap_err().code(), 0, "the connection ends without an answer");
    assert_eq!(waiting(primary), 0);
    assert_eq!(variable(primary, "rpl_semi_sync_master_enabled"), "1");
}

#[test]
fn a_fence_that_lies_in_the_socket_of_a_stopped_primary_runs_when_it_wakes_and_nobody_is_acknowledged() {
    let group = MariaDbGroup::start_acknowledged(2).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    [primary, replica].into_iter().for_each(grant_least);
    let mut driver = Driver::connected(primary, majority());
    let mut other = Driver::connected(replica, majority());
    let shoppers: Vec<_> = (0..4).map(|_| shop(primary)).collect();
    group.stop("m1").unwrap();
    driver.health(&Health::Late);
    let sent = driver.sent.len();
    driver.order(Action::Fence);
    assert!(driver.sent.len() > sent, "it is sent at once");
    other.order(Action::Freeze);
    other.frozen();
    // What lies in other sockets runs beside the fence: only that nobody acknowledges it holds it back.
    let clients: Vec<_> =
        shoppers.into_iter().map(|mut link| std::thread::spawn(move || link.ask(INSERT).is_ok())).collect();
    driver.health(&Health::Down(Evidence::Silent));
    group.resume("m1").unwrap();
    assert!(driver.replication(|seen| seen.closed).is_primary());
    let accepted = clients.into_iter().map(|client| client.join().unwrap()).filter(|accepted| *accepted);
    assert_eq!(accepted.count(), 0);
    assert_eq!(driver.connections, 1, "all of it on the connection that was open");
    assert_eq!(shop(primary).ask(INSERT).unwrap_err().code(), 1290);
}

#[test]
fn an_old_primary_whose_commits_wait_is_demoted_and_its_clients_are_told_nothing() {
    let group = MariaDbGroup::start_acknowledged(2).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(primary);
    replica.ask("STOP SLAVE IO_THREAD").unwrap();
    let mut driver = Driver::connected(primary, majority());
    let waiters: Vec<_> = (0..3).map(|_| order_in_background(primary)).collect();
    until("that they wait", || waiting(primary) == 1 || waiting(primary) == 3);
    driver.order(Action::Freeze);
    let frozen = driver.frozen();
    assert_eq!(frozen.role, Role::Replica { of: Address::nowhere(), link_up: false, syncing: false });
    assert!(frozen.offset > ReplOffset(0) && !frozen.sql.exposed);
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap().unwrap_err().code(), 0);
    }
    assert_eq!(variable(primary, "rpl_semi_sync_master_enabled"), "0");
    assert_eq!(variable(primary, "rpl_semi_sync_slave_enabled"), "0");
    let written = variable(primary, "gtid_binlog_pos");
    assert_eq!(variable(primary, "gtid_slave_pos"), written);
}
