//! What operators are shown of gateways.

use super::{Gateway, primary_order};
use crate::Controller;
use crate::effect::Effect;
use crate::telling::event;
use backstay_model::{
    EventKind, FailsafeRun, GatewayId, GatewayName, GatewayReport, GatewayStatus, LeaseStatus, Now,
    ServiceName, Time,
};
use std::collections::BTreeSet;

impl Controller {
    /// Every gateway that is registered or was heard of lately.
    pub(crate) fn gateway_statuses(&self, now: Time) -> Vec<GatewayStatus> {
        let members = &self.state.gateways.members;
        let all: BTreeSet<&GatewayId> = self.gateways.seen.keys().chain(members).collect();
        let unseen = Gateway::default();
        let statuses = all.into_iter().map(|id| {
            let gateway = self.gateways.seen.get(id).unwrap_or(&unseen);
            GatewayStatus {
                name: id.name.clone(),
                process: id.process,
                registered: members.contains(id),
                connected: gateway.connected,
                services: if self.leads() { self.leases_of(now, gateway) } else { Vec::new() },
                load: gateway.report.load,
            }
        });
        statuses.collect()
    }

    /// Which gateways serve the service without a lease, or did lately, as they say.
    pub(crate) fn failsafe_runs(&self, service: &ServiceName) -> Vec<(GatewayName, FailsafeRun)> {
        let seen = self.gateways.seen.iter();
        let runs = seen.filter_map(|(id, it)| Some((id.name.clone(), *it.report.failsafe.get(service)?)));
        runs.collect()
    }

    /// Lets it be known what is new of that.
    pub(super) fn tell_failsafe(
        &self,
        now: Now,
        id: &GatewayId,
        report: &GatewayReport,
        out: &mut Vec<Effect>,
    ) {
        let before = self.gateways.seen.get(id).map(|gateway| &gateway.report.failsafe);
        for (service, run) in &report.failsafe {
            let known = before.and_then(|before| before.get(service)) == Some(run);
            if !known && self.scenes.contains_key(service) {
                let kind = EventKind::ServedWithoutLease { gateway: id.clone(), run: *run };
                event(out, now, Some(service), kind);
            }
        }
    }

    fn leases_of(&self, now: Time, gateway: &Gateway) -> Vec<LeaseStatus> {
        let services = self.scenes.iter().map(|(service, scene)| {
            let (epoch, told) = primary_order(self.state.service(service), scene);
            let held = gateway.report.holding.get(service);
            let holds = gateway.report.leaving || held.is_some_and(|held| *held >= epoch);
            let left = if holds { Time::ZERO } else { self.lease_of(Some(gateway), service) }.since(now);
            LeaseStatus {
                service: service.clone(),
                epoch,
                told,
                holds,
                lease_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            }
        });
        services.collect()
    }
}
