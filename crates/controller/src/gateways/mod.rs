//! Gateways: whom the leader gives leases, what each is told, and whether all have let go of what an older epoch
//! allowed (safety, section 2.1).
//!
//! The leader counts a lease from when it granted it, for every service apart, and only where it said `Serve`: one that
//! is told to hold is given nothing that a promotion would have to wait for again and again.

mod holders;
mod registration;
mod route;
mod status;

pub(crate) use holders::{Holder, Wait};
pub(crate) use route::primary_order;

use crate::effect::Effect;
use crate::{Controller, entry::Entry, state::Phase};
use backstay_model::{
    EventKind, Flapping, GatewayId, GatewayOrders, GatewayReport, LEASE, Now, PrimaryOrder, ServiceName, Time,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// For how long the leader takes a lease to last: its holder's clock may be slower than the leader's.
const COUNTED: Duration = LEASE.saturating_add(Duration::from_millis(LEASE.as_millis() as u64 / 10));
/// One from which nothing was heard for so long is no gateway any more.
const SILENCE: Duration = Duration::from_secs(10);
/// How many are remembered, registered or not.
const SEEN_MAX: usize = 2 * crate::registry::GATEWAYS_MAX;

/// What this controller knows of gateways beyond the registry.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    pub(crate) seen: BTreeMap<GatewayId, Gateway>,
    /// When a change of the registry was proposed that is not committed yet.
    proposed: Option<Time>,
    /// Those whose removal was proposed in this term and may yet be committed: no lease is granted any more.
    removed: BTreeSet<GatewayId>,
    /// Services whose gateways must be told something else.
    unsaid: BTreeSet<ServiceName>,
}

/// One run of a gateway.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    pub(crate) connected: bool,
    /// When its newest report came.
    pub(crate) heard: Time,
    pub(crate) report: GatewayReport,
    /// Until when it may serve what this leader granted, as this leader counts.
    leases: BTreeMap<ServiceName, Time>,
    /// What is told of its serving without a lease.
    failsafe: BTreeMap<ServiceName, Flapping>,
}

impl Controller {
    /// A gateway's report, or the loss of its connection.
    pub(crate) fn gateway(
        &mut self,
        now: Now,
        id: &GatewayId,
        report: Option<GatewayReport>,
        out: &mut Vec<Effect>,
    ) {
        let Some(report) = report else {
            if let Some(gateway) = self.gateways.seen.get_mut(id) {
                gateway.connected = false;
            }
            return;
        };
        if !self.has_room_for(now, id, out) {
            return self.say_nothing(now.time, id, out);
        }
        let gateway = self.gateways.seen.entry(id.clone()).or_default();
        gateway.connected = true;
        if report.number <= gateway.report.number {
            return; // From an older connection.
        }
        self.tell_failsafe(now, id, &report, out);
        let gateway = self.gateways.seen.entry(id.clone()).or_default();
        let lets_go = report.leaving != gateway.report.leaving || report.holding != gateway.report.holding;
        gateway.heard = now.time;
        gateway.report = report;
        let leaves = gateway.report.leaving;
        if !self.leads() {
            return;
        }
        if lets_go {
            self.look_at_waiting(now, out);
        }
        if leaves || !self.state.gateways.members.contains(id) {
            self.change_registry(now.time, out);
        }
        if self.may_grant(now.time, id) {
            self.tell_gateway(now.time, id, None, out);
        } else {
            self.say_nothing(now.time, id, out);
        }
    }

    /// To one that is given no lease: silence would mean that nobody leads, and a failsafe could begin.
    fn say_nothing(&self, now: Time, id: &GatewayId, out: &mut Vec<Effect>) {
        if self.leads() && now < self.lease {
            let orders = GatewayOrders { answers: None, lease: LEASE, services: Vec::new() };
            out.push(Effect::TellGateway { gateway: id.clone(), orders });
        }
    }

    /// Whether this gateway is remembered, or can be.
    fn has_room_for(&mut self, now: Now, id: &GatewayId, out: &mut Vec<Effect>) -> bool {
        if !self.gateways.seen.contains_key(id) && self.gateways.seen.len() >= SEEN_MAX {
            self.forget_gateways(now, out);
        }
        self.gateways.seen.contains_key(id) || self.gateways.seen.len() < SEEN_MAX
    }

    /// Forgets those that are long gone. What was to be told of them is told before.
    fn forget_gateways(&mut self, now: Now, out: &mut Vec<Effect>) {
        let members = &self.state.gateways.members;
        let is_gone = |id: &GatewayId, gateway: &Gateway| {
            !members.contains(id) && now.time.since(gateway.heard) >= SILENCE
        };
        for (id, gateway) in &mut self.gateways.seen {
            gateway.sum_up_failsafe(now, id, is_gone(id, gateway), out);
        }
        self.gateways.seen.retain(|id, gateway| !is_gone(id, gateway));
    }

