//! What the controllers say about a failover while it happens, in milliseconds from the fault: moments out of their
//! history, each told once.

use crate::admin;
use crate::servers::process::{Liveness, Moment};
use crate::stack::lab::Lab;
use backstay_model::{Epoch, FailoverRecord, UnixMicros};

/// The last failover, as far as it is known.
#[derive(Debug)]
pub struct Timeline {
    service: String,
    /// The epoch before the fault.
    before: Epoch,
    fault: Moment,
    told: Vec<&'static str>,
    /// The latest record of the latest epoch.
    pub record: Option<FailoverRecord>,
}

/// A moment that was not told yet.
#[derive(Debug, PartialEq)]
pub struct News {
    /// Milliseconds since the fault.
    pub ms: f64,
    /// One line.
    pub line: String,
}

/// The current epoch of a service, as the lab's controllers say.
pub fn epoch(lab: &Lab, service: &str) -> crate::Result<Epoch> {
    let status = lab.cluster_status()?;
    let found = status.services.into_iter().find(|found| found.name.as_str() == service);
    Ok(found.map_or(Epoch(0), |service| service.epoch))
}

impl Timeline {
    /// Of what comes after a service's epoch `before`, because of the fault at `fault`.
    pub fn new(service: &str, before: Epoch, fault: Moment) -> Self {
        Self { service: service.to_owned(), before, fault, told: Vec::new(), record: None }
    }

    /// Asks a running controller; returns what it had not said before.
    pub fn look(&mut self, lab: &Lab) -> Vec<News> {
        let Some(record) = latest(lab, &self.service, self.before) else {
            return Vec::new();
        };
        let moments = [
            ("suspected", record.moments.suspected, "a controller suspects the primary".to_owned()),
            (
                "decided",
                record.moments.committed,
                format!("decided in epoch {}, because {}", record.epoch, record.cause),
            ),
            ("paused", record.moments.paused, "writes wait".to_owned()),
            ("fenced", record.moments.fenced, fenced(&record)),
            ("promoted", record.moments.promoted, promoted(&record)),
        ];
        let mut news = Vec::new();
        for (name, at, line) in moments {
            if let Some(at) = at.filter(|_| !self.told.contains(&name)) {
                self.told.push(name);
                news.push(News { ms: self.ms(at), line });
            }
        }
        self.record = Some(record);
        news
    }

    /// Milliseconds from the fault to a moment on the controllers' clocks, which are this machine's.
    pub fn ms(&self, at: UnixMicros) -> f64 {
        (at.0 as f64) / 1e3 - (self.fault.unix_ns as f64) / 1e6
    }

    /// Whether the promotion was told.
    pub fn is_promoted(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.moments.promoted.is_some())
    }
}

fn fenced(record: &FailoverRecord) -> String {
    if record.planned {
        "the old primary is a replica, and all that it took is at the next one".to_owned()
    } else {
        "every replica that answers is frozen".to_owned()
    }
}

fn promoted(record: &FailoverRecord) -> String {
    let to = record.to.as_ref().map_or("nobody", |name| name.as_str());
    let why = if record.planned { "it has everything" } else { record.choice.as_str() };
    format!("{to} is promoted: {why}")
}

fn latest(lab: &Lab, service: &str, before: Epoch) -> Option<FailoverRecord> {
    let state = lab.state().ok()?;
    let running = state.controllers.iter().filter(|member| member.liveness() == Liveness::Running);
    let records = running.filter_map(|member| admin::history(&member.server.admin).ok()).flatten();
    let records = records.filter(|record| record.service.as_str() == service && record.epoch > before);
    records.max_by_key(|record| (record.epoch, told_moments(record)))
}

/// Controllers learn of a moment one after the other.
fn told_moments(record: &FailoverRecord) -> usize {
    record.moments.in_order().iter().filter(|(_, at)| at.is_some()).count()
}
