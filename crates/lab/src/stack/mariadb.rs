//! A MariaDB group without anybody who watches: one primary, replicas that follow it by GTID, and the three accounts
//! that such a group has. It ends when it is dropped.

use crate::error::{LabError, Result, file_error};
use crate::load::sql::Account;
use crate::servers::mariadb::{self, MariaDbServer, Settings};
use crate::servers::nursery;
use crate::servers::ports::Ports;
use crate::servers::process::{Liveness, Moment, Process};
use crate::wait::{poll_every, wait_until};
use backstay_model::hint;
use backstay_wire::mariadb::CANARY_RIGHTS;
use nix::sys::signal::Signal;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// The database of the application.
pub const DATABASE: &str = "shop";
/// What a replica logs in to its primary with.
pub const REPLICATION_USER: &str = "backstay_replication";
/// What controllers log in with.
pub const CONTROLLER_USER: &str = "backstay";
/// What the application logs in with.
pub const APPLICATION_USER: &str = "shop";
/// The password of all three.
pub const PASSWORD: &str = "lab";

/// What the controllers' account may do on 10.11 (tests/mariadb_facts/rights.rs).
pub const CONTROLLER_RIGHTS: &str = "BINLOG ADMIN, BINLOG MONITOR, BINLOG REPLAY, CONNECTION ADMIN, EVENT, PROCESS, \
     READ_ONLY ADMIN, RELOAD, REPLICA MONITOR, REPLICATION MASTER ADMIN, REPLICATION SLAVE ADMIN, SET USER, SUPER";

const READY_LIMIT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

/// One primary, replicas, or nothing yet.
#[derive(Debug)]
pub struct MariaDbGroup {
    instances: Vec<(MariaDbServer, Process)>,
    ports: Ports,
    dir: TempDir,
}

impl MariaDbGroup {
    /// Nothing yet: see `start_server`.
    pub fn empty() -> Result<Self> {
        mariadb::program()?;
        let dir = tempfile::Builder::new().prefix("backstay-mariadb-").tempdir();
        let dir = dir.map_err(file_error("create a folder in", &std::env::temp_dir()))?;
        nursery::note_paths(vec![dir.path().to_path_buf()]);
        Ok(Self { instances: Vec::new(), ports: Ports::open()?, dir })
    }

