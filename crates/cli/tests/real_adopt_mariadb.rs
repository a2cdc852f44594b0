//! A MariaDB group that somebody else set up becomes a service: what is done, what is refused, and that controllers who
//! start with the file that was written fail it over.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::servers::ports::Ports;
use backstay_lab::stack::mariadb::{MariaDbGroup, await_linked, await_same, follow};
use backstay_lab::wait::wait_until;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;
use support::{Outcome, backstay, run, succeed};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);
/// What the lab calls a user of its own, too.
const TAKEN: &str = "DROP USER backstay@'%'";

/// A primary and two replicas as a distribution sets them up, with a binary log.
struct Shop {
    group: MariaDbGroup,
    folder: TempDir,
    ports: Ports,
}

fn plain() -> Settings {
    let bare = [
        "gtid_strict_mode",
        "binlog_format",
        "sync_binlog",
        "read_only",
        "init_rpl_role",
        "skip_slave_start",
        "event_scheduler",
        "slave_net_timeout",
        "slave_parallel_mode",
        "slave_parallel_threads",
        "rpl_semi_sync_master_wait_point",
        "rpl_semi_sync_master_timeout",
        "rpl_semi_sync_slave_kill_conn_timeout",
    ];
    bare.into_iter().fold(Settings::recipe(), Settings::without)
}

impl Shop {
    fn open(settings: &Settings) -> Self {
        let group = MariaDbGroup::start(3, settings).unwrap();
        let shop = Self { group, folder: tempfile::tempdir().unwrap(), ports: Ports::open().unwrap() };
        fs::write(shop.folder.path().join("admin"), "admin\n").unwrap();
        shop.m1(
            "CREATE USER admin@'%' IDENTIFIED BY 'admin'; GRANT ALL ON *.* TO admin@'%' WITH GRANT OPTION",
        );
        shop.m1(TAKEN);
        shop.group.await_caught_up().unwrap();
        shop
    }

    fn m1(&self, statement: &str) {
        self.server("m1").ask(statement).unwrap();
    }

    fn server(&self, name: &str) -> MariaDbServer {
        self.group.instance(name).unwrap().clone()
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("backstay.toml")
    }

    /// Adopts the group of which this is said to be the primary.
    fn adopt_at(&self, port: u16, words: &[&str]) -> Outcome {
        let (file, address) = (self.file(), format!("127.0.0.1:{port}"));
        let admin = self.folder.path().join("admin");
        let fixed = [
            "adopt",
            "orders",
            "--mariadb",
            &address,
            "--config",
            file.to_str().unwrap(),
            "--admin-user",
            "admin",
            "--admin-password-file",
            admin.to_str().unwrap(),
        ];
        run(self.folder.path(), &[&fixed, words].concat())
    }

    fn adopt(&self, words: &[&str]) -> Outcome {
        self.adopt_at(self.server("m1").port, words)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Nothing was written here, and nothing was changed there.
    fn expect_untouched(&self) {
        assert_eq!(self.names(), ["admin"]);
        let users = "SELECT COUNT(*) FROM mysql.global_priv WHERE User IN ('backstay', 'backstay_replica')";
        for name in ["m1", "m2", "m3"] {
            assert_eq!(self.server(name).value(users).unwrap(), "0");
        }
    }

    /// Starts three controllers with the file as it was written, but for where they listen and keep their state.
    fn start_controllers(&mut self) -> Controllers {
        let mut text = fs::read_to_string(self.file()).unwrap();
        let folder = self.folder.path().to_owned();
        for (name, port) in [("a", 7601), ("b", 7602), ("c", 7603)] {
            let own = self.ports.claim().unwrap();
            let places = format!(
                "127.0.0.1:{own}\"\nadmin = \"{}\"\nstate = \"{}\"",
                folder.join(format!("{name}.sock")).display(),
                folder.join(format!("state-{name}")).display()
            );
            text = text.replace(&format!("127.0.0.1:{port}\""), &places);
        }
        fs::write(self.file(), text).unwrap();
        let start = |name| {
            let log = fs::File::create(folder.join(format!("{name}.log"))).unwrap();
            let mut command = backstay(&folder);
            command.args(["run", "--bootstrap", "--node", name, "--config", self.file().to_str().unwrap()]);
            command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
        };
        Controllers(["a", "b", "c"].map(start).into_iter().collect())
    }

    fn primary(&self) -> Option<String> {
        let socket = self.folder.path().join("a.sock");
        let words = ["status", "-o", "json", "--socket", socket.to_str().unwrap()];
        let outcome = run(self.folder.path(), &words);
        let status: serde_json::Value = serde_json::from_str(&outcome.stdout).ok()?;
        let service = &status["services"][0];
        (service["phase"] == "stable").then(|| service["primary"].as_str().map(str::to_owned))?
    }
}

fn expect_refused(outcome: &Outcome, words: &[&str]) {
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for word in words {
        assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains(word), "{word}: {outcome:?}");
    }
}

