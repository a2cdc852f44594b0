//! Who is connected, and the counts that `INFO` shows. Dropping a client's ticket takes it off the list.

use backstay_wire::resp::Protocol;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// The most lines of one `CLIENT LIST`.
const LINES_MAX: usize = 1000;

/// All clients of one port.
#[derive(Default)]
pub(super) struct Registry {
    cards: Mutex<BTreeMap<u64, Card>>,
    last_id: AtomicU64,
    /// Connections that were ever accepted.
    pub(super) received: AtomicU64,
    /// Connections that were turned away.
    pub(super) rejected: AtomicU64,
    /// Requests that were ever answered.
    pub(super) requests: AtomicU64,
    /// Errors that were ever answered.
    pub(super) errors: AtomicU64,
}

/// What is known of one client.
#[derive(Clone)]
pub(super) struct Card {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) since: Instant,
    pub(super) active: Instant,
    pub(super) name: String,
    pub(super) library: String,
    pub(super) library_version: String,
    pub(super) command: String,
    pub(super) channels: usize,
    pub(super) patterns: usize,
    pub(super) protocol: Protocol,
}

/// A place on the list.
pub(super) struct Ticket {
    registry: Arc<Registry>,
    pub(super) id: u64,
}

impl Registry {
    /// Puts a client on the list, unless `clients_max` are on it already.
    pub(super) fn admit(
        self: &Arc<Self>,
        clients_max: usize,
        peer: SocketAddr,
        local: SocketAddr,
    ) -> Option<Ticket> {
        let mut cards = self.cards();
        if cards.len() >= clients_max {
            self.rejected.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.received.fetch_add(1, Ordering::Relaxed);
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let now = Instant::now();
        cards.insert(
            id,
            Card {
                peer,
                local,
                since: now,
                active: now,
                name: String::new(),
                library: String::new(),
                library_version: String::new(),
                command: "NULL".into(),
                channels: 0,
                patterns: 0,
                protocol: Protocol::Resp2,
            },
        );
        let registry = Arc::clone(self);
        Some(Ticket { registry, id })
    }

    /// How many are connected, how many of them subscribed to something, and to how many patterns in all.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let cards = self.cards();
        let subscribers = cards.values().filter(|card| card.is_subscriber()).count();
        (cards.len(), subscribers, cards.values().map(|card| card.patterns).sum())
    }

    /// A line of `CLIENT LIST` for each that is wanted.
    pub(super) fn lines(&self, wanted: impl Fn(u64, &Card) -> bool) -> String {
        let cards = self.cards();
        let wanted = cards.iter().filter(|(id, card)| wanted(**id, card)).take(LINES_MAX);
        wanted.map(|(id, card)| card.line(*id)).collect()
    }

    /// The line of one client.
    pub(super) fn line_of(&self, id: u64) -> String {
        self.cards().get(&id).map(|card| card.line(id)).unwrap_or_default()
    }

    pub(super) fn change(&self, id: u64, change: impl FnOnce(&mut Card)) {
        if let Some(card) = self.cards().get_mut(&id) {
            change(card);
        }
    }

    pub(super) fn card(&self, id: u64) -> Option<Card> {
        self.cards().get(&id).cloned()
    }

    fn cards(&self) -> MutexGuard<'_, BTreeMap<u64, Card>> {
        // No code that holds it can leave it half changed.
        self.cards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.registry.cards().remove(&self.id);
    }
}

impl Card {
    pub(super) fn is_subscriber(&self) -> bool {
        self.channels + self.patterns > 0
    }

    /// One line, in the fields and the order of Redis (networking.c, `catClientInfoString`).
    fn line(&self, id: u64) -> String {
        let flags = if self.is_subscriber() { "P" } else { "N" };
        let protocol = match self.protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        };
        let mut line = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(
            line,
            "id={id} addr={} laddr={} fd=-1 name={} age={} idle={} flags={flags} db=0 sub={} psub={} ssub=0 multi=-1 \
             qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} \
             user=default redir=-1 resp={protocol} lib-name={} lib-ver={}",
            self.peer,
            self.local,
            self.name,
            self.since.elapsed().as_secs(),
            self.active.elapsed().as_secs(),
            self.channels,
            self.patterns,
            self.command,
            self.library,
            self.library_version,
        );
        line
    }
}
