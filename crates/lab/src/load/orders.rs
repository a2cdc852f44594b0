//! Writers of orders: single rows in autocommit, one connection each, as fast as they are answered. What they were told
//! to be committed must be there afterwards.

use crate::error::Result;
use crate::load::record::{Ack, Record};
use crate::load::sql::{Account, Sql, SqlError, Way};
use crate::servers::mariadb::MariaDbServer;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

/// How long a statement or a connection may take: longer than a gateway holds it.
const LIMIT: Duration = Duration::from_secs(15);
const RETRY_PAUSE: Duration = Duration::from_millis(2);
/// Numbers of one writer begin where those of the one before end.
const NUMBERS: u64 = 1 << 32;

/// Writers in threads of their own.
#[derive(Debug)]
pub struct OrderWriters {
    run: String,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Record>>,
}

impl OrderWriters {
    /// `count` of them begin to write to the table `orders` of the account's database. `run` must be unique among the
    /// runs on these servers.
    pub fn start(address: SocketAddr, account: &Account, run: &str, count: u64) -> Self {
        let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = |writer| {
            let shift = Shift {
                address,
                account: account.clone(),
                run: run.to_owned(),
                first: writer * NUMBERS,
                acknowledged: Arc::clone(&acknowledged),
                stop: Arc::clone(&stop),
            };
            spawn(move || shift.write())
        };
        let threads = (0..count).map(thread).collect();
        Self { run: run.to_owned(), acknowledged, stop, threads }
    }

    /// How many writes were acknowledged so far.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops them, waits for their last writes' outcomes, and returns what they saw, in the order of acknowledgement.
    pub fn stop(mut self) -> Orders {
        self.stop.store(true, Ordering::Relaxed);
        let mut record = Record::default();
        for thread in self.threads.drain(..) {
            // It does not panic; if it did, the others' writes still count.
            let Ok(one) = thread.join() else {
                continue;
            };
            record.acks.extend(one.acks);
            for (kind, count) in one.errors {
                *record.errors.entry(kind).or_default() += count;
            }
        }
        record.acks.sort_by_key(|ack| ack.acknowledged);
        Orders { run: std::mem::take(&mut self.run), record }
    }
}

impl Drop for OrderWriters {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// What writers saw.
#[derive(Debug)]
pub struct Orders {
    run: String,
    /// Every acknowledgement and every error.
    pub record: Record,
}

impl Orders {
    /// The longest time without an acknowledgement, from the last one before `since` on.
    pub fn longest_gap(&self, since: Instant) -> Duration {
        let acks = &self.record.acks;
        let start = acks.partition_point(|ack| ack.acknowledged <= since).saturating_sub(1);
        let gaps = acks[start..].windows(2).map(|pair| pair[1].acknowledged - pair[0].acknowledged);
        gaps.max().unwrap_or_default()
    }

    /// Acknowledged orders that this server does not have.
    pub fn lost(&self, server: &MariaDbServer) -> Result<Vec<u64>> {
        let statement = format!("SELECT note FROM shop.orders WHERE note LIKE '{}:%'", self.run);
        let rows = server.ask(&statement)?.rows;
        let there: BTreeSet<&str> = rows.iter().filter_map(|row| row.at(0)).collect();
        let missing = |ack: &&Ack| !there.contains(note(&self.run, ack.number).as_str());
        Ok(self.record.acks.iter().filter(missing).map(|ack| ack.number).collect())
    }
}

struct Shift {
    address: SocketAddr,
    account: Account,
    run: String,
    first: u64,
    acknowledged: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Shift {
    fn write(self) -> Record {
        let mut record = Record::default();
        let mut link = None;
        for number in self.first.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let sent = Instant::now();
            match self.order(&mut link, number) {
                Ok(()) => {
                    let acknowledged = Instant::now();
                    record.acks.push(Ack { number, sent, acknowledged, server: self.address });
                    self.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    link = None;
                    *record.errors.entry(kind(&error)).or_default() += 1;
                    sleep(RETRY_PAUSE);
                }
            }
        }
        record
    }

    fn order(&self, link: &mut Option<Sql>, number: u64) -> std::result::Result<(), SqlError> {
        let open = match link {
            Some(open) => open,
            None => link.insert(Sql::open(&Way::Tcp(self.address), &self.account, LIMIT)?),
        };
        let note = note(&self.run, number);
        open.ask(&format!("INSERT INTO orders (note) VALUES ('{note}')")).map(drop)
    }
}

fn note(run: &str, number: u64) -> String {
    format!("{run}:{number}")
}

/// A few words that are the same for all errors of this kind.
fn kind(error: &SqlError) -> String {
    match error {
        SqlError::Refused { code, .. } => format!("error {code}"),
        SqlError::Gone(_) => "connection closed".to_owned(),
        SqlError::Deadline(_) => "timed out".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_counted_from_the_last_acknowledgement_before_the_fault() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let ack =
            |ms| Ack { number: ms, sent: at(ms), acknowledged: at(ms), server: ([127, 0, 0, 1], 1).into() };
        let acks = [0, 500, 510, 700, 710].map(ack).to_vec();
        let orders = Orders { run: "run".into(), record: Record { acks, ..Record::default() } };
        assert_eq!(orders.longest_gap(at(520)), Duration::from_millis(190));
        assert_eq!(orders.longest_gap(at(10)), Duration::from_millis(500));
        assert_eq!(orders.longest_gap(at(800)), Duration::ZERO);
    }
}
