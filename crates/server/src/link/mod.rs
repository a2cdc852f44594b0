//! One task per instance: the socket behind a pure `Link`. It feeds the link what the network does and does what the
//! link says, in that order; it decides nothing but how soon a connection that leads nowhere is tried again.

mod connect;
pub(crate) mod line;
mod socket;
mod talk;
mod tls;
mod writer;

pub(crate) use connect::notice_dead_hosts;
pub(crate) use tls::{Disagreement, TlsDialler};

use crate::clock;
use crate::driver::Incoming;
use crate::secret::Login;
use backstay_controller::link::{ConnectFailure, Link, LinkInput, LinkOutput, LinkSettings};
use backstay_model::{
    Engine, Fault, InstanceName, InstanceSpec, Observation, Reply, ServiceName, ServiceSpec, Time,
};
use backstay_wire::mariadb::ServerError;
use connect::Connector;
use socket::{Ended, Opened, Socket};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use talk::Talk;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use writer::{Writer, Wrote};

/// How many orders may wait for a link. What does not fit is dropped: the brain orders again from what it observes.
const ORDERS_MAX: usize = 64;
/// The longest time to wait for a connection.
const CONNECT_PATIENCE_MAX: Duration = Duration::from_secs(1);
/// After how long without an acknowledgement from the other kernel a connection is given up, at least.
const GIVE_UP_MIN: Duration = Duration::from_secs(2);
/// The pause after the first connection that ended before anything sensible was heard on it; doubles from then on.
const FRUITLESS_PAUSE: Duration = Duration::from_millis(2);
/// The pause between the first connections of two links, so that thousands of them neither flood a network at once nor
/// stay in step for ever.
const START_PACE: Duration = Duration::from_micros(250);
/// How many checks of all links may begin in a `CHECKS_TURN`: when thousands of instances are late at once, the network or
/// this machine is to blame, and a flood of connections would make it worse.
static CHECKS: Semaphore = Semaphore::const_new(16);
const CHECKS_TURN: Duration = Duration::from_millis(20);
/// How much later than asked a wakeup may come before the network is looked at first.
const LATE: Duration = Duration::from_millis(20);

type Connecting = Pin<Box<dyn Future<Output = (Connector, Result<Opened, ConnectFailure>)> + Send>>;
type Writing = Pin<Box<dyn Future<Output = (Box<Writer>, Wrote)> + Send>>;

/// Starts watching every instance. Orders for one go into its sender.
pub(crate) fn spawn_all(
    services: &[ServiceSpec],
    logins: &BTreeMap<ServiceName, Login>,
    incoming: &mpsc::Sender<Incoming>,
    tasks: &mut JoinSet<()>,
) -> BTreeMap<(ServiceName, InstanceName), mpsc::Sender<LinkInput>> {
    let mut links = BTreeMap::new();
    for service in services {
        for instance in &service.instances {
            let login = logins.get(&service.name).cloned().unwrap_or_default();
            let orders = spawn(service, instance, login, links.len(), incoming.clone(), tasks);
            links.insert((service.name.clone(), instance.name.clone()), orders);
        }
    }
    links
}

/// Starts watching an instance, the sooner the smaller its place among all. Orders for it go into the sender that comes
/// back.
fn spawn(
    service: &ServiceSpec,
    instance: &InstanceSpec,
    login: Login,
    place: usize,
    incoming: mpsc::Sender<Incoming>,
    tasks: &mut JoinSet<()>,
) -> mpsc::Sender<LinkInput> {
    let (orders, waiting) = mpsc::channel(ORDERS_MAX);
    let settings = LinkSettings {
        down_after: service.down_after,
        probe_interval: service.probe_interval,
        engine: service.engine.clone(),
    };
    let patience = service.down_after.min(CONNECT_PATIENCE_MAX);
    let give_up = service.down_after.max(GIVE_UP_MIN);
    let greets = service.engine.mariadb().is_some();
    let connector = |tls| Connector::new(instance.address.clone(), patience, give_up, tls, greets);
    let tls = login.tls().cloned();
    let writer =
        || Writer::new(connector(tls.clone()), service.engine.clone(), login.clone(), instance.name.clone());
    // Silence counts from then on.
    let start = clock::time() + START_PACE * u32::try_from(place).unwrap_or(u32::MAX);
    let task = Task {
        service: service.name.clone(),
        instance: instance.clone(),
        probe_interval: service.probe_interval,
        engine: service.engine.clone(),
        writer: greets.then(|| Box::new(writer())),
        writing: None,
        login,
        incoming,
        link: Link::new(settings, start),
        socket: None,
        connector: Some(connector(tls)),
        connecting: None,
        // Whether somebody listens shows without TLS.
        checker: Some(connector(None)),
        checking: None,
        observed: VecDeque::new(),
        fruitless: 0,
        fruitful: true,
        login_fault: None,
    };
    tasks.spawn(task.run(waiting));
    orders
}

