//! Whether every gateway has let go: it confirmed to hold in the plan's epoch, or its lease is over.

use super::COUNTED;
use crate::Controller;
use crate::work::Work;
use backstay_model::{EventKind, GatewayName, ServiceName, Time};
use std::time::Duration;

/// A wait that is shorter is not worth a word.
const NOTABLE: Duration = Duration::from_millis(10);

/// A gateway that renewed its lease so lately is taken to be awake: it asks twice in that time.
const RENEWED_WITHIN: Duration = Duration::from_millis(200);

/// A registered gateway, as the leader of a plan sees it.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    name: GatewayName,
    /// It confirmed to hold in the plan's epoch.
    holds: bool,
    /// When its lease ends.
    until: Time,
}

/// Since when a plan waited only for gateways, and for which.
#[derive(Clone, Debug)]
pub(crate) struct Wait {
    since: Time,
    gateways: Vec<GatewayName>,
    /// The last look found it so.
    goes_on: bool,
}

impl Controller {
    /// Every registered gateway that may have served the service.
    pub(crate) fn holders(&self, service: &ServiceName) -> Vec<Holder> {
        let epoch = self.state.service(service).epoch;
        let members = self.state.gateways.members.iter();
        let holders = members.map(|id| {
            let gateway = self.gateways.seen.get(id);
            let confirmed = gateway.and_then(|gateway| gateway.report.holding.get(service));
            let holds = confirmed.is_some_and(|confirmed| *confirmed >= epoch);
            Holder { name: id.name.clone(), holds, until: self.lease_of(gateway, service) }
        });
        holders.collect()
    }
}

impl Work<'_> {
    /// A look at a planned move begins: if the last one waited for something else, or for nothing, what was waited for
    /// before is no part of what may yet be waited for.
    pub(crate) fn forget_stale_wait(&mut self) {
        let notes = &mut self.scene.notes;
        if !notes.drains {
            notes.wait = notes.wait.take_if(|wait| std::mem::take(&mut wait.goes_on));
        }
    }

    /// Whether every gateway that may serve the service is awake. If one is not, all others would hold for as long as it
    /// takes until its lease is over: better wait for that while they serve on, though not for longer than one lease.
    pub(crate) fn gateways_awake(&mut self) -> bool {
        let now = self.now.time;
        let sleeps = |one: &&Holder| {
            !one.holds && one.until > now && one.until <= now + COUNTED.saturating_sub(RENEWED_WITHIN)
        };
        let asleep: Vec<_> = self.holders.iter().filter(sleeps).map(|one| one.name.clone()).collect();
        if asleep.is_empty() || self.scene.notes.drains {
            return true;
        }
        let wait = Wait { since: now, gateways: asleep, goes_on: true };
        let wait = self.scene.notes.wait.get_or_insert(wait);
        wait.goes_on = true;
        now.since(wait.since) >= COUNTED
    }

    /// Whether no gateway forwards what an older epoch allowed: before that, nothing is promoted. Ask only when nothing
    /// else is waited for: from then on the gateways of a planned move hold, too.
    pub(crate) fn gateways_hold(&mut self) -> bool {
        self.scene.notes.drains = true;
        let now = self.now.time;
        let may_serve = self.holders.iter().filter(|one| !one.holds && one.until > now);
        let (gateways, ends): (Vec<_>, Vec<_>) = may_serve.map(|one| (one.name.clone(), one.until)).unzip();
        let Some(end) = ends.into_iter().min() else {
            self.tell_wait();
            return true;
        };
        self.scene.notes.wait.get_or_insert(Wait { since: now, gateways, goes_on: true });
        self.look_again(end.since(now));
        false
    }

    fn tell_wait(&mut self) {
        let Some(wait) = self.scene.notes.wait.take() else {
            return;
        };
        let waited = self.now.time.since(wait.since);
        if waited < NOTABLE {
            return;
        }
        let held = |name: &GatewayName| self.holders.iter().any(|one| one.name == *name && one.holds);
        let silent: Vec<&GatewayName> = wait.gateways.iter().filter(|name| !held(name)).collect();
        let how = match silent.as_slice() {
            [] => format!("waited {} ms for {}", waited.as_millis(), listed(&wait.gateways)),
            silent => {
                format!("waited {} ms for {}, which did not answer", waited.as_millis(), listed(silent))
            }
        };
        self.scene.notes.waited = Some(how.clone());
        let epoch = self.state.epoch;
        self.tell(EventKind::GatewaysHeld { epoch, how });
    }
}

fn listed<T: ToString>(names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let word = if names.len() == 1 { "gateway" } else { "gateways" };
    format!("{word} {}", names.join(", "))
}
