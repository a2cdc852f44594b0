//! A gateway acknowledges a write only if it read the reply while it held a lease for the primary that sent it. Leases
//! are reckoned here anew from what was asked and what arrived, without the code that is tested.

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
}

impl Memory {
    pub(crate) fn asked(&mut self, run: GatewayRun, number: u64, now: Time) {
        self.runs.entry(run).or_default().asked.insert(number, now);
    }

    pub(crate) fn told(&mut self, run: GatewayRun, orders: &GatewayOrders) {
        let told = self.runs.entry(run).or_default();
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

    /// A write's reply was read now from the primary of this epoch, and passed on.
    pub(crate) fn acknowledged(
        &self,
        run: GatewayRun,
        now: Time,
        epoch: Epoch,
        primary: &Address,
    ) -> Option<(&'static str, String)> {
        let told = self.runs.get(&run)?;
        let end = told.ends.get(&(epoch, primary.clone())).copied().unwrap_or_default();
        let what = if told.newest > epoch {
            format!("of epoch {epoch}, after something was said in epoch {}", told.newest)
        } else if now >= end {
            format!("{:?} after the lease for epoch {epoch} ended", now.since(end))
        } else {
            return None;
        };
        Some((
            "a gateway acknowledges only within its lease",
            format!("a reply from {primary} was read {what}"),
        ))
    }
}
