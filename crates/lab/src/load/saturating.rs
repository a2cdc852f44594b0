//! The saturating writer: one connection, hundreds of 2 KB writes in flight, a reader of its own. It shows what an
//! asynchronous failover can lose and how far replicas fall behind; nobody should run a shop like this.

use crate::load::client::{Client, RETRY_PAUSE};
use crate::load::connection::{Connection, encode, is_ok};
use crate::load::record::{Ack, Failure, Record, SharedRecord};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle, sleep, spawn};
use std::time::Instant;

/// How long each value is.
pub const VALUE_BYTES: usize = 2048;
/// Writes that may be unanswered.
pub const DEPTH: usize = 512;
/// Writes that go out in one piece.
const BATCH: usize = 32;

/// A writer in threads of its own.
#[derive(Debug)]
pub struct SaturatingWriter {
    record: SharedRecord,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// The key of write `number` of run `run`.
pub fn key(run: &str, number: u64) -> String {
    format!("s:{run}:{number}")
}

/// The value of write `number`: its number, filled up.
fn value(number: u64) -> String {
    format!("{number:0>VALUE_BYTES$}")
}

impl SaturatingWriter {
    /// Begins to write. `run` must be unique among the runs on these servers.
    pub fn start(client: Client, run: &str) -> Self {
        let record = SharedRecord::default();
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (run, record, stop) = (run.to_owned(), record.clone(), Arc::clone(&stop));
            spawn(move || write_until(client, &run, &record, &stop))
        };
        Self { record, stop, thread: Some(thread) }
    }

    /// What it saw so far.
    pub fn record(&self) -> &SharedRecord {
        &self.record
    }

    /// Stops it, waits for the outcome of its last writes, and returns what it saw.
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

impl Drop for SaturatingWriter {
    fn drop(&mut self) {
        self.end();
    }
}

/// One write in flight.
struct Sent {
    number: u64,
    at: Instant,
}

fn write_until(mut client: Client, run: &str, record: &SharedRecord, stop: &AtomicBool) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let outcome = client.connect().and_then(|link| {
            let (out, back) = link.split().map_err(Failure::Connection)?;
            let (note, notes) = sync_channel(DEPTH);
            thread::scope(|scope| {
                let reader = scope.spawn(|| read_replies(back, notes, record));
                let sent = send_batches(out, run, &mut number, &note, stop);
                drop(note);
                let read = reader.join().unwrap_or(Ok(()));
                read.and(sent)
            })
        });
        if let Err(failure) = outcome {
            record.failed(&failure);
            sleep(RETRY_PAUSE);
        }
    }
}

fn send_batches(
    mut out: Connection,
    run: &str,
    number: &mut u64,
    note: &SyncSender<Sent>,
    stop: &AtomicBool,
) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        bytes.clear();
        let first = *number + 1;
        for _ in 0..BATCH {
            *number += 1;
            encode(&["SET", &key(run, *number), &value(*number)], &mut bytes);
        }
        let at = Instant::now();
        for number in first..=*number {
            // The reader ended: it has the reason.
            if note.send(Sent { number, at }).is_err() {
                return Ok(());
            }
        }
        if let Err(error) = out.send_encoded(&bytes) {
            out.shut_down();
            return Err(Failure::Connection(error));
        }
    }
    Ok(())
}

fn read_replies(mut back: Connection, notes: Receiver<Sent>, record: &SharedRecord) -> Result<(), Failure> {
    for sent in notes {
        let outcome = back
            .receive()
            .map_err(Failure::Connection)
            .and_then(|reply| if is_ok(&reply) { Ok(()) } else { Err(Failure::of_reply(&reply)) });
        if let Err(failure) = outcome {
            back.shut_down();
            return Err(failure);
        }
        record.acknowledged(Ack {
            number: sent.number,
            sent: sent.at,
            acknowledged: Instant::now(),
            server: back.peer(),
        });
    }
    Ok(())
}
