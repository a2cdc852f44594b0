//! T1: when a replica keeps what it has received and acknowledged, and when it throws it away.

use crate::support::{LIMIT, ask, forgetful, log_of, order, orders, received, replica_state, until, written};
use backstay_lab::servers::mariadb::{self, MariaDbServer, Settings};
use backstay_lab::stack::mariadb::MariaDbGroup;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;

/// A replica that has received five orders and applied none of them; the primary is dead.
fn undrained(settings: &Settings) -> (MariaDbGroup, MariaDbServer) {
    let group = MariaDbGroup::start_acknowledged_with(2, settings).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    order(primary, "applied");
    group.await_caught_up().unwrap();
    ask(replica, "STOP SLAVE SQL_THREAD");
    for number in 1..=5 {
        order(primary, &format!("received {number}"));
    }
    assert_eq!(received(replica), written(primary));
    group.kill("m1").unwrap();
    until("the replica noticed", || replica_state(replica, "Slave_IO_Running") == "Connecting");
    assert_eq!(orders(replica).len(), 1);
    let replica = replica.clone();
    (group, replica)
}

/// Whether everything that was received is applied.
fn drain(replica: &MariaDbServer) -> bool {
    let mut link = replica.connect().unwrap();
    link.set_limit(LIMIT);
    link.value(&format!("SELECT MASTER_GTID_WAIT('{}', 10)", received(replica))).unwrap() == "0"
}

#[test]
fn both_threads_stopped_and_one_started_throws_acknowledged_orders_away() {
    let (_group, replica) = undrained(&Settings::recipe());
    let before = received(&replica);
    ask(&replica, "STOP SLAVE; START SLAVE SQL_THREAD");
    until("the applier runs", || replica_state(&replica, "Slave_SQL_Running") == "Yes");
    assert_ne!(received(&replica), before);
    assert_eq!(received(&replica), written(&replica));
    assert_eq!(orders(&replica), ["applied"]);
}

#[test]
fn the_applier_started_while_the_receiver_still_tries_applies_everything() {
    let (_group, replica) = undrained(&Settings::recipe());
    ask(&replica, "START SLAVE SQL_THREAD");
    assert!(drain(&replica));
    assert_eq!(orders(&replica).len(), 6);
    // From here on the receiver may be stopped as well.
    ask(&replica, "STOP ALL SLAVES; RESET SLAVE ALL");
    assert_eq!(orders(&replica).len(), 6);
}

#[test]
fn the_receiver_stopped_alone_leaves_a_running_applier_what_it_has_received() {
    let (_group, replica) = undrained(&Settings::recipe());
    ask(&replica, "START SLAVE SQL_THREAD; STOP SLAVE IO_THREAD");
    assert!(drain(&replica));
    assert_eq!(orders(&replica).len(), 6);
}

#[test]
fn a_stopped_applier_started_after_the_receiver_was_stopped_throws_acknowledged_orders_away() {
    let (_group, replica) = undrained(&Settings::recipe());
    ask(&replica, "STOP SLAVE IO_THREAD; START SLAVE SQL_THREAD");
    until("the applier runs", || replica_state(&replica, "Slave_SQL_Running") == "Yes");
    assert_eq!(orders(&replica), ["applied"]);
}

#[test]
fn a_replica_that_restarts_and_starts_its_threads_by_itself_throws_acknowledged_orders_away() {
    let (mut group, replica) = undrained(&Settings::recipe().without("skip_slave_start"));
    group.kill("m2").unwrap();
    group.start_again("m2").unwrap();
    until("the applier runs", || replica_state(&replica, "Slave_SQL_Running") == "Yes");
    assert_eq!(received(&replica), written(&replica));
    assert!(orders(&replica).len() <= 1);
}

#[test]
fn a_replica_that_crashes_takes_back_the_last_order_that_it_has_acknowledged_and_applied() {
    let (mut group, replica) = undrained(&forgetful());
    let before = written(&replica);
    group.kill("m2").unwrap();
    group.start_again("m2").unwrap();
    assert!(log_of(&replica).contains(&format!("to remove transactions starting from GTID {before}")));
    assert_ne!(written(&replica), before);
    assert_eq!(replica.value("SELECT @@gtid_slave_pos").unwrap(), written(&replica));
    assert!(orders(&replica).is_empty());
}

#[test]
fn a_replica_that_crashes_without_the_replicas_role_keeps_what_it_has_applied() {
    let (mut group, replica) = undrained(&Settings::recipe().without("init_rpl_role"));
    group.kill("m2").unwrap();
    group.start_again("m2").unwrap();
    assert_eq!(orders(&replica), ["applied"]);
}

#[test]
fn a_replica_that_restarts_and_waits_keeps_its_relay_log_and_all_of_it_can_be_salvaged() {
    let (mut group, replica) = undrained(&Settings::recipe());
    let everything = received(&replica);
    group.kill("m2").unwrap();
    group.start_again("m2").unwrap();
    // It does not say what it had received.
    assert_eq!(received(&replica), "");
    let applied = replica.value("SELECT @@gtid_slave_pos").unwrap();
    salvage(&replica);
    assert_eq!(orders(&replica).len(), 6);
    assert_eq!(written(&replica), everything);
    // What is applied by hand moves the binary log only.
    assert_eq!(replica.value("SELECT @@gtid_slave_pos").unwrap(), applied);
}

/// Applies what lies in the relay log behind the end of the server's own log.
pub(crate) fn salvage(replica: &MariaDbServer) {
    let mut relay_logs: Vec<PathBuf> =
        fs::read_dir(replica.data()).unwrap().map(|entry| entry.unwrap().path()).collect();
    relay_logs.retain(|path| path.file_stem().unwrap() == "relay" && path.extension().unwrap() != "index");
    relay_logs.sort();
    let statements = replica.folder.join("relay.sql");
    let printed = Command::new(mariadb::find("mariadb-binlog", "mariadb-client").unwrap())
        .arg("--no-defaults")
        .arg(format!("--start-position={}", written(replica)))
        .args(relay_logs)
        .stdout(File::create(&statements).unwrap())
        .status()
        .unwrap();
    assert!(printed.success());
    let applied = Command::new(mariadb::find("mariadb", "mariadb-client").unwrap())
        .args(["--no-defaults", "--user=root"])
        .arg(format!("--socket={}", replica.socket().display()))
        .stdin(File::open(&statements).unwrap())
        .status()
        .unwrap();
    assert!(applied.success());
}
