//! A gateway's threads: one loop for endpoints that speak Redis, one for those that speak SQL, each only where there are
//! such endpoints. What the gateway is asked goes to those whom it concerns.

use crate::direction::{Direction, Source};
use crate::plane::{Heir, Inbox};
use crate::settings::Listen;
use backstay_model::{Epoch, ServiceName};
use mio::Waker;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A loop that runs. Dropping it closes everything at once.
pub(crate) struct Loop {
    inbox: Arc<Mutex<Inbox>>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    services: BTreeSet<ServiceName>,
}

impl Loop {
    pub(crate) fn start(
        name: &str,
        inbox: Arc<Mutex<Inbox>>,
        waker: Waker,
        services: BTreeSet<ServiceName>,
        run: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> io::Result<Self> {
        let run = move || {
            if let Err(error) = run() {
                tracing::error!(%error, "the gateway ends");
            }
        };
        let thread = Some(std::thread::Builder::new().name(name.to_owned()).spawn(run)?);
        Ok(Self { inbox, waker, thread, services })
    }

    pub(crate) fn serves(&self, service: &ServiceName) -> bool {
        self.services.contains(service)
    }

    pub(crate) fn route(&self, service: &ServiceName, direction: &Direction, sources: &[Source]) {
        self.ask(|inbox| {
            // What waits to be read may be newer.
            if inbox.routes.get(service).is_none_or(|(waiting, _)| waiting.epoch() <= direction.epoch()) {
                inbox.routes.insert(service.clone(), (direction.clone(), sources.to_vec()));
            }
        });
    }

    /// Leaves something for the loop to find, and wakes it.
    pub(crate) fn ask(&self, ask: impl FnOnce(&mut Inbox)) {
        ask(&mut self.inbox());
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "the gateway's loop cannot be woken");
        }
    }

    pub(crate) fn leave(&self, drain: Duration, sockets: Vec<Listen>) {
        self.ask(|inbox| inbox.stop = Some((drain, sockets)));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has ended, after `leave`.
    pub(crate) fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and has said so.
            let _ = thread.join();
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.leave(Duration::ZERO, Vec::new());
            self.join();
        }
    }
}

/// Passes on that a hold or drain was carried out, once every loop that serves the service has said so.
#[derive(Clone)]
pub(crate) struct Confirmation(Arc<Mutex<Pending>>);

struct Pending {
    held: Box<dyn FnMut(ServiceName, Epoch) + Send>,
    /// Services that several loops serve, with how many.
    shared: BTreeMap<ServiceName, usize>,
    /// Of those, what some have said.
    said: BTreeMap<ServiceName, (Epoch, usize)>,
}

impl Confirmation {
    /// `services`: whom each loop serves.
    pub(crate) fn new(
        services: &[BTreeSet<ServiceName>],
        held: impl FnMut(ServiceName, Epoch) + Send + 'static,
    ) -> Self {
        let mut shared = BTreeMap::new();
        for service in services.iter().flatten() {
            *shared.entry(service.clone()).or_insert(0) += 1;
        }
        shared.retain(|_, loops| *loops > 1);
        Self(Arc::new(Mutex::new(Pending { held: Box::new(held), shared, said: BTreeMap::new() })))
    }

    /// One loop has carried it out.
    pub(crate) fn say(&self, service: ServiceName, epoch: Epoch) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loops) = pending.shared.get(&service).copied() {
            let (said_of, count) = pending.said.entry(service.clone()).or_insert((epoch, 0));
            if epoch < *said_of {
                return;
            }
            *count = if epoch == *said_of { *count + 1 } else { 1 };
            *said_of = epoch;
            if *count < loops {
                return;
            }
            pending.said.remove(&service);
        }
        (pending.held)(service, epoch);
    }
}

/// Something that each loop gives a part of, and that is passed on once all have.
pub(crate) fn gather(loops: usize, give: impl FnOnce(Vec<(Listen, OwnedFd)>) + Send + 'static) -> Vec<Heir> {
    let gathered = Arc::new(Mutex::new((loops, Vec::new(), Some(give))));
    let heir = |_| -> Heir {
        let gathered = gathered.clone();
        Box::new(move |sockets: Vec<(Listen, OwnedFd)>| {
            let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
            gathered.0 -= 1;
            gathered.1.extend(sockets);
            if gathered.0 == 0
                && let Some(give) = gathered.2.take()
            {
                give(std::mem::take(&mut gathered.1));
            }
        })
    };
    (0..loops).map(heir).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_of_two_loops_is_held_once_both_have_said_so() {
        let (one, two): (ServiceName, ServiceName) = ("one".into(), "two".into());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let noted = heard.clone();
        let services = [BTreeSet::from([one.clone(), two.clone()]), BTreeSet::from([two.clone()])];
        let said = Confirmation::new(&services, move |service, epoch| {
            noted.lock().unwrap().push((service, epoch));
        });
        let say = |service: &ServiceName, epoch| {
            said.say(service.clone(), Epoch(epoch));
            std::mem::take(&mut *heard.lock().unwrap()).len()
        };
        assert_eq!((say(&one, 1), say(&two, 1), say(&two, 1)), (1, 0, 1));
        // One of them skipped an epoch that the other carried out, and comes late with another.
        assert_eq!((say(&two, 2), say(&two, 4), say(&two, 3), say(&two, 4)), (0, 0, 0, 1));
    }
}
