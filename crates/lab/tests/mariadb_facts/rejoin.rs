//! The rungs of the ladder by which an old primary comes back.

use crate::support::{
    ask, cut_off, demote, insertion, order, orders, promote, replica_state, shop, until, waiting_order,
    written,
};
use backstay_lab::servers::mariadb::{self, MariaDbServer, Settings};
use backstay_lab::stack::mariadb::{
    CONTROLLER_USER, MariaDbGroup, PASSWORD, REPLICATION_USER, await_linked, await_same, follow, repointing,
};
use std::fs::{self, File};
use std::process::{Command, Stdio};

/// An old primary with an order that nobody else has, closed, and the new one, which is further.
fn diverged() -> (MariaDbGroup, MariaDbServer, MariaDbServer) {
    let mut group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [old, new] = &group.instances()[..] else { panic!() };
    let (old, new) = (old.clone(), new.clone());
    order(&old, "common");
    group.await_caught_up().unwrap();
    cut_off(std::slice::from_ref(&new));
    order(&old, "surplus");
    group.shut_down("m1").unwrap();
    promote(&new);
    order(&new, "after");
    order(&new, "later");
    group.start_again("m1").unwrap();
    (group, old, new)
}

/// `@@gtid_binlog_state` as (domain, server, sequence).
fn state(server: &MariaDbServer) -> Vec<(u32, u32, u64)> {
    let text = server.value("SELECT @@gtid_binlog_state").unwrap();
    let gtid = |gtid: &str| {
        let mut numbers = gtid.split('-').map(|number| number.parse::<u64>().unwrap());
        let (domain, server) = (numbers.next().unwrap() as u32, numbers.next().unwrap() as u32);
        (domain, server, numbers.next().unwrap())
    };
    text.split(',').filter(|text| !text.is_empty()).map(gtid).collect()
}

/// The parts of `old`'s state that `new` has not reached.
fn surplus(old: &MariaDbServer, new: &MariaDbServer) -> Vec<(u32, u32, u64)> {
    let known = state(new);
    let reached = |domain, server| {
        known.iter().find(|known| (known.0, known.1) == (domain, server)).map_or(0, |known| known.2)
    };
    state(old).into_iter().filter(|gtid| gtid.2 > reached(gtid.0, gtid.1)).collect()
}

fn sequence(server: &MariaDbServer) -> u64 {
    written(server).rsplit('-').next().unwrap().parse().unwrap()
}

#[test]
fn surplus_orders_show_in_the_state_of_the_log_and_not_in_its_length() {
    let (_group, old, new) = diverged();
    assert!(sequence(&old) < sequence(&new));
    let last = sequence(&old);
    assert_eq!(surplus(&old, &new), [(0, 1, last)]);
    assert!(surplus(&new, &old).iter().all(|gtid| gtid.1 == 2));
}

#[test]
fn a_diverged_server_that_tries_to_follow_is_turned_away_and_keeps_what_it_has() {
    let (_group, old, new) = diverged();
    let before = (orders(&old), written(&old));
    demote(&old, &new);
    until("it is turned away", || replica_state(&old, "Slave_IO_Running") == "No");
    assert_eq!(replica_state(&old, "Last_IO_Errno"), "1236");
    assert_eq!((orders(&old), written(&old)), before);
    assert_eq!(orders(&new), ["common", "after", "later"]);
}

#[test]
fn a_diverged_server_that_follows_from_anywhere_else_stops_at_the_first_other_order() {
    let (_group, old, new) = diverged();
    let before = (orders(&old), written(&old));
    // Nobody may tell it that it has less than its log says.
    let refused = old.ask(&format!("SET GLOBAL gtid_slave_pos='0-1-{}'", sequence(&old) - 1)).unwrap_err();
    assert!(refused.to_string().contains("error 1947"), "{refused}");
    ask(&old, &format!("{}; START SLAVE", repointing(&new)));
    until("its applier stops", || replica_state(&old, "Slave_SQL_Running") == "No");
    assert_eq!(replica_state(&old, "Last_SQL_Errno"), "1950");
    assert_eq!((orders(&old), written(&old)), before);
}

