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
        &mut self,
        now: Now,
        id: &GatewayId,
        report: &GatewayReport,
        out: &mut Vec<Effect>,
    ) {
        let Some(gateway) = self.gateways.seen.get_mut(id) else {
            return;
        };
        for (service, run) in &report.failsafe {
            let known = gateway.report.failsafe.get(service);
            if known == Some(run) || !self.scenes.contains_key(service) {
                continue;
            }
            let flapping = gateway.failsafe.entry(service.clone()).or_default();
            // One that was over before it was heard of is told in one sentence.
            let is_new = known.is_none_or(|known| known.began != run.began);
            let begins = is_new && flapping.begins(now.time);
            let ends = run.lasted_ms.is_some() && flapping.ends();
            if begins || ends {
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

impl Gateway {
    /// Lets it be known how often it served without a lease since that was told, if it is time, or the last chance.
    pub(super) fn sum_up_failsafe(&mut self, now: Now, id: &GatewayId, last: bool, out: &mut Vec<Effect>) {
        for (service, flapping) in &mut self.failsafe {
            let Some(run) = self.report.failsafe.get(service) else {
                continue;
            };
            let goes_on = run.lasted_ms.is_none();
            let sum = if last { flapping.rest(now.time, goes_on) } else { flapping.sum(now.time, goes_on) };
            if let Some(times) = sum {
                let (gateway, times) = (id.clone(), times.get());
                let kind = EventKind::ServedWithoutLeaseAgain { gateway, times, run: *run };
                event(out, now, Some(service), kind);
            }
        }
    }
}
