//! The data plane: endpoints that never change, in front of servers that do.
//!
//! One thread and one poll loop (`plane`) move bytes; what they mean is decided by a value that is stepped and knows
//! neither sockets nor clocks (`core`). Endpoints that speak SQL have a thread and a loop of their own, in the same two
//! parts (`sql`). The gateway decides nothing about failovers: it follows what
//! `Gateway::route` was last told, and forwards to a primary only while its lease lasts (safety, sections 2.1 and 8).

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

mod commands;
mod core;
mod direction;
mod family;
mod loops;
mod names;
mod plane;
mod scan;
mod settings;
mod slow;
mod sql;
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

    /// Follows a conversation of SQL, handed in in pieces, or plays a sequence of events with such clients; the first byte
    /// says which.
    pub fn sql(bytes: &[u8]) {
        match bytes.split_first() {
            Some((first, rest)) if first % 2 == 0 => crate::sql::follow(usize::from(*first) / 2, rest),
            Some((_, rest)) => crate::sql::play::play(rest),
            None => {}
        }
    }

    /// Finds requests and replies in these bytes.
    pub fn scan(bytes: &[u8]) {
        crate::scan::scan_all(bytes);
    }
}

pub use settings::{
    Backend, Endpoint, EndpointKind, EndpointLimits, Heritage, Listen, Login, Otherwise, Protocol, Secret,
    Settings, User,
};

use backstay_lease::Standing;
use backstay_model::{
    Address, EndpointTraffic, Epoch, GatewayLoad, Reader, ServiceName, SlowCommand, UnixMicros,
};
use direction::{Direction, Source, Target};
use loops::{Confirmation, Loop, gather};
use mio::Waker;
use names::Names;
use plane::Inbox;
use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
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
    loops: Vec<Loop>,
    look: Look,
    inherited: Vec<Listen>,
    addresses: Vec<(String, Listen)>,
    names: Names,
}

#[allow(clippy::needless_pass_by_value, reason = "what is asked may concern several loops")]
impl Gateway {
    /// Opens every endpoint, also where another gateway of the same user listens. Commands wait until `route` says where
    /// they go. `held` is called on a thread of the gateway's own when a `Hold` or `Drain` was carried out, and must
    /// return at once.
    pub fn start(
        settings: Settings,
        held: impl FnMut(ServiceName, Epoch) + Send + 'static,
    ) -> Result<Self, StartError> {
        Self::succeed(settings, Heritage::default(), held)
    }

    /// As `start`, with sockets of the gateway before it. Nobody is accepted at those until `take_over`.
    pub fn succeed(
        settings: Settings,
        mut heritage: Heritage,
        held: impl FnMut(ServiceName, Epoch) + Send + 'static,
    ) -> Result<Self, StartError> {
        raise_file_limit();
        let all: Vec<String> = settings.endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let shares = shares(settings);
        let services: Vec<_> = shares.iter().map(Share::services).collect();
        let confirmation = Confirmation::new(&services, held);
        let opened: Vec<_> = shares
            .into_iter()
            .map(|share| share.open(&mut heritage, &confirmation))
            .collect::<Result<_, _>>()?;
        let (mut endpoints, mut addresses, mut inherited) = (Vec::new(), Vec::new(), Vec::new());
        let mut loops = Vec::new();
        for (opened, services) in opened.into_iter().zip(services) {
            endpoints.extend(opened.traffic);
            addresses.extend(opened.addresses);
            inherited.extend(opened.inherited);
            let started = Loop::start(opened.name, opened.inbox, opened.waker, services, opened.run);
            loops.push(started.map_err(StartError::Thread)?);
        }
        endpoints.sort_by_key(|it| it.0);
        addresses.sort_by_key(|it: &(usize, Listen)| it.0);
        let look = Look { endpoints: endpoints.into_iter().map(|it| it.1).collect() };
        let addresses = addresses.into_iter().map(|(number, listen)| (all[number].clone(), listen));
        Ok(Self { loops, look, inherited, addresses: addresses.collect(), names: Names::default() })
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
        let sources: Vec<Source> = readers.into_iter().filter_map(source).collect();
        let mut concerned = self.loops.iter().filter(|it| it.serves(&service)).peekable();
        // Of a service without an endpoint any loop can say at once that it is held.
        let nobody = concerned.peek().is_none();
        for it in concerned.chain(self.loops.first().filter(|_| nobody)) {
            it.route(&service, &direction, &sources);
        }
    }

