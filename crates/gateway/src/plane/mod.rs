//! The loop: reads what is there, hands it to `core`, and then writes once per connection what came of it. It decides
//! nothing. Sockets are watched edge-triggered and registered once; commands of many clients that arrive together go to
//! the server in one write, and a read from it is answered with one write per client.

pub(crate) mod arrival;
mod clients;
mod farewell;
mod leaving;
mod listener;
pub(crate) mod listeners;
pub(crate) mod proxied;
mod servers;
pub(crate) mod socket;

#[cfg(fuzzing)]
pub(crate) use proxied::header_length;

use crate::core::{Core, Effect, Key};
use crate::direction::{Direction, Source};
use crate::settings::{Backend, Endpoint, Heritage, Listen, Settings};
use crate::traffic::Traffic;
use arrival::Arrivals;
use backstay_model::{Epoch, ServiceName, Time};
use leaving::Leaving;
use listeners::Listeners;
use mio::event::Event;
use mio::{Events, Poll, Token, Waker};
use nix::time::{ClockId, clock_gettime};
use rustls::ServerConfig;
use socket::Socket;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Reads go here, whoever they are for: a client that says nothing needs no buffer.
pub(crate) const SCRATCH: usize = 64 * 1024;
/// How often one connection is read before the others have their turn.
pub(crate) const READS_MAX: usize = 4;
pub(crate) const EVENTS_MAX: usize = 1024;
pub(crate) const WAKER: Token = Token(0);

/// What to do with the listening sockets.
pub(crate) type Heir = Box<dyn FnOnce(Vec<(Listen, OwnedFd)>) + Send>;

/// What other threads ask of the loop. What is newer replaces what is older.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) routes: BTreeMap<ServiceName, (Direction, Vec<Source>)>,
    /// What endpoints show from now on, by their names.
    pub(crate) tls: BTreeMap<String, Arc<ServerConfig>>,
    /// How long what is under way may still take, and which sockets another gateway has taken over.
    pub(crate) stop: Option<(Duration, Vec<Listen>)>,
    /// Who wants the listening sockets.
    pub(crate) heirs: Vec<Heir>,
    /// Whether to accept at inherited sockets.
    pub(crate) take_over: bool,
}

pub(crate) struct Plane<F> {
    poll: Poll,
    core: Core,
    inbox: Arc<Mutex<Inbox>>,
    held: F,
    listeners: Listeners,
    /// By endpoint; with how long clients may take to agree on it.
    server_tls: Vec<Option<(Arc<ServerConfig>, Duration)>>,
    /// When which clients must have done so.
    handshakes: BinaryHeap<Reverse<(Time, Key)>>,
    backends: Vec<Backend>,
    /// Those whose load balancer has not said yet who they are.
    arrivals: Arrivals,
    /// By the index of their keys.
    clients: Vec<Option<(Key, Socket)>>,
    links: Vec<Option<(Key, Socket)>>,
    leaving: Leaving,
    /// Clients that have more to read.
    again: Vec<Key>,
    links_again: Vec<Key>,
    scratch: Vec<u8>,
    stop_at: Option<Time>,
    /// Another gateway accepts in its place already: nobody has to be hurried.
    waits_for_quiet: bool,
}

/// `CLOCK_BOOTTIME`: it goes on while the machine is suspended, and so do leases.
pub(crate) fn now() -> Time {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Time::ZERO, |time| {
        Time::from_micros(time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1000)
    })
}

/// Whose events they are.
#[derive(Clone, Copy)]
pub(crate) enum Whose {
    Nobody,
    Listener(usize),
    Client(Key),
    Link(Key),
}

impl Whose {
    pub(crate) fn token(self) -> Token {
        let of =
            |key: Key, kind: usize| Token((key.index as usize) << 32 | (key.generation as usize) << 2 | kind);
        match self {
            Self::Nobody => WAKER,
            Self::Listener(number) => Token(number << 32 | 1),
            Self::Client(key) => of(key, 2),
            Self::Link(key) => of(key, 3),
        }
    }

