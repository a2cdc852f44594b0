//! Which messages Raft may see. First the envelope (cluster, sender, state folder), then the content, then the promises
//! that forbid to vote.

use crate::change::Heard;
use crate::guard::{self, Verdict, View};
use crate::{Body, Consensus, Kind, MemberId, Message, Persist, RaftMessage, Refusal, translate};
use backstay_model::{Generation, NodeId, Term};
use raft::StateRole;

/// What a sender is to this node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Member,
    /// No member, as far as this node has applied the log.
    Outsider,
}

impl Consensus {
    pub(crate) fn receive(&mut self, message: Message) {
        if !self.accept(&message) {
            return;
        }
        if let Some(standing) = self.standing(&message) {
            let applies = standing == Standing::Outsider && message.body == Body::Hello;
            // A founder's number belongs to its first folder for ever.
            let first = message.from_member == MemberId::founder(message.from);
            self.note(&message, applies && !first);
            self.read(standing, message);
        }
    }

    /// Whether the envelope is right.
    fn accept(&mut self, message: &Message) -> bool {
        let peer = message.from;
        if message.cluster != self.settings.cluster {
            let cluster = message.cluster.clone();
            self.refuse(Refusal::OtherCluster { peer, cluster }, peer);
            return false;
        }
        if !self.settings.peers.contains(&peer) && self.membership.of(peer).is_none() {
            self.refuse(Refusal::UnknownPeer { peer }, peer);
            return false;
        }
        if peer == self.settings.me || message.to != self.settings.me {
            let why = "it went to the wrong node";
            self.refuse(Refusal::Malformed { peer, why }, peer);
            return false;
        }
        let (version, level) = (message.version, self.membership.level);
        if version < level {
            self.refuse(Refusal::Outdated { peer, version, level }, peer);
            return false;
        }
        true
    }

    /// Whether the sender is a member with the state that it always had. Learns a founder's generation. `None`: it lost
    /// that state and pretends that it did not.
    fn standing(&mut self, message: &Message) -> Option<Standing> {
        let peer = message.from;
        let Some(member) = self.membership.of(peer).filter(|member| member.id == message.from_member) else {
            return Some(Standing::Outsider);
        };
        let known = member.generation.or_else(|| self.durable().known.get(&peer).copied());
        match known {
            Some(known) if known == message.from_generation => Some(Standing::Member),
            Some(_) => {
                self.refuse(Refusal::LostState { peer }, peer);
                // Never answer a `Stranger` with another: two wiped nodes would not stop.
                if !matches!(message.body, Body::Stranger { .. }) {
                    self.turn_away(peer, message.from_generation);
                }
                None
            }
            None => {
                self.persist(Persist { known: Some((peer, message.from_generation)), ..Persist::default() });
                Some(Standing::Member)
            }
        }
    }

    fn turn_away(&mut self, peer: NodeId, generation: Generation) {
        let (index, replaced) = (self.membership.index, self.membership.of(peer).is_some());
        let leader = self.node_of(MemberId(self.raft.raft.leader_id));
        self.send(peer, Body::Stranger { generation, index, replaced, leader });
    }

    fn note(&mut self, message: &Message, applies: bool) {
        let heard = Heard {
            id: message.from_member,
            generation: message.from_generation,
            version: message.version,
            at: self.now,
            applies,
        };
        if applies && self.membership.of(message.from).is_some() {
            self.refuse(Refusal::LostState { peer: message.from }, message.from);
        }
        self.heard.insert(message.from, heard);
    }

