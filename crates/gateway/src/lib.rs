//! The data plane: endpoints that never change, in front of servers that do.
//!
//! One thread per gateway and one poll loop (`plane`) move bytes; what they mean is decided by a value that is stepped
//! and knows neither sockets nor clocks (`core`). The gateway decides nothing about failovers: it follows what
//! `Gateway::route` was last told, and forwards to a primary only while its lease lasts (safety, sections 2.1 and 8).

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

mod commands;
mod core;
mod family;
mod names;
mod plane;
mod scan;
mod settings;
mod slow;
mod traffic;

/// Entrances for fuzz targets, which have no sockets.
#[cfg(fuzzing)]
pub mod fuzzing {
    /// Plays a sequence of events that these bytes stand for, and panics if a promise is broken.
    pub fn play(script: &[u8]) {
        crate::core::play::play(script);
    }

    /// Looks for a header of the PROXY protocol in these bytes, handed in in pieces: how they are cut makes no difference.
    pub fn header(bytes: &[u8]) {
        if let Some((size, bytes)) = bytes.split_first() {
            let whole = crate::plane::header_length(bytes, usize::MAX);
            assert_eq!(crate::plane::header_length(bytes, usize::from(*size)), whole);
        }
    }

    /// Finds requests and replies in these bytes.
    pub fn scan(bytes: &[u8]) {
        crate::scan::scan_all(bytes);
    }
}

pub use settings::{
    Backend, Endpoint, EndpointKind, EndpointLimits, Heritage, Listen, Login, Otherwise, Secret, Settings,
    User,
};

use backstay_lease::Standing;
use backstay_model::{
    Address, EndpointTraffic, Epoch, GatewayLoad, Reader, ServiceName, SlowCommand, UnixMicros,
};
use core::{Direction, Source, Target};
use mio::Waker;
use names::Names;
use plane::{Inbox, Plane};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use traffic::Traffic;

/// Why a gateway did not start. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address could not be taken.
    #[error("endpoint '{endpoint}' cannot listen at {listen}: {source}")]
    Listen {
        /// The endpoint.
        endpoint: String,
        /// Where it should listen.
        listen: Listen,
        /// What the system says.
        source: io::Error,
    },
    /// The system does not tell what happens on sockets.
    #[error("the system does not tell what happens on sockets: {0}")]
    Poll(io::Error),
    /// There is no thread for it.
    #[error("no thread could be started for the gateway: {0}")]
    Thread(io::Error),
}

/// Looks at what goes through a gateway, from any thread, also when the gateway is gone.
#[derive(Clone)]
pub struct Look {
    endpoints: Vec<Arc<Traffic>>,
}

impl Look {
    /// What went through each endpoint since the gateway's start.
    pub fn traffic(&self) -> Vec<EndpointTraffic> {
        self.endpoints.iter().map(|endpoint| endpoint.read()).collect()
    }

    /// The last commands that took long, the oldest first. `now` is what people's clocks show.
    pub fn slow(&self, now: UnixMicros) -> Vec<SlowCommand> {
        let here = plane::now();
        let each = self.endpoints.iter().map(|endpoint| endpoint.slow.read(endpoint.name(), here, now));
        let mut all: Vec<_> = each.flatten().collect();
        all.sort_by_key(|slow| slow.at);
        all
    }
}

/// A running gateway. Dropping it closes everything at once; `stop` does so gently.
pub struct Gateway {
    inbox: Arc<Mutex<Inbox>>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
    look: Look,
    inherited: Vec<Listen>,
    addresses: Vec<(String, Listen)>,
    names: Names,
}

impl Gateway {
    /// Opens every endpoint, also where another gateway of the same user listens. Commands wait until `route` says where
    /// they go. `held` is called on the gateway's own thread when a `Hold` or `Drain` was carried out, and must return at
    /// once.
    pub fn start(
        settings: Settings,
        held: impl FnMut(ServiceName, Epoch) + Send + 'static,
    ) -> Result<Self, StartError> {
        Self::succeed(settings, Heritage::default(), held)
    }