    /// So many servers, `m1` the primary, open for writes; the others replicate, and have everything.
    pub fn start(servers: usize, settings: &Settings) -> Result<Self> {
        let mut group = Self::empty()?;
        let names: Vec<String> = (1..=servers).map(|number| format!("m{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let started = group.start_servers(&names, settings)?;
        let Some((primary, replicas)) = started.split_first() else {
            return Ok(group);
        };
        create_accounts(primary)?;
        primary.ask("SET GLOBAL read_only=OFF")?;
        for replica in replicas {
            follow(replica, primary)?;
        }
        group.await_caught_up()?;
        Ok(group)
    }

    /// As `start`, by the recipe, and every replica acknowledges.
    pub fn start_acknowledged(servers: usize) -> Result<Self> {
        Self::start_acknowledged_with(servers, &Settings::recipe())
    }

    /// As `start`, and every replica acknowledges.
    pub fn start_acknowledged_with(servers: usize, settings: &Settings) -> Result<Self> {
        let group = Self::start(servers, settings)?;
        group.switch_acknowledgements_on()?;
        Ok(group)
    }

    /// Starts one more server, closed, that follows nobody.
    pub fn start_server(&mut self, name: &str, settings: &Settings) -> Result<MariaDbServer> {
        self.start_servers(&[name], settings).map(|mut started| started.remove(0))
    }

    /// Starts several at once.
    fn start_servers(&mut self, names: &[&str], settings: &Settings) -> Result<Vec<MariaDbServer>> {
        let first = self.instances.len();
        for name in names {
            let server = self.new_server(name)?;
            server.prepare(settings)?;
            let process = server.start()?;
            self.instances.push((server, process));
        }
        let started = &self.instances[first..];
        for (server, process) in started {
            server.await_answer(*process)?;
        }
        Ok(started.iter().map(|(server, _)| server.clone()).collect())
    }

    /// A server of this group that has neither a folder nor a process yet.
    pub fn new_server(&mut self, name: &str) -> Result<MariaDbServer> {
        Ok(MariaDbServer {
            name: name.to_owned(),
            port: self.ports.claim()?,
            server_id: self.instances.len() as u32 + 1,
            folder: self.dir.path().join(name),
        })
    }

    /// Starts what `new_server` named, once its folder holds settings and data.
    pub fn adopt(&mut self, server: &MariaDbServer) -> Result<()> {
        let process = server.start()?;
        self.instances.push((server.clone(), process));
        server.await_answer(process)
    }

    /// Starts an instance of this group again, after it ended.
    pub fn start_again(&mut self, name: &str) -> Result<()> {
        let index = self.index(name)?;
        let server = &self.instances[index].0;
        let process = server.start()?;
        let answers = server.await_answer(process);
        self.instances[index].1 = process;
        answers
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its instances, the first primary first.
    pub fn instances(&self) -> Vec<MariaDbServer> {
        self.instances.iter().map(|(server, _)| server.clone()).collect()
    }

    /// The instance called `name`.
    pub fn instance(&self, name: &str) -> Result<&MariaDbServer> {
        self.index(name).map(|index| &self.instances[index].0)
    }

    /// The process of the instance called `name`.
    pub fn process(&self, name: &str) -> Result<Process> {
        self.index(name).map(|index| self.instances[index].1)
    }

    /// As `kill -9`: returns the moment just before, when it is gone.
    pub fn kill(&self, name: &str) -> Result<Moment> {
        self.signal(name, Signal::SIGKILL, Liveness::Gone)
    }

    /// Makes it hang: it keeps its connections and answers nothing.
    pub fn stop(&self, name: &str) -> Result<Moment> {
        self.signal(name, Signal::SIGSTOP, Liveness::Stopped)
    }

    /// Lets it go on after `stop`.
    pub fn resume(&self, name: &str) -> Result<Moment> {
        self.signal(name, Signal::SIGCONT, Liveness::Running)
    }

    /// Asks it to end in order, and waits for the end.
    pub fn shut_down(&self, name: &str) -> Result<Moment> {
        self.signal(name, Signal::SIGTERM, Liveness::Gone)
    }

    fn signal(&self, name: &str, signal: Signal, wanted: Liveness) -> Result<Moment> {
        let process = self.process(name)?;
        let at = Moment::now();
        process.signal(signal).map_err(|source| LabError::Process {
            verb: "signal",
            name: name.to_owned(),
            source,
        })?;
        process.await_liveness(name, wanted)?;
        Ok(at)
    }

    /// Every replica acknowledges from now on, and the first instance waits for one of them. Last of all: with
    /// `wait_no_slave` a primary without a replica waits with its first statement for ever.
    pub fn switch_acknowledgements_on(&self) -> Result<()> {
        let instances: Vec<_> = self.instances.iter().map(|(server, _)| server).collect();
        match instances.split_first() {
            Some((primary, replicas)) => acknowledge_all(primary, replicas),
            None => Ok(()),
        }
    }

    /// Waits until every replica has applied what the first instance has now.
    pub fn await_caught_up(&self) -> Result<()> {
        let instances = self.instances();
        let Some((primary, replicas)) = instances.split_first() else {
            return Ok(());
        };
        replicas.iter().try_for_each(|replica| await_same(replica, primary))
    }

    fn index(&self, name: &str) -> Result<usize> {
        let found = self.instances.iter().position(|(server, _)| server.name == name);
        found.ok_or_else(|| LabError::UnknownName {
            name: name.to_owned(),
            hint: hint(name, self.instances.iter().map(|(server, _)| server.name.as_str())),
        })
    }
}

impl Drop for MariaDbGroup {
    fn drop(&mut self) {
        for (_, process) in &self.instances {
            // It may be gone already; either way there is nobody to tell.
            let _ = process.signal(Signal::SIGKILL);
        }
        for (_, process) in &self.instances {
            process.ends_within(Duration::from_secs(5));
        }
    }
}

/// The application's account.
pub fn application() -> Account {
    Account::new(APPLICATION_USER, PASSWORD).in_database(DATABASE)
}

/// The controllers' account.
pub fn controller() -> Account {
    Account::new(CONTROLLER_USER, PASSWORD)
}

/// The three accounts, the application's database and in it a table `orders`. Replicas get them by replication.
pub(crate) fn create_accounts(primary: &MariaDbServer) -> Result<()> {
    let canary = CANARY_RIGHTS.join(", ");
    primary
        .ask(&format!(
            "CREATE USER {REPLICATION_USER}@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT REPLICATION SLAVE ON *.* TO {REPLICATION_USER}@'%'; \
             CREATE USER {CONTROLLER_USER}@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT {CONTROLLER_RIGHTS} ON *.* TO {CONTROLLER_USER}@'%'; \
             GRANT {canary} ON backstay.* TO {CONTROLLER_USER}@'%'; \
             CREATE DATABASE {DATABASE}; \
             CREATE USER {APPLICATION_USER}@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT ALL ON {DATABASE}.* TO {APPLICATION_USER}@'%'; \
             CREATE TABLE {DATABASE}.orders \
                 (id BIGINT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(100)) ENGINE=InnoDB"
        ))
        .map(drop)
}

/// What to say so that somebody follows `primary` by GTID; `START SLAVE` is missing.
pub fn repointing(primary: &MariaDbServer) -> String {
    format!(
        "CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='{REPLICATION_USER}', \
         MASTER_PASSWORD='{PASSWORD}', MASTER_USE_GTID=slave_pos, MASTER_HEARTBEAT_PERIOD=0.5, \
         MASTER_CONNECT_RETRY=1",
        primary.port
    )
}

/// Tells `replica` to follow `primary`, and waits until it does.
pub fn follow(replica: &MariaDbServer, primary: &MariaDbServer) -> Result<()> {
    replica.ask(&format!("STOP SLAVE; {}; START SLAVE", repointing(primary)))?;
    await_linked(replica)
}

/// Waits until both threads of `replica` run.
pub fn await_linked(replica: &MariaDbServer) -> Result<()> {
    let linked = || {
        let state = replica.ask("SHOW ALL SLAVES STATUS").ok()?;
        let runs = |column| state.get(column) == Some("Yes");
        (runs("Slave_IO_Running") && runs("Slave_SQL_Running")).then_some(())
    };
    poll_every(PAUSE, READY_LIMIT, linked).ok_or_else(|| LabError::Deadline {
        what: format!("that {} replicates", replica.name),
        waited: READY_LIMIT,
        hint: replica.ask("SHOW ALL SLAVES STATUS").map_or_else(
            |error| error.to_string(),
            |state| {
                let column = |name| state.get(name).unwrap_or_default().to_owned();
                format!("It says '{}' and '{}'.", column("Last_IO_Error"), column("Last_SQL_Error"))
            },
        ),
    })
}

/// Every replica acknowledges from now on, and `primary` waits for one of them.
pub(crate) fn acknowledge_all(primary: &MariaDbServer, replicas: &[&MariaDbServer]) -> Result<()> {
    for replica in replicas {
        acknowledge(replica)?;
    }
    primary.ask("SET GLOBAL rpl_semi_sync_master_enabled=ON")?;
    let wanted = replicas.len().to_string();
    wait_until("that every replica acknowledges", READY_LIMIT, || {
        (status(primary, "Rpl_semi_sync_master_clients").ok()? == wanted).then_some(())
    })?;
    // They are counted before the thread that receives acknowledgements has woken. A replica that leaves in between
    // never comes back: seen with 10.11.19, `Ack_receiver::remove_slave` waits for a thread that waits for it.
    primary.ask(&format!("ALTER TABLE {DATABASE}.orders COMMENT='acknowledged'")).map(drop)
}

/// `replica` acknowledges what it receives from now on. Its IO thread reads the setting when it starts.
pub fn acknowledge(replica: &MariaDbServer) -> Result<()> {
    replica.ask("STOP SLAVE IO_THREAD; SET GLOBAL rpl_semi_sync_slave_enabled=ON; START SLAVE IO_THREAD")?;
    await_linked(replica)
}

/// Waits until `replica` has applied what `primary` has now.
pub fn await_same(replica: &MariaDbServer, primary: &MariaDbServer) -> Result<()> {
    let position = primary.value("SELECT @@gtid_binlog_pos")?;
    let limit = READY_LIMIT.as_secs();
    let mut link = replica.connect()?;
    link.set_limit(READY_LIMIT * 2);
    let waited = link.value(&format!("SELECT MASTER_GTID_WAIT('{position}', {limit})"));
    match waited.as_deref() {
        Ok("0") => Ok(()),
        _ => Err(LabError::Deadline {
            what: format!("that {} has {position} of {}", replica.name, primary.name),
            waited: READY_LIMIT,
            hint: format!("{waited:?} to MASTER_GTID_WAIT."),
        }),
    }
}

/// One row of `SHOW GLOBAL STATUS`; empty: there is none.
pub fn status(server: &MariaDbServer, name: &str) -> Result<String> {
    let answer = server.ask(&format!("SHOW GLOBAL STATUS LIKE '{name}'"))?;
    Ok(answer.get("Value").unwrap_or_default().to_owned())
}
