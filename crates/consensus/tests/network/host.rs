//! One machine: a disk, a clock of its own, and a process that may or may not run.

use super::rng::mix;
use backstay_consensus::{ChangeRefusal, Changed, Consensus, Durable, Effect, Membership, Refusal, Settings};
use backstay_model::{Generation, NodeId, Time};

pub struct Host {
    pub id: NodeId,
    pub settings: Settings,
    pub disk: Durable,
    pub node: Option<Consensus>,
    pub paused_until: u64,
    /// Only the latest wake counts.
    pub ticket: u64,
    pub leading: bool,
    pub lease: Time,
    /// The state machine: a digest of everything applied, and up to where.
    pub state: u64,
    pub applied: u64,
    pub restores: u64,
    pub refusals: Vec<Refusal>,
    pub proposals_refused: u64,
    pub membership: Membership,
    pub answers: Vec<(u64, Result<Changed, ChangeRefusal>)>,
    rate_ppm: u64,
    offset: u64,
}

impl Host {
    pub fn new(id: NodeId, voters: Vec<NodeId>, rate_ppm: u64, offset: u64, seed: u64) -> Self {
        let mut settings = Settings::new(id, "test".into(), Generation(seed), voters, seed);
        settings.peers = (1..=5).map(NodeId).collect();
        Self {
            id,
            settings,
            disk: Durable::default(),
            node: None,
            paused_until: 0,
            ticket: 0,
            leading: false,
            lease: Time::ZERO,
            state: 0,
            applied: 0,
            restores: 0,
            refusals: Vec::new(),
            proposals_refused: 0,
            membership: Membership::default(),
            answers: Vec::new(),
            rate_ppm,
            offset,
        }
    }

    pub fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// This machine's clock.
    pub fn clock(&self, now: u64) -> Time {
        Time::from_micros(self.offset + now * self.rate_ppm / 1_000_000)
    }

    /// How long until the node wants to be woken, in the world's micros.
    pub fn wait(&self, now: u64) -> Option<u64> {
        let due = self.node.as_ref()?.next_wakeup();
        (due != Time::MAX).then(|| {
            let local = due.since(self.clock(now)).as_micros() as u64;
            (local * 1_000_000).div_ceil(self.rate_ppm)
        })
    }

    pub fn start(&mut self, now: u64) -> Vec<Effect> {
        self.state = 0;
        self.applied = 0;
        let (node, effects) =
            Consensus::new(self.settings.clone(), self.disk.clone(), self.clock(now)).unwrap();
        self.node = Some(node);
        effects
    }

    pub fn crash(&mut self) {
        self.node = None;
        self.leading = false;
        self.lease = Time::ZERO;
        self.paused_until = 0;
        self.ticket += 1;
    }

    /// A new, empty state folder. The process must be down.
    pub fn wipe(&mut self) {
        self.disk = Durable::default();
        self.settings.generation.0 += 1;
    }

    /// As `wipe`, and whoever starts it knows: the new folder joins.
    pub fn lose_folder(&mut self) {
        self.wipe();
        self.settings.voters.clear();
    }

    pub fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Persist(persist) => self.disk.apply(&persist),
            Effect::Apply(entry) => {
                self.state = digest(self.state, entry.index, &entry.data);
                self.applied = entry.index;
            }
            Effect::Restore(snapshot) => {
                self.state = u64::from_le_bytes(snapshot.data.try_into().unwrap());
                self.applied = snapshot.index;
                self.restores += 1;
            }
            Effect::Leadership { me_leading, .. } => self.leading = me_leading,
            Effect::LeaseUntil(end) => self.lease = end,
            Effect::ProposalRefused(_) => self.proposals_refused += 1,
            Effect::Refused(refusal) => self.refusals.push(refusal),
            Effect::Members(membership) => self.membership = membership,
            Effect::ChangeAnswer { request, result } => self.answers.push((request, result)),
            Effect::Send { .. } => {}
        }
    }
}

pub fn digest(state: u64, index: u64, data: &[u8]) -> u64 {
    let seed = mix(state ^ mix(index));
    data.iter().fold(seed, |state, byte| mix(state.wrapping_mul(31) ^ u64::from(*byte)))
}
