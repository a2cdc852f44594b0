//! One look at one service by a leader: what it may read, and the few verbs with which it acts.

use crate::agents::Agents;
use crate::counted::Counted;
use crate::effect::Effect;
use crate::engine::Manners;
use crate::entry::{Decided, Entry};
use crate::gateways::Holder;
use crate::rebuilds::Rebuilds;
use crate::scene::{Moment, Scene, View};
use crate::state::{Reign, ServiceState};
use crate::verdict::Tally;
use backstay_model::{
    Action, Address, Event, EventKind, Health, InstanceName, InstanceSpec, NodeId, Now, Order, Replication,
    Role, Term, Time,
};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long before the same order is sent again.
const ORDER_PATIENCE: Duration = Duration::from_millis(100);
/// How long an order may wait to be sent.
const ORDER_LIFETIME: Duration = Duration::from_millis(500);

/// How often an instance is asked by one wish to watch it, and for how long at most: with hundreds of failovers at once
/// every question that nobody needs delays one that somebody waits for.
const WATCH_ASKS: u32 = 20;
const WATCH_LIFETIME: Duration = Duration::from_millis(500);
/// The longest pause between two looks at a service under suspicion.
const SPREAD_MAX: Duration = Duration::from_millis(250);

/// See the module's head.
pub(crate) struct Work<'a> {
    pub(crate) now: Now,
    pub(crate) state: &'a ServiceState,
    /// Whose acknowledgements count, if that was ever agreed on.
    pub(crate) counted: Option<&'a Counted>,
    /// Rebuilds, if there ever was one.
    pub(crate) rebuilds: Option<&'a Rebuilds>,
    /// What agents said.
    pub(crate) agents: &'a Agents,
    pub(crate) scene: &'a mut Scene,
    /// Nothing may be ordered past this.
    pub(crate) lease: Time,
    /// In which this controller leads.
    pub(crate) term: Term,
    /// What was seen before this may be older than what was agreed on since.
    pub(crate) leads_since: Time,
    pub(crate) tally: Option<Tally>,
    /// Why nothing automatic may happen, as far as it lies outside the service.
    pub(crate) hindrance: Option<String>,
    /// While instances are compared: which of them other controllers reach.
    pub(crate) elsewhere: Vec<(NodeId, BTreeSet<InstanceName>)>,
    /// While something may be promoted: the gateways.
    pub(crate) holders: Vec<Holder>,
    /// By how much less often than alone this service is looked at, because others are under suspicion, too.
    pub(crate) crowd: u32,
    pub(crate) mistake: Option<crate::Mistake>,
    pub(crate) out: &'a mut Vec<Effect>,
}

