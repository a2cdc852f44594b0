//! What one controller currently sees of one service: its own probes' observations, and the scratch notes of a plan
//! that it leads. Nothing here is replicated; after a restart it is observed anew.

use crate::entry::{Decided, Entry};
use crate::gateways::Wait;
use backstay_model::{
    Action, Address, Epoch, Evidence, Fault, Health, Identity, InstanceName, InstanceReport, Now,
    Observation, PrimaryOrder, ReplId, ReplOffset, Replication, Role, RunId, Sentinels, ServiceSpec, Time,
    UnixMicros,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One service as seen from here.
#[derive(Debug)]
pub struct Scene {
    /// What the operator wants.
    pub spec: ServiceSpec,
    /// By instance.
    pub views: BTreeMap<InstanceName, View>,
    /// Since when any controller suspects the reigning primary.
    pub suspected: Option<Moment>,
    /// A majority currently gets no answer from it, if only for a moment: what replicas receive now contradicts.
    pub doubted: bool,
    /// Since when a majority holds it to be down.
    pub verdict: Option<Moment>,
    /// Notes on the plan that this controller leads.
    pub notes: Notes,
    /// The entry that was proposed and not yet seen applied, and when.
    pub proposed: Option<(Entry, Time)>,
    /// What gateways are told to do with commands for the primary.
    pub(crate) said: Option<(Epoch, PrimaryOrder)>,
    /// More acknowledge to the primary than was agreed on: since when, and when that was last seen.
    pub strangers: Option<(Time, Time)>,
    /// The problems that were told, by code.
    pub told: BTreeMap<&'static str, String>,
    /// When to look again without an input.
    pub wakeup: Time,
}

/// A moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// To measure.
    pub time: Time,
    /// To write down.
    pub unix: UnixMicros,
}

/// What a leader remembers of its running plan. Lost with the leader: its successor starts the step again.
#[derive(Debug, Default)]
pub struct Notes {
    /// The epoch that the notes belong to.
    pub epoch: Epoch,
    /// When this leader began to fence.
    pub started: Option<Moment>,
    /// When the first instance stood still.
    pub first_frozen: Option<Time>,
    /// In a planned move: since when writes wait.
    pub paused: Option<Moment>,
    /// In a planned move: when the old primary was first seen to be a replica.
    pub demoted: Option<Moment>,
    /// In a planned move: this leader ordered the demotion.
    pub demotion_ordered: bool,
    /// Why this leader gives the planned move up: nothing more is ordered for it.
    pub given_up: Option<String>,
    /// When it began to promote.
    pub promoting: Option<Moment>,
    /// When it began to open.
    pub opening: Option<Moment>,
    /// A canary was sent in this reign.
    pub canary_sent: bool,
    /// When something was last written to the primary for its replicas to receive.
    pub beat: Option<Time>,
    /// After a planned move: when clients that wait at the old primary were let go.
    pub resumed: Option<Time>,
    /// Replicas that were told to follow the primary and were not seen linked to it since.
    pub(crate) unlinked: BTreeMap<InstanceName, Unlinked>,
    /// Replicas whose history is not the primary's, and since when that is seen.
    pub(crate) diverged: BTreeMap<InstanceName, Time>,
    /// Old primaries whose clients were told to go.
    pub disconnected: BTreeSet<InstanceName>,
    /// In a planned move: gateways are told to hold.
    pub drains: bool,
    /// Since when the plan waits for nothing but gateways.
    pub(crate) wait: Option<Wait>,
    /// How long it waited for gateways, as a clause.
    pub waited: Option<String>,
    /// The operator was told that the plan is stuck, with this sentence.
    pub stuck: Option<String>,
}

/// How often and when last a replica was told to follow that does not come to be linked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unlinked {
    pub(crate) at: Time,
    pub(crate) tries: u32,
}

