//! A link and a conversation, driven by a clock and a socket as a controller drives them.

use backstay_controller::link::{ConnectFailure, Link, LinkInput, LinkOutput, LinkSettings};
use backstay_lab::load::sql::{Sql, SqlError};
use backstay_lab::servers::mariadb::MariaDbServer;
use backstay_lab::stack::mariadb::{CONTROLLER_USER, PASSWORD, REPLICATION_USER, application};
use backstay_lab::wait::wait_until;
use backstay_model::{
    Action, Address, Command, Durability, Engine, Epoch, Fault, Health, Identity, MariaDbSpec, Observation,
    Order, Replication, Reply, Role, RunId, Time,
};
use backstay_wire::mariadb::{
    Account, CANARY_RIGHTS, Conversation, ConversationError, EVENT_RIGHTS, RIGHTS, Settings,
};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// Longer than any test waits for anything.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(1);

/// A user of its own that may do what Backstay's user must be allowed to, and nothing else.
const LEAST: &str = "least";

/// Everything commits at once; events are nobody's business.
pub(crate) fn plain() -> MariaDbSpec {
    MariaDbSpec { durability: Durability::Async, events: false, ..MariaDbSpec::default() }
}

/// A commit waits for an acknowledgement.
pub(crate) fn majority() -> MariaDbSpec {
    MariaDbSpec { durability: Durability::Majority, events: false, ..MariaDbSpec::default() }
}

/// How the lab's users are known.
pub(crate) fn settings(login: &str, password: &str, spec: MariaDbSpec) -> Settings {
    let account = |username: &str, password: &str| Account {
        username: username.to_owned(),
        password: password.to_owned(),
    };
    Settings {
        login: account(login, password),
        replication: account(REPLICATION_USER, PASSWORD),
        spec,
        encrypted: false,
    }
}

/// One open connection and what is said on it.
pub(crate) struct Line {
    stream: TcpStream,
    talk: Conversation,
}

impl Line {
    pub(crate) fn open(address: SocketAddr, settings: Settings) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PAUSE))?;
        Ok(Self { stream, talk: Conversation::new(settings) })
    }

    pub(crate) fn send(&mut self, command: &Command) {
        self.talk.send(command);
        self.flush();
    }

    fn flush(&mut self) {
        let unsent = self.talk.unsent();
        // Whoever is gone shows when the answer is read.
        let _ = self.stream.write_all(unsent);
        unsent.clear();
    }

    /// The next reply if it comes at once.
    fn next(&mut self) -> Result<Option<Reply>, ConversationError> {
        if let Some(reply) = self.talk.next_reply()? {
            return Ok(Some(reply));
        }
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes) {
            Ok(0) => return Err(ConversationError::Ended),
            Ok(count) => self.talk.feed(&bytes[..count])?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(_) => return Err(ConversationError::Ended),
        }
        let reply = self.talk.next_reply();
        self.flush();
        reply
    }

    /// The reply to one command; nothing, if it does not come in time.
    pub(crate) fn ask(&mut self, command: &Command, limit: Duration) -> Option<Reply> {
        self.send(command);
        self.answer(limit)
    }

    pub(crate) fn answer(&mut self, limit: Duration) -> Option<Reply> {
        let began = Instant::now();
        while began.elapsed() < limit {
            match self.next() {
                Ok(Some(reply)) => return Some(reply),
                Ok(None) => {}
                Err(error) => panic!("{error}, {:?}", self.talk.trouble()),
            }
        }
        None
    }
}

/// A controller's link to one instance.
pub(crate) struct Driver {
    address: SocketAddr,
    settings: Settings,
    link: Link,
    line: Option<Line>,
    began: Instant,
    pub(crate) observed: Vec<Observation>,
    /// Everything before this was looked at.
    looked: usize,
    process: Option<RunId>,
    pub(crate) connections: usize,
    pub(crate) sent: Vec<Command>,
}

impl Driver {
    pub(crate) fn new(server: &MariaDbServer, settings: Settings) -> Self {
        let link = Link::new(
            LinkSettings {
                down_after: Duration::from_millis(800),
                probe_interval: Duration::from_millis(50),
                engine: Engine::MariaDb(settings.spec.clone()),
            },
            Time::from_micros(1_000_000),
        );
        let mut driver = Self {
            address: server.address(),
            settings,
            link,
            line: None,
            began: Instant::now(),
            observed: Vec::new(),
            looked: 0,
            process: None,
            connections: 0,
            sent: Vec::new(),
        };
        driver.step(LinkInput::Wake);
        driver
    }

    /// With the least rights, and connected.
    pub(crate) fn connected(server: &MariaDbServer, spec: MariaDbSpec) -> Self {
        let user = if spec.events { CONTROLLER_USER } else { LEAST };
        let mut driver = Self::new(server, settings(user, PASSWORD, spec));
        driver.replication(|_| true);
        driver
    }

    fn now(&self) -> Time {
        Time::from_micros(1_000_000) + self.began.elapsed()
    }

    fn step(&mut self, input: LinkInput) {
        let now = self.now();
        for output in self.link.step(now, input) {
            match output {
                LinkOutput::Connect => match Line::open(self.address, self.settings.clone()) {
                    Ok(line) => {
                        self.line = Some(line);
                        self.connections += 1;
                        self.step(LinkInput::Connected);
                    }
                    Err(_) => self.step(LinkInput::ConnectFailed(ConnectFailure::Refused)),
                },
                LinkOutput::Check => {
                    let checked = TcpStream::connect(self.address).map(drop);
                    self.step(LinkInput::Checked(checked.map_err(|_| ConnectFailure::Refused)));
                }
                LinkOutput::Write => self.step(LinkInput::Wrote(None)),
                LinkOutput::Send(commands) => {
                    if let Some(line) = &mut self.line {
                        for command in &commands {
                            line.talk.send(command);
                        }
                        line.flush();
                    }
                    self.sent.extend(commands);
                }
                LinkOutput::Observe(observation) => {
                    if let Observation::Identity(identity) = &observation {
                        self.process = Some(identity.run_id.clone());
                    }
                    self.observed.push(observation);
                }
            }
        }
    }