    /// Shows another certificate to clients that connect from now on, at the endpoint of this name.
    pub fn show(&self, endpoint: String, tls: Arc<rustls::ServerConfig>) {
        for it in &self.loops {
            it.ask(|inbox| drop(inbox.tls.insert(endpoint.clone(), tls.clone())));
        }
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
        for it in &self.loops {
            it.leave(drain, sockets.clone());
        }
    }

    /// Gives its listening sockets, for another gateway to accept from; it goes on accepting, too. `give` is called on a
    /// thread of the gateway's own, and never if one of them has ended.
    pub fn share(&self, give: impl FnOnce(Vec<(Listen, OwnedFd)>) + Send + 'static) {
        for (it, heir) in self.loops.iter().zip(gather(self.loops.len(), give)) {
            it.ask(|inbox| inbox.heirs.push(heir));
        }
    }

    /// Where it listens at sockets of the gateway before it.
    pub fn inherited(&self) -> &[Listen] {
        &self.inherited
    }

    /// Accepts clients at inherited sockets from now on.
    pub fn take_over(&self) {
        for it in &self.loops {
            it.ask(|inbox| inbox.take_over = true);
        }
    }

    /// Everything is closed, after `leave`.
    pub fn has_left(&self) -> bool {
        self.loops.iter().all(Loop::has_ended)
    }

    /// As `leave`, and waits until everything is closed.
    pub fn stop(mut self, drain: Duration) {
        self.end(drain);
    }

    fn end(&mut self, drain: Duration) {
        self.leave(drain);
        for it in &mut self.loops {
            it.join();
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

/// The endpoints of one loop, with their numbers among all.
struct Share {
    protocol: Protocol,
    numbers: Vec<usize>,
    settings: Settings,
}

/// A loop that is about to run.
struct Opened {
    name: &'static str,
    inbox: Arc<Mutex<Inbox>>,
    waker: Waker,
    traffic: Vec<(usize, Arc<Traffic>)>,
    addresses: Vec<(usize, Listen)>,
    inherited: Vec<Listen>,
    run: Box<dyn FnOnce() -> io::Result<()> + Send>,
}

/// What each loop is to do. A gateway without endpoints has one, too.
fn shares(settings: Settings) -> Vec<Share> {
    let Settings { zone, endpoints } = settings;
    let nothing = endpoints.is_empty();
    let of_redis = |it: &(usize, Endpoint)| it.1.protocol == Protocol::Redis;
    let (redis, sql): (Vec<_>, Vec<_>) = endpoints.into_iter().enumerate().partition(of_redis);
    let shares = [(Protocol::Redis, redis), (Protocol::Sql, sql)];
    let shares = shares.into_iter().filter(|it| !it.1.is_empty() || (nothing && it.0 == Protocol::Redis));
    let share = |(protocol, endpoints): (_, Vec<_>)| {
        let (numbers, endpoints) = endpoints.into_iter().unzip();
        Share { protocol, numbers, settings: Settings { zone: zone.clone(), endpoints } }
    };
    shares.map(share).collect()
}

impl Share {
    fn services(&self) -> BTreeSet<ServiceName> {
        self.settings.endpoints.iter().map(|endpoint| endpoint.service.clone()).collect()
    }

    fn open(self, heritage: &mut Heritage, confirmation: &Confirmation) -> Result<Opened, StartError> {
        let inbox = Arc::new(Mutex::new(Inbox::default()));
        let said = confirmation.clone();
        let held = move |service, epoch| said.say(service, epoch);
        let Self { protocol, numbers, settings } = self;
        match protocol {
            Protocol::Redis => {
                let (plane, waker) = plane::Plane::open(settings, heritage, inbox.clone(), held)?;
                let traffic = numbers.iter().copied().zip(plane.traffic()).collect();
                let addresses = plane.addresses().into_iter().map(|(at, it)| (numbers[at], it)).collect();
                let inherited = plane.inherited();
                let run = Box::new(move || plane.run());
                Ok(Opened { name: "gateway", inbox, waker, traffic, addresses, inherited, run })
            }
            Protocol::Sql => {
                let (plane, waker) = sql::Plane::open(settings, heritage, inbox.clone(), held)?;
                let traffic = numbers.iter().copied().zip(plane.traffic()).collect();
                let addresses = plane.addresses().into_iter().map(|(at, it)| (numbers[at], it)).collect();
                let inherited = plane.inherited();
                let run = Box::new(move || plane.run());
                Ok(Opened { name: "gateway-sql", inbox, waker, traffic, addresses, inherited, run })
            }
        }
    }
}

/// Each client is an open file. Failing leaves what the system grants.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
