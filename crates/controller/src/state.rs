//! The replicated state: what every controller knows for certain. `apply` is a pure function of state and entry, so
//! that all controllers hold the same after the same entries.

use crate::counted::Counted;
use crate::entry::{Cause, Decided, Entry};
use crate::rebuilds::Rebuilds;
use crate::registry::Registry;
use backstay_model::{
    Epoch, FailoverRecord, InstanceName, LostWrites, Moments, ReplId, ReplOffset, Replication, RunId,
    ServiceName, Term, UnixMicros,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// How many failovers of each service are remembered.
const HISTORY_MAX: usize = 64;
/// How many earlier histories' ends are remembered.
const ENDINGS_MAX: usize = 16;
/// The longest wait between plans that fail.
const BACKOFF_MAX: Duration = Duration::from_secs(64);

/// Everything that is agreed on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By service. One that no entry named yet is missing.
    pub services: BTreeMap<ServiceName, ServiceState>,
    /// Who may hold a lease. A state of an earlier version ends before it.
    pub gateways: Registry,
    /// Whose acknowledgements count, by service. A state of an earlier version ends before it, too.
    pub counted: BTreeMap<ServiceName, Counted>,
    /// Rebuilds, by service. Last, as `counted` was: a state of the version before ends here.
    pub rebuilds: BTreeMap<ServiceName, Rebuilds>,
}

/// What is agreed on one service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceState {
    /// The number of its reign.
    pub epoch: Epoch,
    /// Where its plan stands.
    pub phase: Phase,
    /// Its primary: the epoch's once `phase` is `Opening` or `Stable`, the one before until then.
    pub reign: Option<Reign>,
    /// The processes that hold the data: an instance that runs another one counts for nothing.
    pub trusted: BTreeMap<InstanceName, RunId>,
    /// Every instance that was ever trusted. A primary among the others is a stranger's.
    pub known: BTreeSet<InstanceName>,
    /// Instances that a promotion was ordered for and that nobody saw fenced since.
    pub possible_primaries: BTreeSet<InstanceName>,
    /// Instances whose writes beyond the reign's begin were given up.
    pub given_up: BTreeSet<InstanceName>,
    /// Plans that were given up, or failovers that followed each other within the cooldown, without a quiet one since.
    pub flaps: u32,
    /// No plan begins by itself before this.
    pub not_before: Option<UnixMicros>,
    /// Where the histories of earlier reigns ended, oldest first: what is beyond, no later primary ever received.
    pub endings: VecDeque<(ReplId, ReplOffset)>,
    /// The operator's answer to a doubt in this epoch.
    pub decided: Option<InstanceName>,
    /// The old primary of the last planned move, while clients may still be kept waiting there.
    pub held: Option<InstanceName>,
    /// Whom the primary may yet be made a replica of by an order of a planned move that was sent and not answered. A
    /// promotion cuts the connections on which such orders lie, so none outlives a reign.
    pub late_demotions: BTreeSet<InstanceName>,
    /// The plan that runs, or ran last, is an operator's: a pause does not stop it, and it is no flapping.
    pub ordered: bool,
    /// When the last failover ended that nobody ordered.
    pub ended: Option<UnixMicros>,
    /// A pause in force.
    pub pause: Option<Pause>,
    /// The failovers, oldest first; the last one may be running.
    pub history: VecDeque<FailoverRecord>,
}

/// Where a service's plan stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// No primary was ever agreed on.
    #[default]
    Forming,
    /// Nothing to do.
    Stable,
    /// Fence the primary, freeze the replicas, compare them.
    Fencing {
        /// Why.
        cause: Cause,
    },
    /// Promote the candidate and observe it.
    Promoting {
        /// Who.
        candidate: InstanceName,
        /// Which process.
        run_id: RunId,
    },
    /// A planned move: the primary of before reigns until this one is observed to be the primary.
    Moving {
        /// Who.
        to: InstanceName,
        /// Which process.
        run_id: RunId,
        /// Whose leader proposed it: any other one does not know all that was ordered for it.
        term: Term,
    },
    /// Open the new primary and see a write acknowledged.
    Opening,
}