    /// Does what is to be done now.
    pub(crate) fn turn(&mut self) {
        let read = self.line.as_mut().map(Line::next);
        match read {
            Some(Ok(Some(reply))) => self.step(LinkInput::Reply(reply)),
            Some(Err(error)) => {
                self.line = None;
                if error == ConversationError::Garbage {
                    self.step(LinkInput::Reply(Reply::Refused(Fault::NotTheEngine)));
                }
                self.step(LinkInput::Closed);
            }
            Some(Ok(None)) => {}
            None => std::thread::park_timeout(PAUSE),
        }
        if self.now() >= self.link.next_wakeup() {
            self.step(LinkInput::Wake);
        }
    }

    /// Goes on until something is observed that was not looked at before.
    pub(crate) fn await_seen<T>(&mut self, what: &str, wanted: impl Fn(&Observation) -> Option<T>) -> T {
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            while self.looked < self.observed.len() {
                self.looked += 1;
                if let Some(found) = wanted(&self.observed[self.looked - 1]) {
                    return found;
                }
            }
            self.turn();
        }
        panic!("{what} was not seen, but {:#?}", self.observed);
    }

    pub(crate) fn identity(&mut self) -> Identity {
        self.await_seen("an identity", |seen| match seen {
            Observation::Identity(identity) => Some(identity.clone()),
            _ => None,
        })
    }

    pub(crate) fn replication(&mut self, wanted: impl Fn(&Replication) -> bool) -> Replication {
        self.await_seen("such a replication", |seen| match seen {
            Observation::Replication(replication) if wanted(replication) => Some(replication.clone()),
            _ => None,
        })
    }

    pub(crate) fn frozen(&mut self) -> Replication {
        self.await_seen("a freeze", |seen| match seen {
            Observation::Frozen { replication, .. } => Some(replication.clone()),
            _ => None,
        })
    }

    pub(crate) fn health(&mut self, wanted: &Health) {
        self.await_seen(&format!("{wanted:?}"), |seen| {
            (*seen == Observation::Health(wanted.clone())).then_some(())
        });
    }

    pub(crate) fn refusal(&mut self) -> Fault {
        self.await_seen("a refusal", |seen| match seen {
            Observation::OrderRefused { fault } => Some(*fault),
            _ => None,
        })
    }

    /// Orders something of the process that was seen.
    pub(crate) fn order(&mut self, action: Action) {
        let order = Order {
            service: "shop".into(),
            instance: "m".into(),
            process: self.process.clone(),
            epoch: Epoch(1),
            deadline: self.now() + LIMIT,
            action,
        };
        self.looked = self.observed.len();
        self.step(LinkInput::Order(order));
    }
}

/// Grants a user of its own, on one server alone, what Backstay's user must be allowed to at least.
pub(crate) fn grant_least(server: &MariaDbServer) {
    grant(server, LEAST, RIGHTS);
}

pub(crate) fn grant_events(server: &MariaDbServer) {
    grant(server, LEAST, &[RIGHTS, EVENT_RIGHTS].concat());
}

fn grant(server: &MariaDbServer, user: &str, rights: &[&str]) {
    let (rights, canary) = (rights.join(", "), CANARY_RIGHTS.join(", "));
    server
        .ask(&format!(
            "SET SESSION sql_log_bin=0; CREATE OR REPLACE USER {user}@'%' IDENTIFIED BY '{PASSWORD}'; \
             GRANT {rights} ON *.* TO {user}@'%'; GRANT {canary} ON backstay.* TO {user}@'%'"
        ))
        .unwrap();
}

/// A line of the least user.
pub(crate) fn least(server: &MariaDbServer, spec: MariaDbSpec) -> Line {
    Line::open(server.address(), settings(LEAST, PASSWORD, spec)).unwrap()
}

pub(crate) fn address(server: &MariaDbServer) -> Address {
    Address { host: "127.0.0.1".into(), port: server.port }
}

pub(crate) fn until(what: &str, look: impl Fn() -> bool) {
    wait_until(what, LIMIT, || look().then_some(())).unwrap();
}

pub(crate) fn follows(replication: &Replication, server: &MariaDbServer) -> bool {
    matches!(&replication.role, Role::Replica { of, link_up: true, .. } if *of == address(server))
}

/// The application, with patience.
pub(crate) fn shop(server: &MariaDbServer) -> Sql {
    let mut link = server.connect_as(&application()).unwrap();
    link.set_limit(PATIENCE);
    link
}

pub(crate) const INSERT: &str = "INSERT INTO shop.orders (note) VALUES ('order')";

/// An order of the application that may have to wait; what it was told comes when it is joined.
pub(crate) fn order_in_background(server: &MariaDbServer) -> JoinHandle<Result<(), SqlError>> {
    let mut link = shop(server);
    spawn(move || link.ask(INSERT).map(drop))
}

pub(crate) fn orders(server: &MariaDbServer) -> u64 {
    server.value("SELECT COUNT(*) FROM shop.orders").unwrap().parse().unwrap()
}

pub(crate) fn waiting(server: &MariaDbServer) -> u64 {
    let waiting =
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for semi-sync%'";
    server.value(waiting).unwrap().parse().unwrap()
}

pub(crate) fn variable(server: &MariaDbServer, name: &str) -> String {
    server.value(&format!("SELECT @@global.{name}")).unwrap()
}
