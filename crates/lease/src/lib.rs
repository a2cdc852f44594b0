//! What a gateway may do now: the holder's side of leases (safety, section 2.1), as a value that is stepped and asked.
//!
//! A lease is counted from when it was asked for, on a clock that counts suspended time. It allows forwarding to one
//! primary in one epoch; what a newer epoch said is never undone by an older one, whoever brings it and however late.
//! What may be done without a lease, if the operator wants that, is `failsafe`'s business.

mod evidence;
mod failsafe;

pub use evidence::{MOVED_WITHIN, Sample};
pub use failsafe::{Alarm, Ending};

use backstay_model::{
    Address, Epoch, GatewayLoad, GatewayOrders, GatewayReport, PrimaryOrder, Reader, ServiceName,
    ServiceOrders, Time,
};
use evidence::Evidence;
use failsafe::Run;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Nothing is forwarded so shortly before a lease's end, so that the reply is still read within it.
pub const MARGIN: Duration = Duration::from_millis(40);
/// Reports that may still be answered: enough for a lease's length, asked at once after every change.
const ASKED_MAX: usize = 64;

/// A gateway's leases.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    number: u64,
    leaving: bool,
    /// When each report was made, oldest first.
    asked: VecDeque<(u64, Time)>,
    services: BTreeMap<ServiceName, Service>,
    /// The services that are served on without a lease if nobody can be asked.
    failsafe: BTreeSet<ServiceName>,
    /// When a controller said anything at all.
    heard: Time,
    /// When this was called last, and when it was again after a standstill.
    noticed: Time,
    woke: Time,
}

#[derive(Clone, Debug)]
struct Service {
    orders: ServiceOrders,
    until: Time,
    held: Option<Epoch>,
    /// What was seen of the primary since it was first served under a lease in this epoch. None while it is not served.
    evidence: Option<Evidence>,
    /// When it was last served without a lease.
    run: Option<Run>,
}

/// What may be done with commands for a service's primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Forward them there. What is read from there is an answer only before `until`.
    Serve {
        /// The epoch of the lease.
        epoch: Epoch,
        /// The primary.
        primary: Address,
        /// The lease's end, or that of what stands for one in the failsafe. Only behind that it may be earlier than it was.
        until: Time,
    },
    /// Forward nothing new, let what is under way finish until the lease's end, then say so with `Leases::held`.
    Drain {
        /// The epoch of the move.
        epoch: Epoch,
        /// The lease's end: then it is a `Hold`.
        until: Time,
    },
    /// Forward nothing, close what was opened for an older lease, then say so with `Leases::held`.
    Hold {
        /// The epoch that is waited for.
        epoch: Epoch,
    },
}

impl Leases {
    /// The next report to every controller; one may answer it with a lease.
    pub fn report(&mut self, now: Time, load: GatewayLoad) -> GatewayReport {
        self.notice(now);
        self.number += 1;
        self.asked.push_back((self.number, now));
        if self.asked.len() > ASKED_MAX {
            self.asked.pop_front();
        }
        let holding = self.services.iter().filter_map(|(name, it)| Some((name.clone(), it.held?))).collect();
        let failsafe = self.failsafe_runs(now);
        GatewayReport { number: self.number, holding, leaving: self.leaving, load, failsafe }
    }

    /// Takes up what a controller said. True: for some service, what may be done with commands for its primary changed
    /// otherwise than by time. A report sent at once then is answered at once.
    pub fn told(&mut self, now: Time, orders: GatewayOrders) -> bool {
        self.heard = now;
        let asked = orders
            .answers
            .and_then(|number| self.asked.iter().find(|(asked, _)| *asked == number).map(|(_, when)| *when));
        // Who answered no report of ours said nothing about a lease.
        let until = asked.map_or(Time::ZERO, |when| when + orders.lease);
        let mut changed = false;
        for told in orders.services {
            changed |= self.told_of(told, until);
        }
        changed
    }

    fn told_of(&mut self, told: ServiceOrders, until: Time) -> bool {
        // Only `Serve` extends a lease: whoever waits for this gateway to hold counts what it said to serve.
        let until = if serves(&told) { until } else { Time::ZERO };
        let Some(known) = self.services.get_mut(&told.service) else {
            let service = Service { orders: told, until, held: None, evidence: None, run: None };
            self.services.insert(service.orders.service.clone(), service);
            return true;
        };
        let late = told.epoch < known.orders.epoch
            // In one epoch `Serve` is the last word.
            || (told.epoch == known.orders.epoch && serves(&known.orders) && !serves(&told));
        if late {
            return false;
        }
        let same = told.epoch == known.orders.epoch && told.primary == known.orders.primary;
        match told.primary {
            PrimaryOrder::Serve(_) if same => known.until = known.until.max(until),
            // A lease is for one primary in one epoch: nothing of the last one's length goes over to another.
            PrimaryOrder::Serve(_) => (known.until, known.held) = (until, None),
            // What is under way may finish within the lease that it was begun in.
            PrimaryOrder::Drain => {}
            PrimaryOrder::Hold => known.until = Time::ZERO,
        }
        if !same {
            // What was seen of one primary in one epoch says nothing of another.
            known.evidence = None;
        }
        known.orders = told;
        !same
    }

    /// Says goodbye: from now on every service is held, and reports say so. Call when nothing is under way any more.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// What may be done for the service now. `None`: nothing was ever said of it.
    pub fn standing(&self, service: &ServiceName, now: Time) -> Option<Standing> {
        let it = self.services.get(service)?;
        let (orders, epoch) = (&it.orders, it.orders.epoch);
        let until = self.failsafe_until(service, it, now).unwrap_or(it.until);
        Some(match &orders.primary {
            _ if self.leaving => Standing::Hold { epoch },
            PrimaryOrder::Serve(primary) if now < until => {
                Standing::Serve { epoch, primary: primary.clone(), until }
            }
            PrimaryOrder::Drain if now < until => Standing::Drain { epoch, until },
            _ => Standing::Hold { epoch },
        })
    }

    /// The replicas that may answer reads.
    pub fn readers(&self, service: &ServiceName) -> &[Reader] {
        self.services.get(service).map_or(&[], |it| &it.orders.readers)
    }

    /// What `Hold` or `Drain` demanded was done: nothing of what was allowed before is under way.
    pub fn held(&mut self, service: &ServiceName, epoch: Epoch) {
        if let Some(it) = self.services.get_mut(service)
            && it.orders.epoch == epoch
            && !serves(&it.orders)
        {
            it.held = it.held.max(Some(epoch));
        }
    }
}

const fn serves(orders: &ServiceOrders) -> bool {
    matches!(orders.primary, PrimaryOrder::Serve(_))
}

#[cfg(test)]
mod tests;