#[test]
fn after_a_switchover_the_old_primary_follows_without_a_rebuild() {
    let group = MariaDbGroup::start_acknowledged(3).unwrap();
    let [old, new, other] = &group.instances()[..] else { panic!() };
    order(old, "before");
    ask(old, "SET STATEMENT lock_wait_timeout=2 FOR SET GLOBAL read_only=ON");
    await_same(new, old).unwrap();
    promote(new);
    ask(old, "SET GLOBAL rpl_semi_sync_master_enabled=OFF, rpl_semi_sync_slave_enabled=ON");
    ask(new, "SET GLOBAL rpl_semi_sync_slave_enabled=OFF");
    demote(old, new);
    follow(other, new).unwrap();
    await_linked(old).unwrap();
    ask(new, "SET GLOBAL rpl_semi_sync_master_enabled=ON");
    order(new, "after");
    for replica in [old, other] {
        await_same(replica, new).unwrap();
        assert_eq!(orders(replica), ["before", "after"]);
    }
    assert_eq!(shop(old).ask(&insertion("closed")).unwrap_err().code(), 1290);
}

#[test]
fn an_old_primary_that_hung_is_killed_restarted_and_follows_without_a_rebuild() {
    let mut group = MariaDbGroup::start_acknowledged(3).unwrap();
    let [old, new, other] = &group.instances()[..] else { panic!() };
    order(old, "before");
    group.await_caught_up().unwrap();
    group.stop("m1").unwrap();
    cut_off(&[new.clone(), other.clone()]);
    group.resume("m1").unwrap();
    let zombie = waiting_order(old, "never acknowledged");
    promote(new);
    follow(other, new).unwrap();
    order(new, "after");

    // In order it cannot be closed any more: see `closing`.
    group.kill("m1").unwrap();
    assert!(zombie.end().is_err());
    group.start_again("m1").unwrap();
    assert!(surplus(old, new).is_empty());
    demote(old, new);
    await_linked(old).unwrap();
    await_same(old, new).unwrap();
    assert_eq!(orders(old), ["before", "after"]);
}

#[test]
fn surplus_orders_are_taken_back_by_flashback_and_the_old_primary_follows() {
    let (_group, old, new) = diverged();
    let common = format!("0-1-{}", sequence(&old) - 1);
    let saved = export(&old, &common, &[], "saved.sql");
    assert!(saved.contains("surplus"), "{saved}");
    let undo = export(&old, &common, &["--flashback"], "undo.sql");
    assert!(undo.contains("### DELETE FROM `shop`.`orders`"), "{undo}");

    // Until MariaDB 11 SUPER would do.
    ask(&old, "SET sql_log_bin=OFF; REVOKE SUPER ON *.* FROM backstay@'%'");
    let applied = Command::new(mariadb::find("mariadb", "mariadb-client").unwrap())
        .arg("--no-defaults")
        .args(access(&old, CONTROLLER_USER))
        .arg("--init-command=SET sql_log_bin=OFF")
        .stdin(File::open(old.folder.join("undo.sql")).unwrap())
        .status();
    assert!(applied.unwrap().success());
    assert_eq!(orders(&old), ["common"]);
    // Its log still holds the surplus.
    ask(&old, &format!("RESET MASTER; SET GLOBAL gtid_slave_pos='{common}'"));
    ask(&old, &format!("{}; START SLAVE", repointing(&new)));
    await_linked(&old).unwrap();
    await_same(&old, &new).unwrap();
    assert_eq!(orders(&old), ["common", "after", "later"]);
    assert!(surplus(&old, &new).is_empty());
}