    pub(crate) fn of(token: Token) -> Self {
        let index = token.0 >> 32;
        let key = Key { index: index as u32, generation: (token.0 as u32) >> 2 };
        match token.0 & 3 {
            1 => Self::Listener(index),
            2 => Self::Client(key),
            3 => Self::Link(key),
            _ => Self::Nobody,
        }
    }
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
            server_tls: settings.endpoints.iter().map(tls_of).collect(),
            handshakes: BinaryHeap::new(),
            backends: settings.endpoints.iter().map(|endpoint| endpoint.backend.clone()).collect(),
            arrivals: Arrivals::new(&settings.endpoints),
            core: Core::new(settings, now()),
            inbox,
            held,
            listeners,
            clients: Vec::new(),
            links: Vec::new(),
            leaving: Leaving::default(),
            again: Vec::new(),
            links_again: Vec::new(),
            scratch: vec![0; SCRATCH],
            stop_at: None,
            waits_for_quiet: false,
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
        self.core.traffic()
    }

    /// Works until it is told to stop. An error: the kernel refuses to say what happens on the sockets.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let waits = !self.again.is_empty() || !self.links_again.is_empty() || self.core.awaits_turn();
            let until = if waits { Duration::ZERO } else { self.core.next_wakeup().since(now()) };
            // A millisecond is the shortest that the kernel waits.
            match self.poll.poll(&mut events, Some(until)) {
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => self.core.set_now(now()),
            }
            self.core.begin_turn();
            for event in &events {
                self.happened(event);
                if event.is_writable() && !self.leaving.is_empty() {
                    self.leaving.go_on(event.token());
                }
            }
            if !self.leaving.is_empty() {
                self.leaving.end_late(now());
            }
            for key in std::mem::take(&mut self.links_again) {
                unlist(&mut self.links, key);
                self.read_link(key);
            }
            for key in std::mem::take(&mut self.again) {
                unlist(&mut self.clients, key);
                self.read_client(key);
            }
            self.core.tick();
            self.end_late_arrivals();
            self.act();
            self.end_handshakes();
            if self.listeners.retries() {
                for number in 0..self.listeners.len() {
                    self.accept(number);
                }
            }
            self.flush();
            if self.is_over() && (self.leaving.is_empty() || self.is_late()) {
                return Ok(());
            }
        }
    }

    /// The time for a stop is over.
    fn is_late(&self) -> bool {
        self.stop_at.is_none_or(|at| now() >= at)
    }

    fn happened(&mut self, event: &Event) {
        match Whose::of(event.token()) {
            Whose::Nobody => self.take_inbox(),
            Whose::Listener(number) => self.accept(number),
            Whose::Client(key) => {
                let Some(socket) = find(&mut self.clients, key) else {
                    return;
                };
                socket.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                socket.closed |= event.is_read_closed() || event.is_error();
                socket.hung_up |= event.is_write_closed() || event.is_error();
                if event.is_writable() {
                    self.flush_client(key);
                }
                self.read_client(key);
            }
            Whose::Link(key) => {
                let Some(socket) = find(&mut self.links, key) else {
                    return;
                };
                socket.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
                socket.closed |= event.is_read_closed() || event.is_error();
                if socket.connecting {
                    if let Some(error) = socket.error() {
                        self.core.link_lost(key, &error.to_string());
                        return self.act();
                    }
                    if !event.is_writable() || !socket.is_connected() {
                        return;
                    }
                    socket.connecting = false;
                    self.core.link_connected(key);
                }
                if event.is_writable() {
                    // What TLS still holds is sent already, as far as `core` knows.
                    let _ = socket.flush();
                    self.core.link_writable(key);
                }
                self.read_link(key);
            }
        }
    }

    fn take_inbox(&mut self) {
        let inbox = std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner));
        for (service, (direction, sources)) in inbox.routes {
            self.core.route(&service, &direction, &sources);
            self.act();
        }
        for (endpoint, tls) in inbox.tls {
            let number = self.core.endpoint_called(&endpoint);
            if let Some((shown, _)) = number.and_then(|number| self.server_tls[number].as_mut()) {
                *shown = tls;
            }
        }
        if inbox.take_over {
            self.listeners.take_over(self.poll.registry());
        }
        for heir in inbox.heirs {
            heir(self.listeners.share());
        }
        if let Some((drain, handed)) = inbox.stop {
            self.leave(drain, &handed);
        }
    }

    /// Writes everything, and takes what clients had to wait with until it was written.
    fn flush(&mut self) {
        loop {
            self.core.settle();
            self.act();
            // The lease must last now that commands are sent.
            self.core.set_now(now());
            while let Some(key) = self.core.dirty_links() {
                self.flush_link(key);
            }
            while let Some(key) = self.core.dirty_clients() {
                self.flush_client(key);
            }
            while let Some(key) = self.core.readable() {
                if find(&mut self.clients, key).is_some_and(|socket| socket.readable) {
                    list(&mut self.again, &mut self.clients, key);
                }
            }
            if !self.core.is_unsettled() {
                return;
            }
        }
    }

    /// Does what `core` wants done with sockets.
    fn act(&mut self) {
        while let Some(effect) = self.core.effect() {
            match effect {
                Effect::Connect { link, endpoint, address, host } => {
                    if let Err(why) = self.connect(link, endpoint, address, &host) {
                        self.core.link_lost(link, &why);
                    }
                }
                Effect::CloseLink { link, drop_unsent } => {
                    if let Some(socket) = take(&mut self.links, link)
                        && drop_unsent
                    {
                        socket.drop_unsent();
                    }
                }
                Effect::CloseClient(key) => {
                    if let Some(socket) = take(&mut self.clients, key) {
                        self.leaving.leave(Whose::Client(key).token(), socket, now());
                    }
                }
                Effect::Held(service, epoch) => (self.held)(service, epoch),
            }
        }
    }
}

