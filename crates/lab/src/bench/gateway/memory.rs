//! What idle clients cost: thousands of them on one gateway that have each said something and are still connected, and a
//! thousand busy ones beside them.

use crate::bench::gateway::bed::Bed;
use crate::bench::gateway::case::{System, Tool};
use crate::bench::gateway::tool::Figures;
use crate::error::{LabError, Result};
use crate::load::connection::{Connection, Reply};
use serde::Serialize;
use std::io;
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);
const BUSY: Tool = Tool { test: "get", connections: 1000, pipeline: 1, value_bytes: 3 };
/// So many requests of the busy ones.
const REQUESTS: u64 = 300_000;

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Clients that say nothing any more.
    pub idle_clients: usize,
    /// Of these, still served in the end.
    pub idle_clients_alive: usize,
    /// Memory that one of them costs the gateway, in KiB.
    pub kib_per_idle_client: f64,
    /// Clients at work beside them.
    pub busy_clients: usize,
    /// Operations a second of the busy ones.
    pub busy_ops: f64,
    /// Their 99th percentile, in microseconds.
    pub busy_p99_us: f64,
    /// Memory that the gateway's process, with its controller, occupied with no client.
    pub empty_rss_mib: f64,
    /// The most that it ever occupied.
    pub peak_rss_mib: f64,
}

/// Connects `idle` clients to a gateway, and lets a thousand others work beside them.
pub fn measure(idle: usize, backstay: Option<&Path>) -> Result<Memory> {
    let mut bed = Bed::up(&[System::Backstay], false, backstay)?;
    BUSY.prepare(&mut bed)?;
    let empty = bed.usage(System::Backstay)?;
    let lost = |source| LabError::Connection { to: "the gateway, as one of many".to_owned(), source };
    let mut clients = (0..idle).map(|_| visit(&bed)).collect::<io::Result<Vec<_>>>().map_err(lost)?;
    let full = bed.usage(System::Backstay)?;
    let Figures { ops, p99_us, .. } = BUSY.run(&bed, System::Backstay, REQUESTS, LIMIT)?;
    let alive = clients.iter_mut().filter_map(|client| greet(client).ok()).count();
    Ok(Memory {
        idle_clients: idle,
        idle_clients_alive: alive,
        kib_per_idle_client: (full.rss_mib - empty.rss_mib) * 1024.0 / idle as f64,
        busy_clients: BUSY.connections,
        busy_ops: ops,
        busy_p99_us: p99_us,
        empty_rss_mib: empty.rss_mib,
        peak_rss_mib: bed.usage(System::Backstay)?.peak_mib,
    })
}

/// A client that says something and stays.
fn visit(bed: &Bed) -> io::Result<Connection> {
    let mut client = Connection::open(bed.address(System::Backstay), LIMIT)?;
    greet(&mut client)?;
    Ok(client)
}

fn greet(client: &mut Connection) -> io::Result<()> {
    match client.call(&["SET", "greeting", "hello"])? {
        Reply::Simple(text) if text == "OK" => Ok(()),
        other => Err(io::Error::other(format!("SET was answered {other:?}"))),
    }
}

impl Memory {
    /// Whether everybody was still served.
    pub fn is_complete(&self) -> bool {
        self.idle_clients_alive == self.idle_clients
    }

    /// For people.
    pub fn sentences(&self) -> String {
        format!(
            "{} idle clients: {:.2} KiB each; {} of them were still served after {} busy ones made {:.0} operations \
             a second, p99 {:.0} µs.\nThe gateway's process, with its controller: {:.1} MiB without clients, {:.1} MiB at most.\n",
            self.idle_clients,
            self.kib_per_idle_client,
            self.idle_clients_alive,
            self.busy_clients,
            self.busy_ops,
            self.busy_p99_us,
            self.empty_rss_mib,
            self.peak_rss_mib
        )
    }
}
