//! Which messages Raft may see. First the envelope (cluster, sender, state folder), then the content, then the promises
//! that forbid to vote.

use crate::guard::{self, Verdict, View};
use crate::{Body, Consensus, Kind, Message, Persist, RaftMessage, Refusal, translate};
use backstay_model::{NodeId, Term};
use raft::StateRole;

impl Consensus {
    pub(crate) fn receive(&mut self, message: Message) {
        if self.accept(&message) {
            self.read(message.from, message.body);
        }
    }

    /// Whether the sender is a peer with the state that it always had. Learns a new peer's generation.
    fn accept(&mut self, message: &Message) -> bool {
        let peer = message.from;
        if message.cluster != self.settings.cluster {
            let cluster = message.cluster.clone();
            self.refuse(Refusal::OtherCluster { peer, cluster }, peer);
            return false;
        }
        if !self.voters.contains(&peer) {
            self.refuse(Refusal::UnknownPeer { peer }, peer);
            return false;
        }
        if peer == self.settings.me || message.to != self.settings.me {
            let why = "it went to the wrong node";
            self.refuse(Refusal::Malformed { peer, why }, peer);
            return false;
        }
        match self.durable().known.get(&peer).copied() {
            Some(known) if known == message.from_generation => true,
            Some(_) => {
                self.refuse(Refusal::LostState { peer }, peer);
                // Never answer a `Stranger` with another: two wiped nodes would not stop.
                if !matches!(message.body, Body::Stranger { .. }) {
                    let generation = message.from_generation;
                    self.send(peer, Body::Stranger { generation });
                }
                false
            }
            None => {
                self.persist(Persist { known: Some((peer, message.from_generation)), ..Persist::default() });
                true
            }
        }
    }

    fn read(&mut self, from: NodeId, body: Body) {
        match body {
            Body::Hello => self.send(from, Body::HelloReply),
            Body::Stranger { generation } if generation == self.settings.generation => {
                self.halt(Refusal::IAmStranger { told_by: from }, from);
            }
            Body::HelloReply | Body::Stranger { .. } => {}
            // Who does not know all voters' state folders could take the vote of one that was wiped.
            Body::Raft(_) if !self.unmet().is_empty() => {}
            Body::Raft(raft) => self.take(from, raft),
        }
    }

    fn take(&mut self, from: NodeId, message: RaftMessage) {
        let raft = &self.raft.raft;
        let view = View {
            term: Term(raft.term),
            leader: crate::consensus::node(raft.leader_id),
            leads: self.leads(),
            last: raft.raft_log.last_index(),
        };
        match guard::judge(&message, from, &view) {
            Verdict::Take => {}
            Verdict::Drop => return,
            Verdict::Malformed(why) => return self.refuse(Refusal::Malformed { peer: from, why }, from),
            Verdict::LogLost => {
                let (confirmed, last) = (message.commit, view.last);
                return self.halt(Refusal::LogLost { leader: from, confirmed, last }, from);
            }
        }
        self.refusals.remove(&from);
        if self.must_not_vote(&message) {
            return;
        }
        self.feed(from, message);
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

    fn feed(&mut self, from: NodeId, message: RaftMessage) {
        let (kind, term, stamp) = (message.kind, message.term, message.stamp);
        let voters = self.raft.store().conf_state();
        let translated = translate::message_out(from, self.settings.me, message, voters);
        // Errors are drops that the library has logged; the peer will repeat what matters.
        let _ = self.raft.step(translated);
        let raft = &self.raft.raft;
        match kind {
            Kind::Append | Kind::Heartbeat | Kind::Snapshot => {
                let follows = raft.state == StateRole::Follower && raft.leader_id == from.0;
                if follows && raft.term == term.0 {
                    self.promised = self.now + self.settings.election_timeout;
                    self.echo = stamp.map(|stamp| (from, stamp));
                }
            }
            Kind::AppendResponse | Kind::HeartbeatResponse => {
                if let Some(stamp) = stamp {
                    self.lease.returned(from, term, stamp, self.now);
                }
            }
            _ => {}
        }
        self.settle();
        self.echo = None;
    }

    /// Reports a refusal unless it was the last one reported of this peer.
    fn refuse(&mut self, refusal: Refusal, peer: NodeId) {
        let slot = if self.voters.contains(&peer) { peer } else { NodeId(0) };
        if self.refusals.get(&slot) != Some(&refusal) {
            self.refusals.insert(slot, refusal.clone());
            self.effects.push(crate::Effect::Refused(refusal));
        }
    }

    fn halt(&mut self, refusal: Refusal, peer: NodeId) {
        self.halted = true;
        self.refuse(refusal, peer);
    }
}
