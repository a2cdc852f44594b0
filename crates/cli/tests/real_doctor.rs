//! `backstay doctor` in front of real servers: each thing that it names is broken, named, mended by the statements that it
//! prints, and named no more.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::servers::ports::Ports;
use backstay_lab::stack::mariadb::{MariaDbGroup, PASSWORD, REPLICATION_USER, await_linked, follow};
use backstay_lab::wait::wait_until;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::thread::spawn;
use std::time::Duration;
use support::{Outcome, run};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);
/// As whom Backstay logs in: with the least rights.
const USER: &str = "least";
/// As docs/guide/mariadb-users.md grants them.
const RIGHTS: &str = "CONNECTION ADMIN, PROCESS, READ_ONLY ADMIN, RELOAD, REPLICA MONITOR, REPLICATION MASTER ADMIN, \
                      REPLICATION SLAVE ADMIN";

/// Servers, and a file that names them.
struct Clinic {
    group: MariaDbGroup,
    folder: TempDir,
    ports: Ports,
    /// Lines of the service's section.
    service: String,
    /// Sections beside it.
    beside: String,
}

/// One finding as a program reads it.
#[derive(Clone, Debug)]
struct Finding {
    instance: String,
    check: String,
    severity: String,
    what: String,
    mend: Vec<String>,
    file: Vec<String>,
}

impl Clinic {
    /// `m1`, which `m2` follows: as Backstay wants them.
    fn open() -> Self {
        Self::with(&healthy())
    }

    fn with(settings: &Settings) -> Self {
        let group = MariaDbGroup::start(2, settings).unwrap();
        let clinic = Self::around(group);
        clinic.m1(&format!(
            "CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'; GRANT {RIGHTS} ON *.* TO {USER}@'%'; \
             GRANT CREATE, DELETE, INSERT ON backstay.* TO {USER}@'%'"
        ));
        clinic.group.await_caught_up().unwrap();
        clinic
    }

    fn around(group: MariaDbGroup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        let password = password.display();
        let service = format!(
            "username = \"{USER}\"\npassword_file = \"{password}\"\n\
             replication_username = \"{REPLICATION_USER}\"\nreplication_password_file = \"{password}\"\n"
        );
        Self { group, folder, ports: Ports::open().unwrap(), service, beside: String::new() }
    }

    fn m1(&self, statement: &str) {
        self.group.instance("m1").unwrap().ask(statement).unwrap();
    }

    fn server(&self, name: &str) -> MariaDbServer {
        self.group.instance(name).unwrap().clone()
    }

    fn addresses(&self) -> Vec<(String, u16)> {
        self.group.instances().into_iter().map(|server| (server.name, server.port)).collect()
    }

    fn doctor(&mut self, words: &[&str]) -> Outcome {
        let addresses = self.addresses();
        self.doctor_of(&addresses, words)
    }

    fn doctor_of(&mut self, addresses: &[(String, u16)], words: &[&str]) -> Outcome {
        let (controller, mut instances) = (self.ports.claim().unwrap(), String::new());
        for (name, port) in addresses {
            let _ = write!(instances, "{{ name = \"{name}\", address = \"127.0.0.1:{port}\" }},");
        }
        let text = format!(
            "cluster = \"test\"\n[[controllers]]\nname = \"a\"\naddress = \"127.0.0.1:{controller}\"\nsentinel = \"off\"\n\
             [[mariadb]]\nname = \"orders\"\n{}instances = [{instances}]\n{}",
            self.service, self.beside
        );
        let path = self.folder.path().join("backstay.toml");
        fs::write(&path, text).unwrap();
        let fixed = ["doctor", "mariadb", "--config", path.to_str().unwrap()];
        let outcome = run(self.folder.path(), &[&fixed, words].concat());
        assert!(!format!("{outcome:?}").contains("IDENTIFIED BY PASSWORD"), "a hash shows: {outcome:?}");
        outcome
    }

    fn findings(&mut self) -> Vec<Finding> {
        read(&self.doctor(&["-o", "json"]))
    }

    /// What is said about `check` at `instance`, notes aside.
    fn named(&mut self, instance: &str, check: &str) -> Vec<Finding> {
        let mut found = self.findings();
        found.retain(|it| it.instance == instance && it.check == check && it.severity != "note");
        found
    }

