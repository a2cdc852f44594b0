//! The few words in which the facts are told.

use backstay_lab::load::sql::{Answer, Sql, SqlError};
use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::stack::mariadb::{application, repointing, status};
use backstay_lab::wait::wait_until;
use std::fs;
use std::thread::{JoinHandle, spawn};
use std::time::Duration;

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Longer than any test waits for anything.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn until(what: &str, look: impl Fn() -> bool) {
    wait_until(what, LIMIT, || look().then_some(())).unwrap();
}

/// The recipe, and what InnoDB has committed since it was last asked to wait is never on disk: by itself it sees to that
/// once a second, and whether a crash comes before or after is chance.
pub(crate) fn forgetful() -> Settings {
    Settings::recipe().with("innodb_flush_log_at_timeout", "2700")
}

/// A statement of the superuser that must be answered.
pub(crate) fn ask(server: &MariaDbServer, statement: &str) -> Answer {
    server.ask(statement).unwrap()
}

/// One column of `SHOW ALL SLAVES STATUS`; empty: it follows nobody.
pub(crate) fn replica_state(server: &MariaDbServer, column: &str) -> String {
    ask(server, "SHOW ALL SLAVES STATUS").get(column).unwrap_or_default().to_owned()
}

/// How far it has received.
pub(crate) fn received(server: &MariaDbServer) -> String {
    replica_state(server, "Gtid_IO_Pos")
}

/// How far it has written its own log.
pub(crate) fn written(server: &MariaDbServer) -> String {
    server.value("SELECT @@gtid_binlog_pos").unwrap()
}

/// The application, with patience.
pub(crate) fn shop(server: &MariaDbServer) -> Sql {
    let mut link = server.connect_as(&application()).unwrap();
    link.set_limit(PATIENCE);
    link
}

pub(crate) fn insertion(note: &str) -> String {
    format!("INSERT INTO shop.orders (note) VALUES ('{note}')")
}

/// The application's order, acknowledged.
pub(crate) fn order(server: &MariaDbServer, note: &str) {
    shop(server).ask(&insertion(note)).unwrap();
}

/// Which orders can be seen there, in their order.
pub(crate) fn orders(server: &MariaDbServer) -> Vec<String> {
    let rows = ask(server, "SELECT note FROM shop.orders ORDER BY id").rows;
    rows.iter().map(|row| row.at(0).unwrap().to_owned()).collect()
}

/// A statement that is on its way, on a thread of its own.
pub(crate) struct Pending {
    pub(crate) id: u32,
    thread: JoinHandle<Result<Answer, SqlError>>,
}

impl Pending {
    pub(crate) fn start(mut link: Sql, statement: &str) -> Self {
        link.set_limit(PATIENCE);
        let statement = statement.to_owned();
        Self { id: link.id(), thread: spawn(move || link.ask(&statement)) }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    pub(crate) fn end(self) -> Result<Answer, SqlError> {
        until("the statement's end", || self.has_ended());
        self.thread.join().unwrap()
    }
}

/// The application's order, which waits for an acknowledgement that does not come.
pub(crate) fn waiting_order(server: &MariaDbServer, note: &str) -> Pending {
    let before = waiting(server);
    let pending = Pending::start(shop(server), &insertion(note));
    until("the order waits for an acknowledgement", || waiting(server) == before + 1);
    pending
}

/// How many commits wait for an acknowledgement.
pub(crate) fn waiting(server: &MariaDbServer) -> u32 {
    status(server, "Rpl_semi_sync_master_wait_sessions").unwrap().parse().unwrap()
}

/// Replicas receive nothing and acknowledge nothing from now on.
pub(crate) fn cut_off(replicas: &[MariaDbServer]) {
    for replica in replicas {
        ask(replica, "STOP SLAVE IO_THREAD");
    }
}

/// Makes a replica the primary, as the recipe does once its relay log is drained.
pub(crate) fn promote(server: &MariaDbServer) {
    ask(server, "STOP ALL SLAVES; RESET SLAVE ALL; SET GLOBAL read_only=OFF");
}

/// Lets a former primary follow `primary`; whether it can is not waited for.
pub(crate) fn demote(server: &MariaDbServer, primary: &MariaDbServer) {
    ask(server, "SET GLOBAL read_only=ON");
    ask(server, &format!("STOP SLAVE; {}, MASTER_DEMOTE_TO_SLAVE=1; START SLAVE", repointing(primary)));
}

pub(crate) fn log_of(server: &MariaDbServer) -> String {
    fs::read_to_string(server.log()).unwrap()
}