    /// Looks at the services whose plan may wait for gateways.
    fn look_at_waiting(&mut self, now: Now, out: &mut Vec<Effect>) {
        let waits = |phase: &Phase| {
            matches!(phase, Phase::Fencing { .. } | Phase::Promoting { .. } | Phase::Moving { .. })
        };
        let services = self.state.services.iter().filter(|(_, state)| waits(&state.phase));
        for service in services.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.look_at(now, &service, out);
        }
    }

    /// What is to be said of the service may have changed.
    pub(crate) fn reconsider_gateways(&mut self, service: &ServiceName) {
        if self.state.gateways.members.is_empty() {
            return;
        }
        let Some(scene) = self.scenes.get_mut(service) else {
            return;
        };
        let said = primary_order(self.state.service(service), scene);
        if scene.said.as_ref() != Some(&said) {
            scene.said = Some(said);
            self.gateways.unsaid.insert(service.clone());
        }
    }

    /// Tells every gateway at once what changed, as soon as the lease allows it.
    pub(crate) fn tell_changes(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.gateways.unsaid.is_empty() || now >= self.lease {
            return;
        }
        let services = std::mem::take(&mut self.gateways.unsaid);
        if self.leads() {
            for id in self.state.gateways.members.clone() {
                self.tell_gateway(now, &id, Some(&services), out);
            }
        }
    }

    /// Tells a gateway of these services, or of all, with a lease if it asked for one lately.
    fn tell_gateway(
        &mut self,
        now: Time,
        id: &GatewayId,
        services: Option<&BTreeSet<ServiceName>>,
        out: &mut Vec<Effect>,
    ) {
        if !self.may_grant(now, id) {
            return;
        }
        let told = self.scenes.iter().filter(|(name, _)| services.is_none_or(|some| some.contains(*name)));
        let services: Vec<_> =
            told.map(|(name, scene)| route::service_orders(self.state.service(name), scene)).collect();
        let Some(gateway) = self.gateways.seen.get_mut(id).filter(|gateway| gateway.connected) else {
            return;
        };
        let answers = (now.since(gateway.heard) < LEASE).then_some(gateway.report.number);
        if answers.is_some() {
            let served = services.iter().filter(|told| matches!(told.primary, PrimaryOrder::Serve(_)));
            gateway.leases.extend(served.map(|told| (told.service.clone(), now + COUNTED)));
        }
        let orders = GatewayOrders { answers, lease: LEASE, services };
        out.push(Effect::TellGateway { gateway: id.clone(), orders });
    }

    /// Only the leader grants, within its own lease, to one that is registered and stays so.
    fn may_grant(&self, now: Time, id: &GatewayId) -> bool {
        self.leads()
            && now < self.lease
            && self.state.gateways.members.contains(id)
            && !self.gateways.removed.contains(id)
            && self.gateways.seen.get(id).is_some_and(|gateway| !gateway.report.leaving)
    }

    /// Another leads, or this one in another term: what it granted in the last one is part of what it inherits now.
    pub(crate) fn inherit_leases(&mut self) {
        self.gateways.proposed = None;
        self.gateways.removed.clear();
        for gateway in self.gateways.seen.values_mut() {
            gateway.leases.clear();
        }
        for scene in self.scenes.values_mut() {
            scene.said = None;
        }
    }

    /// Until when the gateway may serve the service: what this leader granted, and before that, what another leader may
    /// have granted up to the moment of this one's election.
    pub(crate) fn lease_of(&self, gateway: Option<&Gateway>, service: &ServiceName) -> Time {
        if gateway.is_some_and(|gateway| gateway.report.leaving) {
            return Time::ZERO;
        }
        let inherited = match self.mistake {
            Some(crate::Mistake::NoInheritedLeases) => Time::ZERO,
            _ => self.leads_since + COUNTED,
        };
        let granted = gateway.and_then(|gateway| gateway.leases.get(service));
        granted.map_or(inherited, |granted| inherited.max(*granted))
    }

    /// The registry was to change.
    pub(crate) fn registry_changed(&mut self, now: Now, entry: &Entry, applied: bool, out: &mut Vec<Effect>) {
        let crate::Decided::Gateways { joined, left, .. } = &entry.decision else {
            return;
        };
        if !applied {
            return;
        }
        // Whatever else was proposed was for the registry as it was.
        self.gateways.proposed = None;
        self.gateways.removed.clear();
        for gateway in left.iter().cloned() {
            crate::telling::event(out, now, None, EventKind::GatewayLeft { gateway });
        }
        for id in joined {
            crate::telling::event(out, now, None, EventKind::GatewayJoined { gateway: id.clone() });
            self.tell_gateway(now.time, id, None, out);
        }
    }
}
