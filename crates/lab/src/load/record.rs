//! What a writer saw: every acknowledged write with its moments, every error by its kind. The checker and the reports
//! read it after the writer has stopped.

use crate::load::connection::{Reply, error_text};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// One acknowledged write.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// The write's number; the key follows from it.
    pub number: u64,
    /// When it was sent.
    pub sent: Instant,
    /// When its `+OK` had been read.
    pub acknowledged: Instant,
    /// Who acknowledged it.
    pub server: SocketAddr,
}

/// Everything that one writer saw so far.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// In the order of acknowledgement.
    pub acks: Vec<Ack>,
    /// How often each kind of error came.
    pub errors: BTreeMap<String, u64>,
}

impl Record {
    /// The first write that somebody else than `old` acknowledged after `since`.
    pub fn first_elsewhere(&self, old: SocketAddr, since: Instant) -> Option<Ack> {
        let start = self.acks.partition_point(|ack| ack.acknowledged <= since);
        self.acks[start..].iter().find(|ack| ack.server != old).copied()
    }

    /// How many errors in all.
    pub fn errors_total(&self) -> u64 {
        self.errors.values().sum()
    }
}

/// A record that a writer fills while others look at it.
#[derive(Clone, Debug, Default)]
pub struct SharedRecord(Arc<Mutex<Record>>);

impl SharedRecord {
    /// Looks at it, briefly: the writer waits meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn acknowledged(&self, ack: Ack) {
        self.lock().acks.push(ack);
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        *self.lock().errors.entry(failure.kind()).or_default() += 1;
    }
}

/// Why a write was not acknowledged. Whether it was done is unknown unless Redis refused it.
#[derive(Debug)]
pub enum Failure {
    /// No Sentinel port named a primary.
    NoPrimary,
    /// The connection could not be made, broke, or stayed silent for too long.
    Connection(io::Error),
    /// Redis answered with an error, or with something that is no answer to a write.
    Refused(String),
}

impl Failure {
    /// What a reply that is not `+OK` amounts to.
    pub fn of_reply(reply: &Reply) -> Self {
        Self::Refused(error_text(reply).map_or_else(|| "unexpected reply".to_owned(), str::to_owned))
    }

    /// A few words that are the same for all failures of this kind.
    pub fn kind(&self) -> String {
        match self {
            Self::NoPrimary => "no primary known".to_owned(),
            Self::Connection(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "timed out".to_owned(),
                io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => "connection closed".to_owned(),
                other => other.to_string(),
            },
            Self::Refused(text) => text.split_whitespace().next().unwrap_or("empty error").to_owned(),
        }
    }
}
