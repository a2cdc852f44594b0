//! A group of real servers, and agents that run beside some of them.

use crate::agent::{Agent, AgentOptions, Desk, process};
use backstay_config::Config;
use backstay_lab::load::sql::Answer;
use backstay_lab::servers::mariadb::{MariaDbServer, Settings};
use backstay_lab::stack::mariadb::{
    CONTROLLER_USER, MariaDbGroup, PASSWORD, application, await_linked, await_same, follow, repointing,
};
use backstay_lab::wait::wait_until;
use backstay_model::{Address, AgentOrders, Epoch, Method, Progress, Rebuild, UnixMicros};
use backstay_wire::mariadb::RIGHTS;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// What Backstay's user needs in addition, so that an instance can be copied.
const COPY_RIGHTS: &[&str] = &["BINLOG MONITOR"];

pub(super) const LIMIT: Duration = Duration::from_secs(60);

pub(super) fn until(what: &str, look: impl Fn() -> bool) {
    wait_until(what, LIMIT, || look().then_some(())).unwrap();
}

pub(super) fn ask(server: &MariaDbServer, statement: &str) -> Answer {
    server.ask(statement).unwrap()
}

/// The application's order, acknowledged.
pub(super) fn order(server: &MariaDbServer, note: &str) {
    let mut shop = server.connect_as(&application()).unwrap();
    shop.ask(&format!("INSERT INTO shop.orders (note) VALUES ('{note}')")).unwrap();
}

/// Which orders can be seen there, in their order.
pub(super) fn orders(server: &MariaDbServer) -> Vec<String> {
    let rows = ask(server, "SELECT note FROM shop.orders ORDER BY id").rows;
    rows.iter().map(|row| row.at(0).unwrap().to_owned()).collect()
}

pub(super) fn state(server: &MariaDbServer) -> String {
    server.value("SELECT @@gtid_binlog_state").unwrap()
}

/// An old primary `m1` that was cut off with something that only it has, its successor `m2`, and `m3` that follows that.
pub(super) struct Bed {
    pub(super) old: MariaDbServer,
    pub(super) new: MariaDbServer,
    pub(super) donor: MariaDbServer,
    pub(super) folder: TempDir,
    pub(super) group: MariaDbGroup,
    config: Config,
}

