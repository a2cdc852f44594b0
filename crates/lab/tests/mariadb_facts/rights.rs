//! What the controllers' account may do, and what each of its rights is for.

use crate::support::{ask, shop};
use backstay_lab::load::sql::{Account, Sql};
use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::stack::mariadb::{CONTROLLER_RIGHTS, MariaDbGroup, PASSWORD, controller};

/// Every order of the recipe and the rights that it needs (all of them), such that the list can be gone through again.
const ORDERS: &[(&str, &[&str])] = &[
    ("SELECT @@read_only, @@gtid_binlog_pos, @@gtid_binlog_state, @@gtid_slave_pos", &[]),
    ("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync%'", &[]),
    ("SHOW GLOBAL VARIABLES LIKE 'rpl_semi_sync%'", &[]),
    ("SHOW ALL SLAVES STATUS", &["REPLICA MONITOR"]),
    ("SHOW SLAVE HOSTS", &["REPLICATION MASTER ADMIN"]),
    ("SHOW BINARY LOGS", &["BINLOG MONITOR"]),
    ("SELECT * FROM information_schema.innodb_trx", &["PROCESS"]),
    ("KILL SOFT CONNECTION {victim}", &["CONNECTION ADMIN"]),
    ("SELECT MASTER_GTID_WAIT('0-1-1', 0)", &[]),
    ("STOP SLAVE IO_THREAD", &["REPLICATION SLAVE ADMIN"]),
    ("START SLAVE SQL_THREAD", &["REPLICATION SLAVE ADMIN"]),
    ("STOP SLAVE", &["REPLICATION SLAVE ADMIN"]),
    (
        "CHANGE MASTER 'other' TO MASTER_HOST='127.0.0.1', MASTER_USE_GTID=slave_pos",
        &["REPLICATION SLAVE ADMIN"],
    ),
    (
        "CHANGE MASTER 'other' TO MASTER_USE_GTID=slave_pos, MASTER_DEMOTE_TO_SLAVE=1",
        &["REPLICATION SLAVE ADMIN"],
    ),
    ("RESET SLAVE 'other' ALL", &["RELOAD", "REPLICATION SLAVE ADMIN"]),
    ("SET GLOBAL rpl_semi_sync_slave_enabled=OFF", &["REPLICATION SLAVE ADMIN"]),
    ("SET GLOBAL rpl_semi_sync_master_enabled=OFF", &["REPLICATION MASTER ADMIN"]),
    ("SET STATEMENT lock_wait_timeout=2 FOR SET GLOBAL read_only=OFF", &["READ_ONLY ADMIN"]),
    ("SET SESSION sql_log_bin=OFF", &["BINLOG ADMIN"]),
    ("ALTER EVENT shop.cleaning ENABLE", &["EVENT"]),
    ("ALTER DEFINER=root@localhost EVENT shop.cleaning DISABLE ON SLAVE", &["EVENT", "SET USER"]),
    ("SET SESSION sql_log_bin=ON", &["BINLOG ADMIN"]),
    ("SET STATEMENT lock_wait_timeout=2 FOR FLUSH TABLES WITH READ LOCK", &["RELOAD"]),
    ("UNLOCK TABLES", &[]),
    ("SET SESSION gtid_seq_no=1000000", &["BINLOG REPLAY"]),
    ("RESET MASTER", &["RELOAD"]),
    ("SET GLOBAL gtid_slave_pos=''", &["REPLICATION SLAVE ADMIN"]),
    ("SET GLOBAL event_scheduler=OFF", &["SUPER"]),
];

/// A replica with an event of the superuser.
fn replica() -> (MariaDbGroup, MariaDbServer) {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let replica = group.instance("m2").unwrap().clone();
    ask(
        &replica,
        "CREATE DEFINER=root@localhost EVENT shop.cleaning ON SCHEDULE EVERY 1 DAY DO DELETE FROM shop.orders",
    );
    (group, replica)
}

/// The orders that are refused.
fn refused(server: &MariaDbServer, link: &mut Sql) -> Vec<&'static str> {
    let victim = shop(server);
    let refuses =
        |link: &mut Sql, order: &str| link.ask(&order.replace("{victim}", &victim.id().to_string())).is_err();
    ORDERS.iter().map(|(order, _)| *order).filter(|order| refuses(link, order)).collect()
}

#[test]
fn the_controllers_account_may_give_every_order_of_the_recipe() {
    let (_group, server) = replica();
    let mut link = server.connect_as(&controller()).unwrap();
    assert_eq!(refused(&server, &mut link), Vec::<&str>::new());
}

#[test]
fn without_any_one_of_its_rights_the_controllers_account_may_not_give_exactly_the_orders_it_is_for() {
    let (_group, server) = replica();
    let rights: Vec<&str> = CONTROLLER_RIGHTS.split(',').map(str::trim).collect();
    for missing in &rights {
        // SUPER stands in for most of the others, until MariaDB 11.
        let granted: Vec<&str> =
            rights.iter().copied().filter(|right| right != missing && *right != "SUPER").collect();
        ask(
            &server,
            &format!(
                "SET sql_log_bin=OFF; CREATE OR REPLACE USER probe@'%' IDENTIFIED BY '{PASSWORD}'; \
                 GRANT {} ON *.* TO probe@'%'",
                granted.join(", ")
            ),
        );
        let mut link = server.connect_as(&Account::new("probe", PASSWORD)).unwrap();
        let needs_it = |needed: &[&str]| needed.contains(missing) || needed.contains(&"SUPER");
        let expected: Vec<&str> =
            ORDERS.iter().filter(|(_, needed)| needs_it(needed)).map(|(order, _)| *order).collect();
        assert_eq!(refused(&server, &mut link), expected, "without {missing}");
    }
}

#[test]
fn without_the_right_to_see_processes_nobody_elses_are_shown() {
    let (_group, server) = replica();
    let customer = shop(&server);
    let mut link = server.connect_as(&controller()).unwrap();
    let look = format!("SELECT COUNT(*) FROM information_schema.processlist WHERE id={}", customer.id());
    assert_eq!(link.value(&look).unwrap(), "1");
    ask(&server, "SET sql_log_bin=OFF; REVOKE PROCESS, SUPER ON *.* FROM backstay@'%'");
    let mut link = server.connect_as(&controller()).unwrap();
    assert_eq!(link.value(&look).unwrap(), "0");
}

#[test]
fn an_event_that_is_enabled_without_naming_its_owner_changes_hands() {
    let (_group, server) = replica();
    let owner = "SELECT definer FROM information_schema.events WHERE event_name='cleaning'";
    let mut link = server.connect_as(&controller()).unwrap();
    link.ask("SET sql_log_bin=OFF").unwrap();
    link.ask("ALTER DEFINER=root@localhost EVENT shop.cleaning ENABLE").unwrap();
    assert_eq!(server.value(owner).unwrap(), "root@localhost");
    link.ask("ALTER EVENT shop.cleaning ENABLE").unwrap();
    assert_eq!(server.value(owner).unwrap(), "backstay@%");
}