/// What its binary log says, as far as that is text.
fn logged(server: &MariaDbServer) -> String {
    let files = fs::read_dir(server.data()).unwrap().map(|entry| entry.unwrap().path());
    let logs =
        files.filter(|path| path.extension().is_some_and(|end| end.to_string_lossy().starts_with("0000")));
    logs.map(|path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()).collect()
}

struct Controllers(Vec<Child>);

impl Drop for Controllers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_plain_group_is_adopted_and_controllers_with_the_new_file_fail_it_over() {
    let mut shop = Shop::open(&plain());
    // One follows by file and position.
    let m3 = shop.server("m3");
    m3.ask("STOP SLAVE; CHANGE MASTER TO MASTER_USE_GTID=no; START SLAVE").unwrap();
    await_linked(&m3).unwrap();
    let dry = shop.adopt(&["--dry-run"]);
    assert!(dry.code == Some(0) && dry.stdout.contains("undo: DROP USER"), "{dry:?}");
    shop.expect_untouched();

    let done = shop.adopt(&["--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    for name in ["orders-backstay.pass", "orders-backstay_replica.pass"] {
        let path = shop.folder.path().join(name);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let password = fs::read_to_string(&path).unwrap();
        assert!(!format!("{done:?}").contains(password.trim()), "a password shows");
        assert!(!logged(&shop.server("m1")).contains(password.trim()), "a password is in the binary log");
    }
    assert!(logged(&shop.server("m1")).contains("backstay_replica"), "the log is another one");
    let lines = fs::read_to_string(shop.folder.path().join("orders-db2.cnf")).unwrap();
    assert!(lines.contains("[mariadbd]\n") && lines.contains("\nread_only = ON\n"), "{lines}");
    let file = shop.file();
    let file = file.to_str().unwrap();
    succeed(shop.folder.path(), &["config", "check", file]);
    let doctor = run(shop.folder.path(), &["doctor", "--config", file, "-o", "json"]);
    let left: serde_json::Value = serde_json::from_str(&doctor.stdout).unwrap();
    let instances = left["services"][0]["instances"].as_array().unwrap();
    let findings = instances.iter().flat_map(|instance| instance["findings"].as_array().unwrap());
    // What a file says only a restart shows.
    let worse: Vec<_> = findings.filter(|it| it["severity"] != "note" && it["check"] != "boot").collect();
    assert!(worse.is_empty(), "{worse:#?}");

    let controllers = shop.start_controllers();
    wait_until("that m1 is led", LIMIT, || (shop.primary()? == "db1").then_some(())).unwrap();
    shop.m1("INSERT INTO shop.orders (note) VALUES ('acknowledged')");
    shop.group.kill("m1").unwrap();
    let next = wait_until("another primary", LIMIT, || shop.primary().filter(|name| name != "db1")).unwrap();
    let next = shop.server(&next.replace("db", "m"));
    assert_ne!(next.name, "m1");
    wait_until("that it takes writes", LIMIT, || {
        (next.value("SELECT @@read_only").ok()? == "0").then_some(())
    })
    .unwrap();
    assert_eq!(next.value("SELECT note FROM shop.orders").unwrap(), "acknowledged");
    drop(controllers);
}

#[test]
fn what_takes_a_restart_stands_in_the_way_and_nothing_is_done() {
    let shop = Shop::open(&plain().with("log_slave_updates", "OFF"));
    let outcome = shop.adopt(&["--yes"]);
    expect_refused(&outcome, &["stands in the way", "log_slave_updates = ON", "restart it"]);
    shop.expect_untouched();
}

#[test]
fn who_is_no_primary_and_who_is_not_let_in_is_refused_by_name() {
    let mut shop = Shop::open(&plain());
    let m1 = shop.server("m1");
    expect_refused(
        &shop.adopt_at(shop.server("m2").port, &["--yes"]),
        &["is no primary", "name the primary"],
    );
    let nobody = shop.ports.claim().unwrap();
    expect_refused(&shop.adopt_at(nobody, &["--yes"]), &["nobody listens"]);
    shop.m1("REVOKE RELOAD, GRANT OPTION ON *.* FROM admin@'%'");
    expect_refused(&shop.adopt(&["--yes"]), &["lacks", "GRANT OPTION", "RELOAD"]);
    shop.m1("GRANT ALL ON *.* TO admin@'%' WITH GRANT OPTION");
    // A replica that was told not to say where it is.
    let away = shop.group.start_server("m4", &plain()).unwrap();
    follow(&away, &m1).unwrap();
    shop.group.await_caught_up().unwrap();
    away.ask("SET SESSION sql_log_bin=0; DROP USER admin@'%'").unwrap();
    expect_refused(&shop.adopt(&["--yes"]), &["db4", "refuses the password"]);
    shop.group.kill("m4").unwrap();
    wait_until("that it is gone", LIMIT, || (m1.ask("SHOW SLAVE HOSTS").ok()?.rows.len() == 2).then_some(()))
        .unwrap();
    shop.expect_untouched();
    // Two with one number: the primary knows only one of them.
    let m3 = shop.server("m3");
    m3.ask("STOP SLAVE; SET GLOBAL server_id=2").unwrap();
    let both = ["m2", "m3"].map(|name| format!("127.0.0.1:{}", shop.server(name).port));
    let twins = shop.adopt(&["--yes", "--replica", &both[0], "--replica", &both[1]]);
    expect_refused(&twins, &["db3", "has the server_id of db2, 2", "SET GLOBAL server_id"]);
    m3.ask("SET GLOBAL server_id=3; START SLAVE").unwrap();
    await_linked(&m3).unwrap();
    shop.expect_untouched();
    let galera = shop.group.start_server("m5", &plain().with("wsrep_on", "ON")).unwrap();
    galera.ask("CREATE USER admin@'%' IDENTIFIED BY 'admin'; GRANT ALL ON *.* TO admin@'%'").unwrap();
    expect_refused(&shop.adopt_at(galera.port, &["--yes"]), &["is a node of a Galera cluster"]);
    // Somebody else's user, and somebody else's file.
    shop.m1("CREATE USER backstay@'10.%' IDENTIFIED BY 'x'");
    expect_refused(&shop.adopt(&["--yes"]), &["`backstay`@`10.%` exists", "stands in the way"]);
    shop.m1("DROP USER backstay@'10.%'");
    for name in ["m2", "m3"] {
        await_same(&shop.server(name), &m1).unwrap();
    }
    shop.expect_untouched();
    fs::write(shop.file(), "mine").unwrap();
    expect_refused(&shop.adopt(&["--yes"]), &["exists already"]);
    assert_eq!(fs::read_to_string(shop.file()).unwrap(), "mine");
    fs::write(shop.folder.path().join("admin"), "wrong\n").unwrap();
    fs::remove_file(shop.file()).unwrap();
    expect_refused(&shop.adopt(&["--yes"]), &["refuses the password"]);
}

#[test]
fn a_replica_that_reports_a_wrong_address_is_asked_for_and_named_by_hand() {
    let mut shop = Shop::open(&plain());
    let m3 = shop.server("m3");
    shop.group.shut_down("m3").unwrap();
    let text = fs::read_to_string(m3.settings()).unwrap();
    fs::write(m3.settings(), text.replace("report_host=127.0.0.1\n", "report_host=nowhere.invalid\n"))
        .unwrap();
    shop.group.start_again("m3").unwrap();
    await_linked(&m3).unwrap();
    let words = ["server_id 3", "does not resolve", "--replica HOST:PORT"];
    expect_refused(&shop.adopt(&["--dry-run"]), &words);
    let by_hand = format!("127.0.0.1:{}", m3.port);
    let named = shop.adopt(&["--dry-run", "--replica", &by_hand, "-o", "json"]);
    assert_eq!(named.code, Some(0), "{named:?}");
    let json: serde_json::Value = serde_json::from_str(&named.stdout).unwrap();
    assert_eq!(json["members"].as_array().unwrap().len(), 3);
    assert_eq!(json["durability"], "majority");
    shop.expect_untouched();
}

#[test]
fn an_adoption_that_failed_halfway_is_finished_by_the_next() {
    let shop = Shop::open(&plain());
    let hindrance = shop.folder.path().join("orders-db1.cnf");
    fs::create_dir(&hindrance).unwrap();
    let outcome = shop.adopt(&["--yes"]);
    expect_refused(&outcome, &["orders-db1.cnf", "run the command again", "done: "]);
    assert!(!shop.file().exists());
    fs::remove_dir(&hindrance).unwrap();
    // What a step makes is seen, not taken for granted: commits go on.
    shop.m1("INSERT INTO shop.orders (note) VALUES ('in between')");
    let again = shop.adopt(&["--yes", "--durability", "majority"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    assert!(hindrance.is_file() && shop.file().is_file());
    shop.m1("INSERT INTO shop.orders (note) VALUES ('acknowledged')");
}
