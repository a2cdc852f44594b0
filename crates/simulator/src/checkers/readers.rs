//! Reader endpoints change nothing, and read from no replica that is further behind than their bound, as far as the
//! gateway was told. What it was told is reckoned here anew, without the code that is tested.

use crate::redis::WriteId;
use crate::world::GatewayRun;
use backstay_model::{Address, Epoch, GatewayOrders, PrimaryOrder};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Memory {
    told: BTreeMap<GatewayRun, Told>,
    /// Writes that clients of reader endpoints sent.
    writes: BTreeSet<WriteId>,
}

/// What counts of all that one run of a gateway was told.
#[derive(Debug, Default)]
struct Told {
    epoch: Epoch,
    serves: Option<Address>,
    lags: BTreeMap<Address, u64>,
}

impl Memory {
    pub(crate) fn told(&mut self, run: GatewayRun, orders: &GatewayOrders) {
        let told = self.told.entry(run).or_default();
        for service in &orders.services {
            let serves = match &service.primary {
                PrimaryOrder::Serve(primary) => Some(primary.clone()),
                PrimaryOrder::Hold | PrimaryOrder::Drain => None,
            };
            let late = service.epoch < told.epoch
                || (service.epoch == told.epoch && told.serves.is_some() && serves.is_none());
            if !late {
                let lags = service.readers.iter().map(|reader| (reader.address.clone(), reader.lag_bytes));
                *told = Told { epoch: service.epoch, serves, lags: lags.collect() };
            }
        }
    }

    /// A client of a reader endpoint sends a write.
    pub(crate) fn sent_write(&mut self, write: WriteId) {
        self.writes.insert(write);
    }

    /// Some instance took a write.
    pub(crate) fn accepted(&self, write: WriteId) -> Option<(&'static str, String)> {
        let read_only = self.writes.contains(&write);
        read_only.then(|| ("a reader endpoint changes nothing", format!("write {write} was executed")))
    }

    /// Reads go to this instance now.
    pub(crate) fn forwarded(
        &self,
        run: GatewayRun,
        to: &Address,
        bound: u64,
    ) -> Option<(&'static str, String)> {
        let told = self.told.get(&run);
        let lag = told.and_then(|told| told.lags.get(to)).copied();
        let serves = told.and_then(|told| told.serves.as_ref());
        let fits = lag.is_some_and(|lag| lag <= bound) || serves == Some(to);
        (!fits).then(|| {
            let what = format!("{run:?} reads at {to}, last said to be {lag:?} behind; its bound is {bound}");
            ("a reader reads within its bound", what)
        })
    }
}
