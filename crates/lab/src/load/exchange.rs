//! What a generator sends, the only reply that it takes for an answer, and what it measures.

use crate::load::connection::{Reply, encode, error_text};
use crate::load::latencies::Latencies;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// A request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// As it is sent.
    pub request: Vec<u8>,
    /// The reply that counts.
    pub reply: Reply,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Operations that were answered.
    pub operations: u64,
    /// In how long.
    pub wall: Duration,
    /// How long they took.
    pub latencies: Latencies,
    /// How late the generator was with what it sent, if it had a plan.
    pub lateness: Latencies,
}

impl Outcome {
    /// Of a generator of several threads: each gets its number and says how long its operations took. The first error
    /// counts for all.
    pub(super) fn gather(
        threads: usize,
        each: impl Fn(usize) -> io::Result<Latencies> + Sync,
    ) -> io::Result<Self> {
        let (began, each) = (Instant::now(), &each);
        let parts: Vec<io::Result<Latencies>> = thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|number| scope.spawn(move || each(number))).collect();
            let panicked = |_| Err(io::Error::other("a thread of the generator panicked"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(panicked)).collect()
        });
        let mut latencies = Latencies::default();
        for part in parts {
            latencies.add(part?);
        }
        let lateness = Latencies::default();
        Ok(Self { operations: latencies.count(), wall: began.elapsed(), latencies, lateness })
    }
}

impl Exchange {
    /// A request and its answer.
    pub fn new(request: &[&str], reply: Reply) -> Self {
        let mut bytes = Vec::new();
        encode(request, &mut bytes);
        Self { request: bytes, reply }
    }

    /// Complains of a reply that is not the answer.
    pub fn judge(&self, reply: &Reply) -> io::Result<()> {
        if *reply == self.reply {
            return Ok(());
        }
        let what = error_text(reply).map_or_else(|| format!("{reply:?}"), str::to_owned);
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("a reply that is no answer: {what}")))
    }
}