    /// Runs what was printed, as root, on one connection.
    fn mend(&self, finding: &Finding) {
        let mut link = self.server(&finding.instance).connect().unwrap();
        for statement in &finding.mend {
            let statement = statement.replace("'...'", &format!("'{PASSWORD}'"));
            link.ask(&statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }

    fn await_following(&self) {
        await_linked(&self.server("m2")).unwrap();
        self.group.await_caught_up().unwrap();
    }
}

fn read(outcome: &Outcome) -> Vec<Finding> {
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap_or_else(|_| panic!("{outcome:?}"));
    let instances = json["services"].as_array().unwrap().iter();
    let instances = instances.flat_map(|service| service["instances"].as_array().unwrap().clone());
    let findings: Vec<Value> = instances.flat_map(|it| it["findings"].as_array().unwrap().clone()).collect();
    let has_errors = findings.iter().any(|finding| finding["severity"] == "error");
    assert_eq!(outcome.code, Some(i32::from(has_errors)), "{outcome:?}");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let texts = |value: &Value| value.as_array().unwrap().iter().map(text).collect();
    let read = |finding: &Value| Finding {
        instance: text(&finding["instance"]),
        check: text(&finding["check"]),
        severity: text(&finding["severity"]),
        what: text(&finding["what"]),
        mend: texts(&finding["mend"]),
        file: texts(&finding["file"]),
    };
    findings.iter().map(read).collect()
}

fn healthy() -> Settings {
    Settings::recipe().with("skip_name_resolve", "OFF").with("max_connect_errors", "1000000")
}

/// Breaks something at an instance, in a way that the check of this name must see.
struct Case(&'static str, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    Case("rights", "m1", "error", "REVOKE RELOAD, READ_ONLY ADMIN ON *.* FROM least@'%'"),
    Case("rights", "m1", "error", "REVOKE INSERT ON backstay.* FROM least@'%'"),
    Case("rights", "m1", "error", "REVOKE REPLICA MONITOR ON *.* FROM least@'%'"),
    Case("rights", "m2", "error", "SET SESSION sql_log_bin=0; REVOKE PROCESS ON *.* FROM least@'%'"),
    Case("replication user", "m1", "error", "REVOKE REPLICATION SLAVE ON *.* FROM backstay_replication@'%'"),
    Case("gtid_strict_mode", "m2", "error", "SET GLOBAL gtid_strict_mode=OFF"),
    Case("binlog_format", "m1", "error", "SET GLOBAL binlog_format=STATEMENT"),
    Case("binlog_row_image", "m2", "warning", "SET GLOBAL binlog_row_image=MINIMAL"),
    Case("sync_binlog", "m1", "warning", "SET GLOBAL sync_binlog=0"),
    Case("innodb_flush_log_at_trx_commit", "m2", "warning", "SET GLOBAL innodb_flush_log_at_trx_commit=2"),
    Case("slave_net_timeout", "m2", "warning", "SET GLOBAL slave_net_timeout=60"),
    Case(
        "rpl_semi_sync_slave_kill_conn_timeout",
        "m2",
        "error",
        "SET GLOBAL rpl_semi_sync_slave_kill_conn_timeout=0",
    ),
    Case(
        "rpl_semi_sync_slave_kill_conn_timeout",
        "m1",
        "warning",
        "SET GLOBAL rpl_semi_sync_slave_kill_conn_timeout=5",
    ),
    Case(
        "slave_parallel_mode",
        "m2",
        "warning",
        "STOP SLAVE; SET GLOBAL slave_parallel_mode=conservative; START SLAVE",
    ),
    Case(
        "slave_parallel_threads",
        "m2",
        "warning",
        "STOP SLAVE; SET GLOBAL slave_parallel_threads=0; START SLAVE",
    ),
    Case("server_id", "m2", "error", "STOP SLAVE; SET GLOBAL server_id=1; START SLAVE"),
    Case("gtid_domain_id", "m2", "error", "SET GLOBAL gtid_domain_id=5"),
    Case("one primary", "m2", "error", "STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only=OFF"),
    Case("read_only", "m2", "error", "SET GLOBAL read_only=OFF"),
    Case(
        "channels",
        "m2",
        "error",
        "CHANGE MASTER 'x' TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='x'",
    ),
    Case("Using_Gtid", "m2", "error", "STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID=no; START SLAVE"),
    Case(
        "heartbeats",
        "m2",
        "warning",
        "STOP SLAVE; CHANGE MASTER TO MASTER_HEARTBEAT_PERIOD=5; START SLAVE",
    ),
    Case("replication", "m2", "warning", "STOP SLAVE IO_THREAD"),
    Case("replication", "m2", "warning", "STOP SLAVE SQL_THREAD"),
    Case("filters", "m2", "error", "STOP SLAVE; SET GLOBAL replicate_wild_ignore_table='a.%'; START SLAVE"),
    Case("filters", "m1", "error", "SET GLOBAL replicate_do_db='shop'"),
    Case("filters", "m2", "error", "STOP SLAVE; CHANGE MASTER TO IGNORE_DOMAIN_IDS=(4); START SLAVE"),
    Case("host blocking", "m1", "warning", "SET GLOBAL max_connect_errors=100"),
];

#[test]
fn each_thing_that_is_broken_is_named_and_what_is_printed_mends_it() {
    let mut clinic = Clinic::open();
    let healthy = clinic.findings();
    assert!(healthy.iter().all(|finding| finding.severity == "note"), "{healthy:#?}");
    for Case(check, instance, severity, breaking) in CASES {
        let server = clinic.server(instance);
        server.ask(breaking).unwrap_or_else(|error| panic!("{breaking}: {error}"));
        // What a thread that has just started says of itself comes a moment later.
        let found = wait_until(breaking, LIMIT, || {
            let found = clinic.named(instance, check);
            (!found.is_empty()).then_some(found)
        });
        let found = found.unwrap();
        assert_eq!((found.len(), &*found[0].severity), (1, *severity), "{breaking}: {found:#?}");
        clinic.mend(&found[0]);
        if *check == "one primary" {
            follow(&server, &clinic.server("m1")).unwrap();
        }
        clinic.await_following();
        let left: Vec<_> = clinic.findings().into_iter().filter(|it| it.severity != "note").collect();
        assert!(left.is_empty(), "{breaking}: {left:#?}");
    }
}

#[test]
fn what_takes_a_restart_is_named_with_the_line_of_the_file() {
    let settings = Settings::recipe()
        .without("read_only")
        .without("log_bin")
        .with("log_slave_updates", "OFF")
        .with("event_scheduler", "DISABLED")
        .with("slave_skip_errors", "1062")
        .with("rpl_semi_sync_slave_enabled", "OFF")
        .without("init_rpl_role");
    let mut group = MariaDbGroup::empty().unwrap();
    let server = group.start_server("m1", &settings).unwrap();
    server
        .ask(&format!(
            "CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'; GRANT ALL ON *.* TO {USER}@'%'; \
             CREATE USER {REPLICATION_USER}@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT REPLICATION SLAVE ON *.* TO {REPLICATION_USER}@'%'"
        ))
        .unwrap();
    let mut clinic = Clinic::around(group);
    clinic.service.push_str("events = true\n");
    for (check, line) in [
        ("log_bin", "log_bin = ON"),
        ("log_slave_updates", "log_slave_updates = ON"),
        ("boot", "read_only = ON"),
        ("events", "event_scheduler = OFF"),
        ("slave_skip_errors", ""),
    ] {
        let found = clinic.named("m1", check);
        assert_eq!(found.len(), 1, "{check}: {:#?}", clinic.findings());
        assert!(line.is_empty() || found[0].file.iter().any(|it| it == line), "{found:#?}");
        assert!(found[0].mend.is_empty(), "{found:#?}");
    }
    // With the lines it starts, and nothing of that is left.
    clinic.group.shut_down("m1").unwrap();
    server.write_settings(&healthy()).unwrap();
    clinic.group.start_again("m1").unwrap();
    for check in ["log_bin", "log_slave_updates", "boot", "events", "slave_skip_errors"] {
        assert!(clinic.named("m1", check).is_empty(), "{check}: {:#?}", clinic.findings());
    }
}

#[test]
fn what_a_user_with_more_rights_can_see_is_looked_at_and_else_the_statement_is_told() {
    let mut clinic = Clinic::open();
    clinic.m1("CREATE TABLE shop.heap (a INT) ENGINE=MyISAM; CREATE USER boss@'10.%' IDENTIFIED BY 'x'; \
         GRANT SUPER ON *.* TO boss@'10.%'");
    for check in ["applications", "tables"] {
        let notes: Vec<_> = clinic.findings().into_iter().filter(|it| it.check == check).collect();
        assert_eq!((notes.len(), &*notes[0].severity), (1, "note"), "{notes:#?}");
        clinic.mend(&notes[0]);
    }
    clinic.m1(&format!("GRANT SELECT ON *.* TO {USER}@'%'"));
    let tables = clinic.named("m1", "tables");
    assert!(tables[0].what.starts_with("1 tables"), "{tables:#?}");
    clinic.mend(&tables[0]);
    clinic.m1("ALTER TABLE shop.heap ADD PRIMARY KEY (a), ENGINE=InnoDB");
    assert!(clinic.named("m1", "tables").is_empty());
    let boss = clinic.named("m1", "applications");
    assert!(boss.iter().any(|it| it.what.contains("`boss`@`10.%`")), "{boss:#?}");
    for finding in &boss {
        clinic.mend(finding);
    }
    assert!(clinic.named("m1", "applications").is_empty());
}

#[test]
fn transactions_of_another_domain_a_scheduler_and_few_connections_are_named() {
    let mut clinic = Clinic::open();
    clinic.m1("SET SESSION gtid_domain_id=9; CREATE DATABASE odd");
    clinic.await_following();
    for name in ["m1", "m2"] {
        let found = clinic.named(name, "GTID domains");
        assert_eq!(found.len(), 1, "{found:#?}");
        let server = clinic.server(name);
        server.ask(&found[0].mend[0]).unwrap();
        wait_until("that old logs are gone", LIMIT, || {
            let last = server.ask("SHOW BINARY LOGS").unwrap();
            let last = last.rows.last().unwrap().get("Log_name").unwrap().to_owned();
            server.ask(&format!("PURGE BINARY LOGS TO '{last}'")).unwrap();
            server.ask(&found[0].mend[1]).ok()
        })
        .unwrap();
        assert!(clinic.named(name, "GTID domains").is_empty());
    }
    clinic.m1("SET GLOBAL event_scheduler=ON");
    assert_eq!(clinic.named("m1", "events").len(), 1);
    let port = clinic.ports.claim().unwrap();
    clinic.beside = format!(
        "[[endpoints]]\nname = \"shop\"\nservice = \"orders\"\nlisten = \"127.0.0.1:{port}\"\nclients_max = 5000\n"
    );
    let few: Vec<_> = clinic.findings().into_iter().filter(|it| it.check == "max_connections").collect();
    assert!(few.len() == 2 && few[0].what.contains("5000"), "{few:#?}");
    for finding in &few {
        clinic.mend(finding);
    }
    assert!(clinic.findings().iter().all(|it| it.check != "max_connections" || it.severity == "note"));
}

#[test]
fn each_way_not_to_be_reached_is_told_from_the_others() {
    let mut clinic = Clinic::open();
    let m1 = clinic.addresses()[0].clone();
    let nobody = clinic.ports.claim().unwrap();
    let (silent, _kept) = listener(b"");
    let (mysql, _kept_too) = listener(&greeting("8.0.40"));
    let (old, _kept_three) = listener(&greeting("5.5.5-10.3.39-MariaDB"));
    let (web, _kept_four) = listener(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    let places = [("m1", m1.1), ("m2", nobody), ("m3", silent), ("m4", mysql), ("m5", old), ("m6", web)];
    let places: Vec<_> = places.into_iter().map(|(name, port)| (name.to_owned(), port)).collect();
    let outcome = clinic.doctor_of(&places, &["orders", "-o", "json"]);
    let reached: Vec<_> = read(&outcome).into_iter().filter(|it| it.check == "reached").collect();
    for (name, words) in [
        ("m2", "nobody listens"),
        ("m3", "did not answer"),
        ("m4", "is not what the file names"),
        ("m5", "replicates in a way"),
        ("m6", "ended the talk"),
    ] {
        let found = reached.iter().find(|finding| finding.instance == name);
        assert!(found.is_some_and(|it| it.what.contains(words)), "{name}: {reached:#?}");
    }
    assert!(reached.iter().all(|finding| finding.instance != "m1"));
    // One that hangs keeps nobody from looking at the others.
    clinic.group.stop("m2").unwrap();
    let hangs = clinic.named("m2", "reached");
    assert!(hangs.len() == 1 && hangs[0].what.contains("did not answer"), "{hangs:#?}");
    assert!(clinic.named("m1", "reached").is_empty());
    clinic.group.resume("m2").unwrap();
    // As a table it has the same in it.
    let shown = clinic.doctor_of(&places[..2], &[]);
    assert!(shown.code == Some(1) && shown.stdout.contains("nobody listens"), "{shown:?}");
}

#[test]
fn a_wrong_password_and_a_host_that_is_not_let_in_are_named_and_mended_by_the_statements() {
    let mut clinic = Clinic::open();
    clinic.m1(&format!("ALTER USER {USER}@'%' IDENTIFIED BY 'another'"));
    clinic.await_following();
    let found = clinic.named("m1", "reached");
    assert!(found[0].what.contains("refuses the password"), "{found:#?}");
    clinic.mend(&found[0]);
    assert!(clinic.named("m1", "reached").is_empty());
    clinic.m1(&format!("RENAME USER {USER}@'%' TO {USER}@'10.0.0.1'; DELETE FROM mysql.global_priv WHERE Host NOT IN ('localhost', '10.0.0.1'); FLUSH PRIVILEGES"));
    let found = clinic.named("m1", "reached");
    assert!(!found.is_empty(), "{:#?}", clinic.findings());
    clinic.mend(&found[0]);
    // Let in, it lacks its rights, and is told which.
    let rights = clinic.named("m1", "rights");
    assert_eq!(rights.len(), 2, "{rights:#?}");
    for finding in &rights {
        clinic.mend(finding);
    }
    assert!(clinic.named("m1", "rights").is_empty());
    let replicas = clinic.named("m1", "replication user");
    for finding in &replicas {
        clinic.mend(finding);
    }
    assert!(clinic.named("m1", "replication user").is_empty());
}

#[test]
fn somebody_elses_replica_and_wrong_words_are_named() {
    let mut clinic = Clinic::open();
    let stranger = clinic.group.start_server("m3", &healthy()).unwrap();
    follow(&stranger, &clinic.server("m1")).unwrap();
    clinic.group.await_caught_up().unwrap();
    let places: Vec<_> = clinic.addresses().into_iter().skip(1).collect();
    let outcome = clinic.doctor_of(&places, &["-o", "json"]);
    let found: Vec<_> = read(&outcome).into_iter().filter(|it| it.check == "whom it follows").collect();
    assert!(found.len() == 2 && found[0].what.contains("none of this service"), "{found:#?}");
    let galera = clinic.group.start_server("m4", &healthy().with("wsrep_on", "ON")).unwrap();
    galera.ask(&format!("CREATE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'")).unwrap();
    let places = [("m4".to_owned(), galera.port)];
    let found = read(&clinic.doctor_of(&places, &["-o", "json"]));
    assert!(found.len() == 1 && found[0].check == "galera", "{found:#?}");
    let unknown = clinic.doctor(&["order"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("'order'"), "{unknown:?}");
}

/// Says this to whoever comes, and keeps the connection.
fn listener(words: &[u8]) -> (u16, TcpListener) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (accepting, words) = (listener.try_clone().unwrap(), words.to_vec());
    spawn(move || {
        let mut kept = Vec::new();
        for mut stream in accepting.incoming().flatten() {
            let _ = stream.write_all(&words);
            kept.push(stream);
        }
    });
    (port, listener)
}

fn greeting(version: &str) -> Vec<u8> {
    let mut payload = vec![10];
    payload.extend_from_slice(version.as_bytes());
    payload.extend_from_slice(b"\0\x07\0\0\x0012345678\0");
    payload.extend(0xfffe_u16.to_le_bytes());
    payload.push(45);
    payload.extend(2_u16.to_le_bytes());
    payload.extend(0x81bf_u16.to_le_bytes());
    payload.push(21);
    payload.extend([0; 10]);
    payload.extend_from_slice(b"abcdefghijkl\0mysql_native_password\0");
    let length = (payload.len() as u32).to_le_bytes();
    [&length[..3], &[0], &payload].concat()
}