impl Phase {
    /// The name that `status` shows.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Forming => "forming",
            Self::Stable => "stable",
            Self::Fencing { .. } => "fencing",
            Self::Promoting { .. } => "promoting",
            Self::Moving { .. } => "switching over",
            Self::Opening => "opening",
        }
    }
}

/// A primary and how its reign began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reign {
    /// The epoch in which it was promoted or adopted.
    pub epoch: Epoch,
    /// Who.
    pub instance: InstanceName,
    /// Which process.
    pub run_id: RunId,
    /// The history that it writes.
    pub replid: ReplId,
}

/// Nothing automatic until then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it ends by itself.
    pub until: UnixMicros,
    /// Who asked.
    pub by: String,
}

impl State {
    /// The state of a service; the default if no entry named it yet.
    pub fn service(&self, name: &ServiceName) -> &ServiceState {
        static EMPTY: ServiceState = ServiceState::EMPTY;
        self.services.get(name).unwrap_or(&EMPTY)
    }

    /// Applies a committed entry. False: it was proposed under circumstances that no longer hold, and changed nothing.
    pub fn apply(&mut self, entry: &Entry) -> bool {
        if let Decided::Gateways { change, joined, left } = &entry.decision {
            return self.gateways.apply(*change, joined, left);
        }
        let rebuilds = self.rebuilds.get(&entry.service);
        let none = Rebuilds::default();
        let (state, counted) = (self.service(&entry.service), self.counted.get(&entry.service));
        if !rebuilds.unwrap_or(&none).admits(state, counted, &entry.decision) {
            return false;
        }
        let service = self.services.entry(entry.service.clone()).or_default();
        let applied = service.apply(&entry.service, &entry.decision);
        if applied && matches!(entry.decision, Decided::Rebuild { .. }) {
            self.rebuilds.entry(entry.service.clone()).or_default();
        }
        if let Some(rebuilds) = self.rebuilds.get_mut(&entry.service).filter(|_| applied) {
            rebuilds.apply(&entry.decision);
        }
        if applied && matches!(entry.decision, Decided::Ackers { .. }) {
            self.counted.entry(entry.service.clone()).or_default();
        }
        if let Some(counted) = self.counted.get_mut(&entry.service).filter(|_| applied) {
            counted.apply(service, &entry.decision);
        }
        applied
    }
}

impl ServiceState {
    const EMPTY: Self = Self {
        epoch: Epoch(0),
        phase: Phase::Forming,
        reign: None,
        trusted: BTreeMap::new(),
        known: BTreeSet::new(),
        possible_primaries: BTreeSet::new(),
        given_up: BTreeSet::new(),
        flaps: 0,
        not_before: None,
        endings: VecDeque::new(),
        decided: None,
        held: None,
        late_demotions: BTreeSet::new(),
        ordered: false,
        ended: None,
        pause: None,
        history: VecDeque::new(),
    };

    /// The primary, when the epoch has one.
    pub fn primary(&self) -> Option<&Reign> {
        match self.phase {
            Phase::Stable | Phase::Opening | Phase::Moving { .. } => self.reign.as_ref(),
            _ => None,
        }
    }

    /// How long plans must still wait because too many failed. A moment too far away was written by a wrong clock.
    pub fn backoff(&self, unix: UnixMicros) -> Option<Duration> {
        let wait = self.not_before?.since(unix);
        (!wait.is_zero() && wait <= BACKOFF_MAX).then_some(wait)
    }

    /// Whether this primary was made one by somebody else: a trusted process that nobody here promoted, and open.
    pub fn is_usurper(&self, name: &InstanceName, seen: &Replication) -> bool {
        seen.is_primary()
            && !seen.closed
            && !self.possible_primaries.contains(name)
            && self.trusted.get(name) == Some(&seen.run_id)
    }

    /// Whom an order of ours, given now or running late, makes the primary a replica of.
    pub fn demotions(&self) -> impl Iterator<Item = &InstanceName> {
        let moving = match &self.phase {
            Phase::Moving { to, .. } => Some(to),
            _ => None,
        };
        self.late_demotions.iter().chain(moving)
    }