    /// As `start`, with sockets of the gateway before it. Nobody is accepted at those until `take_over`.
    pub fn succeed(
        settings: Settings,
        heritage: Heritage,
        held: impl FnMut(ServiceName, Epoch) + Send + 'static,
    ) -> Result<Self, StartError> {
        raise_file_limit();
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let (plane, waker, addresses) = Plane::open(settings, heritage, inbox.clone(), held)?;
        let inherited = plane.inherited();
        let look = Look { endpoints: plane.traffic() };
        let run = move || {
            if let Err(error) = plane.run() {
                tracing::error!(%error, "the gateway ends");
            }
        };
        let thread = std::thread::Builder::new().name("gateway".to_owned()).spawn(run);
        let thread = Some(thread.map_err(StartError::Thread)?);
        Ok(Self { inbox, waker, thread, look, inherited, addresses, names: Names::default() })
    }

    /// Where a service's commands go from now on. A new lease's length is told in the same way. Host names
    /// are looked up on the side: a server whose name is not known yet is none.
    pub fn route(&self, service: ServiceName, standing: Standing, readers: Vec<Reader>) {
        let direction = match standing {
            Standing::Serve { epoch, primary, until } => match self.resolve(&primary) {
                Some(target) => Direction::Serve { epoch, target, until },
                None => Direction::Hold { epoch },
            },
            Standing::Drain { epoch, until } => Direction::Drain { epoch, until },
            Standing::Hold { epoch } => Direction::Hold { epoch },
        };
        let source = |reader: Reader| {
            let target = self.resolve(&reader.address)?;
            Some(Source { target, zone: reader.zone, lag_bytes: reader.lag_bytes })
        };
        let sources = readers.into_iter().filter_map(source).collect();
        let mut inbox = self.inbox();
        // What waits to be read may be newer.
        if inbox.routes.get(&service).is_none_or(|(waiting, _)| waiting.epoch() <= direction.epoch()) {
            inbox.routes.insert(service, (direction, sources));
        }
        drop(inbox);
        self.wake();
    }

    /// Shows another certificate to clients that connect from now on, at the endpoint of this name.
    pub fn show(&self, endpoint: String, tls: Arc<rustls::ServerConfig>) {
        self.inbox().tls.insert(endpoint, tls);
        self.wake();
    }

    /// Where it listens, with the endpoints' names: free ports that were asked for have numbers here.
    pub fn addresses(&self) -> &[(String, Listen)] {
        &self.addresses
    }

    /// What it is busy with.
    pub fn load(&self) -> GatewayLoad {
        Traffic::load(&self.look.endpoints)
    }

    /// To look at what goes through it.
    pub fn look(&self) -> Look {
        self.look.clone()
    }

    /// Accepts nobody any more, and returns at once. If another gateway listens at the same address already, clients
    /// that asked for it are told to go there, and are served until they do; all others until nothing of theirs is under
    /// way; nobody for longer than `drain`. `route` is still to be called meanwhile.
    pub fn leave(&self, drain: Duration) {
        self.hand_over(drain, Vec::new());
    }

    /// As `leave`, when another gateway has begun to accept at these sockets of this one: they stay open, and clients that
    /// go on talking here are served until shortly before `drain` is over.
    pub fn hand_over(&self, drain: Duration, sockets: Vec<Listen>) {
        self.inbox().stop = Some((drain, sockets));
        self.wake();
    }

    /// Gives its listening sockets, for another gateway to accept from; it goes on accepting, too. `give` is called on the
    /// gateway's own thread, and never if that has ended.
    pub fn share(&self, give: impl FnOnce(Vec<(Listen, OwnedFd)>) + Send + 'static) {
        self.inbox().heirs.push(Box::new(give));
        self.wake();
    }

    /// Where it listens at sockets of the gateway before it.
    pub fn inherited(&self) -> &[Listen] {
        &self.inherited
    }

    /// Accepts clients at inherited sockets from now on.
    pub fn take_over(&self) {
        self.inbox().take_over = true;
        self.wake();
    }

    /// Everything is closed, after `leave`.
    pub fn has_left(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// As `leave`, and waits until everything is closed.
    pub fn stop(mut self, drain: Duration) {
        self.end(drain);
    }

    fn end(&mut self, drain: Duration) {
        self.leave(drain);
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, and has said so.
            let _ = thread.join();
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "the gateway's loop cannot be woken");
        }
    }

    fn resolve(&self, address: &Address) -> Option<Target> {
        let found = self.names.find(address)?;
        Some(Target { address: found, host: address.host.clone() })
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

/// Each client is an open file. Failing leaves what the system grants.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
