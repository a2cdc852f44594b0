//! One primary per epoch: the log names one, only it is opened and routed to, and a promotion never runs open.

use crate::redis::WriteId;
use crate::world::World;
use backstay_controller::ServiceState;
use backstay_model::{Epoch, InstanceName, Route, RouteTarget, ServiceSpec};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Memory {
    reigns: BTreeMap<Epoch, InstanceName>,
    /// Writes that an instance took while another reigned already: direct clients of an old primary that nobody could
    /// fence. Counted, since `async` cannot forbid them.
    pub(super) stale_writes: u64,
}

impl Memory {
    pub(super) fn reign(&mut self, state: &ServiceState) -> Option<(&'static str, String)> {
        let reign = state.reign.as_ref()?;
        let known = self.reigns.entry(reign.epoch).or_insert_with(|| reign.instance.clone());
        (*known != reign.instance).then(|| {
            ("one primary per epoch", format!("epoch {}: {known} and {}", reign.epoch, reign.instance))
        })
    }

    pub(super) fn route(&self, spec: &ServiceSpec, route: &Route) -> Option<(&'static str, String)> {
        let RouteTarget::Forward(address) = &route.target else {
            return None;
        };
        let (epoch, reigning) = self.reigns.range(..=route.epoch).next_back()?;
        let right = spec.instance(reigning).is_some_and(|instance| instance.address == *address);
        (!right).then(|| {
            ("routes follow the log", format!("epoch {epoch} is {reigning}'s, but clients go to {address}"))
        })
    }
}

impl World {
    /// `REPLICAOF NO ONE` ran.
    pub(crate) fn check_promoted(&mut self, server: usize, closed: bool) {
        if !closed {
            let name = self.servers[server].name.clone();
            self.violate("one primary per epoch", format!("{name} was promoted while open"));
        }
    }

    /// A primary's guard was opened: only one that reigned may be.
    pub(crate) fn check_opened(&mut self, server: usize) {
        let name = self.servers[server].name.clone();
        self.checkers.old_primaries.opened(&name, &self.checkers.primaries.reigns);
        if !self.checkers.primaries.reigns.values().any(|reigning| *reigning == name) {
            self.violate("one primary per epoch", format!("{name} was opened but never reigned"));
        }
    }

    /// An instance took a write.
    pub(crate) fn check_accepted(&mut self, server: usize, write: WriteId) {
        if let Some((property, what)) = self.checkers.readers.accepted(write) {
            return self.violate(property, what);
        }
        let name = self.servers[server].name.clone();
        self.checkers.old_primaries.accepted(&name, &self.checkers.primaries.reigns, write);
        let memory = &mut self.checkers.primaries;
        if !memory.reigns.values().any(|reigning| *reigning == name) {
            return self.violate("one primary per epoch", format!("{name} took a write but never reigned"));
        }
        if memory.reigns.values().next_back().is_some_and(|reigning| *reigning != name) {
            memory.stale_writes += 1;
        }
    }
}
