//! Carries out what Raft wants done, in the order that the library documents: a leader's messages, the write, what was
//! committed, and only then the messages that rely on the write.

use crate::consensus::{hard_state, node};
use crate::{Body, Consensus, Effect, Kind, Persist, translate};
use backstay_model::NodeId;
use raft::eraftpb::{Entry, Message};
use raft::{INVALID_INDEX, Ready};

impl Consensus {
    pub(crate) fn drain(&mut self) {
        while self.raft.has_ready() {
            let mut ready = self.raft.ready();
            // A leader's followers may write at the same time as it does.
            self.send_all(ready.take_messages());
            self.write(&ready);
            self.apply_all(&ready.take_committed_entries());
            self.send_all(ready.take_persisted_messages());
            // The write is done when the next effect runs, and nothing of this step is seen before.
            let mut light = self.raft.advance(ready);
            self.send_all(light.take_messages());
            self.apply_all(&light.take_committed_entries());
            self.raft.advance_apply();
        }
    }

    /// A commit index alone is not worth a write: the next leader finds it again.
    fn write(&mut self, ready: &Ready) {
        if !ready.must_sync() {
            return;
        }
        let mut persist = Persist {
            hard: Some(hard_state(&self.raft.raft.hard_state())),
            entries: ready.entries().iter().map(translate::entry_in).collect(),
            ..Persist::default()
        };
        persist.truncate_from = persist.entries.first().map(|entry| entry.index);
        if ready.snapshot().get_metadata().index == INVALID_INDEX {
            self.persist(persist);
            return;
        }
        // Nothing of the old log agrees with the leader's.
        let snapshot = translate::snapshot_in(ready.snapshot());
        self.applied = snapshot.index;
        persist.snapshot = Some(snapshot.clone());
        persist.drop_before = Some(snapshot.index + 1);
        persist.truncate_from = Some(snapshot.index + 1);
        self.persist(persist);
        self.effects.push(Effect::Restore(snapshot));
    }

    fn apply_all(&mut self, entries: &[Entry]) {
        for entry in entries {
            self.applied = entry.index;
            if !entry.data.is_empty() {
                self.effects.push(Effect::Apply(translate::entry_in(entry)));
            }
        }
    }

    fn send_all(&mut self, messages: Vec<Message>) {
        for message in messages {
            if let (Some(to), Some(mut body)) = (node(message.to), translate::message_in(&message)) {
                body.stamp = self.stamp(to, body.kind);
                match body.kind {
                    Kind::Snapshot => self.snapshot_sent(to),
                    Kind::Vote => self.vote_requested(to, body.clone()),
                    _ => {}
                }
                self.send(to, Body::Raft(body));
            }
        }
    }

    /// A leader's own clock, or the leader's returned by the answer.
    fn stamp(&self, to: NodeId, kind: Kind) -> Option<backstay_model::Time> {
        match (kind, self.echo) {
            (Kind::Append | Kind::Heartbeat | Kind::Snapshot, _) => Some(self.now),
            (Kind::AppendResponse | Kind::HeartbeatResponse, Some((leader, stamp))) if leader == to => {
                Some(stamp)
            }
            _ => None,
        }
    }
}
