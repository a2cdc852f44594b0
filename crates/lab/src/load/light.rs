//! The light writer: unique keys, one every 2 ms, unpipelined, as fast as they are answered. What it saw of a failover
//! is what a web shop's worker would have seen.

use crate::load::client::{Client, RETRY_PAUSE};
use crate::load::connection::is_ok;
use crate::load::record::{Ack, Failure, Record, SharedRecord};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// The time between two writes while they are answered.
pub const INTERVAL: Duration = Duration::from_millis(2);

/// A writer in a thread of its own.
#[derive(Debug)]
pub struct LightWriter {
    run: String,
    record: SharedRecord,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The key of write `number` of run `run`. Its value is the number.
pub fn key(run: &str, number: u64) -> String {
    format!("w:{run}:{number}")
}

impl LightWriter {
    /// Begins to write. `run` must be unique among the runs on these servers.
    pub fn start(client: Client, run: &str) -> Self {
        let record = SharedRecord::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (run, record, stop) = (run.to_owned(), record.clone(), Arc::clone(&stop));
            spawn(move || write_until(client, &run, &record, &stop))
        };
        Self { run: run.to_owned(), record, stop, thread: Some(thread) }
    }

    /// What it saw so far.
    pub fn record(&self) -> &SharedRecord {
        &self.record
    }

    /// The part of its keys that tells its writes from others'.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Stops it, waits for its last write's outcome, and returns what it saw.
    pub fn stop(mut self) -> Record {
        self.end();
        std::mem::take(&mut *self.record.lock())
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, what it noted is still there.
            let _ = thread.join();
        }
    }
}

impl Drop for LightWriter {
    fn drop(&mut self) {
        self.end();
    }
}

fn write_until(mut client: Client, run: &str, record: &SharedRecord, stop: &AtomicBool) {
    let mut due = Instant::now();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        match write(&mut client, run, number) {
            Ok(ack) => {
                record.acknowledged(ack);
                due = (due + INTERVAL).max(Instant::now());
                sleep(due.saturating_duration_since(Instant::now()));
            }
            Err(failure) => {
                record.failed(&failure);
                client.disconnect();
                sleep(RETRY_PAUSE);
            }
        }
    }
}

fn write(client: &mut Client, run: &str, number: u64) -> Result<Ack, Failure> {
    let sent = Instant::now();
    let (reply, server) = client.call(&["SET", &key(run, number), &number.to_string()])?;
    let acknowledged = Instant::now();
    if !is_ok(&reply) {
        return Err(Failure::of_reply(&reply));
    }
    Ok(Ack { number, sent, acknowledged, server })
}
