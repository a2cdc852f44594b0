//! Real MariaDB servers, each in a folder of its own that ends with the test.

use crate::support::until;
use crate::wire::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// Small files and little memory: many of these run at once.
const SMALL: [&str; 4] = [
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=8M",
    "--innodb-flush-log-at-trx-commit=0",
    "--performance-schema=OFF",
];

const USERS: &str = "CREATE OR REPLACE USER app@'%' IDENTIFIED BY 'secret';
GRANT ALL ON shop.* TO app@'%';
CREATE OR REPLACE USER root@'%';
GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;
CREATE OR REPLACE USER page@'%';
GRANT ALL ON shop.* TO page@'%';
CREATE DATABASE IF NOT EXISTS shop;
";

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    process: Mutex<Child>,
    folder: tempfile::TempDir,
}

fn user() -> Vec<String> {
    // As root it refuses to run unless it is told to.
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    if root { vec!["--user=root".to_owned()] } else { Vec::new() }
}

/// An empty data folder, made once for all tests of this build and copied.
fn template() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mariadb-template");
    let lock = fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.exists() {
        let fresh = folder.with_extension("fresh");
        let _ = fs::remove_dir_all(&fresh);
        let made = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
            .arg(format!("--datadir={}", fresh.display()))
            .arg(format!("--tmpdir={}", env!("CARGO_TARGET_TMPDIR")))
            .args(SMALL)
            .args(user())
            .output()
            .expect("mariadb-install-db: install mariadb-server");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::rename(fresh, &folder).unwrap();
    }
    folder
}

/// Where nobody listens now.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// With options of its own. Everybody may do everything, as `root` without a password and as `app` with `secret`.
    pub(crate) fn with(options: &[&str]) -> Self {
        loop {
            // Somebody else may take the port meanwhile.
            if let Some(server) = Self::at(free_address(), options) {
                return server;
            }
        }
    }

    /// One that listens here. `None`: somebody else does.
    pub(crate) fn at(address: SocketAddr, options: &[&str]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        copy(&template(), &path("data"));
        fs::write(path("users.sql"), USERS).unwrap();
        let process = Command::new("mariadbd")
            .args(["--no-defaults", "--skip-name-resolve", "--bind-address=127.0.0.1"])
            .arg(format!("--datadir={}", path("data").display()))
            // A server that starts removes every temporary table in here, a neighbour's too.
            .arg(format!("--tmpdir={}", folder.path().display()))
            .arg(format!("--socket={}", path("s").display()))
            .arg(format!("--pid-file={}", path("pid").display()))
            .arg(format!("--init-file={}", path("users.sql").display()))
            .arg(format!("--port={}", address.port()))
            .args(SMALL)
            .args(user())
            .args(options)
            .stdout(Stdio::null())
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .expect("mariadbd: install mariadb-server");
        let server = Self { address, process: Mutex::new(process), folder };
        until("a server that answers", || server.has_ended() || Client::open(address, "root", "").is_ok());
        if server.has_ended() {
            let log = fs::read_to_string(server.folder.path().join("log")).unwrap();
            assert!(log.contains("Address already in use"), "{log}");
            return None;
        }
        Some(server)
    }

    fn has_ended(&self) -> bool {
        self.process.lock().unwrap().try_wait().unwrap().is_some()
    }

    /// A connection without a gateway.
    pub(crate) fn direct(&self) -> Client {
        Client::open(self.address, "root", "").unwrap()
    }

    /// One value.
    pub(crate) fn ask(&self, statement: &str) -> String {
        self.direct().value(statement)
    }

    /// How many clients it has, besides the one that asks.
    pub(crate) fn clients(&self) -> usize {
        let count = "SELECT COUNT(*) FROM information_schema.processlist \
                     WHERE command <> 'Daemon' AND user <> 'system user'";
        self.ask(count).parse::<usize>().unwrap() - 1
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.process.lock().unwrap().id();
        kill(Pid::from_raw(i32::try_from(id).unwrap()), signal).unwrap();
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
        until("its end", || self.has_ended());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut process = self.process.lock().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }
}
