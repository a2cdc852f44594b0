//! A node whose view and events the test decides, a port on top of it, and a client that speaks in raw bytes.

use crate::sentinel::{Bounds, ServiceTerms, Settings, Source, serve};
use backstay_model::{
    Address, ClusterStatus, ControllerStatus, EngineKind, Epoch, Event, EventKind, InstanceStatus,
    MemberRole, ReplOffset, ServiceName, ServiceStatus, Term, Unit, UnixMicros,
};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio::time::{sleep, timeout};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(super) struct Node {
    pub(super) picture: Arc<Mutex<ClusterStatus>>,
    pub(super) events: broadcast::Sender<Arc<Event>>,
}

impl Source for Node {
    async fn status(&self) -> Option<ClusterStatus> {
        Some(self.picture.lock().unwrap().clone())
    }

    fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }
}

impl Node {
    /// Three controllers, `mymaster` on r1 with replicas r2 and r3, and `fresh`, which never had a primary.
    pub(super) fn new() -> Self {
        let controller = |name: &str, port: u16| ControllerStatus {
            name: name.into(),
            address: address(port),
            connected: true,
            leader: name == "a",
            certificate_expires: None,
            member: MemberRole::Voter,
            protocol: None,
        };
        let service = |name: &str, epoch, primary: Option<u16>, instances| ServiceStatus {
            name: name.into(),
            engine: EngineKind::Redis,
            unit: Unit::Bytes,
            durability: None,
            epoch: Epoch(epoch),
            phase: if primary.is_some() { "stable" } else { "forming" }.into(),
            primary: primary.map(|_| "r1".into()),
            address: primary.map(address),
            paused: None,
            rebuilds: Vec::new(),
            instances,
            problems: Vec::new(),
        };
        let picture = ClusterStatus {
            cluster: "shop".into(),
            node: "a".into(),
            leader: Some("a".into()),
            term: Term(3),
            quorum: true,
            controllers: vec![controller("a", 7601), controller("b", 7602), controller("c", 7603)],
            level: 2,
            problems: Vec::new(),
            gateways: Vec::new(),
            services: vec![
                service("fresh", 0, None, vec![instance("f1", 6390, "unknown")]),
                service(
                    "mymaster",
                    1,
                    Some(6379),
                    vec![
                        instance("r1", 6379, "primary"),
                        instance("r2", 6380, "replica"),
                        instance("r3", 6381, "replica"),
                    ],
                ),
            ],
        };
        Self { picture: Arc::new(Mutex::new(picture)), events: broadcast::Sender::new(64) }
    }

    /// The same, and a MariaDB called `orders`, of which `settings` does not know.
    pub(super) fn with_orders() -> Self {
        let node = Self::new();
        {
            let mut picture = node.picture.lock().unwrap();
            let mut orders = picture.services[1].clone();
            orders.name = "orders".into();
            orders.engine = EngineKind::MariaDb;
            picture.services.push(orders);
        }
        node
    }

    /// Lets something happen to `mymaster`.
    pub(super) fn tell(&self, kind: EventKind) {
        self.tell_of("mymaster".into(), kind);
    }

    /// Lets something happen to a service.
    pub(super) fn tell_of(&self, service: ServiceName, kind: EventKind) {
        let event = Event { at: UnixMicros(0), service: Some(service), kind };
        self.events.send(Arc::new(event)).expect("the port listens");
    }

    /// Moves the primary to r2, picture and event.
    pub(super) fn promote_r2(&self) {
        {
            let mut picture = self.picture.lock().unwrap();
            let service = &mut picture.services[1];
            service.epoch = Epoch(2);
            service.primary = Some("r2".into());
            service.address = Some(address(6380));
        }
        self.tell(promotion_of_r2());
    }

    pub(super) fn settings() -> Settings {
        let terms = ServiceTerms { down_after: Duration::from_millis(500), parallel_syncs: 1 };
        Settings {
            cluster: "shop".into(),
            node: "a".into(),
            password: None,
            ports: [("a", 26379), ("b", 26380), ("c", 26381)]
                .map(|(name, port)| (name.into(), address(port)))
                .into(),
            services: [("mymaster".into(), terms), ("fresh".into(), terms)].into(),
            bounds: Bounds::default(),
        }
    }

    /// Opens a port over this node.
    pub(super) async fn open(&self, settings: Settings) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, self.clone(), settings));
        address
    }
}

pub(super) fn promotion_of_r2() -> EventKind {
    EventKind::Promoted {
        epoch: Epoch(2),
        from: Some("r1".into()),
        from_address: Some(address(6379)),
        to: "r2".into(),
        to_address: address(6380),
    }
}

pub(super) fn address(port: u16) -> Address {
    Address { host: "127.0.0.1".into(), port }
}

pub(super) fn instance(name: &str, port: u16, role: &str) -> InstanceStatus {
    InstanceStatus {
        name: name.into(),
        address: address(port),
        site: String::new(),
        zone: String::new(),
        priority: 100,
        role: role.into(),
        health: "up".into(),
        suspected: false,
        run_id: Some(format!("{port:040}")),
        version: Some("7.0.15".into()),
        offset: Some(ReplOffset(1000)),
        lag_bytes: Some(0),
        link_up: (role == "replica").then_some(true),
        in_sync: true,
        closed: false,
    }
}

/// Waits for a condition.
pub(super) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come true");
        sleep(Duration::from_millis(20)).await;
    }
}

/// One connection.
pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) async fn connect(port: SocketAddr) -> Self {
        Self(TcpStream::connect(port).await.unwrap())
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until what was read ends with `end`.
    pub(super) async fn read_to(&mut self, end: &str) -> String {
        let mut read = String::new();
        let reading = async {
            while !read.ends_with(end) {
                read.push(char::from(self.0.read_u8().await.unwrap()));
            }
        };
        let finished = timeout(PATIENCE, reading).await.is_ok();
        assert!(finished, "waited for {end:?}, read {read:?}");
        read
    }

    /// Reads until the port closes the connection.
    pub(super) async fn read_to_end(&mut self) -> String {
        let mut read = Vec::new();
        // A reset is an end, too.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut read)).await.expect("the port closes");
        String::from_utf8_lossy(&read).into_owned()
    }
}

/// Everything that the port replies to these requests on one connection.
pub(super) async fn talk(port: SocketAddr, requests: &str) -> String {
    let mut client = Client::connect(port).await;
    client.send(requests).await;
    client.send("\r\nQUIT\r\n").await;
    let mut replies = client.read_to_end().await;
    replies.truncate(replies.strip_suffix("+OK\r\n").expect("QUIT is answered").len());
    replies
}