struct Task {
    service: ServiceName,
    instance: InstanceSpec,
    probe_interval: Duration,
    engine: Engine,
    login: Login,
    incoming: mpsc::Sender<Incoming>,
    link: Link,
    socket: Option<Socket>,
    /// At home while no connection is being made; the second one is for checks.
    connector: Option<Connector>,
    connecting: Option<Connecting>,
    checker: Option<Connector>,
    checking: Option<Connecting>,
    /// At home while nothing is being written. Only for engines whose writes go over a connection of their own.
    writer: Option<Box<Writer>>,
    writing: Option<Writing>,
    /// What the link observed and the driver was not told yet.
    observed: VecDeque<Observation>,
    /// Connections in a row that ended before anything sensible was heard.
    fruitless: u32,
    /// Something sensible was heard on this connection.
    fruitful: bool,
    login_fault: Option<Fault>,
}

/// What the task woke up for.
enum Woke {
    Socket,
    Told(LinkInput),
    Connected((Connector, Result<Opened, ConnectFailure>)),
    Checked((Connector, Result<Opened, ConnectFailure>)),
    Wrote((Box<Writer>, Wrote)),
    Timer(Time),
    Over,
}

impl Task {
    async fn run(mut self, mut orders: mpsc::Receiver<LinkInput>) {
        let timer = sleep_until(clock::wakeup(self.link.next_wakeup()));
        tokio::pin!(timer);
        timer.as_mut().await;
        self.step(LinkInput::Wake);
        loop {
            if !self.report().await {
                return;
            }
            let due = self.link.next_wakeup();
            timer.as_mut().reset(clock::wakeup(due));
            let woke = tokio::select! {
                biased;
                () = readiness(self.socket.as_mut()) => Woke::Socket,
                done = arrival(self.connecting.as_mut()) => Woke::Connected(done),
                order = orders.recv() => order.map_or(Woke::Over, Woke::Told),
                done = arrival(self.checking.as_mut()) => Woke::Checked(done),
                done = arrival(self.writing.as_mut()) => Woke::Wrote(done),
                () = &mut timer => Woke::Timer(due),
            };
            match woke {
                Woke::Socket => self.serve_socket(),
                Woke::Told(input) => self.step(input),
                Woke::Connected((connector, result)) => self.connected(connector, result),
                Woke::Checked((connector, result)) => {
                    self.checker = Some(connector);
                    self.checking = None;
                    self.step(LinkInput::Checked(result.map(drop)));
                }
                Woke::Wrote((writer, wrote)) => {
                    self.writer = Some(writer);
                    self.writing = None;
                    self.step(LinkInput::Wrote(wrote));
                }
                Woke::Timer(due) => self.wake(due).await,
                Woke::Over => return,
            }
        }
    }

    /// Time passed. After a long standstill, what arrived meanwhile comes first.
    async fn wake(&mut self, due: Time) {
        if clock::time().since(due) > LATE {
            tokio::task::yield_now().await;
            self.serve_socket();
        }
        self.step(LinkInput::Wake);
    }

    /// Reads and writes what can be, without waiting.
    fn serve_socket(&mut self) {
        while let Some(socket) = self.socket.as_mut() {
            let read = socket.flush().and_then(|()| socket.read());
            match read.and_then(|more| self.take_replies().map(|()| more)) {
                Ok(true) => {}
                Ok(false) => return,
                Err(ended) => return self.ended(&ended),
            }
        }
    }

    fn take_replies(&mut self) -> Result<(), Ended> {
        while let Some(socket) = self.socket.as_mut() {
            let Some(reply) = socket.next_reply(self.link.awaiting())? else {
                self.note_login();
                return Ok(());
            };
            if let Reply::Refused(fault) = reply {
                self.note_refusal(fault);
            } else {
                self.fruitful = true;
                self.fruitless = 0;
            }
            self.step(LinkInput::Reply(reply));
        }
        Ok(())
    }

    fn ended(&mut self, ended: &Ended) {
        self.note_login();
        self.socket = None;
        let fault = match ended {
            Ended::Closed => None,
            Ended::Garbage => Some(Fault::NotTheEngine),
            Ended::NoTls(fault) => Some(*fault),
        };
        if let Some(fault) = fault {
            self.fruitful = false;
            if self.link.awaiting().is_some() {
                self.step(LinkInput::Reply(Reply::Refused(fault)));
            }
            self.socket = None;
        }
        if !self.fruitful {
            self.fruitless = self.fruitless.saturating_add(1);
        }
        self.step(LinkInput::Closed);
    }

    fn connected(&mut self, connector: Connector, result: Result<Opened, ConnectFailure>) {
        self.connector = Some(connector);
        self.connecting = None;
        match result {
            Ok(opened) => {
                self.login.refresh();
                self.fruitful = false;
                match Socket::new(opened, Talk::new(&self.engine, &self.login)) {
                    Ok(socket) => {
                        self.socket = Some(socket);
                        self.step(LinkInput::Connected);
                        self.serve_socket();
                    }
                    Err(ended) => {
                        self.step(LinkInput::Connected);
                        self.ended(&ended);
                    }
                }
            }
            Err(failure) => self.step(LinkInput::ConnectFailed(failure)),
        }
    }