    /// Where this history's agreed part ended for one who stands at `offset` in it, if it is an earlier reign's. A name may
    /// have been taken up again after others (MariaDB names histories by their servers), so the last one counts that had
    /// begun by then.
    pub fn end_of(&self, replid: &ReplId, offset: ReplOffset) -> Option<ReplOffset> {
        let mut began = ReplOffset(0);
        let mut found = None;
        for (name, ended) in &self.endings {
            if name == replid && (found.is_none() || offset >= began) {
                found = Some(*ended);
            }
            began = *ended;
        }
        found
    }

    /// Whether this place lies in the history that the reign writes: behind its begin, if the name was an earlier one's.
    pub fn is_in_reign(&self, replid: &ReplId, offset: ReplOffset) -> bool {
        let repeated = self.endings.iter().any(|(name, _)| name == replid);
        let began = self.endings.back().map_or(ReplOffset(0), |(_, ended)| *ended);
        self.reign.as_ref().is_some_and(|reign| reign.replid == *replid) && (!repeated || offset >= began)
    }

    /// Whether a pause is in force.
    pub fn is_paused(&self, unix: UnixMicros) -> bool {
        self.pause.as_ref().is_some_and(|pause| unix < pause.until)
    }

    fn apply(&mut self, service: &ServiceName, decision: &Decided) -> bool {
        if !self.admits(decision) {
            return false;
        }
        match decision.clone() {
            Decided::Adopt { primary, run_id, replid, replicas } => {
                self.adopt(primary, run_id, replid, replicas);
            }
            Decided::Begin { epoch, cause, suspected, verdict } => {
                self.begin(service, epoch, cause, suspected, verdict);
            }
            Decided::SwitchOver { epoch, to, run_id, by, at, term } => {
                let moments = Moments { verdict: Some(at), ..Moments::default() };
                self.open_record(service, epoch, format!("{by} asked for it"), moments, true);
                self.ordered = true;
                self.held = self.reign.as_ref().map(|reign| reign.instance.clone());
                self.phase = Phase::Moving { to, run_id, term };
            }
            Decided::Choose { .. } => self.choose(decision.clone()),
            Decided::Abandon { reason, at, demotion_sent, .. } => {
                self.abandon(reason, at, demotion_sent);
            }
            Decided::Promoted { epoch, replid, offset, paused, fenced, at } => {
                self.record(|record| {
                    record.moments.paused = paused;
                    record.moments.fenced = fenced.or(record.moments.fenced);
                });
                self.promoted(epoch, replid, offset, at);
            }
            Decided::End { routed, first_write, quick, .. } => {
                self.record(|record| {
                    record.moments.routed = Some(routed);
                    record.moments.first_write = Some(first_write);
                });
                self.phase = Phase::Stable;
                // Behind the end of a pause it was acknowledged, so nobody waits there any more.
                let stays = self.reign.as_ref().map(|reign| &reign.instance);
                self.held = self.held.take().filter(|held| Some(held) != stays);
                // The first primary's election is no failover, and what an operator orders is no flapping.
                if !self.ordered && self.history.back().is_some_and(|record| record.from.is_some()) {
                    self.count_flap(first_write, quick);
                    self.ended = Some(first_write);
                }
            }
            Decided::Trust { instance, run_id, .. } => self.trust(instance, run_id),
            Decided::Rename { replid, .. } => {
                if let Some(reign) = &mut self.reign {
                    reign.replid = replid;
                }
            }
            Decided::GiveUp { instance, bytes, .. } => {
                self.given_up.insert(instance.clone());
                self.record(|record| record.lost.push(LostWrites { instance, bytes }));
            }
            Decided::Pause { until, by } => self.pause = Some(Pause { until, by }),
            Decided::Resume { .. } => self.pause = None,
            Decided::Decide { instance, .. } => self.decided = Some(instance),
            Decided::Discard { instance, .. } => {
                self.trusted.remove(&instance);
            }
            Decided::Gateways { .. }
            | Decided::Ackers { .. }
            | Decided::Rebuild { .. }
            | Decided::RebuildSaved { .. }
            | Decided::RebuildEnded { .. } => {}
        }
        true
    }

