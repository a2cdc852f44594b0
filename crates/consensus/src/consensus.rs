//! The node: one step function around Raft. `reception` decides which messages Raft may see, `ready` carries out what
//! Raft wants done; here is what holds them together: time, leadership, the lease.

use crate::change::{Heard, Pending};
use crate::lease::Lease;
use crate::pace::{Pace, Timeouts, in_ticks};
use crate::report::Leadership;
use crate::store::Store;
use crate::{
    Body, ChangeRefusal, Durable, Effect, Input, Member, MemberId, Membership, Message, Persist, RaftMessage,
    Refusal, Settings, Snapshot, StartError, Status,
};
use backstay_model::{NodeId, Term, Time};
use raft::eraftpb::HardState;
use raft::{Config, RawNode, StateRole, Storage};
use std::collections::BTreeMap;

/// Entries kept behind a snapshot, for followers that are a little behind.
const TAIL: u64 = 64;
/// Bytes of entries per message; a single larger entry still goes.
const APPEND_BYTES: u64 = 256 * 1024;
/// Bytes proposed and not yet committed before proposals are refused.
const UNCOMMITTED_BYTES: u64 = 64 * 1024 * 1024;

/// One controller's part in the consensus. Its whole outside world is `step`, `next_wakeup` and `status`.
pub struct Consensus {
    pub(crate) settings: Settings,
    /// This node's number as a member.
    pub(crate) me: MemberId,
    /// As far as the log was applied.
    pub(crate) membership: Membership,
    /// What was last heard of each controller; none but peers and members.
    pub(crate) heard: BTreeMap<NodeId, Heard>,
    /// Who leads, as a controller that is no member was told.
    pub(crate) rumour: Option<NodeId>,
    /// An operator's change that is not committed yet.
    pub(crate) pending: Option<Pending>,
    pub(crate) raft: RawNode<Store>,
    pub(crate) now: Time,
    /// Until then a node that may have promised something before it was restarted neither votes nor campaigns.
    pub(crate) muted: Time,
    /// Until then this node votes for nobody but its leader's choice.
    pub(crate) promised: Time,
    pub(crate) lease: Lease,
    /// The stamp of the leader's message that is being processed: its answers carry it back.
    pub(crate) echo: Option<(NodeId, Time)>,
    /// When to take a follower's snapshot for lost.
    pub(crate) snapshots: BTreeMap<MemberId, Time>,
    /// What was last reported of each peer; all unknown ones share the number zero.
    pub(crate) refusals: BTreeMap<NodeId, Refusal>,
    pub(crate) halted: bool,
    pub(crate) applied: u64,
    pub(crate) effects: Vec<Effect>,
    pub(crate) hello_due: Time,
    /// This candidate's questions, to be asked again at `canvass_due`.
    pub(crate) vote_requests: Vec<(NodeId, RaftMessage)>,
    pub(crate) canvass_due: Time,
    pub(crate) pace: Pace,
    pub(crate) timeouts: Timeouts,
    pub(crate) reported: Leadership,
    pub(crate) reported_lease: Time,
    pub(crate) wakeup: Time,
}

