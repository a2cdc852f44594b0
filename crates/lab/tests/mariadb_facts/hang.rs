//! A primary that keeps its connections and answers nothing.

use crate::support::{
    LIMIT, Pending, ask, insertion, order, orders, received, replica_state, shop, until, waiting, written,
};
use backstay_lab::load::sql::SqlError;
use backstay_lab::servers::mariadb::Settings;
use backstay_lab::stack::mariadb::{MariaDbGroup, controller};
use std::time::Duration;

const GIVEN_UP: Duration = Duration::from_millis(100);

#[test]
fn a_replica_of_a_stopped_primary_counts_no_heartbeat_any_more_and_then_says_so() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let replica = group.instance("m2").unwrap();
    let heartbeats = || replica_state(replica, "Slave_received_heartbeats").parse::<u64>().unwrap();
    let first = heartbeats();
    until("heartbeats arrive", || heartbeats() > first + 1);
    group.stop("m1").unwrap();
    let last = heartbeats();
    until("the replica notices", || replica_state(replica, "Slave_IO_Running") == "Connecting");
    // The one that was under way.
    assert!(heartbeats() <= last + 1);
    group.resume("m1").unwrap();
    until("the replica is back", || replica_state(replica, "Slave_IO_Running") == "Yes");
}

#[test]
fn a_receiver_of_a_stopped_primary_can_be_stopped() {
    let group = MariaDbGroup::start_acknowledged(3).unwrap();
    let [primary, replicas @ ..] = &group.instances()[..] else { panic!() };
    order(primary, "one");
    // One of them has it for sure, the other soon.
    group.await_caught_up().unwrap();
    let everything = written(primary);
    group.stop("m1").unwrap();
    let stopping = |replica: &backstay_lab::servers::mariadb::MariaDbServer| {
        Pending::start(replica.connect_as(&controller()).unwrap(), "STOP SLAVE IO_THREAD")
    };
    // Both at once: each dials the primary in vain, for a second, to end its connection there.
    let stoppings: Vec<Pending> = replicas.iter().map(stopping).collect();
    until("both have stopped", || stoppings.iter().all(Pending::has_ended));
    for (replica, stopping) in replicas.iter().zip(stoppings) {
        stopping.end().unwrap();
        assert_eq!(replica_state(replica, "Slave_IO_Running"), "No");
        assert_eq!(received(replica), everything);
    }
}

#[test]
fn a_statement_sent_to_a_stopped_server_runs_when_it_wakes_although_its_connection_is_closed() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap();
    let mut admin = server.connect_as(&controller()).unwrap();
    let mut customer = shop(server);
    admin.set_limit(GIVEN_UP);
    customer.set_limit(GIVEN_UP);
    group.stop("m1").unwrap();
    assert!(matches!(customer.ask(&insertion("late")), Err(SqlError::Deadline(_))));
    drop(customer);
    group.resume("m1").unwrap();
    until("the order is written", || orders(server) == ["late"]);

    group.stop("m1").unwrap();
    assert!(matches!(admin.ask("SET GLOBAL read_only=ON"), Err(SqlError::Deadline(_))));
    drop(admin);
    group.resume("m1").unwrap();
    until("it is closed", || server.value("SELECT @@read_only").unwrap() == "1");
}

#[test]
fn an_old_primary_that_wakes_acknowledges_nothing_once_its_replicas_have_left() {
    let group = MariaDbGroup::start_acknowledged(3).unwrap();
    let [old, new, other] = &group.instances()[..] else { panic!() };
    let mut customer = shop(old);
    group.stop("m1").unwrap();
    for replica in [new, other] {
        let mut link = replica.connect_as(&controller()).unwrap();
        link.set_limit(LIMIT);
        link.ask("STOP SLAVE IO_THREAD").unwrap();
    }
    customer.set_limit(LIMIT * 3);
    let late = Pending::start(customer, &insertion("late"));
    group.resume("m1").unwrap();
    until("the order waits", || waiting(old) == 1);
    // It still answers who reads.
    assert!(orders(old).is_empty());
    assert!(!late.has_ended());
    ask(old, &format!("KILL {}", late.id));
    assert!(late.end().is_err());
}