    /// Whether the entry fits the state: the right epoch in the right phase.
    fn admits(&self, decision: &Decided) -> bool {
        let epoch = decision.epoch();
        match decision {
            Decided::Adopt { .. } => self.epoch == Epoch(0) && self.phase == Phase::Forming,
            Decided::Begin { cause: Cause::CandidateLost { .. }, .. } => {
                let promoting = matches!(self.phase, Phase::Promoting { .. } | Phase::Moving { .. });
                epoch == Some(self.epoch.next()) && promoting
            }
            Decided::SwitchOver { to, .. } => {
                let reigns = self.reign.as_ref().is_some_and(|reign| reign.instance == *to);
                epoch == Some(self.epoch.next()) && self.phase == Phase::Stable && !reigns
            }
            Decided::Begin { .. } => {
                epoch == Some(self.epoch.next())
                    && matches!(
                        self.phase,
                        Phase::Forming | Phase::Stable | Phase::Opening | Phase::Moving { .. }
                    )
            }
            Decided::Choose { .. } | Decided::Decide { .. } => {
                epoch == Some(self.epoch) && matches!(self.phase, Phase::Fencing { .. })
            }
            Decided::Abandon { .. } => {
                let unpromoted = matches!(self.phase, Phase::Fencing { .. } | Phase::Moving { .. });
                epoch == Some(self.epoch) && unpromoted
            }
            Decided::Promoted { .. } => {
                let promoting = matches!(self.phase, Phase::Promoting { .. } | Phase::Moving { .. });
                epoch == Some(self.epoch) && promoting
            }
            Decided::End { .. } => epoch == Some(self.epoch) && self.phase == Phase::Opening,
            Decided::Trust { instance, .. } | Decided::GiveUp { instance, .. } => {
                epoch == Some(self.epoch)
                    && self.primary().is_some_and(|reign| reign.instance != *instance)
                    && !(matches!(decision, Decided::GiveUp { .. }) && self.given_up.contains(instance))
            }
            Decided::Rename { .. } => epoch == Some(self.epoch) && self.primary().is_some(),
            Decided::Ackers { ackers, .. } => {
                let reigns = self.reign.as_ref().is_some_and(|reign| ackers.contains(&reign.instance));
                epoch == Some(self.epoch) && matches!(self.phase, Phase::Stable | Phase::Opening) && !reigns
            }
            // What a rebuild's must fit is the rebuilds' business.
            Decided::Rebuild { .. }
            | Decided::RebuildSaved { .. }
            | Decided::Discard { .. }
            | Decided::RebuildEnded { .. }
            | Decided::Pause { .. }
            | Decided::Resume { .. } => true,
            Decided::Gateways { .. } => false,
        }
    }

    fn adopt(
        &mut self,
        primary: InstanceName,
        run_id: RunId,
        replid: ReplId,
        replicas: BTreeMap<InstanceName, RunId>,
    ) {
        self.epoch = Epoch(1);
        self.phase = Phase::Stable;
        self.trusted = replicas;
        self.trusted.insert(primary.clone(), run_id.clone());
        self.known.extend(self.trusted.keys().cloned());
        self.reign = Some(Reign { epoch: self.epoch, instance: primary, run_id, replid });
    }

    fn begin(
        &mut self,
        service: &ServiceName,
        epoch: Epoch,
        cause: Cause,
        suspected: UnixMicros,
        verdict: UnixMicros,
    ) {
        let goes_on = matches!(cause, Cause::CandidateLost { .. } | Cause::SwitchoverFailed { .. });
        let ordered = matches!(cause, Cause::Ordered { .. }) || (goes_on && self.ordered);
        if self.phase == Phase::Opening && !self.ordered && !ordered {
            // The primary was lost before a write was acknowledged: that failover never ended, and counts all the same.
            self.count_flap(verdict, true);
        }
        self.ordered = ordered;
        if let Cause::CandidateLost { candidate } = &cause {
            self.possible_primaries.insert(candidate.clone());
        }
        if let Phase::Moving { to, .. } = self.phase.clone() {
            // Some leader of this plan may have ordered its promotion, and before that the demotion.
            self.late_demotions.insert(to.clone());
            self.possible_primaries.insert(to);
            self.record(|record| record.choice = format!("given up: {cause}"));
        }
        let moments = Moments { suspected: Some(suspected), verdict: Some(verdict), ..Moments::default() };
        self.open_record(service, epoch, cause.to_string(), moments, false);
        if let Cause::Ordered { to, .. } = &cause {
            self.decided.clone_from(to);
        }
        self.phase = Phase::Fencing { cause };
    }

