//! T3: what `read_only` and its stronger relative wait for.

use crate::support::{Pending, ask, cut_off, insertion, order, shop, until, waiting, waiting_order, written};
use backstay_lab::load::sql::{Sql, SqlError};
use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::stack::mariadb::{MariaDbGroup, await_linked, controller};
use std::time::Duration;

const FREEZING: &str = "SET STATEMENT lock_wait_timeout=1 FOR FLUSH TABLES WITH READ LOCK";
const CLOSING: &str = "SET STATEMENT lock_wait_timeout=1 FOR SET GLOBAL read_only=ON";

fn admin(server: &MariaDbServer) -> Sql {
    server.connect_as(&controller()).unwrap()
}

/// What a statement of a connection waits for.
fn state_of(server: &MariaDbServer, id: u32) -> String {
    let query = format!("SELECT state FROM information_schema.processlist WHERE id={id}");
    server.value(&query).unwrap()
}

#[test]
fn read_only_hangs_behind_a_commit_that_waits_for_an_acknowledgement_and_a_lock_limit_ends_that() {
    let group = MariaDbGroup::start_acknowledged(2).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    cut_off(std::slice::from_ref(replica));
    let commit = waiting_order(primary, "waits");

    let unbounded = Pending::start(admin(primary), "SET GLOBAL read_only=ON");
    until("read_only waits", || state_of(primary, unbounded.id).contains("lock"));
    assert_eq!(admin(primary).ask(CLOSING).unwrap_err().code(), 1205);
    assert_eq!(admin(primary).ask(FREEZING).unwrap_err().code(), 1205);
    assert!(!unbounded.has_ended() && !commit.has_ended());
    assert_eq!(primary.value("SELECT @@read_only").unwrap(), "0");

    // It goes on as soon as the commit is acknowledged.
    ask(replica, "START SLAVE IO_THREAD");
    commit.end().unwrap();
    unbounded.end().unwrap();
    assert_eq!(primary.value("SELECT @@read_only").unwrap(), "1");
}

#[test]
fn a_hanging_read_only_lets_no_new_order_in_and_killed_it_does() {
    let group = MariaDbGroup::start_acknowledged(2).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    cut_off(std::slice::from_ref(replica));
    let commit = waiting_order(primary, "waits");
    let closing = Pending::start(admin(primary), "SET GLOBAL read_only=ON");
    until("read_only waits", || state_of(primary, closing.id).contains("lock"));
    let second = Pending::start(shop(primary), &insertion("behind"));
    until("the second order waits too", || state_of(primary, second.id).contains("lock"));
    assert_eq!(waiting(primary), 1);

    let position = written(primary);
    ask(primary, &format!("KILL QUERY {}", closing.id));
    assert_eq!(closing.end().unwrap_err().code(), 1317);
    until("the second order is in the log", || written(primary) != position);
    ask(replica, "START SLAVE IO_THREAD");
    commit.end().unwrap();
    second.end().unwrap();
}

#[test]
fn locked_tables_keep_a_primary_open_until_they_are_unlocked() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let primary = group.instance("m1").unwrap();
    let mut holder = shop(primary);
    holder.ask("LOCK TABLES shop.orders WRITE").unwrap();
    assert_eq!(admin(primary).ask(CLOSING).unwrap_err().code(), 1205);
    holder.ask("UNLOCK TABLES").unwrap();
    admin(primary).ask(CLOSING).unwrap();
    // A lock for reading keeps nobody from closing.
    ask(primary, "SET GLOBAL read_only=OFF");
    holder.ask("LOCK TABLES shop.orders READ").unwrap();
    admin(primary).ask(CLOSING).unwrap();
}

#[test]
fn an_open_transaction_does_not_keep_a_primary_open_and_its_commit_fails() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let primary = group.instance("m1").unwrap();
    let mut customer = shop(primary);
    customer.ask("START TRANSACTION").unwrap();
    customer.ask(&insertion("open")).unwrap();
    admin(primary).ask(CLOSING).unwrap();
    assert_eq!(customer.ask("COMMIT").unwrap_err().code(), 1290);
    customer.ask("ROLLBACK").unwrap();
}

