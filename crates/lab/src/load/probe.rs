//! How long writes are not taken, measured at the servers: one connection to the old and one to the next primary, each
//! writing all the time, whoever clients are sent to.

use crate::load::connection::{Connection, is_ok};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// The pause between two writes.
const INTERVAL: Duration = Duration::from_micros(400);
const LIMIT: Duration = Duration::from_secs(5);

/// Two probes in threads of their own.
#[derive(Debug)]
pub struct PauseProbe {
    stop: Arc<AtomicBool>,
    old: JoinHandle<Option<Instant>>,
    new: JoinHandle<Option<Instant>>,
}

impl PauseProbe {
    /// Begins to write to both.
    pub fn start(old: SocketAddr, new: SocketAddr, run: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let probe = |server, name: &str, first: bool| {
            let (stop, key) = (Arc::clone(&stop), format!("p:{run}:{name}"));
            spawn(move || accepted(server, &key, first, &stop))
        };
        Self { old: probe(old, "old", false), new: probe(new, "new", true), stop }
    }

    /// From the last write that the old one accepted to the first that the new one did, once both have happened.
    pub fn stop(self) -> Option<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let last = self.old.join().ok()??;
        let first = self.new.join().ok()??;
        Some(first.saturating_duration_since(last))
    }
}

/// When a server accepted a write: the first time, or the last time.
fn accepted(server: SocketAddr, key: &str, first: bool, stop: &AtomicBool) -> Option<Instant> {
    let mut seen = None;
    let mut link = None;
    let enough = |seen: Option<Instant>| stop.load(Ordering::Relaxed) || (first && seen.is_some());
    while !enough(seen) {
        // A promotion closes connections.
        let Some(open) = link.take().or_else(|| Connection::open(server, LIMIT).ok()) else {
            continue;
        };
        let mut open: Connection = open;
        if let Ok(reply) = open.call(&["SET", key, "probe", "PX", "1000"]) {
            if is_ok(&reply) {
                seen = Some(Instant::now());
            }
            link = Some(open);
        }
        sleep(INTERVAL);
    }
    seen
}
