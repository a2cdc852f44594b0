//! Who is registered, and who is not any more: proposed by the leader, for the registry as it is.

use super::{COUNTED, SILENCE};
use crate::effect::Effect;
use crate::entry::{Decided, Entry};
use crate::registry::GATEWAYS_MAX;
use crate::{Controller, PROPOSAL_PATIENCE};
use backstay_model::{GatewayId, Now, ServiceName, Time};

impl Controller {
    /// Forgets what is long gone, and proposes what the registry lacks or has too much.
    pub(crate) fn tend_gateways(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.forget_gateways(now, out);
        if self.leads() {
            self.change_registry(now.time, out);
        }
    }

    /// Proposes a change of the registry if one is due and none is under way.
    pub(super) fn change_registry(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.gateways.proposed.is_some_and(|at| now.since(at) < PROPOSAL_PATIENCE) {
            return;
        }
        let mut joined = self.newcomers(now);
        let mut left: Vec<GatewayId> =
            self.state.gateways.members.iter().filter(|id| self.is_gone(now, id)).cloned().collect();
        let free = GATEWAYS_MAX.saturating_sub(self.state.gateways.members.len() - left.len());
        if joined.len() > free {
            left.extend(self.longest_silent(now, joined.len() - free, &left));
        }
        joined.truncate(GATEWAYS_MAX.saturating_sub(self.state.gateways.members.len() - left.len()));
        // A change that names nobody still makes void what was proposed before.
        if joined.is_empty() && left.is_empty() && self.gateways.removed.is_empty() {
            return;
        }
        self.gateways.proposed = Some(now);
        // From now on it may be committed at any moment, even if another one is proposed in its place.
        self.gateways.removed.extend(left.iter().cloned());
        let change = self.state.gateways.changes + 1;
        let decision = Decided::Gateways { change, joined, left };
        out.push(Effect::Propose(Entry { service: ServiceName::from(""), decision }));
    }

    /// Those that ask for leases and are not registered.
    fn newcomers(&self, now: Time) -> Vec<GatewayId> {
        let members = &self.state.gateways.members;
        let asks = self.gateways.seen.iter().filter(|(id, gateway)| {
            let alive = gateway.connected && now.since(gateway.heard) < SILENCE;
            alive && !gateway.report.leaving && !members.contains(*id)
        });
        asks.map(|(id, _)| id.clone()).collect()
    }

    /// It left, or nothing was heard from it for so long that it holds no lease.
    fn is_gone(&self, now: Time, id: &GatewayId) -> bool {
        let left = self.gateways.seen.get(id).is_some_and(|gateway| gateway.report.leaving);
        left || (now.since(self.heard(id)) >= SILENCE && self.is_idle(now, id))
    }

    /// Registered ones that are silent and certainly hold no lease, to make room for so many others.
    fn longest_silent(&self, now: Time, wanted: usize, left: &[GatewayId]) -> Vec<GatewayId> {
        let members = self.state.gateways.members.iter();
        let silent = |id: &&GatewayId| {
            now.since(self.heard(id)) > COUNTED && self.is_idle(now, id) && !left.contains(*id)
        };
        let mut silent: Vec<&GatewayId> = members.filter(silent).collect();
        silent.sort_by_key(|id| self.heard(id));
        silent.into_iter().take(wanted).cloned().collect()
    }

    /// When it was last heard of, or could have been.
    fn heard(&self, id: &GatewayId) -> Time {
        let heard = self.gateways.seen.get(id).map_or(Time::ZERO, |gateway| gateway.heard);
        heard.max(self.leads_since)
    }

    /// No lease of it lasts for any service.
    fn is_idle(&self, now: Time, id: &GatewayId) -> bool {
        let gateway = self.gateways.seen.get(id);
        self.scenes.keys().all(|service| self.lease_of(gateway, service) <= now)
    }
}
