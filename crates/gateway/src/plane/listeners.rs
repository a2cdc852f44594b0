//! All sockets at which a loop's clients come in.

use super::listener::Listener;
use super::socket::Socket;
use super::{Whose, now};
use crate::StartError;
use crate::settings::{Endpoint, Heritage, Listen};
use backstay_model::Time;
use mio::Registry;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// When no client can be accepted, the next one is not tried before.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often that is said.
const ACCEPT_TOLD_EVERY: Duration = Duration::from_secs(60);

pub(crate) struct Listeners {
    all: Vec<Listener>,
    /// Clients wait in the kernel's queue until then.
    again: Option<Time>,
    /// It is not said before then that they do.
    told: Time,
}

/// Somebody who came in.
pub(crate) struct Arrival {
    pub(crate) endpoint: usize,
    pub(crate) socket: Socket,
    /// Where from, for people.
    pub(crate) peer: String,
}

impl Listeners {
    /// Opens those of every endpoint; what is inherited is not watched yet.
    pub(crate) fn open(
        endpoints: &[Endpoint],
        registry: &Registry,
        heritage: &mut Heritage,
    ) -> Result<Self, StartError> {
        let mut all = Vec::new();
        for (number, endpoint) in endpoints.iter().enumerate() {
            for listen in &endpoint.listen {
                let failed = |source| StartError::Listen {
                    endpoint: endpoint.name.clone(),
                    listen: listen.clone(),
                    source,
                };
                let mut listener = Listener::open(number, listen, heritage).map_err(failed)?;
                if !listener.inherited {
                    listener.register(registry, Whose::Listener(all.len()).token()).map_err(failed)?;
                }
                // Who cannot say where it listens is of no use.
                listener.address().map_err(failed)?;
                all.push(listener);
            }
        }
        Ok(Self { all, again: None, told: Time::ZERO })
    }

    /// Where each endpoint listens, by its number.
    pub(crate) fn addresses(&self) -> Vec<(usize, Listen)> {
        self.all.iter().filter_map(|it| Some((it.endpoint, it.address().ok()?))).collect()
    }

    /// Where it listens at sockets of the gateway before it.
    pub(crate) fn inherited(&self) -> Vec<Listen> {
        self.all.iter().filter(|it| it.inherited).filter_map(|it| it.address().ok()).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// One more client of this listener, if one waits.
    pub(crate) fn accept(&mut self, number: usize) -> Option<Arrival> {
        while let Some(listener) = self.all.get(number).filter(|_| self.again.is_none()) {
            match listener.accept() {
                Ok((socket, peer)) => return Some(Arrival { endpoint: listener.endpoint, socket, peer }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    // Most likely the process has no more files.
                    let now = now();
                    if now >= self.told {
                        self.told = now + ACCEPT_TOLD_EVERY;
                        tracing::warn!(%error, "cannot accept clients; they wait until others have gone");
                    }
                    // The loop turns at least as often.
                    self.again = Some(now + ACCEPT_PAUSE);
                }
            }
        }
        None
    }

    /// Those who could not be accepted are to be tried again.
    pub(crate) fn retries(&mut self) -> bool {
        self.again.take_if(|at| now() >= *at).is_some()
    }

    /// Accepts nobody any more, and leaves open what was handed over. Returns where it listened.
    pub(crate) fn leave(&mut self, handed: &[Listen], registry: &Registry) -> Vec<Listen> {
        let mut addresses = Vec::new();
        for listener in std::mem::take(&mut self.all) {
            let address = listener.address().ok();
            if address.as_ref().is_some_and(|address| handed.contains(address)) {
                listener.hand_over(registry);
            }
            addresses.extend(address);
        }
        addresses
    }

    /// Its listening sockets once more, for the gateway that follows.
    pub(crate) fn share(&self) -> Vec<(Listen, OwnedFd)> {
        let shared = |listener: &Listener| Some((listener.address().ok()?, listener.share()?));
        self.all.iter().filter_map(shared).collect()
    }

    /// Accepts clients at the sockets of the gateway before this one, too.
    pub(crate) fn take_over(&mut self, registry: &Registry) {
        let mut fresh = Vec::new();
        for (number, listener) in self.all.iter_mut().enumerate().filter(|it| it.1.inherited) {
            match listener.take_over() {
                Ok(second) => fresh.extend(second),
                Err(error) => tracing::error!(%error, "a Unix socket that was handed over has lost its file"),
            }
            if let Err(error) = listener.register(registry, Whose::Listener(number).token()) {
                tracing::error!(%error, "cannot watch a socket that was handed over");
            }
        }
        for mut listener in fresh {
            let token = Whose::Listener(self.all.len()).token();
            if let Err(error) = listener.register(registry, token) {
                tracing::error!(%error, "cannot watch a socket in the place of one that was handed over");
            }
            self.all.push(listener);
        }
    }
}
