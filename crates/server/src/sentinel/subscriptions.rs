//! What one client listens to, bounded, and how a message reaches it.

use super::glob;
use super::news::Message;
use backstay_wire::resp::Value;
use std::collections::BTreeSet;

/// The most channels and patterns of one client together.
const NAMES_MAX: usize = 1024;
/// The most bytes of their names.
const NAME_BYTES_MAX: usize = 64 * 1024;

/// Channels and patterns.
#[derive(Default)]
pub(super) struct Subscriptions {
    channels: BTreeSet<Vec<u8>>,
    patterns: BTreeSet<Vec<u8>>,
    bytes: usize,
}

/// By name or by pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Channel,
    Pattern,
}

/// A client asks for more than is kept for it. Nothing was changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooMany;

impl Subscriptions {
    pub(super) fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count() == 0
    }

    pub(super) fn channels(&self) -> usize {
        self.channels.len()
    }

    pub(super) fn patterns(&self) -> usize {
        self.patterns.len()
    }

    pub(super) fn add(&mut self, kind: Kind, name: &[u8]) -> Result<(), TooMany> {
        if self.names(kind).contains(name) {
            return Ok(());
        }
        if self.count() >= NAMES_MAX || self.bytes + name.len() > NAME_BYTES_MAX {
            return Err(TooMany);
        }
        self.bytes += name.len();
        self.names(kind).insert(name.to_vec());
        Ok(())
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &[u8]) {
        if self.names(kind).remove(name) {
            self.bytes -= name.len();
        }
    }

    pub(super) fn all(&mut self, kind: Kind) -> Vec<Vec<u8>> {
        self.names(kind).iter().cloned().collect()
    }

    /// What the client is sent about a message: once for its channel, and once for each pattern that matches, as Redis
    /// does (pubsub.c, `pubsubPublishMessageInternal`).
    pub(super) fn deliveries(&self, message: &Message) -> Vec<Value> {
        let (channel, payload) = (message.channel.as_bytes(), message.payload.as_bytes());
        let direct = self.channels.contains(channel).then(|| push(&[b"message", channel, payload]));
        let matching = self.patterns.iter().filter(|pattern| glob::matches(pattern, channel));
        let matched = matching.map(|pattern| push(&[b"pmessage", pattern, channel, payload]));
        direct.into_iter().chain(matched).collect()
    }

    fn names(&mut self, kind: Kind) -> &mut BTreeSet<Vec<u8>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
        }
    }
}

fn push(parts: &[&[u8]]) -> Value {
    Value::Push(parts.iter().map(Value::bulk).collect())
}
