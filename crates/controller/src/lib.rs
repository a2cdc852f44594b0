//! The brain: observations in, decisions out. `Controller::step` takes a moment and an input and returns effects; it
//! reads no clock, draws no random number and touches no socket.
//!
//! It never imports `consensus`: it is told what was committed and who leads, and asks for entries to be proposed.
//! Only a leader with a lease orders anything, and only what the committed state calls for.

pub mod entry;
pub mod link;
pub mod problems;
pub mod scene;
pub mod state;

mod agents;
mod converge;
mod counted;
mod effect;
mod engine;
mod explain;
mod failover;
mod gateways;
mod names;
mod opinions;
mod rebuild;
mod rebuilds;
mod registry;
mod surplus;
mod suspicion;
mod telling;
mod verdict;
mod wishes;
mod work;

pub use counted::{ACKERS_MAX, Counted};
pub use effect::{Effect, Input, Refusal, Report, Wish};
pub use entry::{Cause, Decided, Entry};
pub use rebuilds::{Agreed, Ended, Rebuilds};
pub use registry::{GATEWAYS_MAX, Registry};
pub use state::{Phase, Reign, ServiceState, State};

use backstay_model::{
    Address, ClusterSpec, ControllerSpec, EventKind, InstanceName, NodeId, NodeName, Now, Observation,
    ServiceName, Term, Time,
};
use gateways::Gateways;
use opinions::Peer;
use scene::Scene;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use suspicion::update_suspicion;
use telling::event;
use verdict::Tally;
use work::Work;

/// How often peers are told that nothing changed.
const KEEPALIVE: Duration = Duration::from_millis(500);
/// How many keepalives carry everything.
const WHOLE_REPORT_EVERY: u32 = 4;
/// How long a silent peer's opinions count.
const OPINION_LIFETIME: Duration = Duration::from_millis(1500);
/// How much later than asked a wakeup may come before it is told.
const LATE: Duration = Duration::from_millis(250);
/// So many services under suspicion are looked at as closely as one. Beyond, each is looked at less often, or looking
/// alone would keep a controller busy that is slow, and so has thousands under suspicion.
const CROWD: u32 = 16;
/// How long a proposal may take before it is made again.
const PROPOSAL_PATIENCE: Duration = Duration::from_millis(300);

/// One controller's brain.
#[derive(Debug)]
pub struct Controller {
    me: NodeId,
    name: NodeName,
    spec: ClusterSpec,
    state: State,
    scenes: BTreeMap<ServiceName, Scene>,
    /// The `wakeup` of every scene, in the order in which they are due.
    agenda: BTreeSet<(Time, ServiceName)>,
    /// How many services' primaries are suspected.
    suspects: u32,
    peers: BTreeMap<NodeId, Peer>,
    /// Whose opinions count. Those of the file, until the log says otherwise.
    voters: BTreeSet<NodeId>,
    leader: Option<NodeId>,
    term: Term,
    lease: Time,
    leads_since: Time,
    requests: Vec<wishes::Pending>,
    gateways: Gateways,
    agents: agents::Agents,
    next_report: Time,
    reports: u32,
    wakeup: Time,
    mistake: Option<Mistake>,
}

impl Controller {
    /// A controller called `me`, with what it knew when it stopped. Step it with `Wake` at once.
    pub fn new(me: &NodeName, spec: ClusterSpec, state: State, now: Now) -> Self {
        let peers = spec.controllers.iter().filter(|controller| controller.name != *me);
        Self {
            me: NodeId::of(me),
            name: me.clone(),
            voters: spec.controllers.iter().map(ControllerSpec::id).collect(),
            peers: peers.map(|controller| (controller.id(), Peer::default())).collect(),
            scenes: spec.services.iter().map(|spec| (spec.name.clone(), Scene::new(spec.clone()))).collect(),
            suspects: 0,
            agenda: spec.services.iter().map(|spec| (Time::ZERO, spec.name.clone())).collect(),
            spec,
            state,
            leader: None,
            term: Term(0),
            lease: Time::ZERO,
            leads_since: Time::ZERO,
            requests: Vec::new(),
            gateways: Gateways::default(),
            agents: BTreeMap::new(),
            next_report: now.time,
            reports: 0,
            wakeup: now.time,
            mistake: None,
        }
    }

