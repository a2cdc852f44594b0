//! What a node does because time has passed: ticks, and everything that is said again in case it was lost.

use crate::{Body, Consensus, MemberId, RaftMessage};
use backstay_model::{NodeId, Term, Time};
use raft::{SnapshotStatus, StateRole};
use std::time::Duration;

/// How long a follower may take to answer a snapshot before it is sent again.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(1);
/// How often a controller that is no member asks to be made one.
const APPLICATION: Duration = Duration::from_millis(250);

impl Consensus {
    /// Runs what became due between the last step and this one.
    pub(crate) fn pass_time(&mut self, woken: bool) {
        if !self.unmet().is_empty() {
            self.pace.restart(self.now);
            self.greet();
            return;
        }
        if !self.is_member() {
            self.greet();
        }
        for _ in 0..self.pace.ticks(self.now, woken) {
            self.raft.tick();
            self.settle();
        }
        self.canvass();
        let lost: Vec<MemberId> =
            self.snapshots.iter().filter(|(_, retry)| **retry <= self.now).map(|(node, _)| *node).collect();
        for to in lost {
            self.snapshots.remove(&to);
            self.raft.report_snapshot(to.0, SnapshotStatus::Failure);
            self.settle();
        }
    }

    /// Asks those who were never heard of, until they are; without being a member, asks everybody.
    pub(crate) fn greet(&mut self) {
        if self.now < self.hello_due {
            return;
        }
        let (to, pause) = if self.is_member() {
            (self.unmet(), self.settings.heartbeat * 2)
        } else {
            let me = self.settings.me;
            (self.settings.peers.iter().copied().filter(|peer| *peer != me).collect(), APPLICATION)
        };
        for to in to {
            self.send(to, Body::Hello);
        }
        self.hello_due = self.now + pause;
    }

    pub(crate) fn snapshot_sent(&mut self, to: MemberId) {
        self.snapshots.insert(to, self.now + SNAPSHOT_RETRY);
    }

    /// Asks for votes again, once per heartbeat: the library asks once, and a lost question would cost a whole election
    /// timeout. A voter gives the same answer every time.
    fn canvass(&mut self) {
        let raft = &self.raft.raft;
        let term = Term(raft.term);
        if raft.state != StateRole::Candidate {
            self.vote_requests.clear();
        } else if self.canvass_due <= self.now {
            self.canvass_due = self.now + self.settings.heartbeat;
            self.vote_requests.retain(|(_, request)| request.term == term);
            for (to, request) in self.vote_requests.clone() {
                self.send(to, Body::Raft(request));
            }
        }
    }

    pub(crate) fn vote_requested(&mut self, to: NodeId, request: RaftMessage) {
        self.vote_requests.push((to, request));
        self.canvass_due = self.now + self.settings.heartbeat;
    }

    /// Also lets a pre-candidate ask again after a heartbeat's time instead of a whole timeout: its question may have
    /// been lost, or come while another was still bound to the old leader. Asking changes nothing at the others.
    pub(crate) fn pin_timeout(&mut self) {
        let raft = &mut self.raft.raft;
        let leader = self.membership.member(MemberId(raft.leader_id)).map(|member| member.node);
        let timeout = self.timeouts.of(Term(raft.term), leader);
        raft.set_randomized_election_timeout(timeout);
        if raft.state == StateRole::PreCandidate {
            let asked_again = timeout.saturating_sub(raft.heartbeat_timeout());
            raft.election_elapsed = raft.election_elapsed.max(asked_again);
        }
    }

    /// The earliest moment at which `pass_time` has something to do.
    pub(crate) fn plan_wakeup(&self) -> Time {
        if self.halted {
            return Time::MAX;
        }
        if !self.unmet().is_empty() {
            return self.hello_due;
        }
        let raft = &self.raft.raft;
        let ticks = if self.leads() {
            let heartbeat = raft.heartbeat_timeout().saturating_sub(raft.heartbeat_elapsed());
            heartbeat.min(raft.election_timeout().saturating_sub(raft.election_elapsed))
        } else {
            raft.randomized_election_timeout().saturating_sub(raft.election_elapsed)
        };
        let candidate = raft.state == StateRole::Candidate;
        let canvass = candidate.then_some(self.canvass_due);
        let application = (!self.is_member()).then_some(self.hello_due);
        let retries = self.snapshots.values().copied();
        retries.chain(canvass).chain(application).fold(self.pace.after(ticks.max(1)), Time::min)
    }
}