    fn abandon(&mut self, reason: String, at: UnixMicros, demotion_sent: bool) {
        if let Phase::Moving { to, .. } = &self.phase
            && demotion_sent
        {
            self.late_demotions.insert(to.clone());
        }
        if !self.ordered {
            self.flaps += 1;
            self.back_off(at, self.flaps);
        }
        self.record(|record| {
            record.choice = reason;
            record.to.clone_from(&record.from);
        });
        self.phase = if self.reign.is_some() { Phase::Opening } else { Phase::Forming };
    }

    /// A new epoch begins, and with it a record.
    fn open_record(
        &mut self,
        service: &ServiceName,
        epoch: Epoch,
        cause: String,
        moments: Moments,
        planned: bool,
    ) {
        self.epoch = epoch;
        self.given_up.clear();
        self.decided = None;
        self.history.push_back(FailoverRecord {
            service: service.clone(),
            epoch,
            from: self.reign.as_ref().map(|reign| reign.instance.clone()),
            to: None,
            cause,
            choice: String::new(),
            moments,
            lost: Vec::new(),
            planned,
        });
        while self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
    }

    fn choose(&mut self, decision: Decided) {
        let Decided::Choose { candidate, run_id, surplus, reason, committed, fenced, compared, .. } =
            decision
        else {
            return;
        };
        self.known.extend(compared);
        self.given_up.extend(surplus.iter().map(|lost| lost.instance.clone()));
        self.possible_primaries.insert(candidate.clone());
        self.record(|record| {
            record.to = Some(candidate.clone());
            record.choice = reason;
            record.lost = surplus;
            record.moments.committed = Some(committed);
            record.moments.fenced = Some(fenced);
        });
        self.phase = Phase::Promoting { candidate, run_id };
    }

    /// Failovers within the cooldown of each other are flapping: from the third on, each waits twice as long.
    fn count_flap(&mut self, ended: UnixMicros, quick: bool) {
        self.flaps = if quick { self.flaps + 1 } else { 0 };
        self.not_before = None;
        if self.flaps >= 2 {
            self.back_off(ended, self.flaps - 1);
        }
    }

    fn back_off(&mut self, since: UnixMicros, step: u32) {
        self.not_before = Some(since + Duration::from_secs(1 << step.saturating_sub(1).min(6)));
    }

    fn trust(&mut self, instance: InstanceName, run_id: RunId) {
        self.known.insert(instance.clone());
        self.possible_primaries.remove(&instance);
        self.given_up.remove(&instance);
        // It follows, so nobody waits there for a primary any more.
        self.held = self.held.take().filter(|held| *held != instance);
        self.trusted.insert(instance, run_id);
    }

    fn promoted(&mut self, epoch: Epoch, replid: ReplId, offset: ReplOffset, at: UnixMicros) {
        let (Phase::Promoting { candidate, run_id } | Phase::Moving { to: candidate, run_id, .. }) =
            self.phase.clone()
        else {
            return;
        };
        let before = self.reign.take();
        // Where there was no reign before, nothing can be missing.
        if let Some(before) = &before {
            self.endings.push_back((before.replid.clone(), offset));
            while self.endings.len() > ENDINGS_MAX {
                self.endings.pop_front();
            }
        }
        if let Some(before) = before.filter(|before| before.instance != candidate) {
            // It may wake up and take itself for a primary: fenced until it was seen to follow.
            self.possible_primaries.insert(before.instance);
        }
        self.possible_primaries.remove(&candidate);
        self.late_demotions.clear();
        self.known.insert(candidate.clone());
        self.trusted.insert(candidate.clone(), run_id.clone());
        self.reign = Some(Reign { epoch, instance: candidate.clone(), run_id, replid });
        self.record(|record| {
            record.to = Some(candidate);
            record.moments.promoted = Some(at);
        });
        self.phase = Phase::Opening;
    }

    fn record(&mut self, change: impl FnOnce(&mut FailoverRecord)) {
        if let Some(record) = self.history.back_mut() {
            change(record);
        }
    }
}