/// One instance as seen from here.
#[derive(Debug, Default)]
pub struct View {
    /// This controller's opinion.
    pub health: Health,
    /// When nobody was found to listen there any more.
    pub gone: Option<Time>,
    /// Who answered last.
    pub identity: Option<Identity>,
    /// Its last replication state, and when.
    pub sample: Option<(Time, Replication)>,
    /// What its last freeze found.
    pub frozen: Option<(Epoch, Replication)>,
    /// What its last pause of writes found.
    pub paused: Option<(Epoch, Replication)>,
    /// The error that an order got last.
    pub refused: Option<Fault>,
    /// Since when it has had its present role and primary.
    pub role_since: Time,
    /// When its offset, run or history was seen to change last.
    pub moved: Time,
    /// The first offset and count of heartbeats seen since a majority gets no answer from the primary.
    pub baseline: Option<(ReplOffset, u64)>,
    /// When either was last seen beyond the baseline: somebody still fed it then.
    pub fed: Option<Time>,
    /// The first offset seen since the link to the present primary came up.
    linked_at: Option<(Address, ReplId, ReplOffset)>,
    /// Since when it is seen not to acknowledge (`Durability::Majority`).
    pub mute_since: Option<Time>,
    /// Since when that link is seen.
    pub linked_since: Option<Time>,
    /// How far the primary was when it was first seen after that.
    pub linked_below: Option<ReplOffset>,
    /// Something was received since then: only that proves a stream behind the copy.
    pub streams: bool,
    /// The last history that it was seen to take part in as a replica, in whichever process: its file holds nothing else.
    pub copied: Option<ReplId>,
    /// How often its link was told to ask it last, and until when.
    pub watched: Option<(Duration, Time)>,
    /// When which order was sent last.
    pub ordered: Vec<(Action, Epoch, Time)>,
    /// Which Sentinels manage it, as it said last.
    pub sentinels: Sentinels,
    /// The canary was acknowledged by this run.
    pub canary: Option<RunId>,
    /// What peers were told last.
    pub reported: InstanceReport,
}

impl View {
    /// Takes in what a probe saw.
    pub fn observe(&mut self, now: Time, doubted: bool, observation: Observation) {
        match observation {
            Observation::Health(health) => {
                self.gone = (health == Health::Down(Evidence::Refused)).then_some(now);
                self.health = health;
            }
            Observation::Identity(identity) => {
                if self.identity.as_ref().is_some_and(|before| before.run_id != identity.run_id) {
                    // Another process: nothing seen of the one before is true of it.
                    self.sample = None;
                    self.mute_since = None;
                    self.frozen = None;
                    self.paused = None;
                    self.sentinels = Sentinels::Unknown;
                    self.ordered.clear();
                }
                self.identity = Some(identity);
            }
            Observation::Replication(replication) => self.sampled(now, doubted, replication),
            Observation::Frozen { epoch, replication } => {
                self.sampled(now, doubted, replication.clone());
                // A refused freeze has an `INFO` behind it, too: only one that shows it to stand still counts.
                if is_frozen(&replication) {
                    self.refused = None;
                    self.frozen = Some((epoch, replication));
                }
            }
            Observation::Paused { epoch, replication } => {
                self.sampled(now, doubted, replication.clone());
                self.paused = Some((epoch, replication));
            }
            Observation::Sentinels(sentinels) => self.sentinels = sentinels,
            Observation::CanaryAcknowledged { run_id } => {
                self.canary = Some(run_id);
                self.refused = None;
            }
            Observation::OrderRefused { fault } => self.refused = Some(fault),
        }
    }

    fn sampled(&mut self, now: Time, doubted: bool, replication: Replication) {
        let changed = self.sample.as_ref().is_none_or(|(_, before)| {
            before.offset != replication.offset || before.replid != replication.replid
        });
        if changed {
            self.moved = now;
        }
        let same_role = self.replication().is_some_and(|before| match (&before.role, &replication.role) {
            (Role::Replica { of: before, .. }, Role::Replica { of: after, .. }) => before == after,
            (Role::Primary { .. }, Role::Primary { .. }) => true,
            _ => false,
        });
        if !same_role {
            self.role_since = now;
            self.refused = None;
        }
        if doubted {
            let seen = (replication.offset, replication.sql.heartbeats);
            match self.baseline {
                None => self.baseline = Some(seen),
                Some((offset, heartbeats)) if seen.0 > offset || seen.1 > heartbeats => {
                    self.baseline = Some(seen);
                    self.fed = Some(now);
                }
                Some(_) => {}
            }
        }
        self.mute_since = (!replication.sql.acks).then(|| self.mute_since.unwrap_or(now));
        self.note_stream(now, &replication);
        self.sample = Some((now, replication));
    }