fn tls_of(endpoint: &Endpoint) -> Option<(Arc<ServerConfig>, Duration)> {
    Some((endpoint.tls.clone()?, endpoint.limits.sign_in_timeout))
}

fn find(sockets: &mut [Option<(Key, Socket)>], key: Key) -> Option<&mut Socket> {
    sockets.get_mut(key.index as usize)?.as_mut().filter(|it| it.0 == key).map(|it| &mut it.1)
}

/// It is read again in the next turn, once.
fn list(again: &mut Vec<Key>, sockets: &mut [Option<(Key, Socket)>], key: Key) {
    if find(sockets, key).is_some_and(|socket| !std::mem::replace(&mut socket.listed, true)) {
        again.push(key);
    }
}

/// It is read now, and may be listed again.
fn unlist(sockets: &mut [Option<(Key, Socket)>], key: Key) {
    if let Some(socket) = find(sockets, key) {
        socket.listed = false;
    }
}

fn put(sockets: &mut Vec<Option<(Key, Socket)>>, key: Key, socket: Socket) {
    let index = key.index as usize;
    if sockets.len() <= index {
        sockets.resize_with(index + 1, || None);
    }
    sockets[index] = Some((key, socket));
}

fn take(sockets: &mut [Option<(Key, Socket)>], key: Key) -> Option<Socket> {
    let place = sockets.get_mut(key.index as usize)?;
    place.take_if(|it| it.0 == key).map(|it| it.1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::net::UnixStream;

    #[test]
    fn a_socket_is_listed_once_however_often_it_is_to_be_read_again() {
        let (near, _far) = UnixStream::pair().unwrap();
        let (key, mut sockets, mut again) = (Key { index: 2, generation: 1 }, Vec::new(), Vec::new());
        put(&mut sockets, key, Socket::unix(near));
        for _ in 0..2 {
            for _ in 0..5 {
                list(&mut again, &mut sockets, key);
            }
            assert_eq!(std::mem::take(&mut again), [key]);
            unlist(&mut sockets, key);
        }
        list(&mut again, &mut sockets, Key { generation: 2, ..key });
        assert_eq!(again, []);
    }
}