impl Consensus {
    /// Starts a node from what storage gave back. The effects come first: they restore the state as far as it is known
    /// to be committed.
    pub fn new(settings: Settings, durable: Durable, now: Time) -> Result<(Self, Vec<Effect>), StartError> {
        settings.check()?;
        durable.check()?;
        let membership = durable.membership_at(durable.snapshot_index(), &settings);
        if membership.level > settings.version {
            return Err(StartError::Newer { level: membership.level, version: settings.version });
        }
        let me = settings.member_id();
        let voters: Vec<NodeId> = membership.voters().map(|member| member.node).collect();
        let (applied, term, restored) =
            (durable.snapshot_index(), durable.hard.term, durable.snapshot.clone());
        let timeouts = Timeouts::new(&settings, &voters);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raft = RawNode::new(
            &config(&settings, &timeouts, applied),
            Store::new(durable, membership.clone()),
            &logger,
        )
        .map_err(|error| StartError::Library(error.to_string()))?;
        let mut node = Self {
            raft,
            now,
            muted: now + settings.election_timeout,
            promised: Time::ZERO,
            lease: Lease::new(settings.lease_max()),
            echo: None,
            snapshots: BTreeMap::new(),
            refusals: BTreeMap::new(),
            halted: false,
            applied,
            effects: restored.map(Effect::Restore).into_iter().collect(),
            hello_due: now,
            vote_requests: Vec::new(),
            canvass_due: now,
            pace: Pace::new(now, settings.election_timeout),
            timeouts,
            reported: Leadership { leader: None, term, me_leading: false },
            reported_lease: Time::ZERO,
            wakeup: now,
            me,
            membership: Membership::default(),
            heard: BTreeMap::new(),
            pending: None,
            rumour: None,
            settings,
        };
        node.follow(membership);
        node.settle();
        if node.membership.voters().map(|member| member.id).eq([me]) {
            // It promised nothing to anybody and needs nobody's vote. The library reports no error for a campaign.
            let _ = node.raft.campaign();
            node.settle();
        }
        node.greet();
        let effects = node.finish();
        Ok((node, effects))
    }

    /// Takes one input. All effects of a step must have run before the next step. `now` never goes back; it is this
    /// machine's clock, the same as at the start.
    pub fn step(&mut self, now: Time, input: Input) -> Vec<Effect> {
        self.now = self.now.max(now);
        if self.halted {
            return match input {
                Input::Propose(data) => vec![Effect::ProposalRefused(data)],
                Input::Change { request, .. } => {
                    vec![Effect::ChangeAnswer { request, result: Err(ChangeRefusal::NotLeader) }]
                }
                _ => Vec::new(),
            };
        }
        self.pass_time(matches!(input, Input::Wake));
        match input {
            Input::Wake => {}
            Input::Message(message) => self.receive(message),
            Input::Propose(data) => self.propose(data),
            Input::Compact { index, data } => self.compact(index, data),
            Input::TransferTo(to) => self.transfer(to),
            Input::Lost(node) => self.lost(node),
            Input::Change { request, change } => self.change(request, &change),
        }
        self.finish()
    }

    /// When to call `step` with `Input::Wake` at the latest. It changes with every step.
    pub fn next_wakeup(&self) -> Time {
        self.wakeup
    }

    /// The last entry that was given out to be applied.
    pub const fn applied(&self) -> u64 {
        self.applied
    }

    /// This node's term.
    pub fn term(&self) -> Term {
        Term(self.raft.raft.term)
    }

    /// What every member understands, as far as this node has applied the log.
    pub const fn level(&self) -> u32 {
        self.membership.level
    }

    /// A look at the node.
    pub fn status(&self) -> Status {
        let raft = &self.raft.raft;
        let mut status = Status {
            me: self.settings.me,
            term: Term(raft.term),
            vote: member(raft.vote),
            leader: self.reported.leader.or(self.rumour.filter(|_| !self.is_member())),
            me_leading: self.reported.me_leading,
            lease_until: self.reported_lease,
            commit: raft.raft_log.committed,
            applied: self.applied,
            last: raft.raft_log.last_index(),
            snapshot: self.durable().snapshot_index(),
            membership: Membership::default(),
            applicants: Vec::new(),
            versions: BTreeMap::new(),
            unmet: self.unmet(),
            halted: self.halted,
        };
        self.describe_members(&mut status);
        status
    }

    pub(crate) fn durable(&self) -> &Durable {
        &self.raft.store().durable
    }

    pub(crate) fn leads(&self) -> bool {
        self.raft.raft.state == StateRole::Leader
    }

    pub(crate) fn is_member(&self) -> bool {
        self.membership.member(self.me).is_some()
    }

    /// The controller with this member's number: a member, or one that was heard of under it.
    pub(crate) fn node_of(&self, id: MemberId) -> Option<NodeId> {
        let heard = || self.heard.iter().find(|(_, heard)| heard.id == id).map(|(node, _)| *node);
        self.membership.member(id).map(|member| member.node).or_else(heard)
    }