#[test]
fn a_long_read_keeps_neither_a_global_read_lock_nor_read_only_waiting() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let primary = group.instance("m1").unwrap();
    order(primary, "one");
    let reading = long_statement(primary, "SELECT note, SLEEP(1000) FROM orders");
    admin(primary).ask(FREEZING).unwrap();
    admin(primary).ask(CLOSING).unwrap();
    assert_eq!(primary.value("SELECT @@read_only").unwrap(), "1");
    ask(primary, &format!("KILL {}", reading.id));
    assert!(reading.end().is_err());
}

#[test]
fn a_long_statement_that_locks_rows_keeps_a_primary_open() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let primary = group.instance("m1").unwrap();
    order(primary, "one");
    for statement in ["SELECT note, SLEEP(1000) FROM orders FOR UPDATE", "UPDATE orders SET note=SLEEP(1000)"]
    {
        let locking = long_statement(primary, statement);
        assert_eq!(admin(primary).ask(CLOSING).unwrap_err().code(), 1205);
        assert_eq!(admin(primary).ask(FREEZING).unwrap_err().code(), 1205);
        ask(primary, &format!("KILL {}", locking.id));
        assert!(locking.end().is_err());
    }
    admin(primary).ask(CLOSING).unwrap();
}

/// A statement of the application that sleeps.
fn long_statement(server: &MariaDbServer, statement: &str) -> Pending {
    let pending = Pending::start(shop(server), statement);
    until("the statement has begun", || state_of(server, pending.id) == "User sleep");
    pending
}

#[test]
fn a_query_with_a_table_does_not_see_read_only_as_it_is() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    order(primary, "one");
    group.await_caught_up().unwrap();
    assert_eq!(replica.value("SELECT @@global.read_only").unwrap(), "1");
    let counted = ask(replica, "SELECT COUNT(*) AS count, @@global.read_only AS closed FROM shop.orders");
    assert_eq!((counted.get("count"), counted.get("closed")), (Some("1"), Some("0")));
}

#[test]
fn a_closed_server_is_open_to_the_superuser() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [_, replica] = &group.instances()[..] else { panic!() };
    await_linked(replica).unwrap();
    assert_eq!(shop(replica).ask(&insertion("customer")).unwrap_err().code(), 1290);
    ask(replica, &insertion("superuser"));
}

#[test]
fn an_order_to_close_that_is_given_up_while_it_waits_is_not_carried_out_later() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let primary = group.instance("m1").unwrap();
    let mut holder = shop(primary);
    holder.ask("LOCK TABLES orders WRITE").unwrap();
    let id = give_up(admin(primary), "SET GLOBAL read_only=ON");
    until("the server has noticed", || !is_there(primary, id));
    holder.ask("UNLOCK TABLES").unwrap();
    holder.ask(&insertion("open")).unwrap();
    assert_eq!(primary.value("SELECT @@read_only").unwrap(), "0");
}

#[test]
fn who_waits_for_a_position_or_a_row_waits_on_when_its_connection_is_closed() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let primary = group.instance("m1").unwrap();
    order(primary, "one");
    let mut holder = shop(primary);
    holder.ask("START TRANSACTION").unwrap();
    holder.ask("UPDATE orders SET note='two'").unwrap();
    let sleeper = give_up(shop(primary), "SELECT SLEEP(1000)");
    let position = give_up(admin(primary), "SELECT MASTER_GTID_WAIT('0-9-1000')");
    let row = give_up(shop(primary), "SELECT * FROM orders FOR UPDATE");
    // It is looked after every five seconds.
    until("the server has noticed that the sleeper is gone", || !is_there(primary, sleeper));
    assert!(is_there(primary, position) && is_there(primary, row));
    ask(primary, &format!("KILL {position}; KILL {row}"));
}

/// Sends a statement and closes the connection before there is an answer; returns the connection's number.
fn give_up(mut link: Sql, statement: &str) -> u32 {
    link.set_limit(Duration::from_millis(100));
    let id = link.id();
    assert!(matches!(link.ask(statement), Err(SqlError::Deadline(_))));
    id
}

fn is_there(server: &MariaDbServer, id: u32) -> bool {
    let query = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id={id}");
    server.value(&query).unwrap() == "1"
}
