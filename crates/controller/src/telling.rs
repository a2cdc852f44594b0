//! What the world is told: events with their sentences, and where clients go.

use crate::Controller;
use crate::effect::Effect;
use crate::entry::{Decided, Entry};
use crate::state::{Phase, Reign};
use backstay_model::{
    Address, EngineKind, Event, EventKind, Health, InstanceName, NodeId, NodeName, Now, Route, RouteTarget,
    ServiceName,
};

impl Controller {
    /// Says aloud what changed in this controller's own opinion.
    pub(crate) fn tell_health(
        &self,
        now: Now,
        service: &ServiceName,
        instance: &InstanceName,
        before: &Health,
        after: &Health,
        out: &mut Vec<Effect>,
    ) {
        let Some(spec) = self.scenes.get(service).and_then(|scene| scene.spec.instance(instance)) else {
            return;
        };
        let (instance, address) = (instance.clone(), spec.address.clone());
        let reign = self.state.service(service).reign.as_ref();
        let primary = reign.is_some_and(|reign| reign.instance == instance);
        let kind = match (before, after) {
            (Health::Down(_), Health::Down(_)) => return,
            (_, Health::Down(evidence)) => {
                let hard = *evidence == backstay_model::Evidence::Refused;
                EventKind::SuspectedHere { instance, address, primary, hard }
            }
            (_, Health::Useless(fault)) => EventKind::Faulty { instance, fault: *fault },
            (Health::Down(_), _) => EventKind::AnsweringHere { instance, address, primary },
            _ => return,
        };
        event(out, now, Some(service), kind);
    }

    /// Tells the world what a committed entry means.
    pub(crate) fn tell_applied(&self, now: Now, entry: &Entry, from: Option<&Reign>, out: &mut Vec<Effect>) {
        let service = &entry.service;
        let record = || self.state.service(service).history.back().cloned();
        let from_name = from.map(|reign| reign.instance.clone());
        let kind = match entry.decision.clone() {
            Decided::Begin { epoch, cause, .. } => {
                EventKind::FailoverBegun { epoch, from: from_name, cause: cause.to_string() }
            }
            Decided::SwitchOver { epoch, to, by, .. } => {
                EventKind::SwitchoverBegun { epoch, from: from_name, to, by }
            }
            Decided::Choose { epoch, candidate, offset, reason, .. } => {
                EventKind::CandidateChosen { epoch, candidate, offset, reason }
            }
            Decided::Abandon { epoch, reason, .. } => EventKind::FailoverAbandoned { epoch, reason },
            Decided::Promoted { .. } | Decided::Adopt { .. } => {
                let (Some(reign), Some(to_address)) =
                    (self.state.service(service).reign.clone(), self.address(service).cloned())
                else {
                    return;
                };
                let from_address = from_name.as_ref().and_then(|name| self.address_of(service, name));
                let (epoch, to) = (reign.epoch, reign.instance);
                EventKind::Promoted { epoch, from: from_name, from_address, to, to_address }
            }
            Decided::End { .. } => match record() {
                Some(record) => EventKind::FailoverEnded { record: Box::new(record) },
                None => return,
            },
            Decided::Trust { instance, full_copy, .. } => EventKind::InSync { instance, full_copy },
            Decided::GiveUp { instance, bytes, .. } => {
                let unit = self.engine(service).unit();
                EventKind::SurplusGivenUp { instance, bytes, unit }
            }
            Decided::Pause { until, by } => EventKind::Paused { until, by },
            Decided::Resume { by } => EventKind::Resumed { by },
            Decided::Ackers { epoch, ackers } => EventKind::AckersAgreed { epoch, ackers },
            Decided::Rebuild { instance, number, donor, because, by, .. } => {
                EventKind::RebuildAgreed { instance, number, donor, because, by }
            }
            Decided::RebuildSaved { instance, saved, .. } => EventKind::SurplusSaved { instance, saved },
            Decided::Discard { instance, .. } => EventKind::DataDiscarded { instance },
            // `tell_change` tells of the end, however it came.
            Decided::RebuildEnded { .. }
            | Decided::Rename { .. }
            | Decided::Decide { .. }
            | Decided::Gateways { .. } => return,
        };
        event(out, now, Some(service), kind);
        self.route(service, out);
    }

    pub(crate) fn route(&self, service: &ServiceName, out: &mut Vec<Effect>) {
        let state = self.state.service(service);
        let target = match (state.primary(), self.address(service)) {
            (Some(_), Some(address)) => RouteTarget::Forward(address.clone()),
            _ => RouteTarget::Hold,
        };
        // Until the promotion is committed the primary of before reigns on, in its own epoch.
        let epoch = match (&state.phase, &state.reign) {
            (Phase::Moving { .. }, Some(reign)) => reign.epoch,
            _ => state.epoch,
        };
        out.push(Effect::Route(Route { service: service.clone(), epoch, target }));
    }

    pub(crate) fn name_of(&self, node: NodeId) -> Option<NodeName> {
        self.spec
            .controllers
            .iter()
            .find(|controller| controller.id() == node)
            .map(|found| found.name.clone())
    }

    /// What the service runs. One that left the file may have been anything.
    pub(crate) fn engine(&self, service: &ServiceName) -> EngineKind {
        self.scenes.get(service).map(|scene| scene.spec.engine.kind()).unwrap_or_default()
    }

    pub(crate) fn address_of(&self, service: &ServiceName, instance: &InstanceName) -> Option<Address> {
        Some(self.scenes.get(service)?.spec.instance(instance)?.address.clone())
    }
}

/// Lets something be known.
pub(crate) fn event(out: &mut Vec<Effect>, now: Now, service: Option<&ServiceName>, kind: EventKind) {
    out.push(Effect::Event(Event { at: now.unix, service: service.cloned(), kind }));
}