    fn read(&mut self, standing: Standing, message: Message) {
        let Message { from, from_generation, from_member, to_member, body, .. } = message;
        let outsider = standing == Standing::Outsider;
        match body {
            Body::Hello if outsider => self.turn_away(from, from_generation),
            Body::Hello => self.send(from, Body::HelloReply),
            Body::Stranger { generation, index, replaced, leader }
                if generation == self.settings.generation =>
            {
                self.rumour = leader.or(self.rumour);
                self.called_stranger(from, index, replaced);
            }
            Body::HelloReply | Body::Stranger { .. } => {}
            // Who does not know all founders' state folders could take the vote of one that was wiped.
            Body::Raft(_) if !self.unmet().is_empty() => {}
            // Meant for another folder than this one.
            Body::Raft(_) if to_member != self.me => {}
            // Its word counts for nothing; but one that was made a member behind what this node has applied may lead,
            // and then this node must follow it and may be asked for its vote.
            Body::Raft(ref raft) if outsider && raft.kind.is_answer() => {}
            Body::Raft(raft) => {
                if outsider && matches!(raft.kind, Kind::Vote | Kind::PreVote) {
                    self.turn_away(from, from_generation);
                }
                self.take(from, from_member, raft);
            }
        }
    }

    /// A peer that is behind may not know this member yet; one that is not behind does not know it any more.
    fn called_stranger(&mut self, told_by: NodeId, index: u64, replaced: bool) {
        if !self.is_member() || index < self.membership.index {
            return;
        }
        let refusal = if replaced { Refusal::IAmStranger { told_by } } else { Refusal::Removed };
        self.halt(refusal, told_by);
    }

    fn take(&mut self, from: NodeId, member: MemberId, message: RaftMessage) {
        let raft = &self.raft.raft;
        let view = View {
            term: Term(raft.term),
            leader: crate::consensus::member(raft.leader_id),
            leads: self.leads(),
            last: raft.raft_log.last_index(),
        };
        match guard::judge(&message, member, &view) {
            Verdict::Take => {}
            Verdict::Drop => return,
            Verdict::Malformed(why) => return self.refuse(Refusal::Malformed { peer: from, why }, from),
            Verdict::LogLost => {
                let (confirmed, last) = (message.commit, view.last);
                return self.halt(Refusal::LogLost { leader: from, confirmed, last }, from);
            }
        }
        if self.heard.get(&from).is_some_and(|heard| !heard.applies) {
            self.refusals.remove(&from);
        }
        if self.must_not_vote(&message) {
            return;
        }
        self.feed(from, member, message);
    }

    /// Votes are forbidden for an election timeout after a start (what was promised before it is forgotten) and after
    /// a leader was heard, unless that leader itself chose the candidate.
    fn must_not_vote(&self, message: &RaftMessage) -> bool {
        let muted = self.now < self.muted;
        match message.kind {
            Kind::Vote => muted || self.now < self.promised && !message.handover,
            Kind::PreVote => muted || self.now < self.promised,
            Kind::TimeoutNow => muted,
            _ => false,
        }
    }

    fn feed(&mut self, from: NodeId, member: MemberId, message: RaftMessage) {
        let (kind, term, stamp) = (message.kind, message.term, message.stamp);
        let translated = translate::message_out(member, self.me, message);
        // Errors are drops that the library has logged; the peer will repeat what matters.
        let _ = self.raft.step(translated);
        let raft = &self.raft.raft;
        match kind {
            Kind::Append | Kind::Heartbeat | Kind::Snapshot => {
                let follows = raft.state == StateRole::Follower && raft.leader_id == member.0;
                if follows && raft.term == term.0 {
                    self.promised = self.now + self.settings.election_timeout;
                    self.echo = stamp.map(|stamp| (from, stamp));
                }
            }
            Kind::AppendResponse | Kind::HeartbeatResponse => {
                if let Some(stamp) = stamp {
                    self.lease.returned(member, term, stamp, self.now);
                }
            }
            _ => {}
        }
        self.settle();
        self.echo = None;
    }

    /// Reports a refusal unless it was the last one reported of this peer.
    fn refuse(&mut self, refusal: Refusal, peer: NodeId) {
        let slot = if self.settings.peers.contains(&peer) { peer } else { NodeId(0) };
        if self.refusals.get(&slot) != Some(&refusal) {
            self.refusals.insert(slot, refusal.clone());
            self.effects.push(crate::Effect::Refused(refusal));
        }
    }

    pub(crate) fn halt(&mut self, refusal: Refusal, peer: NodeId) {
        self.halted = true;
        self.refuse(refusal, peer);
    }
}
