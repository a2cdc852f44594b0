//! Carries out what Raft wants done, in the order that the library documents: a leader's messages, the write, what was
//! committed, and only then the messages that rely on the write.

use crate::consensus::hard_state;
use crate::{Body, Consensus, Effect, Kind, MemberId, Membership, Persist, Refusal, translate};
use backstay_model::{NodeId, Time};
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, Entry, Message};
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
        let membership = snapshot.membership.clone();
        self.effects.push(Effect::Restore(snapshot));
        self.follow(membership);
    }

    fn apply_all(&mut self, entries: &[Entry]) {
        for entry in entries {
            let entry = translate::entry_in(entry);
            if self.halted {
                return;
            }
            self.applied = entry.index;
            if let Some(change) = entry.change {
                self.apply_members(Membership { index: entry.index, ..change });
            } else if !entry.data.is_empty() {
                self.effects.push(Effect::Apply(entry));
            }
        }
    }

    /// From here on the library counts by the new list. That the change is committed is made durable at once: after a
    /// restart this node must not count by an older list than one of which it has seen the successor's successor.
    fn apply_members(&mut self, membership: Membership) {
        if membership.level > self.settings.version {
            let level = membership.level;
            return self.halt(Refusal::TooNew { level }, self.settings.me);
        }
        let mut hard = hard_state(&self.raft.raft.hard_state());
        hard.commit = hard.commit.max(membership.index);
        self.persist(Persist { hard: Some(hard), ..Persist::default() });
        for (id, kind) in steps(&self.membership, &membership) {
            let mut single = ConfChangeSingle { node_id: id.0, ..ConfChangeSingle::default() };
            single.set_change_type(kind);
            let mut change = ConfChangeV2::default();
            change.set_changes(vec![single].into());
            // It fails only if no voter were left, and a sound list has one.
            let _ = self.raft.apply_conf_change(&change);
        }
        let was_member = self.is_member();
        self.members_changed(&membership);
        self.follow(membership);
        if was_member && !self.is_member() {
            self.halt(Refusal::Removed, self.settings.me);
        }
    }

    /// Everything that depends on who belongs to the cluster.
    pub(crate) fn follow(&mut self, membership: Membership) {
        let others = membership.voters().filter(|member| member.id != self.me);
        self.lease.follow(others.map(|member| member.id).collect());
        self.timeouts.follow(membership.voters().map(|member| member.node).collect());
        self.effects.push(Effect::Members(membership.clone()));
        self.membership = membership;
    }

    fn send_all(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to_member = MemberId(message.to);
            let to = self.node_of(to_member);
            if let (Some(to), Some(mut body)) = (to, translate::message_in(&message)) {
                body.stamp = self.stamp(to, body.kind);
                match body.kind {
                    Kind::Snapshot => self.snapshot_sent(to_member),
                    Kind::Vote => self.vote_requested(to, body.clone()),
                    _ => {}
                }
                self.send_to_member(to, to_member, Body::Raft(body));
            }
        }
    }

    /// A leader's own clock, or the leader's returned by the answer.
    fn stamp(&self, to: NodeId, kind: Kind) -> Option<Time> {
        match (kind, self.echo) {
            (Kind::Append | Kind::Heartbeat | Kind::Snapshot, _) => Some(self.now),
            (Kind::AppendResponse | Kind::HeartbeatResponse, Some((leader, stamp))) if leader == to => {
                Some(stamp)
            }
            _ => None,
        }
    }
}

/// The library's steps from one list to the other, voters first, so that there always is one.
fn steps(from: &Membership, to: &Membership) -> Vec<(MemberId, ConfChangeType)> {
    let voted = |id| from.member(id).map(|member| member.voter);
    let mut steps = Vec::new();
    for member in to.voters().filter(|member| voted(member.id) != Some(true)) {
        steps.push((member.id, ConfChangeType::AddNode));
    }
    for member in to.members.iter().filter(|member| !member.voter && voted(member.id) != Some(false)) {
        steps.push((member.id, ConfChangeType::AddLearnerNode));
    }
    for member in from.members.iter().filter(|member| to.member(member.id).is_none()) {
        steps.push((member.id, ConfChangeType::RemoveNode));
    }
    steps
}
