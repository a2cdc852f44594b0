//! A lab's MariaDB group, on real servers and without controllers: it replicates, faults take effect, nothing is left.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

use backstay_lab::load::logins::Logins;
use backstay_lab::load::sql::Account;
use backstay_lab::servers::mariadb::MariaDbServer;
use backstay_lab::servers::process::{Liveness, Process};
use backstay_lab::stack::mariadb::{application, await_same, status};
use backstay_lab::stack::view::{RoleView, ServiceView};
use backstay_lab::{Fault, Lab, LabError, Options, ScopedLab};
use backstay_model::Durability;
use std::time::Duration;

fn databases(count: usize) -> Options {
    Options { controllers: 0, redis: 1, mariadb: count, remember: false, ..Options::default() }
}

fn servers(lab: &Lab) -> Vec<MariaDbServer> {
    lab.state().unwrap().databases.into_iter().map(|member| member.server).collect()
}

fn orders(lab: &Lab) -> ServiceView {
    lab.status().unwrap().services.remove(1)
}

fn roles(lab: &Lab) -> Vec<RoleView> {
    orders(lab).instances.iter().map(|instance| instance.role).collect()
}

fn write(server: &MariaDbServer) {
    let mut client = server.connect_as(&application()).unwrap();
    client.ask("INSERT INTO orders (note) VALUES ('one')").unwrap();
}

fn written(server: &MariaDbServer) -> String {
    server.value("SELECT COUNT(*) FROM shop.orders").unwrap()
}

#[test]
fn a_mariadb_group_stands_beside_redis_and_replicates() {
    let lab = ScopedLab::up(&databases(3)).unwrap();
    let service = orders(&lab);
    assert_eq!((service.name.as_str(), service.engine.as_str()), ("orders", "mariadb"));
    assert_eq!(roles(&lab), [RoleView::Primary, RoleView::Replica, RoleView::Replica]);
    let servers = servers(&lab);
    write(&servers[0]);
    for replica in &servers[1..] {
        await_same(replica, &servers[0]).unwrap();
        assert_eq!(written(replica), "1");
        let mut client = replica.connect_as(&application()).unwrap();
        let refused = client.ask("INSERT INTO orders (note) VALUES ('astray')").unwrap_err();
        assert_eq!(refused.code(), 1290, "{refused}");
    }
    assert_eq!(status(&servers[0], "Rpl_semi_sync_master_clients").unwrap(), "0");
}

#[test]
fn a_mariadb_that_comes_back_is_closed_and_has_its_data_unless_it_lost_its_disk() {
    let lab = ScopedLab::up(&databases(2)).unwrap();
    let servers = servers(&lab);
    write(&servers[0]);
    await_same(&servers[1], &servers[0]).unwrap();
    lab.fault(Fault::Restart, "m1").unwrap();
    assert_eq!((roles(&lab)[0], written(&servers[0])), (RoleView::Replica, "1".to_owned()));
    lab.fault(Fault::Kill, "m1").unwrap();
    assert_eq!(roles(&lab), [RoleView::Unknown, RoleView::Replica]);
    lab.fault(Fault::Restart, "m1").unwrap();
    assert_eq!(roles(&lab)[0], RoleView::Replica);
    lab.fault(Fault::Hang, "m2").unwrap();
    assert_eq!(orders(&lab).instances[1].state, Liveness::Stopped);
    lab.fault(Fault::Resume, "m2").unwrap();
    assert_eq!(written(&servers[1]), "1");
    let before = lab.state().unwrap().databases[1].process;
    lab.fault(Fault::Restart, "m2").unwrap();
    assert_ne!(lab.state().unwrap().databases[1].process, before);
    lab.fault(Fault::RestartEmpty, "m2").unwrap();
    assert_eq!(servers[1].value("SHOW DATABASES LIKE 'shop'").unwrap(), "");
    assert_eq!(roles(&lab)[1], RoleView::Replica);
}

#[test]
fn with_majority_two_replicas_acknowledge_and_nothing_is_left() {
    let options = Options { durability: Durability::Majority, ..databases(3) };
    let lab = Lab::up(&options).unwrap();
    let servers = servers(&lab);
    assert_eq!(status(&servers[0], "Rpl_semi_sync_master_clients").unwrap(), "2");
    write(&servers[0]);
    // One whose replicas are gone waits, and must be taken down all the same.
    lab.fault_all(Fault::Hang, &["m2", "m3"]).unwrap();
    let processes: Vec<Process> =
        lab.state().unwrap().processes().into_iter().map(|(_, process)| process).collect();
    assert_eq!(processes.len(), 4);
    let report = lab.down().unwrap();
    assert_eq!((report.ended, report.removed_dir), (4, true));
    assert!(processes.iter().all(|process| process.is_gone()) && !lab.dir().exists());
}

#[test]
fn in_a_folder_that_was_there_a_mariadb_group_leaves_what_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let options = Options { dir: Some(folder.path().to_path_buf()), ..databases(1) };
    Lab::up(&options).unwrap().down().unwrap();
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.txt"]);
}

#[test]
fn a_mariadb_group_that_makes_no_sense_is_refused_with_what_to_write() {
    let majority = Options { durability: Durability::Majority, ..databases(2) };
    let named = Options { service: "orders".to_owned(), ..databases(1) };
    for (options, said) in [
        (databases(10), "at most 9 MariaDB instances, not 10"),
        (majority, "needs exactly 3 MariaDB instances, not 2"),
        (named, "'orders' is the name of the lab's MariaDB service"),
    ] {
        let Err(LabError::Options(complaint)) = Lab::up(&options) else { panic!("it comes up") };
        assert!(complaint.contains(said), "{complaint}");
    }
}

#[test]
fn a_connection_for_each_question_logs_in_and_is_answered_and_a_wrong_password_is_told() {
    let lab = ScopedLab::up(&databases(1)).unwrap();
    let mut logins = Logins {
        target: servers(&lab)[0].address(),
        account: application(),
        threads: 2,
        duration: Duration::from_millis(200),
        limit: Duration::from_secs(20),
    };
    assert!(logins.run().unwrap().operations > 2);
    logins.account = Account { password: "wrong".to_owned(), ..application() };
    let error = logins.run().unwrap_err().to_string();
    assert!(error.contains("Access denied for user 'shop'"), "{error}");
}