impl Work<'_> {
    /// The lease holds, and no proposal is under way that would change the state.
    pub(crate) fn may_act(&self) -> bool {
        self.now.time < self.lease
    }

    /// What the engine does otherwise than another.
    pub(crate) const fn manners(&self) -> &'static Manners {
        Manners::of(&self.scene.spec.engine)
    }

    /// Whose acknowledgements count.
    pub(crate) fn ackers(&self) -> BTreeSet<InstanceName> {
        self.counted.map(|counted| counted.ackers.clone()).unwrap_or_default()
    }

    /// Whether those of this instance do.
    pub(crate) fn is_acker(&self, name: &InstanceName) -> bool {
        self.counted.is_some_and(|counted| counted.ackers.contains(name))
    }

    /// Whether it is being rebuilt: then an agent stops, starts and fills it, and nobody else does anything to it.
    pub(crate) fn is_rebuilt(&self, name: &InstanceName) -> bool {
        self.rebuilds.is_some_and(|rebuilds| rebuilds.runs_for(name))
    }

    /// Whether its data may be gone, or be a part of a copy.
    pub(crate) fn is_discarded(&self, name: &InstanceName) -> bool {
        self.rebuilds.is_some_and(|rebuilds| rebuilds.discarded.contains(name))
    }

    /// This moment.
    pub(crate) const fn moment(&self) -> Moment {
        Moment { time: self.now.time, unix: self.now.unix }
    }

    /// The names of all instances, in the file's order.
    pub(crate) fn instances(&self) -> Vec<InstanceSpec> {
        self.scene.spec.instances.clone()
    }

    /// What is seen of an instance.
    pub(crate) fn view(&self, instance: &InstanceName) -> Option<&View> {
        self.scene.views.get(instance)
    }

    /// Orders an act, unless the same was ordered a moment ago.
    pub(crate) fn order(&mut self, instance: &InstanceName, action: Action) {
        let (now, epoch) = (self.now.time, self.state.epoch);
        let Some(view) = self.scene.views.get_mut(instance) else {
            return;
        };
        view.ordered.retain(|(_, _, at)| now.since(*at) < ORDER_PATIENCE);
        if view.ordered.iter().any(|(before, of, _)| *before == action && *of == epoch) {
            self.look_again(ORDER_PATIENCE);
            return;
        }
        view.ordered.push((action.clone(), epoch, now));
        let order = Order {
            service: self.scene.spec.name.clone(),
            instance: instance.clone(),
            process: view.run_id().cloned(),
            epoch,
            deadline: self.lease.min(now + ORDER_LIFETIME),
            action,
        };
        self.out.push(Effect::Order(order));
        self.look_again(ORDER_PATIENCE);
    }

    /// Puts a decision before the quorum, unless one is under way for this service.
    pub(crate) fn propose(&mut self, decision: Decided) {
        if self.scene.proposed.is_some() {
            return;
        }
        let entry = Entry { service: self.scene.spec.name.clone(), decision };
        self.scene.proposed = Some((entry.clone(), self.now.time));
        self.out.push(Effect::Propose(entry));
        self.look_again(Duration::from_millis(300));
    }

    /// Lets another controller lead that can do what this one cannot.
    pub(crate) fn hand_over(&mut self, to: NodeId) {
        self.out.push(Effect::HandOver(to));
        self.look_again(Duration::from_millis(500));
    }

    /// Asks an instance for its replication state every `interval` for a while, unless it is asked that often already.
    pub(crate) fn watch(&mut self, instance: &InstanceName, interval: Duration) {
        let now = self.now.time;
        let interval = self.spread(interval);
        let life = (interval * WATCH_ASKS).min(WATCH_LIFETIME);
        let Some(view) = self.scene.views.get_mut(instance) else {
            return;
        };
        if view.watched.is_some_and(|(every, until)| every <= interval && now + life / 2 < until) {
            return;
        }
        let until = now + life;
        view.watched = Some((interval, until));
        let (service, instance) = (self.scene.spec.name.clone(), instance.clone());
        self.out.push(Effect::Watch { service, instance, interval, until });
    }

    /// How often to look while others are under suspicion, too.
    pub(crate) fn spread(&self, interval: Duration) -> Duration {
        (interval * self.crowd).min(SPREAD_MAX.max(interval))
    }

    /// Lets something be known.
    pub(crate) fn tell(&mut self, kind: EventKind) {
        let service = Some(self.scene.spec.name.clone());
        self.out.push(Effect::Event(Event { at: self.now.unix, service, kind }));
    }

    /// Stops visibly: tells once why nothing more can be done without the operator, or until something changes.
    pub(crate) fn stuck(&mut self, reason: String) {
        if self.scene.notes.stuck.as_ref() != Some(&reason) {
            self.scene.notes.stuck = Some(reason.clone());
            self.tell(EventKind::Stuck { reason });
        }
        self.look_again(Duration::from_millis(100));
    }

    /// Looks again after this long, whatever happens.
    pub(crate) fn look_again(&mut self, after: Duration) {
        self.scene.wakeup = self.scene.wakeup.min(self.now.time + after);
    }

    /// The instance's last state, if it answers.
    pub(crate) fn current(&self, instance: &InstanceName) -> Option<&Replication> {
        self.view(instance).filter(|view| view.health == Health::Up)?.replication()
    }

    /// Whether a process answers there of which no role is known yet: it may be somebody else's.
    pub(crate) fn is_unseen(&self, name: &InstanceName) -> bool {
        let answers =
            |view: &View| view.identity.is_some() || matches!(view.health, Health::Up | Health::Useless(_));
        self.view(name).is_some_and(|view| view.sample.is_none() && answers(view))
    }

    /// Whether the instance was ever part of the group and is still, or holds nothing that could be somebody's, or is
    /// the operator's choice. Others are left alone, whatever the file says.
    pub(crate) fn is_ours(&self, name: &InstanceName) -> bool {
        let identity = self.view(name).and_then(|view| view.identity.as_ref());
        let is_empty = identity.is_some_and(|identity| !identity.loading && identity.keys == 0);
        let founding = self.state.reign.is_none();
        let run_id = self.view(name).and_then(View::run_id);
        let reign = self.state.reign.as_ref().filter(|reign| reign.instance == *name);
        // Another process in the primary's place may be anybody's.
        let reigned = reign.is_some_and(|reign| run_id.is_none_or(|run_id| reign.run_id == *run_id));
        let decided = self.state.decided.as_ref() == Some(name);
        let was_ever = is_empty
            || founding
            || reign.is_some()
            || self.is_in_our_history(name)
            || self.state.known.contains(name)
            || self.state.possible_primaries.contains(name);
        reigned || decided || (was_ever && !is_of_a_stranger(self.state, self.scene, name))
    }

    /// Whether it is a replica that copied from a primary of ours, whether or not it was ever seen in step.
    fn is_in_our_history(&self, name: &InstanceName) -> bool {
        let Some(seen) = self.view(name).and_then(View::replication) else {
            return false;
        };
        let reign = self.state.reign.as_ref();
        let now = reign.is_some_and(|reign| reign.replid == seen.replid);
        let before = self.state.endings.iter().any(|(replid, _)| *replid == seen.replid);
        !seen.is_primary() && (now || before || self.is_behind_primary(seen))
    }

    /// Whether it stands still, and all of it is in what the primary held before its promotion, agreed on or not: the
    /// process that was promoted may have begun a history while no controller led.
    fn is_behind_primary(&self, seen: &Replication) -> bool {
        let stands = follows(seen).is_some_and(|(_, link_up, _)| !link_up);
        let primary = self.state.reign.as_ref().and_then(|reign| {
            self.current(&reign.instance).filter(|it| it.is_primary() && it.run_id == reign.run_id)
        });
        let before = primary.and_then(|primary| primary.previous.as_ref());
        stands && before.is_some_and(|(replid, ended)| *replid == seen.replid && seen.offset <= *ended)
    }

    /// Whether this address is an instance of the service.
    pub(crate) fn is_member(&self, address: &Address) -> bool {
        self.scene.spec.instances.iter().any(|instance| instance.address == *address)
    }
}

/// Whether the instance is a replica of a server that is not in the file, and took a history from there. One that was
/// pointed elsewhere but never got anything there still holds what is the group's.
pub(crate) fn is_of_a_stranger(state: &ServiceState, scene: &Scene, name: &InstanceName) -> bool {
    let seen = scene.views.get(name).and_then(View::replication);
    let Some(seen) = seen else {
        return false;
    };
    let elsewhere = follows(seen).is_some_and(|(of, ..)| {
        *of != Address::nowhere() && !scene.spec.instances.iter().any(|instance| instance.address == *of)
    });
    let before = seen.previous.as_ref().map(|(replid, _)| replid);
    let ours = |reign: &Reign| seen.replid == reign.replid || before == Some(&reign.replid);
    elsewhere && !state.reign.as_ref().is_some_and(ours)
}

/// Whom a replica follows, and whether it is connected there.
pub(crate) const fn follows(replication: &Replication) -> Option<(&Address, bool, bool)> {
    match &replication.role {
        Role::Replica { of, link_up, syncing } => Some((of, *link_up, *syncing)),
        Role::Primary { .. } => None,
    }
}
