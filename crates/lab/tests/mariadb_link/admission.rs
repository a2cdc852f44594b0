//! Who is let in, and what a link says of a server that lets it in or does not.

use crate::driver::{Driver, Line, grant_least, least, plain, settings};
use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::stack::mariadb::MariaDbGroup;
use backstay_model::{Command, Fault, Health, Reply};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(10);

fn one() -> (MariaDbGroup, MariaDbServer) {
    let group = MariaDbGroup::start(1, &Settings::recipe()).unwrap();
    let server = group.instance("m1").unwrap().clone();
    grant_least(&server);
    (group, server)
}

fn refused(fault: Fault) -> Reply {
    Reply::Refused(fault)
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_told_as_such_until_they_are_mended() {
    let (_group, server) = one();
    let mut driver = Driver::new(&server, settings("least", "wrong", plain()));
    driver.health(&Health::Useless(Fault::WrongPassword));
    server.ask("SET sql_log_bin=0; ALTER USER least@'%' IDENTIFIED BY 'wrong'").unwrap();
    driver.health(&Health::Up);
    let mut nobody = Line::open(server.address(), settings("nobody", "lab", plain())).unwrap();
    assert_eq!(nobody.ask(&Command::Identify, SOON), Some(refused(Fault::WrongPassword)));
}

#[test]
fn too_many_connections_are_told_as_such() {
    let (_group, server) = one();
    server.ask("SET GLOBAL max_connections=10, GLOBAL extra_max_connections=1").unwrap();
    let mut crowd = Vec::new();
    let full = loop {
        let mut line = least(&server, plain());
        match line.ask(&Command::Identify, SOON) {
            Some(Reply::Identity(_)) => crowd.push(line),
            other => break other,
        }
    };
    assert_eq!(full, Some(refused(Fault::TooManyClients)));
    assert_eq!(least(&server, plain()).ask(&Command::Ping, SOON), Some(refused(Fault::TooManyClients)));
}

#[test]
fn a_host_that_is_not_let_in_is_told_so() {
    let (_group, server) = one();
    server
        .ask("SET sql_log_bin=0; DROP USER least@'%', backstay@'%', shop@'%', backstay_replication@'%'")
        .unwrap();
    server.ask("SET sql_log_bin=0; DELETE FROM mysql.global_priv WHERE Host NOT IN ('localhost'); FLUSH PRIVILEGES").unwrap();
    let mut line = least(&server, plain());
    assert_eq!(line.ask(&Command::Identify, SOON), Some(refused(Fault::HostRefused)));
}

#[test]
fn a_missing_right_is_told_as_such_and_takes_nothing_down() {
    let (_group, server) = one();
    server.ask("SET sql_log_bin=0; REVOKE REPLICA MONITOR ON *.* FROM least@'%'").unwrap();
    let mut driver = Driver::new(&server, settings("least", "lab", plain()));
    driver.health(&Health::Useless(Fault::NoPermission));
    server.ask("SET sql_log_bin=0; GRANT REPLICA MONITOR ON *.* TO least@'%'").unwrap();
    driver.health(&Health::Up);
}

#[test]
fn accounts_with_ed25519_are_let_in() {
    let (_group, server) = one();
    server.ask("INSTALL SONAME 'auth_ed25519'").unwrap();
    for password in ["x", "a password that is longer than the key of thirty-two bytes"] {
        server
            .ask(&format!(
                "SET sql_log_bin=0; CREATE OR REPLACE USER strong@'%' IDENTIFIED VIA ed25519 USING PASSWORD('{password}')"
            ))
            .unwrap();
        let mut line = Line::open(server.address(), settings("strong", password, plain())).unwrap();
        assert_eq!(line.ask(&Command::Ping, SOON), Some(Reply::Pong));
        let mut line = Line::open(server.address(), settings("strong", "wrong", plain())).unwrap();
        assert_eq!(line.ask(&Command::Ping, SOON), Some(refused(Fault::WrongPassword)));
    }
}

#[test]
fn an_odd_password_for_replicas_arrives_as_it_is() {
    let group = MariaDbGroup::start(2, &Settings::recipe()).unwrap();
    let [primary, replica] = &group.instances()[..] else { panic!() };
    grant_least(replica);
    let odd = r#"'; DROP DATABASE shop; -- \' " ü \\"#;
    let literal = odd.replace('\\', "\\\\").replace('\'', "''");
    primary
        .ask(&format!(
            "CREATE USER odd@'%' IDENTIFIED BY '{literal}'; GRANT REPLICATION SLAVE ON *.* TO odd@'%'"
        ))
        .unwrap();
    let mut own = settings("least", "lab", plain());
    own.replication =
        backstay_wire::mariadb::Account { username: "odd".to_owned(), password: odd.to_owned() };
    assert!(!format!("{own:?}").contains("DROP"));
    let mut driver = Driver::new(replica, own);
    driver.replication(|_| true);
    driver.order(backstay_model::Action::Follow {
        primary: crate::driver::address(primary),
        disconnect: false,
        acker: true,
    });
    driver.replication(|seen| crate::driver::follows(seen, primary));
    let user = replica.ask("SHOW ALL SLAVES STATUS").unwrap();
    assert_eq!((user.get("Master_User"), user.get("Last_IO_Errno")), (Some("odd"), Some("0")));
}

#[test]
fn commands_that_are_queued_before_the_login_is_over_are_answered_in_order() {
    let (_group, server) = one();
    let mut line = least(&server, plain());
    for command in [Command::Ping, Command::Identify, Command::WriteGuard, Command::Info, Command::Ping] {
        line.send(&command);
    }
    assert_eq!(line.answer(SOON), Some(Reply::Pong));
    assert!(matches!(line.answer(SOON), Some(Reply::Identity(_))));
    assert_eq!(line.answer(SOON), Some(refused(Fault::OtherError)), "it has no such thing");
    assert!(matches!(line.answer(SOON), Some(Reply::Info(_))));
    assert_eq!(line.answer(SOON), Some(Reply::Pong));
}
