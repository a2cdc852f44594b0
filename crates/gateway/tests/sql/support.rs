//! The few words in which the tests are told: a gateway, what it confirmed, and who waits for what.

use crate::server::Server;
use crate::wire::Client;
use backstay_gateway::{Endpoint, EndpointKind, Gateway, Listen, Protocol, Settings};
use backstay_lease::Standing;
use backstay_model::{EndpointTraffic, Epoch, Reader, ServiceName, SqlTraffic, Time};
use nix::time::{ClockId, clock_gettime};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A gateway with one endpoint, and what it confirmed.
pub(crate) struct Front {
    pub(crate) gateway: Gateway,
    held: Arc<Mutex<Vec<(ServiceName, Epoch)>>>,
    pub(crate) address: SocketAddr,
}

pub(crate) fn endpoint() -> Endpoint {
    Endpoint {
        listen: vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())],
        protocol: Protocol::Sql,
        ..Endpoint::new("shop", "shop".into(), EndpointKind::Primary)
    }
}

pub(crate) fn now() -> Time {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap();
    Time::from_micros(time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000)
}

impl Front {
    pub(crate) fn start(endpoint: Endpoint) -> Self {
        Self::of_all(vec![endpoint])
    }

    /// With several endpoints; `address` is that of the first.
    pub(crate) fn of_all(endpoints: Vec<Endpoint>) -> Self {
        let held = Arc::new(Mutex::new(Vec::new()));
        let heard = held.clone();
        let settings = Settings { zone: "a".to_owned(), endpoints };
        let gateway = Gateway::start(settings, move |service, epoch| {
            heard.lock().unwrap().push((service, epoch));
        });
        let gateway = gateway.unwrap();
        let Listen::Tcp(address) = gateway.addresses()[0].1.clone() else {
            panic!("it listens on TCP");
        };
        Self { gateway, held, address }
    }

    /// One that serves this server, in epoch 1, for ever.
    pub(crate) fn of(server: &Server) -> Self {
        let front = Self::start(endpoint());
        front.serve(1, server);
        front
    }

    pub(crate) fn serve(&self, epoch: u64, server: &Server) {
        self.serve_until(epoch, server.address, Time::MAX);
    }

    pub(crate) fn serve_until(&self, epoch: u64, server: SocketAddr, until: Time) {
        let primary = server.to_string().parse().unwrap();
        self.route(Standing::Serve { epoch: Epoch(epoch), primary, until }, Vec::new());
    }

    pub(crate) fn hold(&self, epoch: u64) {
        self.route(Standing::Hold { epoch: Epoch(epoch) }, Vec::new());
        self.await_held(epoch);
    }

    pub(crate) fn drain(&self, epoch: u64) {
        self.route(Standing::Drain { epoch: Epoch(epoch), until: Time::MAX }, Vec::new());
    }

    pub(crate) fn has_held(&self, epoch: u64) -> bool {
        self.held.lock().unwrap().contains(&("shop".into(), Epoch(epoch)))
    }

    pub(crate) fn await_held(&self, epoch: u64) {
        until("the confirmation", || self.has_held(epoch));
    }

    pub(crate) fn route(&self, standing: Standing, readers: Vec<Reader>) {
        self.gateway.route("shop".into(), standing, readers);
    }

    pub(crate) fn client(&self) -> Client {
        Client::open(self.address, "root", "shop").unwrap()
    }

    pub(crate) fn traffic(&self) -> EndpointTraffic {
        self.gateway.look().traffic().remove(0)
    }

    pub(crate) fn sql(&self) -> SqlTraffic {
        self.traffic().sql.unwrap()
    }

    pub(crate) fn await_waiting(&self, count: u64) {
        until("clients that wait", || self.gateway.load().held == count);
    }
}

pub(crate) fn until(what: &str, mut look: impl FnMut() -> bool) {
    let start = Instant::now();
    while !look() {
        assert!(start.elapsed() < LIMIT, "{what}");
        // Nobody else is to be kept from working.
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