    /// A fresh full copy shows its link up as much as a second before anything reaches it (seen), and what is written
    /// in between is lost with the primary.
    fn note_stream(&mut self, now: Time, replication: &Replication) {
        let Role::Replica { of, link_up: true, syncing: false } = &replication.role else {
            self.linked_at = None;
            (self.linked_since, self.linked_below) = (None, None);
            self.streams = false;
            return;
        };
        if self.copied.as_ref() != Some(&replication.replid) {
            self.copied = Some(replication.replid.clone());
        }
        match &self.linked_at {
            Some((to, replid, first)) if to == of && *replid == replication.replid => {
                self.streams |= replication.offset > *first;
            }
            _ => {
                self.linked_at = Some((of.clone(), replication.replid.clone(), replication.offset));
                (self.linked_since, self.linked_below) = (Some(now), None);
                self.streams = false;
            }
        }
    }

    /// Forgets what spoke against a doubt that began or ended.
    pub fn acquit(&mut self) {
        self.baseline = None;
        self.fed = None;
    }

    /// Its last replication state.
    pub fn replication(&self) -> Option<&Replication> {
        self.sample.as_ref().map(|(_, replication)| replication)
    }

    /// The process that answered last.
    pub fn run_id(&self) -> Option<&RunId> {
        self.identity.as_ref().map(|identity| &identity.run_id)
    }

    /// Its frozen state, if it was frozen in this epoch and is still the same process.
    pub fn frozen_in(&self, epoch: Epoch) -> Option<&Replication> {
        let (frozen_in, replication) = self.frozen.as_ref()?;
        (*frozen_in == epoch && self.run_id() == Some(&replication.run_id)).then_some(replication)
    }

    /// Where its writes stood when they were paused in this epoch, if it is still the same process.
    pub fn paused_in(&self, epoch: Epoch) -> Option<&Replication> {
        let (paused_in, replication) = self.paused.as_ref()?;
        (*paused_in == epoch && self.run_id() == Some(&replication.run_id)).then_some(replication)
    }

    /// What peers should know.
    pub fn report(&self) -> InstanceReport {
        InstanceReport {
            health: self.health.clone(),
            run_id: self.run_id().cloned(),
            primary: self.replication().is_some_and(Replication::is_primary),
        }
    }
}

impl Scene {
    /// What a majority held of the primary before says nothing yet about the one that was promoted now, even if it is
    /// another process in the same place.
    pub(crate) fn reign_begins(&mut self, now: Now, decision: &Decided) {
        if matches!(decision, Decided::Promoted { .. })
            && let Some(verdict) = &mut self.verdict
        {
            *verdict = Moment { time: now.time, unix: now.unix };
        }
    }

    /// Nothing seen yet.
    pub fn new(spec: ServiceSpec) -> Self {
        let views = spec.instances.iter().map(|instance| (instance.name.clone(), View::default())).collect();
        Self {
            spec,
            views,
            suspected: None,
            doubted: false,
            verdict: None,
            notes: Notes::default(),
            strangers: None,
            proposed: None,
            said: None,
            told: BTreeMap::new(),
            wakeup: Time::ZERO,
        }
    }
}

/// Replicates from nowhere, is linked to nobody and takes no copy.
fn is_frozen(replication: &Replication) -> bool {
    let Role::Replica { of, link_up, syncing } = &replication.role else {
        return false;
    };
    *of == Address::nowhere() && !link_up && !syncing
}
