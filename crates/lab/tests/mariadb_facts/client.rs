//! What the lab's servers and its SQL client do.

use backstay_lab::load::sql::{Account, Sql, SqlError, Way};
use backstay_lab::servers::mariadb::Settings;
use backstay_lab::stack::mariadb::{MariaDbGroup, application, await_same, controller, status};
use backstay_lab::wait::wait_until;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn a_group_replicates_and_its_replicas_are_closed() {
    let group = MariaDbGroup::start(3, &Settings::recipe()).unwrap();
    let [primary, replica, other] = &group.instances()[..] else { panic!() };
    let mut shop = primary.connect_as(&application()).unwrap();
    let inserted = shop.ask("INSERT INTO orders (note) VALUES ('one'), ('two')").unwrap();
    assert_eq!((inserted.changed, inserted.inserted_id), (2, 1));
    for server in [replica, other] {
        await_same(server, primary).unwrap();
        assert_eq!(server.value("SELECT COUNT(*) FROM shop.orders").unwrap(), "2");
        let mut shop = server.connect_as(&application()).unwrap();
        assert_eq!(shop.ask("INSERT INTO orders (note) VALUES ('three')").unwrap_err().code(), 1290);
    }
    let state = replica.ask("SHOW ALL SLAVES STATUS").unwrap();
    assert_eq!(state.get("Master_Port"), Some(primary.port.to_string().as_str()));
    assert_eq!(state.get("Using_Gtid"), Some("Slave_Pos"));
    assert_eq!(state.get("Slave_heartbeat_period"), Some("0.500"));
    assert!(primary.data_bytes().unwrap() > 1_000_000);
}

#[test]
fn a_group_with_acknowledgements_waits_for_one() {
    let group = MariaDbGroup::start_acknowledged(3).unwrap();
    let primary = group.instance("m1").unwrap();
    let count = |name: &str| {
        status(primary, &format!("Rpl_semi_sync_master_{name}")).unwrap().parse::<u32>().unwrap()
    };
    let before = count("yes_tx");
    primary.ask("INSERT INTO shop.orders (note) VALUES ('one')").unwrap();
    assert_eq!((count("yes_tx"), count("no_tx")), (before + 1, 0));
}

#[test]
fn an_error_of_the_server_leaves_the_connection_usable_and_warnings_are_counted() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap();
    for way in [Way::Tcp(server.address()), Way::Socket(server.socket())] {
        let mut link = Sql::open(&way, &controller(), LIMIT).unwrap();
        let error = link.ask("SELECT nonsense").unwrap_err();
        assert!(matches!(&error, SqlError::Refused { code: 1054, state, .. } if state == "42S22"), "{error}");
        assert_eq!(link.value("SELECT 7").unwrap(), "7");
        assert_eq!(link.ask("SELECT 1/0 AS a, NULL AS b").unwrap().get("b"), None);
        assert_eq!(link.ask("DO 1/0").unwrap().warnings, 1);
        let warnings = link.ask("SHOW WARNINGS").unwrap();
        assert_eq!(warnings.get("Code"), Some("1365"));
        // The second statement of two.
        assert_eq!(link.ask("DO 1; SELECT nonsense").unwrap_err().code(), 1054);
        assert_eq!(link.value("SELECT 8").unwrap(), "8");
    }
    let refused = server.connect_as(&Account::new("nobody", "x")).unwrap_err().to_string();
    assert!(refused.contains("error 1045"), "{refused}");
}

#[test]
fn a_connection_asks_the_server_nothing_of_its_own() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap();
    let mut link = server.connect_as(&controller()).unwrap();
    let questions = link.ask("SHOW SESSION STATUS LIKE 'Questions'").unwrap();
    assert_eq!(questions.get("Value"), Some("1"));
}

#[test]
fn a_statement_that_takes_too_long_closes_its_connection_and_ends_at_the_server() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap();
    let mut link = server.connect_as(&application()).unwrap();
    link.set_limit(Duration::from_millis(100));
    assert!(matches!(link.ask("SELECT SLEEP(1000)"), Err(SqlError::Deadline(_))));
    assert!(matches!(link.ask("SELECT 1"), Err(SqlError::Gone(_))));
    // Half of an answer is none either: the rows come in time, the end does not.
    let mut link = server.connect_as(&application()).unwrap();
    link.set_limit(Duration::from_millis(100));
    let rows = "SELECT seq, REPEAT('x', 10000), IF(seq = 3, SLEEP(1000), 0) FROM seq_1_to_3";
    assert!(matches!(link.ask(rows), Err(SqlError::Deadline(_))));
    assert!(matches!(link.ask("SELECT 1"), Err(SqlError::Gone(_))));
    wait_until("that the server noticed", LIMIT, || {
        let of_shop = "SELECT COUNT(*) FROM information_schema.processlist WHERE user='shop'";
        (server.value(of_shop).unwrap() == "0").then_some(())
    })
    .unwrap();
}

#[test]
fn a_stopped_server_answers_neither_a_connection_nor_a_statement_and_the_deadline_holds() {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap();
    let mut link = server.connect_as(&controller()).unwrap();
    link.set_limit(Duration::from_millis(100));
    group.stop("m1").unwrap();
    assert!(matches!(link.ask("SELECT 1"), Err(SqlError::Deadline(_))));
    let fresh = Sql::open(&Way::Tcp(server.address()), &controller(), Duration::from_millis(100));
    assert!(matches!(fresh, Err(SqlError::Deadline(_))));
    group.resume("m1").unwrap();
    assert!(server.answers());
    group.kill("m1").unwrap();
    let fresh = Sql::open(&Way::Tcp(server.address()), &controller(), LIMIT);
    assert!(matches!(fresh, Err(SqlError::Gone(_))));
}

#[test]
fn a_server_with_wrong_settings_is_told_with_the_end_of_its_log() {
    let mut group = MariaDbGroup::empty().unwrap();
    let error = group.start_server("m1", &Settings::recipe().with("no_such_setting", "1")).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("ended while it was starting") && error.contains("no_such_setting"), "{error}");
}
