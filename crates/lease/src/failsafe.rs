//! The failsafe (safety, section 2.6): serving on without a lease, for services whose operator wrote
//! `failsafe = "risk-two-primaries"`, while no controller tells this gateway anything and a replica speaks for the primary.
//! Nothing here makes it safe: another primary may have been opened by controllers that this gateway cannot hear.

use super::{Evidence, Leases, Sample, Service};
use backstay_model::{Address, Epoch, FailsafeRun, LEASE, Now, PrimaryOrder, ServiceName, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// Who was not asked anything for so long stood still, and must hear first what the controllers have to say.
const STANDSTILL: Duration = Duration::from_millis(LEASE.as_millis() as u64 / 2);
/// For how long controllers are told of a run that is over.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// A time without a lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    began: Now,
    ended: Option<Time>,
}

/// What an operator should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// The service is served without a lease from now on.
    Begins {
        /// The service.
        service: ServiceName,
        /// Its primary.
        primary: Address,
        /// The epoch of the last lease.
        epoch: Epoch,
    },
    /// That is over.
    Ends {
        /// The service.
        service: ServiceName,
        /// For how long it was so.
        lasted: Duration,
        /// Why.
        because: Ending,
    },
}

impl Alarm {
    /// Whose.
    pub const fn service(&self) -> &ServiceName {
        match self {
            Self::Begins { service, .. } | Self::Ends { service, .. } => service,
        }
    }
}

/// Why the failsafe ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A controller spoke.
    Told,
    /// No replica speaks for the primary any more: the service is held.
    Unsupported,
    /// The gateway leaves.
    Leaving,
}

impl Leases {
    /// Leases that are served on without for these services, if nobody can be asked.
    pub fn with_failsafe(services: impl IntoIterator<Item = ServiceName>) -> Self {
        Self { failsafe: services.into_iter().collect(), ..Self::default() }
    }

    /// From now on nothing is served without a lease: the gateway is about to leave.
    pub fn forgo_failsafe(&mut self) {
        self.failsafe.clear();
    }

    /// Who should be looked at for the service, several times a second: the primary of the last lease, if the failsafe
    /// may need it.
    pub fn sampled(&self, service: &ServiceName) -> Option<&Address> {
        match &self.services.get(service).filter(|_| self.failsafe.contains(service))?.orders.primary {
            PrimaryOrder::Serve(primary) => Some(primary),
            _ => None,
        }
    }

    /// Takes up what the service's primary said of itself.
    pub fn sample(&mut self, now: Time, service: &ServiceName, sample: Sample) {
        self.notice(now);
        let Some(it) = self.services.get_mut(service) else {
            return;
        };
        if it.orders.primary != PrimaryOrder::Serve(sample.address.clone()) {
            return; // It was asked before the last order.
        }
        match &mut it.evidence {
            Some(evidence) => evidence.add(sample),
            None if sample.asked < it.until => it.evidence = Some(Evidence::new(sample)),
            // Who answers here first after a lease may be anybody.
            None => {}
        }
    }

    /// Whether the service is served without a lease now.
    pub fn is_failsafe(&self, service: &ServiceName, now: Time) -> bool {
        self.services.get(service).is_some_and(|it| self.failsafe_until(service, it, now).is_some())
    }

    /// Until when it may be served without a lease, if it may: no longer than a lease lasts, however long the evidence
    /// does, so that a gateway that stands still does not go on by what was true before.
    pub(crate) fn failsafe_until(&self, service: &ServiceName, it: &Service, now: Time) -> Option<Time> {
        let is_unheard = now.since(self.heard.max(self.woke)) > LEASE;
        let may = self.failsafe.contains(service) && !self.leaving && now >= it.until && is_unheard;
        let until = it.evidence.as_ref().filter(|_| may)?.until()?;
        (now < until).then(|| until.min(now + LEASE))
    }

    /// What began or ended since this was asked last. Ask after everything that was told, and ten times a second.
    #[must_use]
    pub fn alarms(&mut self, now: Now) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        for service in self.services.keys().cloned().collect::<Vec<_>>() {
            let runs = self.is_failsafe(&service, now.time);
            let because = self.ending(now.time, &service);
            let Some(it) = self.services.get_mut(&service) else {
                continue;
            };
            match (&mut it.run, &it.orders.primary) {
                (Some(run), _) if run.ended.is_none() && !runs => {
                    run.ended = Some(now.time);
                    let lasted = now.time.since(run.began.time);
                    alarms.push(Alarm::Ends { service, lasted, because });
                }
                (Some(Run { ended: None, .. }), _) => {}
                (run, PrimaryOrder::Serve(primary)) if runs => {
                    *run = Some(Run { began: now, ended: None });
                    alarms.push(Alarm::Begins { service, primary: primary.clone(), epoch: it.orders.epoch });
                }
                _ => {}
            }
        }
        alarms
    }

    fn ending(&self, now: Time, service: &ServiceName) -> Ending {
        if self.leaving || !self.failsafe.contains(service) {
            Ending::Leaving
        } else if now.since(self.heard) <= LEASE {
            Ending::Told
        } else {
            Ending::Unsupported
        }
    }

    /// What controllers are told of all this.
    pub(crate) fn failsafe_runs(&self, now: Time) -> BTreeMap<ServiceName, FailsafeRun> {
        let runs = self.services.iter().filter_map(|(service, it)| Some((service, it.run?)));
        let lately = runs.filter(|(_, run)| run.ended.is_none_or(|ended| now.since(ended) < REMEMBERED));
        let told = lately.map(|(service, Run { began, ended })| {
            let lasted = ended.map(|ended| ended.since(began.time));
            let lasted_ms = lasted.map(|lasted| u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX));
            (service.clone(), FailsafeRun { began: began.unix, lasted_ms })
        });
        told.collect()
    }

    /// Time passed. If too much did, this gateway stood still: silence in that time is nobody's but its own.
    pub(crate) fn notice(&mut self, now: Time) {
        if now.since(self.noticed) > STANDSTILL {
            self.woke = now;
        }
        self.noticed = now;
    }
}

#[cfg(test)]
mod tests;
