//! The loop: reads into one buffer that all share and writes straight on from there; what the other side does not take is
//! kept, and then this side is not read. It decides nothing. Sockets are watched edge-triggered and registered once, so a
//! question and its answer cost two reads and two writes.

use super::ends::AllEnds;
use super::exchange::{Effect, Exchange, How, Side};
use crate::core::Key;
use crate::plane::arrival::Arrivals;
use crate::plane::listeners::{Arrival, Listeners};
use crate::plane::socket::{NoHeader, Socket};
use crate::plane::{EVENTS_MAX, Inbox, SCRATCH, WAKER, Whose, now};
use crate::settings::{Heritage, Listen, Settings};
use crate::traffic::Traffic;
use backstay_model::{Epoch, ServiceName, Time};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Poll, Waker};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

mod pump;

/// When the gateway stops, a client that said nothing for so long is let go: longer if another gateway accepts in this
/// one's place and nobody has to be hurried.
const QUIET: Duration = Duration::from_millis(100);
const QUIET_WITH_HEIR: Duration = Duration::from_secs(1);
/// Before the time for a stop is over everybody is let go between two commands, and who waits is told.
const LAST_CALL: Duration = Duration::from_secs(2);

/// See the module's head.
pub(crate) struct Plane<F> {
    poll: Poll,
    exchange: Exchange,
    inbox: Arc<Mutex<Inbox>>,
    held: F,
    listeners: Listeners,
    arrivals: Arrivals,
    /// By endpoint: servers are told who the client is.
    announces: Vec<bool>,
    ends: AllEnds,
    /// Sides that have more to read.
    again: Vec<(Key, Side)>,
    scratch: Vec<u8>,
    stop_at: Option<Time>,
    /// Another gateway accepts in its place already.
    has_heir: bool,
}

impl<F: FnMut(ServiceName, Epoch)> Plane<F> {
    /// Opens every listener; clients are accepted once `run` is called.
    pub(crate) fn open(
        settings: Settings,
        heritage: &mut Heritage,
        inbox: Arc<Mutex<Inbox>>,
        held: F,
    ) -> Result<(Self, Waker), crate::StartError> {
        let poll = Poll::new().map_err(crate::StartError::Poll)?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(crate::StartError::Poll)?;
        let listeners = Listeners::open(&settings.endpoints, poll.registry(), heritage)?;
        let plane = Self {
            poll,
            arrivals: Arrivals::new(&settings.endpoints),
            announces: settings.endpoints.iter().map(|endpoint| endpoint.send_proxy).collect(),
            exchange: Exchange::new(settings, now()),
            inbox,
            held,
            listeners,
            ends: AllEnds::default(),
            again: Vec::new(),
            scratch: vec![0; SCRATCH],
            stop_at: None,
            has_heir: false,
        };
        Ok((plane, waker))
    }

    /// Where it listens at sockets of the gateway before it.
    pub(crate) fn inherited(&self) -> Vec<Listen> {
        self.listeners.inherited()
    }

    /// Where each endpoint listens, by its number.
    pub(crate) fn addresses(&self) -> Vec<(usize, Listen)> {
        self.listeners.addresses()
    }

    /// What each endpoint counts.
    pub(crate) fn traffic(&self) -> Vec<Arc<Traffic>> {
        self.exchange.traffic()
    }

