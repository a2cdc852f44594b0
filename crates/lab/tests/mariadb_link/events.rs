//! Events run where writes are taken.

use crate::driver::{Driver, grant_events, settings, until, variable};
use backstay_lab::servers::mariadb::Settings;
use backstay_lab::stack::mariadb::{MariaDbGroup, await_same};
use backstay_model::{Action, Durability, MariaDbSpec, Replication};

const STATE: &str = "SELECT CONCAT_WS(' ', STATUS, DEFINER, SQL_MODE, TIME_ZONE, CHARACTER_SET_CLIENT, \
     COLLATION_CONNECTION) FROM information_schema.EVENTS WHERE EVENT_NAME = 'a`b'";

#[test]
fn events_are_taken_over_as_they_are_and_stop_where_an_instance_is_closed() {
    let spec = MariaDbSpec { durability: Durability::Async, events: true, ..MariaDbSpec::default() };
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    primary
        .ask(
            "SET SESSION sql_mode='ANSI_QUOTES', time_zone='+05:30', character_set_client=latin1, \
             collation_connection=latin1_swedish_ci; \
             CREATE DEFINER=shop@'%' EVENT shop.`a``b` ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.orders",
        )
        .unwrap();
    await_same(replica, primary).unwrap();
    let enabled = primary.value(STATE).unwrap();
    assert!(enabled.starts_with("ENABLED shop@% ANSI_QUOTES +05:30 latin1 latin1_swedish_ci"), "{enabled}");
    assert!(replica.value(STATE).unwrap().starts_with("SLAVESIDE_DISABLED"));
    grant_events(replica);
    group.kill("m1").unwrap();
    let mut driver = Driver::new(replica, settings("least", "lab", spec));
    driver.replication(|_| true);
    let before = variable(replica, "gtid_binlog_pos");
    driver.order(Action::Promote);
    driver.replication(Replication::is_primary);
    driver.order(Action::Open);
    driver.replication(|seen| !seen.closed);
    until("that its events run", || variable(replica, "event_scheduler") == "ON");
    assert_eq!(replica.value(STATE).unwrap(), enabled);
    assert_eq!(variable(replica, "gtid_binlog_pos"), before, "nothing of that is replicated");
    driver.order(Action::Fence);
    driver.replication(|seen| seen.closed);
    until("that its events stand", || variable(replica, "event_scheduler") == "OFF");
}
