//! Patient clients of an old primary: connections that were made while it stood still, each with one write in its
//! buffers, and that go on writing to that address when it wakes. Every write that it then accepts is a write to a
//! server that is no longer the primary.

use crate::error::{LabError, Result};
use crate::load::connection::{Connection, is_ok};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// How many clients wait.
pub const CLIENTS: usize = 40;
/// How long they may wait for the first answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two writes of one client.
const PAUSE: Duration = Duration::from_millis(2);

/// The waiting clients.
#[derive(Debug)]
pub struct PatientWriters {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    accepted: AtomicU64,
    refused: AtomicU64,
    /// Clients whose connection is closed, or who were refused.
    done: AtomicU64,
    stop: AtomicBool,
}

/// What became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatientReport {
    /// Writes that the old primary answered with OK.
    pub accepted: u64,
    /// Writes that it refused.
    pub refused: u64,
    /// How many of the clients were refused or disconnected.
    pub turned_away: u64,
}

impl PatientWriters {
    /// Connects to `server`, which stands still, and sends one write on each connection.
    pub fn queue_up(server: SocketAddr, run: &str) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut threads = Vec::new();
        for client in 0..CLIENTS {
            let link = connect(server, &key(run, client, 0)).map_err(|source| LabError::Connection {
                to: format!("{server}, as a patient client of a server that stands still"),
                source,
            })?;
            let (shared, run) = (Arc::clone(&shared), run.to_owned());
            threads.push(spawn(move || {
                // However the connection ended, this client is turned away.
                let _ = write_on(link, &run, client, &shared);
                shared.done.fetch_add(1, Ordering::Relaxed);
            }));
        }
        Ok(Self { shared, threads })
    }

    /// Waits until every client was refused or disconnected, at most `limit`, then stops them and counts.
    pub fn watch(mut self, limit: Duration) -> PatientReport {
        let deadline = Instant::now() + limit;
        while self.shared.done.load(Ordering::Relaxed) < CLIENTS as u64 && Instant::now() < deadline {
            sleep(PAUSE);
        }
        let turned_away = self.shared.done.load(Ordering::Relaxed);
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // They do not panic.
            let _ = thread.join();
        }
        PatientReport {
            accepted: self.shared.accepted.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
            turned_away,
        }
    }
}

fn key(run: &str, client: usize, number: u64) -> String {
    format!("z:{run}:{client}:{number}")
}

fn connect(server: SocketAddr, key: &str) -> io::Result<Connection> {
    let mut link = Connection::open(server, PATIENCE)?;
    link.send(&[&["SET", key, "zombie"]])?;
    Ok(link)
}

fn write_on(mut link: Connection, run: &str, client: usize, shared: &Shared) -> io::Result<()> {
    let mut number = 0;
    loop {
        if is_ok(&receive(&mut link, shared)?) {
            shared.accepted.fetch_add(1, Ordering::Relaxed);
        } else {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        if shared.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        sleep(PAUSE);
        number += 1;
        link.send(&[&["SET", &key(run, client, number), "zombie"]])?;
    }
}

/// Looks at `stop` every now and then while nothing comes.
fn receive(link: &mut Connection, shared: &Shared) -> io::Result<crate::load::connection::Reply> {
    link.set_limit(Duration::from_millis(50))?;
    loop {
        match link.receive() {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if shared.stop.load(Ordering::Relaxed) {
                    return Err(error);
                }
            }
            other => return other,
        }
    }
}
