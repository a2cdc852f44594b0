//! What a gateway is busy with, readable from every thread. One thread writes.

use backstay_model::GatewayLoad;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) clients: AtomicU64,
    pub(crate) backends: AtomicU64,
    pub(crate) held: AtomicU64,
    pub(crate) commands: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) unknown: AtomicU64,
}

/// Counts up. Only the gateway's own thread may: that spares a locked instruction per batch.
#[inline]
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn load(&self) -> GatewayLoad {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        GatewayLoad {
            clients: read(&self.clients),
            backends: read(&self.backends),
            held: read(&self.held),
            commands: read(&self.commands),
            refused: read(&self.refused),
            replayed: read(&self.replayed),
            unknown: read(&self.unknown),
        }
    }
}
