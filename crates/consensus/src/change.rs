//! Changing who belongs to the cluster: what an operator may ask of the leader, what the leader does by itself (a
//! learner that holds everything gets its vote; the level rises when every member understands more), and when neither
//! is allowed. One change at a time, each of at most one voter.

use crate::{Consensus, Effect, MEMBERS_CHANGE, Member, MemberId, Membership, Status, translate};
use backstay_model::{Generation, NodeId, Term, Time};
use raft::eraftpb::{ConfChangeSingle, ConfChangeV2};
use std::time::Duration;

/// How lately a controller must have been heard of to count as alive.
pub(crate) const LATELY: Duration = Duration::from_secs(1);

/// What an operator may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make a member of this controller, which runs with a new state folder: a learner first, a voter once it holds
    /// everything. If a member of that controller was there before, its folder is taken for lost and its vote removed.
    Add(NodeId),
    /// Take this controller's membership away.
    Remove {
        /// Which.
        node: NodeId,
        /// Even if that leaves a single voter, or fewer live ones than are needed.
        forced: bool,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is a learner.
    Added(NodeId),
    /// It is a learner with its new folder; the lost one has no vote any more.
    Replaced(NodeId),
    /// It is no member any more.
    Removed {
        /// Which.
        node: NodeId,
        /// How many voters are left.
        voters: usize,
    },
}

/// Why a change was not made. Unless it says otherwise nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// Another node leads, or none, or the lead is being given away.
    NotLeader,
    /// The lead was lost meanwhile: it may or may not have been done.
    Unknown,
    /// Another change is under way.
    Busy,
    /// These speak a version in which members cannot change, or were not heard of yet.
    Outdated(Vec<NodeId>),
    /// No controller with a new state folder asks under this name.
    Unheard,
    /// It is a member with the folder that it has.
    AlreadyMember {
        /// It votes already.
        voter: bool,
    },
    /// Somebody asks under the name of a member that is alive.
    Alive,
    /// It is no member.
    NotMember,
    /// Without it nobody would be left.
    Last,
    /// Without it a single voter would be left; can be forced.
    Single,
    /// Too few live voters would be left to decide anything; can be forced.
    NoQuorum {
        /// How many of the remaining voters are alive.
        live: usize,
        /// How many would be needed.
        needed: usize,
    },
}

/// A change that was proposed for an operator.
#[derive(Debug)]
pub(crate) struct Pending {
    request: u64,
    term: Term,
    members: Vec<Member>,
    changed: Changed,
}

/// A controller that was heard of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) id: MemberId,
    pub(crate) generation: Generation,
    pub(crate) version: u32,
    pub(crate) at: Time,
    /// It asks to be made a member.
    pub(crate) applies: bool,
}

impl Consensus {
    pub(crate) fn change(&mut self, request: u64, change: &Change) {
        match self.plan(change) {
            Ok((membership, changed)) => {
                let members = membership.members.clone();
                if self.propose_members(&membership) {
                    let term = Term(self.raft.raft.term);
                    self.pending = Some(Pending { request, term, members, changed });
                    self.settle();
                } else {
                    self.answer(request, Err(ChangeRefusal::NotLeader));
                }
            }
            Err(refusal) => {
                if let (Change::Remove { node, .. }, ChangeRefusal::NotLeader) = (change, &refusal)
                    && *node == self.settings.me
                    && let Some(heir) = self.heir()
                {
                    // Nobody takes his own vote away: the successor does it.
                    self.transfer(heir);
                }
                self.answer(request, Err(refusal));
            }
        }
    }

    fn plan(&self, change: &Change) -> Result<(Membership, Changed), ChangeRefusal> {
        if !self.leads_for_good() {
            return Err(ChangeRefusal::NotLeader);
        }
        if self.pending.is_some() || self.raft.raft.has_pending_conf() {
            return Err(ChangeRefusal::Busy);
        }
        if self.membership.level < MEMBERS_CHANGE {
            return Err(ChangeRefusal::Outdated(self.below(MEMBERS_CHANGE)));
        }
        match change {
            Change::Add(node) => self.addition(*node),
            Change::Remove { node, forced } => self.removal(*node, *forced),
        }
    }

    fn addition(&self, node: NodeId) -> Result<(Membership, Changed), ChangeRefusal> {
        let before = self.membership.of(node);
        let applicant = self.applicants().find(|(applicant, _)| *applicant == node);
        let Some((_, heard)) = applicant else {
            return Err(match before {
                Some(member) if self.is_live(member) => ChangeRefusal::AlreadyMember { voter: member.voter },
                _ => ChangeRefusal::Unheard,
            });
        };
        if before.is_some_and(|member| self.is_live(member)) {
            return Err(ChangeRefusal::Alive);
        }
        let mut membership = self.filled();
        membership.members.retain(|member| member.node != node);
        if before.is_some() {
            self.must_have_quorum(&membership)?;
        }
        let (id, generation) = (heard.id, Some(heard.generation));
        membership.members.push(Member { id, node, generation, voter: false });
        let changed = if before.is_some() { Changed::Replaced(node) } else { Changed::Added(node) };
        Ok((membership, changed))
    }

    fn removal(&self, node: NodeId, forced: bool) -> Result<(Membership, Changed), ChangeRefusal> {
        let Some(member) = self.membership.of(node) else {
            return Err(ChangeRefusal::NotMember);
        };
        let mut membership = self.filled();
        membership.members.retain(|member| member.node != node);
        let voters = membership.voters().count();
        if voters == 0 {
            return Err(ChangeRefusal::Last);
        }
        if member.voter && !forced {
            if voters == 1 {
                return Err(ChangeRefusal::Single);
            }
            self.must_have_quorum(&membership)?;
        }
        if node == self.settings.me {
            return Err(ChangeRefusal::NotLeader);
        }
        Ok((membership, Changed::Removed { node, voters }))
    }