    /// One step of the link, and everything that it says but observations, which wait for `report`.
    fn step(&mut self, input: LinkInput) {
        let mut outputs = VecDeque::from(self.link.step(clock::time(), input));
        while let Some(output) = outputs.pop_front() {
            match output {
                LinkOutput::Connect => {
                    let pause = self.pause();
                    let dialling = self.connector.take().map(|connector| dial(connector, pause));
                    self.connecting = dialling.or(self.connecting.take());
                }
                LinkOutput::Check => {
                    let dialling = self.checker.take().map(check);
                    self.checking = dialling.or(self.checking.take());
                }
                LinkOutput::Send(commands) => {
                    let sent = self.socket.as_mut().map(|socket| socket.send(&commands));
                    if let Some(Err(ended)) = sent {
                        // What the link said before stays in order.
                        tracing::debug!(?ended, instance = %self.instance.name, "a connection is clogged");
                        self.socket = None;
                        outputs.extend(self.link.step(clock::time(), LinkInput::Closed));
                    }
                }
                LinkOutput::Write => match self.writer.take() {
                    Some(writer) => self.writing = Some(Box::pin(writer.write())),
                    None => outputs.extend(self.link.step(clock::time(), LinkInput::Wrote(None))),
                },
                LinkOutput::Observe(observation) => self.observed.push_back(observation),
            }
        }
    }

    /// Hands what was observed to the driver, in order. `false`: nobody listens any more.
    async fn report(&mut self) -> bool {
        while let Some(observation) = self.observed.pop_front() {
            let incoming = Incoming::Observed {
                service: self.service.clone(),
                instance: self.instance.name.clone(),
                observation,
            };
            if self.incoming.send(incoming).await.is_err() {
                return false;
            }
        }
        true
    }

    /// How long to wait before the next connection: not at all, unless the last ones led nowhere.
    fn pause(&self) -> Duration {
        match self.fruitless {
            0 => Duration::ZERO,
            count => (FRUITLESS_PAUSE * 2_u32.saturating_pow((count - 1).min(16))).min(self.probe_interval),
        }
    }

    /// Tells once what was wrong with the login. Replies tell whether it matters.
    fn note_login(&mut self) {
        let Some(socket) = &self.socket else {
            return;
        };
        let Some(outcome) = socket.login_outcome() else {
            return;
        };
        let fault = outcome.err();
        if self.login_fault == fault {
            return;
        }
        self.login_fault = fault;
        let (service, name, address) = (&self.service, &self.instance.name, &self.instance.address);
        match fault {
            None => {}
            Some(Fault::WrongPassword) => tracing::warn!(
                %service,
                "{name} ({address}) does not accept Backstay's login: either it has another password than Backstay was \
                 given, or none. Correct the one that is wrong{}",
                quoted(socket.trouble())
            ),
            Some(fault) => {
                tracing::warn!(%service, "{name} ({address}) {fault}{}", quoted(socket.trouble()));
            }
        }
    }

    /// What a server says when it refuses something is not to be had later.
    fn note_refusal(&self, fault: Fault) {
        if let Some(trouble) = self.socket.as_ref().and_then(Socket::trouble) {
            let (service, name) = (&self.service, &self.instance.name);
            tracing::debug!(%service, "{name} {fault}{}", quoted(Some(trouble)));
        }
    }
}

/// A server's own words behind ours, if there are any.
fn quoted(trouble: Option<&ServerError>) -> String {
    trouble.map_or(String::new(), |error| format!(" (error {}: {})", error.code, error.text.escape_debug()))
}

/// Makes a connection after a pause and brings the connector back.
fn dial(mut connector: Connector, pause: Duration) -> Connecting {
    Box::pin(async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let result = connector.connect().await;
        (connector, result)
    })
}

/// Makes a connection when it is its turn, and brings the connector back.
fn check(mut connector: Connector) -> Connecting {
    Box::pin(async move {
        let place = CHECKS.acquire().await;
        let result = connector.connect().await;
        tokio::spawn(async move {
            tokio::time::sleep(CHECKS_TURN).await;
            drop(place);
        });
        (connector, result)
    })
}

/// When the socket can be served; never without one. Its errors show when it is read.
async fn readiness(socket: Option<&mut Socket>) {
    match socket {
        Some(socket) => drop(socket.ready().await),
        None => std::future::pending().await,
    }
}

/// When what is being done is done; never if nothing is.
async fn arrival<T>(doing: Option<&mut Pin<Box<dyn Future<Output = T> + Send>>>) -> T {
    match doing {
        Some(doing) => doing.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
