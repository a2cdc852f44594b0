//! What a link learns of an instance.

use crate::driver::{Driver, INSERT, follows, grant_least, majority, plain, settings, shop};
use backstay_lab::servers::mariadb::Settings;
use backstay_lab::stack::mariadb::{MariaDbGroup, PASSWORD, await_same};
use backstay_model::{Address, Evidence, Fault, Health, Observation, ReplOffset, Role};

#[test]
fn a_primary_says_who_it_is_and_where_it_stands() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap();
    grant_least(server);
    let mut driver = Driver::new(server, settings("least", PASSWORD, plain()));
    let identity = driver.identity();
    let written = server.value("SELECT @@gtid_binlog_pos").unwrap();
    let number: u64 = written.strip_prefix("0-1-").unwrap().parse().unwrap();
    assert!(identity.run_id.as_str().starts_with("1-1"), "{identity:?}");
    assert!(identity.version.starts_with("10.") || identity.version.starts_with("11."), "{identity:?}");
    assert_eq!((identity.keys, identity.loading), (number, false));
    let seen = driver.replication(|_| true);
    assert_eq!(seen.role, Role::Primary { replicas: 0 });
    assert_eq!((seen.replid.as_str(), seen.offset, seen.previous), ("0-1", ReplOffset(number), None));
    assert!(!seen.closed);
    driver.health(&Health::Up);
    shop(server).ask(INSERT).unwrap();
    driver.replication(|seen| seen.offset == ReplOffset(number + 1));
    server.ask("SET GLOBAL read_only=ON").unwrap();
    driver.replication(|seen| seen.closed);
}

#[test]
fn every_process_has_a_name_of_its_own_that_all_connections_read_equally() {
    let mut group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap().clone();
    grant_least(&server);
    let mut driver = Driver::connected(&server, plain());
    let mut again = Driver::connected(&server, plain());
    let name = |driver: &Driver| driver.observed.iter().find_map(name_in).unwrap();
    assert_eq!(name(&driver), name(&again));
    // However long it runs.
    again.replication(|_| true);
    assert_eq!(name(&Driver::connected(&server, plain())), name(&driver));
    let first = name(&driver);
    group.kill("m1").unwrap();
    driver.health(&Health::Down(Evidence::Refused));
    group.start_again("m1").unwrap();
    let second = driver.identity().run_id;
    assert_ne!(first, second.to_string());
    let back = driver.replication(|_| true);
    assert!(back.is_primary() && back.closed, "{back:?}");
}

fn name_in(seen: &Observation) -> Option<String> {
    match seen {
        Observation::Identity(identity) => Some(identity.run_id.to_string()),
        _ => None,
    }
}

#[test]
fn a_replica_says_whom_it_follows_how_far_it_is_and_that_the_other_is_alive() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(replica);
    shop(primary).ask(INSERT).unwrap();
    await_same(replica, primary).unwrap();
    let mut driver = Driver::connected(replica, plain());
    let number = primary.value("SELECT @@gtid_binlog_pos").unwrap().replace("0-1-", "").parse().unwrap();
    let seen = driver.replication(|seen| seen.offset == ReplOffset(number));
    assert!(follows(&seen, primary), "{seen:?}");
    assert_eq!((seen.replid.as_str(), seen.previous), ("0-1", None));
    assert_eq!(
        (seen.closed, seen.sql.exposed, seen.sql.stalled, seen.sql.unapplied),
        (false, false, false, 0)
    );
    // Nothing is written, and it knows all the same.
    driver.replication(|later| later.sql.heartbeats > seen.sql.heartbeats);
    replica.ask("SET GLOBAL read_only=OFF").unwrap();
    driver.replication(|seen| seen.sql.exposed);
    // What it receives and does not apply it has.
    replica.ask("SET GLOBAL read_only=ON; STOP SLAVE SQL_THREAD").unwrap();
    shop(primary).ask(INSERT).unwrap();
    let behind = driver.replication(|seen| seen.offset > ReplOffset(number));
    assert_eq!((behind.sql.stalled, behind.sql.unapplied), (true, 1));
    replica.ask("STOP SLAVE IO_THREAD").unwrap();
    driver.replication(
        |seen| matches!(&seen.role, Role::Replica { of, link_up: false, .. } if *of == Address::nowhere()),
    );
}

#[test]
fn a_replica_that_follows_without_gtids_or_two_primaries_is_unsuitable() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(replica);
    let mut driver = Driver::connected(replica, plain());
    replica.ask("STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID=no; START SLAVE").unwrap();
    driver.health(&Health::Useless(Fault::Unsuitable));
    replica.ask("STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID=slave_pos; START SLAVE").unwrap();
    driver.replication(|seen| follows(seen, primary));
    replica
        .ask("CHANGE MASTER 'second' TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USE_GTID=slave_pos")
        .unwrap();
    driver.health(&Health::Useless(Fault::Unsuitable));
}

#[test]
fn commits_are_guarded_only_while_nothing_lets_them_go_without_an_acknowledgement() {
    let group = MariaDbGroup::start_acknowledged(2).unwrap();
    let [primary, _] = &group.instances()[..] else { panic!() };
    grant_least(primary);
    let mut driver = Driver::connected(primary, majority());
    let seen = driver.replication(|seen| seen.sql.guarded);
    assert_eq!(seen.sql.ackers, 1);
    for (name, loose, tight) in [
        ("wait_no_slave", "OFF", "ON"),
        ("timeout", "10000", "3600000"),
        ("wait_point", "AFTER_COMMIT", "AFTER_SYNC"),
    ] {
        let set =
            |value: &str| primary.ask(&format!("SET GLOBAL rpl_semi_sync_master_{name}={value}")).unwrap();
        set(loose);
        driver.replication(|seen| !seen.sql.guarded);
        set(tight);
        driver.replication(|seen| seen.sql.guarded);
    }
}
