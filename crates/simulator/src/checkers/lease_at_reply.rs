//! A gateway sends commands on, and acknowledges a write, only while it holds a lease for that primary; for a write that
//! counts when its reply is read. `failsafe` knows the exception. Leases are reckoned here anew from what was asked and what arrived, without the code that is tested.

use crate::world::GatewayRun;
use backstay_model::{Address, Epoch, GatewayOrders, PrimaryOrder, Time};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    runs: BTreeMap<GatewayRun, Told>,
}

/// What one run of a gateway asked and was told, on its own clock.
#[derive(Debug, Default)]
struct Told {
    asked: BTreeMap<u64, Time>,
    ends: BTreeMap<(Epoch, Address), Time>,
    /// The newest epoch in which it was told anything but to drain.
    newest: Epoch,
    heard: Time,
}

impl Memory {
    pub(crate) fn asked(&mut self, run: GatewayRun, number: u64, now: Time) {
        self.runs.entry(run).or_default().asked.insert(number, now);
    }

    pub(crate) fn told(&mut self, run: GatewayRun, now: Time, orders: &GatewayOrders) {
        let told = self.runs.entry(run).or_default();
        told.heard = now;
        let asked = orders.answers.and_then(|number| told.asked.get(&number)).copied();
        for service in &orders.services {
            if service.primary != PrimaryOrder::Drain {
                told.newest = told.newest.max(service.epoch);
            }
            if let (PrimaryOrder::Serve(primary), Some(asked)) = (&service.primary, asked) {
                let end = told.ends.entry((service.epoch, primary.clone())).or_default();
                *end = (*end).max(asked + orders.lease);
            }
        }
    }

    /// Why a gateway may not send to the primary of this epoch now, nor pass on that a write was acknowledged there, unless
    /// it may do so without a lease. `None`: it holds one.
    pub(super) fn unleased(
        &self,
        run: GatewayRun,
        now: Time,
        epoch: Epoch,
        primary: &Address,
    ) -> Option<Unleased> {
        let told = self.runs.get(&run)?;
        let end = told.ends.get(&(epoch, primary.clone())).copied().unwrap_or_default();
        let is_superseded = told.newest > epoch;
        let what = if is_superseded {
            format!("of epoch {epoch}, after something was said in epoch {}", told.newest)
        } else if now >= end {
            format!("{:?} after the lease for epoch {epoch} ended", now.since(end))
        } else {
            return None;
        };
        Some(Unleased { what, is_superseded, heard: told.heard })
    }
}

/// A gateway has no lease for what it does.
pub(super) struct Unleased {
    /// Why, as a clause.
    pub(super) what: String,
    /// It was told of a newer epoch.
    pub(super) is_superseded: bool,
    /// When it heard of any controller.
    pub(super) heard: Time,
}