/// What the server's log holds behind `from`, as text, read over the network.
fn export(server: &MariaDbServer, from: &str, options: &[&str], name: &str) -> String {
    let path = server.folder.join(name);
    let printed = Command::new(mariadb::find("mariadb-binlog", "mariadb-client").unwrap())
        .args(["--no-defaults", "--verbose", "--read-from-remote-server", "--to-last-log"])
        .args(access(server, REPLICATION_USER))
        .arg(format!("--start-position={from}"))
        .args(options)
        .arg("binlog.000001")
        .stdout(File::create(&path).unwrap())
        .status();
    assert!(printed.unwrap().success());
    fs::read_to_string(path).unwrap()
}

/// How one of the tools logs in.
fn access(server: &MariaDbServer, user: &str) -> [String; 5] {
    [
        "--protocol=tcp".to_owned(),
        "--host=127.0.0.1".to_owned(),
        format!("--port={}", server.port),
        format!("--user={user}"),
        format!("--password={PASSWORD}"),
    ]
}

/// A group of two, and a third server made of a copy that was streamed from its replica; it follows nobody yet.
fn copied() -> (MariaDbGroup, MariaDbServer, MariaDbServer) {
    let mut group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    let (primary, replica) = (primary.clone(), replica.clone());
    order(&primary, "before");
    group.await_caught_up().unwrap();
    let copy = group.new_server("m3").unwrap();
    fs::create_dir_all(copy.data()).unwrap();
    copy.write_settings(&Settings::recipe()).unwrap();
    stream(&replica, &copy);
    let prepared = Command::new(mariadb::find("mariadb-backup", "mariadb-backup").unwrap())
        .arg(format!("--defaults-file={}", copy.settings().display()))
        .arg("--prepare")
        .arg(format!("--target-dir={}", copy.data().display()))
        .output()
        .unwrap();
    assert!(prepared.status.success(), "{}", String::from_utf8_lossy(&prepared.stderr));
    group.adopt(&copy).unwrap();
    (group, primary, copy)
}

/// Backs `from` up into the data folder of `to`.
fn stream(from: &MariaDbServer, to: &MariaDbServer) {
    let log = to.folder.join("backup.log");
    let mut backup = Command::new(mariadb::find("mariadb-backup", "mariadb-backup").unwrap())
        .arg(format!("--defaults-file={}", from.settings().display()))
        .args(["--backup", "--slave-info", "--stream=xbstream"])
        .args(access(from, CONTROLLER_USER))
        .stdout(Stdio::piped())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let unpacked = Command::new(mariadb::find("mbstream", "mariadb-backup").unwrap())
        .arg("-x")
        .arg("-C")
        .arg(to.data())
        .stdin(backup.stdout.take().unwrap())
        .status();
    let backed_up = backup.wait().unwrap();
    assert!(backed_up.success() && unpacked.unwrap().success(), "{}", fs::read_to_string(log).unwrap());
}

#[test]
fn a_copy_streamed_from_a_replica_knows_its_position_and_follows_the_primary() {
    let (_group, primary, copy) = copied();
    let told = fs::read_to_string(copy.data().join("xtrabackup_slave_info")).unwrap();
    let position = copy.value("SELECT @@gtid_slave_pos").unwrap();
    assert!(told.starts_with(&format!("SET GLOBAL gtid_slave_pos = '{position}';")), "{told}");
    assert_eq!(written(&copy), "", "its own log is empty");
    order(&primary, "meanwhile");
    ask(&copy, &format!("{}; START SLAVE", repointing(&primary)));
    await_linked(&copy).unwrap();
    await_same(&copy, &primary).unwrap();
    assert_eq!(orders(&copy), ["before", "meanwhile"]);
    assert!(surplus(&copy, &primary).is_empty());
}

#[test]
fn a_copy_that_is_promoted_with_an_empty_log_can_be_followed_by_who_is_as_far_as_it_is() {
    let (group, _primary, copy) = copied();
    let replica = group.instance("m2").unwrap();
    cut_off(std::slice::from_ref(replica));
    promote(&copy);
    follow(replica, &copy).unwrap();
    order(&copy, "after");
    await_same(replica, &copy).unwrap();
    assert_eq!(orders(replica), ["before", "after"]);
}