    /// Works until it is told to stop. An error: the kernel refuses to say what happens on the sockets.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let waits = !self.again.is_empty();
            let until = if waits { Duration::ZERO } else { self.exchange.next_wakeup().since(now()) };
            // A millisecond is the shortest that the kernel waits.
            match self.poll.poll(&mut events, Some(until)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => self.exchange.set_now(now()),
            }
            for event in &events {
                self.happened(event);
            }
            for (key, side) in std::mem::take(&mut self.again) {
                if let Some(socket) = self.ends.socket(key, side) {
                    socket.listed = false;
                }
                self.pump(key, side);
            }
            self.exchange.tick();
            self.act();
            self.end_late_arrivals();
            if self.listeners.retries() {
                for number in 0..self.listeners.len() {
                    self.accept(number);
                }
            }
            if self.is_over() {
                return Ok(());
            }
        }
    }

    fn happened(&mut self, event: &Event) {
        match Whose::of(event.token()) {
            Whose::Nobody => self.take_inbox(),
            Whose::Listener(number) => self.accept(number),
            Whose::Client(key) => self.side_happened(key, Side::Client, event),
            Whose::Link(key) => self.side_happened(key, Side::Server, event),
        }
    }

    fn side_happened(&mut self, key: Key, side: Side, event: &Event) {
        let Some(socket) = self.ends.socket(key, side) else {
            return;
        };
        let ends = event.is_read_closed() || event.is_error();
        socket.readable |= event.is_readable() || ends;
        socket.closed |= ends;
        let (connecting, header) = (socket.connecting, socket.header.is_some());
        if header {
            return self.introduce(key);
        }
        if connecting && !self.connected(key, event) {
            return;
        }
        if side == Side::Client && ends {
            self.exchange.hung_up(key);
            self.act();
        }
        if event.is_writable() {
            self.flush(key, side);
        }
        self.pump(key, side);
        self.act();
    }

    /// True: the connection to the server is there.
    fn connected(&mut self, key: Key, event: &Event) -> bool {
        let Some(socket) = self.ends.socket(key, Side::Server) else {
            return false;
        };
        if let Some(error) = socket.error() {
            self.exchange.server_failed(key, &error.to_string());
        } else if event.is_writable() && socket.is_connected() {
            socket.connecting = false;
            self.exchange.server_connected(key);
        } else {
            return false;
        }
        self.act();
        true
    }

    fn take_inbox(&mut self) {
        let inbox = std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        self.exchange.set_now(now());
        for (service, (direction, sources)) in inbox.routes {
            self.exchange.route(&service, &direction, &sources);
            self.act();
        }
        if inbox.take_over {
            self.listeners.take_over(self.poll.registry());
        }
        for heir in inbox.heirs {
            heir(self.listeners.share());
        }
        if let Some((drain, handed)) = inbox.stop {
            let at = now() + drain;
            self.has_heir |= !handed.is_empty();
            self.stop_at = Some(self.stop_at.map_or(at, |earlier| earlier.min(at)));
            self.listeners.leave(&handed, self.poll.registry());
        }
    }

    fn accept(&mut self, number: usize) {
        while let Some(Arrival { endpoint, mut socket, peer }) = self.listeners.accept(number) {
            self.exchange.set_now(now());
            let key = match self.exchange.client_opened(endpoint, &peer) {
                Ok(key) => key,
                Err(packet) => {
                    // Nothing is waiting in its buffer yet: this never blocks.
                    let _ = socket.write(&packet);
                    continue;
                }
            };
            let header = self.arrivals.are_proxied(endpoint);
            if header {
                socket = socket.with_header();
            }
            if let Err(error) = socket.register(self.poll.registry(), Whose::Client(key).token()) {
                tracing::warn!(%error, "cannot watch a client's socket");
                self.exchange.close(key, How::Reset, How::Reset);
            }
            self.arrivals.expect(key, header);
            let from = self.whence(endpoint, &socket, || peer.parse().ok());
            self.ends.put(key, socket);
            if !header {
                self.exchange.client_introduced(key, from);
            }
            self.act();
        }
    }

    /// What a server is told of a client over TCP: where it is, and which address it has called.
    fn whence(
        &self,
        endpoint: usize,
        socket: &Socket,
        client: impl FnOnce() -> Option<SocketAddr>,
    ) -> Option<(SocketAddr, SocketAddr)> {
        if !self.announces[endpoint] {
            return None;
        }
        Some((client()?, socket.local_address()?))
    }

    /// Reads on in what the client's load balancer says first.
    fn introduce(&mut self, key: Key) {
        let Some(ends) = self.ends.get(key) else {
            return;
        };
        match ends.client.read_header() {
            Ok(None) => {}
            Err(why) => self.turn_away(key, &why),
            Ok(Some(claim)) => {
                let (here, own) = (ends.client.local_address(), ends.client.peer_address());
                if let Some(client) = claim.client {
                    self.exchange.client_named(key, &client.to_string());
                }
                self.exchange.client_introduced(key, claim.client.or(own).zip(here));
                self.act();
                self.pump(key, Side::Client);
            }
        }
    }

    /// Closes connections whose header does not come.
    fn end_late_arrivals(&mut self) {
        loop {
            let ends = &mut self.ends;
            let late = self.arrivals.late(|key| ends.get(key).is_some_and(|it| it.client.header.is_some()));
            let Some(key) = late else {
                return;
            };
            self.turn_away(key, &NoHeader::Late);
        }
    }

    fn turn_away(&mut self, key: Key, why: &NoHeader) {
        if let Some((endpoint, from)) = self.exchange.whence(key) {
            self.arrivals.tell(endpoint, from, why);
        }
        self.exchange.close(key, How::End, How::Reset);
        self.act();
    }

    /// Does what `exchange` wants done with sockets.
    fn act(&mut self) {
        loop {
            while let Some(effect) = self.exchange.effect() {
                self.carry_out(effect);
            }
            let Some(key) = self.exchange.ready() else {
                return;
            };
            for side in [Side::Server, Side::Client] {
                self.flush(key, side);
            }
            for side in [Side::Server, Side::Client] {
                self.list(key, side);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { pair, address } => {
                if let Err(error) = self.connect(pair, address) {
                    self.exchange.server_failed(pair, &error.to_string());
                }
            }
            Effect::Disconnect(pair) => {
                if let Some(server) = self.ends.get(pair).and_then(|ends| ends.server.take()) {
                    server.drop_unsent();
                }
            }
            Effect::Shut { pair, side } => {
                if let Some(socket) = self.ends.socket(pair, side) {
                    socket.end_writing();
                }
            }
            Effect::Refuse { pair, packet } => {
                if let Some(mut ends) = self.ends.take(pair) {
                    // Nothing is waiting in its buffer yet.
                    let _ = ends.client.write(&packet);
                }
            }
            Effect::Close { pair, client, server } => {
                if let Some(ends) = self.ends.take(pair) {
                    if let Some(socket) = ends.server.as_ref().filter(|_| server == How::Reset) {
                        socket.drop_unsent();
                    }
                    if client == How::Reset {
                        ends.client.drop_unsent();
                    }
                }
            }
            Effect::Held(service, epoch) => (self.held)(service, epoch),
        }
    }

    fn connect(&mut self, pair: Key, address: SocketAddr) -> io::Result<()> {
        let mut socket = Socket::tcp(TcpStream::connect(address)?);
        socket.connecting = true;
        socket.register(self.poll.registry(), Whose::Link(pair).token())?;
        if let Some(ends) = self.ends.get(pair) {
            ends.server = Some(socket);
        }
        Ok(())
    }

    /// Everything is done, or the time for it is over.
    fn is_over(&mut self) -> bool {
        let Some(at) = self.stop_at else {
            return false;
        };
        let last_call = now() + LAST_CALL >= at;
        if last_call {
            self.exchange.refuse_waiting();
        }
        let quiet = if self.has_heir { QUIET_WITH_HEIR } else { QUIET };
        self.exchange.end_settled(if last_call { Duration::ZERO } else { quiet });
        self.act();
        self.exchange.is_empty() || now() >= at
    }
}