    /// The members with their folders' generations, which everybody has been told since the founding.
    fn filled(&self) -> Membership {
        let mut membership = self.membership.clone();
        for member in &mut membership.members {
            let known = if member.node == self.settings.me {
                Some(self.settings.generation)
            } else {
                self.durable().known.get(&member.node).copied()
            };
            member.generation = member.generation.or(known);
        }
        membership
    }

    fn must_have_quorum(&self, membership: &Membership) -> Result<(), ChangeRefusal> {
        let live = membership.voters().filter(|member| self.is_live(member)).count();
        let needed = membership.majority();
        if live < needed { Err(ChangeRefusal::NoQuorum { live, needed }) } else { Ok(()) }
    }

    fn is_live(&self, member: &Member) -> bool {
        let heard = || self.heard.get(&member.node).filter(|heard| heard.id == member.id && !heard.applies);
        member.id == self.me || heard().is_some_and(|heard| self.now.since(heard.at) < LATELY)
    }

    pub(crate) fn lost(&mut self, node: NodeId) {
        if let Some(heard) = self.heard.get_mut(&node) {
            heard.at = Time::ZERO;
        }
    }

    /// Controllers that ask to be made members, heard of lately.
    pub(crate) fn applicants(&self) -> impl Iterator<Item = (NodeId, &Heard)> {
        let lately = |heard: &Heard| heard.applies && self.now.since(heard.at) < LATELY;
        self.heard.iter().filter(move |(_, heard)| lately(heard)).map(|(node, heard)| (*node, heard))
    }

    /// The members that are not known to understand this level.
    fn below(&self, level: u32) -> Vec<NodeId> {
        let understands = |member: &Member| {
            // One that lost its folder asks to be let in anew, with the program that it runs now.
            let heard = self.heard.get(&member.node).filter(|heard| heard.id == member.id || heard.applies);
            let version =
                if member.id == self.me { Some(self.settings.version) } else { heard.map(|it| it.version) };
            version.is_some_and(|version| version >= level)
        };
        self.membership
            .members
            .iter()
            .filter(|member| !understands(member))
            .map(|member| member.node)
            .collect()
    }

    /// Another voter that is alive.
    fn heir(&self) -> Option<NodeId> {
        let mut others = self.membership.voters().filter(|member| member.id != self.me);
        others.find(|member| self.is_live(member)).map(|member| member.node)
    }

    /// Leads, has applied everything that was ever committed, and is not giving the lead away. Only then may members
    /// change: before an entry of its own term is committed, an earlier leader's change could still appear.
    fn leads_for_good(&self) -> bool {
        self.leads() && self.raft.raft.commit_to_current_term() && self.raft.raft.lead_transferee.is_none()
    }

    /// What a leader does about the members by itself.
    pub(crate) fn tend(&mut self) {
        self.forget_lost_change();
        if self.halted || !self.leads_for_good() || self.raft.raft.has_pending_conf() {
            return;
        }
        let next = self.promotion().or_else(|| self.rise());
        if let Some(membership) = next
            && self.propose_members(&membership)
        {
            self.settle();
        }
    }

    /// A learner that holds everything gets its vote, if enough voters are alive with it.
    fn promotion(&self) -> Option<Membership> {
        let raft = &self.raft.raft;
        let ready = |member: &&Member| {
            let progress = raft.prs().get(member.id.0);
            !member.voter
                && self.is_live(member)
                && progress.is_some_and(|progress| progress.matched >= raft.raft_log.committed)
        };
        let learner = self.membership.members.iter().find(ready)?.id;
        let mut membership = self.filled();
        for member in membership.members.iter_mut().filter(|member| member.id == learner) {
            member.voter = true;
        }
        self.must_have_quorum(&membership).ok()?;
        Some(membership)
    }

    /// The level rises when every member understands more.
    fn rise(&self) -> Option<Membership> {
        let mut higher = (self.membership.level + 1..=self.settings.version).rev();
        let level = higher.find(|level| self.below(*level).is_empty())?;
        Some(Membership { level, ..self.filled() })
    }

    fn propose_members(&mut self, membership: &Membership) -> bool {
        if !membership.is_sound(false) {
            return false;
        }
        // What the library wants to see of a change; it is never told to carry this one out. Number zero is nobody.
        let mut nothing = ConfChangeV2::default();
        nothing.set_changes(vec![ConfChangeSingle::default()].into());
        self.raft.propose_conf_change(translate::context(membership), nothing).is_ok()
    }

    /// Answers the operator whose change this was.
    pub(crate) fn members_changed(&mut self, membership: &Membership) {
        if let Some(pending) = self.pending.take_if(|pending| pending.members == membership.members) {
            self.answer(pending.request, Ok(pending.changed));
        }
    }

    /// Without the lead nobody knows what becomes of a change.
    fn forget_lost_change(&mut self) {
        let term = Term(self.raft.raft.term);
        let leads = self.leads() && !self.halted;
        if let Some(pending) = self.pending.take_if(|pending| !leads || pending.term != term) {
            self.answer(pending.request, Err(ChangeRefusal::Unknown));
        }
    }

    fn answer(&mut self, request: u64, result: Result<Changed, ChangeRefusal>) {
        self.effects.push(Effect::ChangeAnswer { request, result });
    }

    /// Part of `status`.
    pub(crate) fn describe_members(&self, status: &mut Status) {
        status.membership = self.membership.clone();
        status.applicants = self.applicants().map(|(node, _)| node).collect();
        status.versions = self.heard.iter().map(|(node, heard)| (*node, heard.version)).collect();
        status.versions.insert(self.settings.me, self.settings.version);
    }
}
