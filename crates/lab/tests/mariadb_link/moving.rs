//! Promoting, opening, following: how a replica becomes the primary and the others follow it.

use crate::driver::{
    Driver, INSERT, address, follows, grant_least, majority, order_in_background, orders, plain, shop, until,
    variable, waiting,
};
use backstay_lab::servers::mariadb::Settings;
use backstay_lab::stack::mariadb::{DATABASE, MariaDbGroup, await_same};
use backstay_model::{Action, Fault, ReplOffset, Replication, Role};

#[test]
fn after_a_crash_a_replica_ascends_closed_is_opened_and_the_other_follows_it() {
    let mut group = MariaDbGroup::start_acknowledged(3).unwrap();
    let [primary, heir, other] = &group.instances()[..] else { panic!() };
    [primary, heir, other].into_iter().for_each(grant_least);
    let mut driver = Driver::connected(heir, majority());
    let mut follower = Driver::connected(other, majority());
    shop(primary).ask(INSERT).unwrap();
    await_same(heir, primary).unwrap();
    let written = variable(primary, "gtid_binlog_pos");
    group.kill("m1").unwrap();
    driver.order(Action::Freeze);
    driver.frozen();
    let mut client = shop(heir);
    driver.order(Action::Promote);
    let risen = driver.replication(Replication::is_primary);
    assert!(risen.closed, "it opens only when told to");
    assert_eq!(risen.replid.as_str(), "0-2");
    let (history, offset) = risen.previous.clone().unwrap();
    assert_eq!(format!("{history}-{offset}"), written);
    assert_eq!(client.ask("DO 1").unwrap_err().code(), 0, "everybody else is disconnected");
    assert_eq!(shop(heir).ask(INSERT).unwrap_err().code(), 1290);
    // The first commit waits for the other one.
    driver.order(Action::Open);
    driver.replication(|seen| !seen.closed);
    let order = order_in_background(heir);
    until("that it waits", || waiting(heir) == 1);
    follower.order(Action::Follow { primary: address(heir), disconnect: true, acker: true });
    follower.replication(|seen| follows(seen, heir));
    order.join().unwrap().unwrap();
    let next = driver.replication(|seen| seen.offset > risen.offset);
    assert_eq!((next.offset, next.previous), (ReplOffset(offset.0 + 1), None));
    let followed = follower.replication(|seen| seen.offset == next.offset);
    assert_eq!(followed.replid.as_str(), "0-2");
    assert_eq!(followed.previous, Some((history, offset)));
    // And the old one comes back, closed, and follows.
    group.start_again("m1").unwrap();
    let old = group.instance("m1").unwrap();
    let mut returner = Driver::connected(old, majority());
    returner.order(Action::Follow { primary: address(heir), disconnect: false, acker: true });
    returner.replication(|seen| follows(seen, heir) && seen.offset == next.offset && seen.sql.unapplied == 0);
    assert_eq!((orders(old), variable(old, "read_only")), (2, "1".to_owned()));
}

#[test]
fn what_was_received_and_not_applied_holds_a_promotion_up_and_changes_nothing() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(replica);
    // A lock here keeps the applier from going on.
    let mut holder = replica.connect().unwrap();
    holder.ask("LOCK TABLES shop.orders READ").unwrap();
    shop(primary).ask(INSERT).unwrap();
    let mut driver = Driver::connected(replica, plain());
    driver.replication(|seen| seen.sql.unapplied == 1);
    driver.order(Action::Freeze);
    driver.frozen();
    driver.order(Action::Promote);
    assert_eq!(driver.refusal(), Fault::Draining);
    let still = driver.replication(|_| true);
    assert!(matches!(still.role, Role::Replica { .. }) && still.sql.unapplied == 1 && !still.sql.stalled);
    holder.ask("DO 1").unwrap();
    holder.ask("UNLOCK TABLES").unwrap();
    driver.replication(|seen| seen.sql.unapplied == 0);
    driver.order(Action::Promote);
    driver.replication(|seen| seen.is_primary() && seen.closed);
    assert_eq!(orders(replica), 1);
}

#[test]
fn a_replica_that_applies_nothing_is_not_promoted() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(replica);
    // The applier breaks: the row is there already.
    replica
        .ask("SET SESSION sql_log_bin=0; INSERT INTO shop.orders (id, note) VALUES (1, 'errant')")
        .unwrap();
    shop(primary).ask(INSERT).unwrap();
    let mut driver = Driver::connected(replica, plain());
    driver.replication(|seen| seen.sql.stalled && seen.sql.unapplied == 1);
    driver.order(Action::Promote);
    assert_eq!(driver.refusal(), Fault::Stalled);
    let still = driver.replication(|_| true);
    assert!(matches!(still.role, Role::Replica { .. }), "{still:?}");
}

#[test]
fn a_replica_that_follows_already_goes_on_with_what_it_received() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(replica);
    let mut driver = Driver::connected(replica, plain());
    let mut holder = replica.connect().unwrap();
    holder.ask("LOCK TABLES shop.orders READ").unwrap();
    shop(primary).ask(INSERT).unwrap();
    driver.replication(|seen| seen.sql.unapplied == 1);
    driver.order(Action::Freeze);
    let frozen = driver.frozen();
    group.kill("m1").unwrap();
    driver.order(Action::Follow { primary: address(primary), disconnect: false, acker: true });
    let seen = driver.replication(
        |seen| matches!(&seen.role, Role::Replica { of, link_up: false, .. } if *of == address(primary)),
    );
    assert_eq!((seen.offset, seen.sql.unapplied), (frozen.offset, 1));
    drop(holder);
    driver.replication(|seen| seen.sql.unapplied == 0);
    assert_eq!(orders(replica), 1);
}

#[test]
fn a_planned_move_demotes_the_old_primary_in_the_history_that_it_wrote() {
    let group = MariaDbGroup::start_acknowledged(3).unwrap();
    let [old, new, _] = &group.instances()[..] else { panic!() };
    [old, new].into_iter().for_each(grant_least);
    let mut loser = Driver::connected(old, majority());
    let mut winner = Driver::connected(new, majority());
    shop(old).ask(INSERT).unwrap();
    loser.order(Action::Pause { duration: std::time::Duration::from_secs(10) });
    let paused = loser.await_seen("a pause", |seen| match seen {
        backstay_model::Observation::Paused { replication, .. } => Some(replication.clone()),
        _ => None,
    });
    assert!(paused.closed);
    winner.replication(|seen| seen.offset == paused.offset);
    winner.order(Action::Freeze);
    winner.frozen();
    loser.order(Action::Follow { primary: address(new), disconnect: true, acker: true });
    loser.replication(|seen| matches!(&seen.role, Role::Replica { of, .. } if *of == address(new)));
    winner.order(Action::Promote);
    winner.replication(|seen| seen.is_primary() && seen.closed);
    winner.order(Action::Open);
    winner.replication(|seen| !seen.closed);
    shop(new).ask(&format!("INSERT INTO {DATABASE}.orders (note) VALUES ('after')")).unwrap();
    loser.replication(|seen| follows(seen, new) && seen.offset == ReplOffset(paused.offset.0 + 1));
    assert_eq!(orders(old), 2);
}