impl Bed {
    /// `surplus` is what only the old primary is told.
    pub(super) fn diverged(surplus: &str) -> Self {
        let group = MariaDbGroup::start(3, &Settings::recipe()).unwrap();
        let [old, new, donor] = &group.instances()[..] else { panic!() };
        let (old, new, donor) = (old.clone(), new.clone(), donor.clone());
        // What the guide grants, and no more.
        let rights = RIGHTS.iter().chain(COPY_RIGHTS).copied().collect::<Vec<_>>().join(", ");
        let user = format!("{CONTROLLER_USER}@'%'");
        ask(
            &old,
            &format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM {user}; GRANT {rights} ON *.* TO {user}"),
        );
        order(&old, "common");
        group.await_caught_up().unwrap();
        for replica in [&new, &donor] {
            ask(replica, "STOP SLAVE IO_THREAD");
        }
        ask(&old, surplus);
        ask(&new, "STOP ALL SLAVES; RESET SLAVE ALL; SET GLOBAL read_only=OFF");
        follow(&donor, &new).unwrap();
        order(&new, "after");
        order(&new, "later");
        await_same(&donor, &new).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("password"), PASSWORD).unwrap();
        let config = config(&folder, &[&old, &new, &donor]);
        Self { old, new, donor, folder, group, config }
    }

    pub(super) fn options(&self, server: &MariaDbServer) -> AgentOptions {
        let script = |name: &str, text: String| {
            let path = server.folder.join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
            vec![path.display().to_string()]
        };
        let defaults = format!("--defaults-file={}", server.settings().display());
        let folder = server.folder.display();
        let listen = Address { host: "127.0.0.1".into(), port: 0 };
        AgentOptions {
            data: server.data(),
            rescue: self.rescue(server),
            stop: script("stop.sh", format!("kill -TERM $(cat {folder}/mariadbd.pid)")),
            start: script(
                "start.sh",
                format!("mariadbd {defaults} --user=root </dev/null >>{folder}/out 2>&1 &"),
            ),
            server: vec!["mariadbd".to_owned(), defaults],
            ..AgentOptions::new(server.name.as_str().into(), listen)
        }
    }

    pub(super) fn rescue(&self, server: &MariaDbServer) -> PathBuf {
        self.folder.path().join(format!("rescue-{}", server.name))
    }

    pub(super) fn agent(&self, server: &MariaDbServer) -> Running {
        self.agent_with(self.options(server))
    }

    pub(super) fn agent_with(&self, options: AgentOptions) -> Running {
        Running::start(self.config.clone(), options)
    }

    pub(super) fn rebuild(&self, method: Method, donor: &Running) -> Rebuild {
        Rebuild {
            at: UnixMicros(1),
            number: 1,
            service: "orders".into(),
            instance: self.old.name.as_str().into(),
            epoch: Epoch(2),
            donor: self.donor.name.as_str().into(),
            donor_agent: donor.address.clone(),
            method,
        }
    }

    /// What lies in the rescue folder of rebuild 1.
    pub(super) fn saved(&self, name: &str) -> String {
        let path = self.rescue(&self.old).join("orders-m1-1/saved-1").join(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The old primary follows the new one, as the controllers would tell it, and has the same.
    pub(super) fn follows(&self) {
        assert_eq!(self.old.value("SELECT @@read_only").unwrap(), "1");
        ask(&self.old, &format!("{}; START SLAVE", repointing(&self.new)));
        await_linked(&self.old).unwrap();
        await_same(&self.old, &self.new).unwrap();
        order(&self.new, "at last");
        await_same(&self.old, &self.new).unwrap();
        assert_eq!(orders(&self.old), orders(&self.new));
        assert_eq!(sorted(&state(&self.old)), sorted(&state(&self.new)));
    }

    /// No folder of the rebuild is left beside the data.
    pub(super) fn is_tidy(&self) {
        let names: Vec<_> =
            fs::read_dir(&self.old.folder).unwrap().map(|it| it.unwrap().file_name()).collect();
        let left = names.iter().filter(|name| name.to_string_lossy().starts_with("data."));
        assert_eq!(left.count(), 0, "{names:?}");
    }
}

fn sorted(state: &str) -> Vec<&str> {
    let mut parts: Vec<_> = state.split(',').collect();
    parts.sort_unstable();
    parts
}

impl Drop for Bed {
    fn drop(&mut self) {
        // Started by an agent, so the group does not know it.
        if let Ok(Some(pid)) = process::holder(&self.old.data()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

fn config(folder: &TempDir, servers: &[&MariaDbServer]) -> Config {
    let instances: Vec<_> = servers
        .iter()
        .map(|server| format!("{{ name = \"{}\", address = \"{}\" }}", server.name, server.address()))
        .collect();
    let text = format!(
        "cluster = \"shop\"\ncontrollers = [ {{ name = \"a\", address = \"127.0.0.1:7601\", sentinel = \"off\" }} ]\n\
         [[mariadb]]\nname = \"orders\"\nusername = \"{CONTROLLER_USER}\"\npassword_file = \"{}/password\"\n\
         instances = [ {} ]\n",
        folder.path().display(),
        instances.join(", ")
    );
    Config::parse("backstay.toml", &text).unwrap()
}

/// An agent on a thread of its own.
pub(super) struct Running {
    pub(super) desk: Desk,
    pub(super) address: Address,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    fn start(config: Config, options: AgentOptions) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (opened, desk) = mpsc::channel();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let agent = Agent::open(&config, options, None).await.unwrap();
                let address = agent.address();
                let (desk, work) = agent.run();
                opened.send((desk, address)).unwrap();
                tokio::select! {
                    () = work => {}
                    _ = stopped => {}
                }
            });
        };
        let thread = std::thread::spawn(work);
        let (desk, address) = desk.recv().unwrap();
        let address = Address { host: "127.0.0.1".into(), port: address.port() };
        Self { desk, address, stop: Some(stop), thread: Some(thread) }
    }

    pub(super) fn order(&self, rebuild: Option<&Rebuild>, discard: bool) {
        self.desk.orders.send_replace(AgentOrders {
            rebuild: rebuild.cloned(),
            discard,
            ..AgentOrders::default()
        });
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        self.desk.reports.borrow().clone().map(|(_, progress)| progress)
    }

    /// Waits for the end.
    pub(super) fn end(&self) -> Progress {
        let over = |progress: &Progress| matches!(progress, Progress::Done { .. } | Progress::Failed { .. });
        wait_until("the rebuild's end", LIMIT, || self.progress().filter(over)).unwrap()
    }

    /// Waits until it is done, and why that way.
    pub(super) fn done(&self) -> (Method, String) {
        match self.end() {
            Progress::Done { method, because } => (method, because),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn failed(&self) -> String {
        match self.end() {
            Progress::Failed { why } => why,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until what only the instance held is saved: where, and how many.
    pub(super) fn saved(&self) -> (Option<String>, u64) {
        let saved = || match self.progress() {
            Some(Progress::Saved { file, transactions }) => Some((file, transactions)),
            Some(Progress::Failed { why }) => panic!("{why}"),
            _ => None,
        };
        wait_until("what only it held is saved", LIMIT, saved).unwrap()
    }

    /// Ends it wherever it is.
    pub(super) fn cut(mut self) {
        self.end_thread();
    }

    fn end_thread(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end_thread();
    }
}

#[test]
fn the_guide_grants_what_a_copy_needs() {
    let guide = include_str!("../../../../../docs/guide/mariadb-users.md");
    let grant = format!("\nGRANT {} ON *.* TO ", COPY_RIGHTS.join(", "));
    assert!(guide.contains(&grant), "{grant}");
}