    /// The replicated state.
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        self.leader == Some(self.me)
    }

    /// Every other controller.
    pub fn peers(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    /// When to call with `Wake` at the latest.
    pub const fn next_wakeup(&self) -> Time {
        self.wakeup
    }

    /// Where clients of the service are sent now, once it ever had a primary.
    pub fn address(&self, service: &ServiceName) -> Option<&Address> {
        let reign = self.state.service(service).reign.as_ref()?;
        Some(&self.scenes.get(service)?.spec.instance(&reign.instance)?.address)
    }

    /// Advances the controller to `now` with one input. Effects must be carried out in order; an order whose deadline
    /// has passed must not be sent.
    #[must_use]
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        let late = now.time.since(self.wakeup);
        if late > LATE {
            let late_ms = late.as_millis() as u64;
            event(&mut out, now, None, EventKind::WokeLate { late_ms });
        }
        match input {
            Input::Wake => self.wake_services(now, &mut out),
            Input::Observed { service, instance, observation } => {
                self.observe(now, &service, &instance, observation, &mut out);
            }
            Input::Reported { from, report } => self.hear(now, from, report, &mut out),
            Input::Peer { node, connected } => self.peer(now, node, connected, &mut out),
            Input::Leadership { leader, term } => self.leadership(now, leader, term, &mut out),
            Input::Lease(until) => {
                let lapsed = now.time >= self.lease;
                self.lease = until;
                if lapsed {
                    self.look_at_all(now, &mut out);
                }
            }
            Input::Voters(voters) => {
                self.voters = voters;
                self.look_at_all(now, &mut out);
            }
            Input::Committed(entry) => self.committed(now, &entry, &mut out),
            Input::Restored(state) => self.restored(now, state, &mut out),
            Input::ProposalRefused => self.proposal_refused(&mut out),
            Input::Gateway { gateway, report } => self.gateway(now, &gateway, report, &mut out),
            Input::Agent { instance, process, report } => {
                self.agent(now, &instance, process, report, &mut out);
            }
            Input::Asked { request, wish } => self.asked(now, request, wish, &mut out),
        }
        self.keep_reporting(now, &mut out);
        self.tell_changes(now.time, &mut out);
        let services = self.agenda.first().map_or(Time::MAX, |(due, _)| *due);
        self.wakeup = services.min(self.next_report).max(now.time + Duration::from_micros(1));
        out
    }

    fn wake_services(&mut self, now: Now, out: &mut Vec<Effect>) {
        let due = self.agenda.iter().take_while(|(due, _)| *due <= now.time);
        // In the order of their names, so that it does not matter which was planned first.
        for service in due.map(|(_, name)| name.clone()).collect::<BTreeSet<_>>() {
            self.look_at(now, &service, out);
        }
    }

    fn look_at_all(&mut self, now: Now, out: &mut Vec<Effect>) {
        // A new lease matters only to services that wait to act.
        let waiting = |scene: &Scene| {
            scene.suspected.is_some() || self.state.service(&scene.spec.name).phase != Phase::Stable
        };
        let names = self.scenes.values().filter(|scene| waiting(scene)).map(|scene| scene.spec.name.clone());
        for service in names.collect::<Vec<_>>() {
            self.look_at(now, &service, out);
        }
    }

    fn observe(
        &mut self,
        now: Now,
        service: &ServiceName,
        instance: &InstanceName,
        observation: Observation,
        out: &mut Vec<Effect>,
    ) {
        let Some(scene) = self.scenes.get_mut(service) else {
            return;
        };
        let doubted = scene.doubted;
        let Some(view) = scene.views.get_mut(instance) else {
            return;
        };
        let before = view.health.clone();
        view.observe(now.time, doubted, observation);
        let (report, health) = (view.report(), view.health.clone());
        if report != view.reported {
            view.reported = report.clone();
            let opinions = vec![(service.clone(), instance.clone(), report)];
            out.push(Effect::Tell { to: None, report: Report { digests: BTreeMap::new(), opinions } });
        }
        if before != health {
            self.tell_health(now, service, instance, &before, &health, out);
        }
        self.look_at(now, service, out);
    }

    fn leadership(&mut self, now: Now, leader: Option<NodeId>, term: Term, out: &mut Vec<Effect>) {
        let (led, was_term) = (self.leads(), self.term);
        self.leader = leader;
        self.term = term;
        if led && self.leads() && was_term == term {
            return;
        }
        self.lease = Time::ZERO;
        self.leads_since = now.time;
        for scene in self.scenes.values_mut() {
            scene.proposed = None;
            scene.notes = scene::Notes::default();
        }
        self.inherit_leases();
        if led && !self.leads() {
            event(out, now, None, EventKind::LeaderLost { node: self.name.clone() });
            self.refuse_pending(out);
        }
        if let Some(node) = leader.and_then(|leader| self.name_of(leader)) {
            event(out, now, None, EventKind::LeaderElected { node, term });
        }
        for service in self.scenes.keys().cloned().collect::<Vec<_>>() {
            self.look_at(now, &service, out);
        }
    }

    fn committed(&mut self, now: Now, entry: &Entry, out: &mut Vec<Effect>) {
        let from = self.state.service(&entry.service).reign.clone();
        if let Some(scene) = self.scenes.get_mut(&entry.service)
            && scene.proposed.as_ref().is_some_and(|(proposed, _)| proposed == entry)
        {
            scene.proposed = None;
        }
        let running = self.running(&entry.service).cloned();
        let applied = self.state.apply(entry);
        if matches!(entry.decision, Decided::Gateways { .. }) {
            return self.registry_changed(now, entry, applied, out);
        }
        if !applied {
            return self.answer_pending(entry, false, out);
        }
        if let Some(scene) = self.scenes.get_mut(&entry.service) {
            scene.reign_begins(now, &entry.decision);
        }
        self.tell_applied(now, entry, from.as_ref(), out);
        self.answer_pending(entry, true, out);
        self.look_at(now, &entry.service, out);
        agents::tell_late_end(now, entry, running.as_ref(), out);
        self.tell_change(now, &entry.service, running.as_ref(), out);
    }

    fn restored(&mut self, now: Now, state: State, out: &mut Vec<Effect>) {
        self.state = state;
        for service in self.scenes.keys().cloned().collect::<Vec<_>>() {
            self.route(&service, out);
            self.look_at(now, &service, out);
        }
    }

    fn proposal_refused(&mut self, out: &mut Vec<Effect>) {
        for scene in self.scenes.values_mut() {
            scene.proposed = None;
        }
        self.refuse_pending(out);
    }

    /// Re-reads one service, notes when to look at it again and whether its primary is suspected.
    fn look_at(&mut self, now: Now, service: &ServiceName, out: &mut Vec<Effect>) {
        let look = |scenes: &BTreeMap<ServiceName, Scene>| {
            scenes.get(service).map(|scene| (scene.wakeup, scene.suspected.is_some()))
        };
        let before = look(&self.scenes);
        self.judge(now, service, out);
        if self.leads() {
            self.reconsider_gateways(service);
        }
        let Some(((planned, was_suspected), (due, suspected))) = before.zip(look(&self.scenes)) else {
            return;
        };
        if planned != due {
            self.agenda.remove(&(planned, service.clone()));
            self.agenda.insert((due, service.clone()));
        }
        match (was_suspected, suspected) {
            (false, true) => self.suspects += 1,
            (true, false) => self.suspects -= 1,
            _ => {}
        }
    }

    /// Opinions to verdict, and as the leader, what the committed state calls for.
    fn judge(&mut self, now: Now, service: &ServiceName, out: &mut Vec<Effect>) {
        let reports = self.opinions_of_primary(now.time, service);
        let hindrance = self.hindrance(service);
        let controllers = self.voters.len() as u32;
        let (leads, lease) = (self.leads(), self.lease);
        let phase = &self.state.service(service).phase;
        let fencing = leads && matches!(phase, Phase::Fencing { .. } | Phase::Moving { .. });
        let promoting = leads && matches!(phase, Phase::Promoting { .. });
        let elsewhere = if fencing { self.reached_elsewhere(now.time, service) } else { Vec::new() };
        let holders = if fencing || promoting { self.holders(service) } else { Vec::new() };
        let state = self.state.service(service);
        let Some(scene) = self.scenes.get_mut(service) else {
            return;
        };
        let tally = state.reign.as_ref().map(|reign| {
            Tally::of(reports.iter().map(|(node, report)| (*node, report)), &reign.run_id, controllers)
        });
        update_suspicion(now, scene, state, tally.as_ref(), &reports, out);
        // Everybody does, for whoever leads next has not seen what its predecessor saw.
        counted::count_strangers(scene, state, self.state.counted.get(service));
        scene.wakeup = now.time + Duration::from_secs(1);
        if !leads {
            return;
        }
        if scene.proposed.as_ref().is_some_and(|(_, at)| now.time.since(*at) > PROPOSAL_PATIENCE) {
            scene.proposed = None;
        }
        let mistake = self.mistake;
        let crowd = 1 + self.suspects / CROWD;
        let (term, leads_since) = (self.term, self.leads_since);
        let mut work = Work {
            now,
            state,
            counted: self.state.counted.get(service),
            rebuilds: self.state.rebuilds.get(service),
            agents: &self.agents,
            scene,
            lease,
            term,
            leads_since,
            tally,
            hindrance,
            elsewhere,
            holders,
            crowd,
            mistake,
            out,
        };
        if work.may_act() {
            failover::lead(&mut work);
        } else {
            work.look_again(Duration::from_millis(20));
        }
    }
}

/// A mistake made on purpose, so that the simulator can prove that its checkers notice. The server never plants one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The candidate is promoted as soon as its choice is proposed.
    PromoteBeforeCommit,
    /// In a planned move the candidate is promoted as soon as the old primary follows it, whatever it holds.
    PromoteUncompared,
    /// After a promotion that was not observed, another candidate is promoted in the same epoch.
    NextCandidateInSameEpoch,
    /// A new leader forgets the leases that the one before may have granted.
    NoInheritedLeases,
    /// One is promoted although another that may have acknowledged a commit was not read.
    PromoteUnread,
    /// An agent may discard the data of one whose acknowledgements count.
    DiscardCounted,
}

impl Controller {
    /// Plants a mistake.
    pub fn plant(&mut self, mistake: Mistake) {
        self.mistake = Some(mistake);
    }
}