    /// The founders whose generation is not known yet.
    pub(crate) fn unmet(&self) -> Vec<NodeId> {
        let known = &self.durable().known;
        let unmet = |member: &&Member| {
            member.id != self.me && member.generation.is_none() && !known.contains_key(&member.node)
        };
        self.membership.members.iter().filter(unmet).map(|member| member.node).collect()
    }

    /// Writes, and lets the library read what was written: the caller stops for good if the write fails.
    pub(crate) fn persist(&mut self, persist: Persist) {
        self.raft.mut_store().durable.apply(&persist);
        self.effects.push(Effect::Persist(persist));
    }

    pub(crate) fn send(&mut self, to: NodeId, body: Body) {
        let member = self.membership.of(to).map(|member| member.id);
        self.send_to_member(to, member.unwrap_or_default(), body);
    }

    pub(crate) fn send_to_member(&mut self, to: NodeId, to_member: MemberId, body: Body) {
        let message = Message {
            cluster: self.settings.cluster.clone(),
            from: self.settings.me,
            from_generation: self.settings.generation,
            from_member: self.me,
            version: self.settings.version,
            to,
            to_member,
            body,
        };
        self.effects.push(Effect::Send { to, message });
    }

    /// Call after every call of the library: it may have drawn a timeout of its own, and it may have work for us.
    pub(crate) fn settle(&mut self) {
        self.pin_timeout();
        self.drain();
        self.pin_timeout();
        let term = Term(self.raft.raft.term);
        if self.leads() && self.lease.is_handed_over(term) && self.raft.raft.lead_transferee.is_none() {
            // The successor did not come. Without a lease this reign is of no use, and with one it would not be safe.
            self.raft.raft.become_follower(term.0, raft::INVALID_ID);
            self.pin_timeout();
            self.drain();
        }
        self.lease.observe(self.leads().then_some(term), self.now);
    }

    fn propose(&mut self, data: Vec<u8>) {
        let refused =
            !self.leads() || data.is_empty() || self.raft.propose(Vec::new(), data.clone()).is_err();
        if refused {
            self.effects.push(Effect::ProposalRefused(data));
        }
        self.settle();
    }

    fn compact(&mut self, index: u64, data: Vec<u8>) {
        if index > self.applied || index <= self.durable().snapshot_index() {
            return;
        }
        let Ok(term) = self.raft.store().term(index) else {
            return;
        };
        let hard = hard_state(&self.raft.raft.hard_state());
        self.persist(Persist {
            hard: Some(hard),
            snapshot: Some(Snapshot {
                index,
                term: Term(term),
                data,
                membership: self.durable().membership_at(index, &self.settings),
            }),
            drop_before: Some(index.saturating_sub(TAIL)),
            ..Persist::default()
        });
    }

    pub(crate) fn transfer(&mut self, to: NodeId) {
        let heir = self.membership.of(to).filter(|member| member.voter && member.id != self.me);
        if let Some(id) = heir.map(|member| member.id).filter(|_| self.leads()) {
            self.lease.hand_over(Term(self.raft.raft.term));
            self.raft.transfer_leader(id.0);
            self.settle();
        }
    }
}

/// The library's zero is nobody.
pub(crate) fn member(number: u64) -> Option<MemberId> {
    (number != raft::INVALID_ID).then_some(MemberId(number))
}

pub(crate) fn hard_state(hard: &HardState) -> crate::HardState {
    crate::HardState { term: Term(hard.term), vote: member(hard.vote), commit: hard.commit }
}

fn config(settings: &Settings, timeouts: &Timeouts, applied: u64) -> Config {
    Config {
        id: settings.member_id().0,
        election_tick: in_ticks(settings.election_timeout),
        heartbeat_tick: in_ticks(settings.heartbeat),
        min_election_tick: timeouts.least,
        max_election_tick: timeouts.most,
        applied,
        max_size_per_msg: APPEND_BYTES,
        max_uncommitted_size: UNCOMMITTED_BYTES,
        check_quorum: true,
        pre_vote: true,
        ..Config::default()
    }
}
