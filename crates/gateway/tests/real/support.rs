//! The few words in which the tests are told: real servers, a gateway in front of them, clients of it.

use backstay_gateway::{Endpoint, EndpointKind, Gateway, Listen, Settings};
use backstay_lab::load::connection::{Connection, Reply, error_text, text};
use backstay_lab::servers::ports::Ports;
use backstay_lab::servers::process::Process;
use backstay_lab::servers::redis::{Boot, RedisServer};
use backstay_lab::wait::wait_until;
use backstay_lease::Standing;
use backstay_model::{Epoch, Reader, ServiceName, Time};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A real server that ends with the test.
pub(crate) struct Server {
    pub(crate) redis: RedisServer,
    pub(crate) process: Process,
    _folder: tempfile::TempDir,
    _ports: Ports,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::booted(Boot::Open)
    }

    pub(crate) fn replica_of(primary: &Self) -> Self {
        let server = Self::booted(Boot::ReplicaOf(primary.redis.port));
        until("a linked replica", || {
            server.redis.info("master_link_status").unwrap().as_deref() == Some("up")
        });
        server
    }

    fn booted(boot: Boot) -> Self {
        let mut ports = Ports::open().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let redis = RedisServer {
            name: "server".to_owned(),
            port: ports.claim().unwrap(),
            folder: folder.path().to_owned(),
        };
        redis.write_configuration(boot).unwrap();
        let process = redis.start().unwrap();
        redis.await_answer(process).unwrap();
        Self { redis, process, _folder: folder, _ports: ports }
    }

    pub(crate) fn ask(&self, request: &[&str]) -> Reply {
        self.redis.ask(request).unwrap()
    }

    /// What `CLIENT LIST` says, without the connection that asks.
    pub(crate) fn clients(&self) -> Vec<String> {
        let list = text(&self.ask(&["CLIENT", "LIST"]));
        list.lines().filter(|line| line.contains("name=backstay-gateway")).map(str::to_owned).collect()
    }

    pub(crate) fn kill(&self) {
        let _ = self.process.signal(Signal::SIGKILL);
        assert!(self.process.ends_within(LIMIT));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.signal(Signal::SIGKILL);
    }
}

/// A gateway with one endpoint, and what it confirmed.
pub(crate) struct Front {
    pub(crate) gateway: Gateway,
    pub(crate) held: Arc<Mutex<Vec<Epoch>>>,
    pub(crate) address: SocketAddr,
}

pub(crate) fn endpoint() -> Endpoint {
    Endpoint {
        listen: vec![Listen::Tcp("127.0.0.1:0".parse().unwrap())],
        ..Endpoint::new("shop", "shop".into(), EndpointKind::Primary)
    }
}

pub(crate) fn now() -> Time {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).unwrap();
    Time::from_micros(time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000)
}

impl Front {
    pub(crate) fn start(endpoint: Endpoint) -> Self {
        let held = Arc::new(Mutex::new(Vec::new()));
        let heard = held.clone();
        let settings = Settings { zone: "a".to_owned(), endpoints: vec![endpoint] };
        let gateway =
            Gateway::start(settings, move |_: ServiceName, epoch| heard.lock().unwrap().push(epoch)).unwrap();
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
        self.serve_until(epoch, server.redis.address(), Time::MAX);
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

    pub(crate) fn await_held(&self, epoch: u64) {
        until("the confirmation", || self.held.lock().unwrap().contains(&Epoch(epoch)));
    }

    pub(crate) fn route(&self, standing: Standing, readers: Vec<Reader>) {
        self.gateway.route("shop".into(), standing, readers);
    }

    pub(crate) fn client(&self) -> Connection {
        Connection::open(self.address, LIMIT).unwrap()
    }

    pub(crate) fn resp3(&self) -> Connection {
        let mut client = self.client();
        assert!(error_text(&client.call(&["HELLO", "3"]).unwrap()).is_none());
        client
    }

    /// Everything that clients sent before was taken: the gateway itself has answered somebody who came later, twice,
    /// because what arrives together is taken in any order.
    pub(crate) fn await_taken(&self) {
        let mut other = self.client();
        say(&mut other, "CLIENT ID");
        say(&mut other, "CLIENT ID");
    }

    pub(crate) fn await_held_commands(&self, count: u64) {
        until("held commands", || self.gateway.load().held >= count);
    }
}

pub(crate) fn until(what: &str, look: impl Fn() -> bool) {
    wait_until(what, LIMIT, || look().then_some(())).unwrap();
}

/// One call, as text: `OK`, a value, a number, an error with its code, `nil`, or a list in brackets.
pub(crate) fn say(client: &mut Connection, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    show(&client.call(&words).unwrap())
}

pub(crate) fn send(client: &mut Connection, line: &str) {
    let words: Vec<&str> = line.split(' ').collect();
    client.send(&[&words]).unwrap();
}

pub(crate) fn hear(client: &mut Connection) -> String {
    show(&client.receive().unwrap())
}

pub(crate) fn show(reply: &Reply) -> String {
    let list = |items: &[Reply]| format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(" "));
    match reply {
        Reply::Simple(text) | Reply::Error(text) => text.clone(),
        Reply::Integer(number) => number.to_string(),
        Reply::Null | Reply::NullArray => "nil".to_owned(),
        Reply::Array(items) | Reply::Set(items) => list(items),
        Reply::Push(items) => format!(">{}", list(items)),
        other => text(other),
    }
}
