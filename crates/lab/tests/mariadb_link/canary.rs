//! Canaries: a row that every replica receives, and that a closed instance does not take, whoever asks.

use crate::driver::{
    Line, grant_least, least, majority, order_in_background, plain, settings, until, variable, waiting,
};
use backstay_lab::servers::mariadb::Settings;
use backstay_lab::stack::mariadb::{MariaDbGroup, await_same};
use backstay_model::{Command, Fault, Reply};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn canary() -> Command {
    Command::Canary(String::new())
}

#[test]
fn the_first_canary_creates_its_table_and_later_ones_write_one_transaction_each() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(primary);
    let mut line = least(primary, plain());
    assert_eq!(line.ask(&canary(), SOON), Some(Reply::Done));
    let number = || variable(primary, "gtid_binlog_pos").replace("0-1-", "").parse::<u64>().unwrap();
    let before = number();
    for _ in 0..3 {
        assert_eq!(line.ask(&canary(), SOON), Some(Reply::Done));
    }
    assert_eq!(number(), before + 3);
    await_same(replica, primary).unwrap();
    assert_eq!(replica.value("SELECT COUNT(*) FROM backstay.canary").unwrap(), "1");
}

#[test]
fn a_closed_instance_takes_no_canary_though_backstay_may_write() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap();
    grant_least(server);
    let mut line = least(server, plain());
    server.ask("SET GLOBAL read_only=ON").unwrap();
    let before = variable(server, "gtid_binlog_pos");
    assert!(matches!(line.ask(&canary(), SOON), Some(Reply::Refused(_))), "without its table");
    assert_eq!(variable(server, "gtid_binlog_pos"), before);
    server.ask("SET GLOBAL read_only=OFF").unwrap();
    assert_eq!(line.ask(&canary(), SOON), Some(Reply::Done));
    server.ask("SET GLOBAL read_only=ON").unwrap();
    let before = variable(server, "gtid_binlog_pos");
    assert!(matches!(line.ask(&canary(), SOON), Some(Reply::Refused(_))), "with its table");
    assert_eq!(variable(server, "gtid_binlog_pos"), before);
}

#[test]
fn no_canary_is_written_after_an_instance_was_closed_however_close_they_come() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap();
    grant_least(server);
    let mut line = least(server, plain());
    assert_eq!(line.ask(&canary(), SOON), Some(Reply::Done));
    let mut closer = server.connect().unwrap();
    for _ in 0..200 {
        line.send(&canary());
        closer.ask("SET STATEMENT lock_wait_timeout=1 FOR SET GLOBAL read_only=1").unwrap();
        let closed = closer.value("SELECT @@global.gtid_binlog_pos").unwrap();
        assert!(line.answer(SOON).is_some());
        assert_eq!(closer.value("SELECT @@global.gtid_binlog_pos").unwrap(), closed);
        closer.ask("SET GLOBAL read_only=0").unwrap();
    }
}

#[test]
fn a_canary_that_nobody_acknowledges_waits_and_ends_with_its_connection() {
    let group = MariaDbGroup::start_acknowledged(2).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(primary);
    let mut line = least(primary, majority());
    assert_eq!(line.ask(&canary(), SOON), Some(Reply::Done));
    replica.ask("STOP SLAVE IO_THREAD").unwrap();
    assert_eq!(line.ask(&canary(), Duration::from_millis(300)), None);
    until("that it waits", || waiting(primary) == 1);
    replica.ask("START SLAVE IO_THREAD").unwrap();
    assert_eq!(line.answer(SOON), Some(Reply::Done));
    assert_eq!(line.ask(&Command::Ping, SOON), Some(Reply::Pong));
    order_in_background(primary).join().unwrap().unwrap();
}

#[test]
fn without_the_right_to_write_canaries_that_is_said() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap();
    server.ask("REVOKE CREATE, DELETE, INSERT ON backstay.* FROM backstay@'%'").unwrap();
    let mut line = Line::open(server.address(), settings("backstay", "lab", plain())).unwrap();
    assert_eq!(line.ask(&canary(), SOON), Some(Reply::Refused(Fault::NoPermission)));
}
