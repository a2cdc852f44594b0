//! Plays any sequence of events to a whole exchange without a socket: clients that come, ask, and end, servers that answer,
//! stall or break, buffers that are full, leases that end, holds, drains. Whatever the sequence: nothing is sent to a primary
//! without a lease, nothing is delivered that was read after it, a client has one server at most and keeps it once that has
//! let it in, a hold is confirmed when nothing leads to the old primary, and bytes arrive in order, each of them once. Of a
//! login that a second server takes over: both sides see packets in their order, and a server no proof but for itself.

use super::exchange::{Effect, Exchange, How, Side, Verdict};
use crate::core::Key;
use crate::direction::{Direction, Source, Target};
use crate::settings::{Endpoint, EndpointKind, EndpointLimits, Otherwise, Protocol, Settings};
use backstay_lease::MARGIN;
use backstay_model::{Epoch, ServiceName, Time};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// So many clients at a time.
const CLIENTS: usize = 4;
/// A command, and one that leaves a transaction open (both of those that are answered with an OK).
pub(crate) const QUERY: u8 = 3;
pub(crate) const BEGIN: u8 = 2;
/// What a server that is read slowly takes before it is full.
const ROOM: usize = 15;

/// One end of a connection that is not the gateway's.
#[derive(Default)]
pub(crate) struct Wire {
    /// What it has sent and the gateway has not read.
    sent: VecDeque<u8>,
    /// What the gateway has read.
    read: Vec<u8>,
    /// What the gateway has written to it.
    pub(crate) got: Vec<u8>,
    /// How much more fits.
    room: usize,
    /// It sends no more.
    pub(crate) ended: bool,
    end_read: bool,
    /// The gateway sends no more.
    pub(crate) shut: bool,
}

pub(crate) struct Player {
    pub(crate) key: Option<Key>,
    pub(crate) wire: Wire,
    greeted: bool,
    numbers: u64,
    login: Signing,
    /// How its connection ended.
    pub(crate) end: Option<String>,
}

/// How far a client's login is, where logins are followed.
#[derive(Default)]
struct Signing {
    /// So many bytes of it it has sent, and heard.
    sent: usize,
    heard: usize,
    /// The next packet's number, once it has said what it owes.
    next: u8,
    /// What it has been asked for, and by which number.
    owes: Option<(u8, u8)>,
    done: bool,
}

pub(crate) struct Remote {
    pub(crate) address: SocketAddr,
    pub(crate) wire: Wire,
    pub(crate) connected: bool,
    /// How much of what it got was answered.
    answered: usize,
    in_transaction: bool,
    /// What its questions are told by.
    id: u8,
    /// So many bytes of a login it has got, and sent.
    login_got: usize,
    login_sent: usize,
    let_in: bool,
}

pub(crate) struct World {
    pub(crate) exchange: Exchange,
    pub(crate) now: Time,
    pub(crate) until: Time,
    pub(crate) epoch: u64,
    /// The primary of the current lease.
    primary: Option<SocketAddr>,
    pub(crate) players: Vec<Player>,
    pub(crate) remotes: BTreeMap<Key, Remote>,
    pub(crate) held: Vec<Epoch>,
    pub(crate) room: usize,
    /// Servers greet by themselves.
    pub(crate) greets: bool,
    /// As a MariaDB does, so that logins can be followed.
    pub(crate) real: bool,
    /// Every server wants another way of logging in than clients begin with.
    pub(crate) switches: bool,
    greetings: u8,
}

fn service() -> ServiceName {
    "played".into()
}

pub(crate) fn primary_of(epoch: u64) -> SocketAddr {
    ([127, 0, 0, 1], epoch as u16).into()
}

pub(crate) fn replica(number: u16) -> SocketAddr {
    ([127, 0, 0, 2], number).into()
}

fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_le_bytes();
    [&length[..3], &[number], payload].concat()
}

/// The first packet of these bytes.
fn first_packet(bytes: &[u8]) -> Option<&[u8]> {
    let length = usize::from(*bytes.first()?) | usize::from(*bytes.get(1)?) << 8;
    bytes.get(..4 + length)
}

fn packets(mut bytes: &[u8]) -> u64 {
    let mut packets = 0_u64;
    while let Some(packet) = first_packet(bytes) {
        (packets, bytes) = (packets + 1, &bytes[packet.len()..]);
    }
    packets
}

/// A greeting whose random bytes are all this one.
fn greeting(id: u8) -> Vec<u8> {
    let payload = [
        &b"\x0aplayed\0\0\0\0\0"[..],
        &[id; 8],
        b"\0\xfe\xf7\x2d\x02\0\xff\x81\x15\0\0\0\0\0\0\x1d\0\0\0",
        &[id; 12],
        b"\0native\0",
    ];
    packet(0, &payload.concat())
}

/// Who a client is, with a proof that is the random bytes themselves.
fn hello(id: u8) -> Vec<u8> {
    let capabilities = 0x0008_8200_u32.to_le_bytes();
    packet(1, &[&capabilities[..], &[0; 28], b"shop\0\x08", &[id; 8], b"native\0"].concat())
}

impl Player {
    /// What the gateway has read of it behind its login, and what it got behind that.
    fn said(&self) -> &[u8] {
        self.wire.read.get(self.login.sent..).unwrap_or_default()
    }

    fn got(&self) -> &[u8] {
        &self.wire.got[self.login.heard..]
    }
}

impl Remote {
    fn heard(&self) -> &[u8] {
        self.wire.read.get(self.login_sent..).unwrap_or_default()
    }

    fn got(&self) -> &[u8] {
        let signing_in = self.id != 0 && !self.let_in;
        if signing_in { &[] } else { &self.wire.got[self.login_got..] }
    }

    /// What a server says to a packet of a login.
    fn judge(&mut self, at: usize, switches: bool) -> Vec<u8> {
        let question = first_packet(&self.wire.got[at..]).unwrap_or_default();
        let again = question.ends_with(b"ask_again\0");
        let (number, first) = (question[3], at == 0);
        assert_eq!(number, if first { 1 } else { 3 }, "packets out of order");
        // A proof for another server is not shown to this one.
        let proof =
            if first { &question[42..question.len() - 7.min(question.len() - 42)] } else { &question[4..] };
        assert!(again || proof == [self.id; 8], "{question:?} at {}", self.id);
        if first && (again || switches) {
            return packet(2, &[b"\xfenative\0", &[self.id; 8][..]].concat());
        }
        self.let_in = true;
        packet(number + 1, &[0, 0, 0, 2, 0, 0, 0])
    }
}

impl Wire {
    fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    fn take(&mut self, most: usize) -> Vec<u8> {
        let bytes: Vec<u8> = self.sent.drain(..most.min(self.sent.len())).collect();
        self.read.extend_from_slice(&bytes);
        bytes
    }

    /// It takes nothing now.
    #[cfg(test)]
    pub(crate) const fn fill(&mut self) {
        self.room = 0;
    }

    /// It takes everything again.
    #[cfg(test)]
    pub(crate) const fn empty(&mut self) {
        self.room = usize::MAX;
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let some = bytes.len().min(self.room);
        self.room -= some;
        self.got.extend_from_slice(&bytes[..some]);
        some
    }
}

impl World {
    pub(crate) fn new(kind: EndpointKind, limits: EndpointLimits) -> Self {
        let endpoint =
            Endpoint { limits, protocol: Protocol::Sql, ..Endpoint::new("played", service(), kind) };
        let settings = Settings { zone: "a".to_owned(), endpoints: vec![endpoint] };
        let now = Time::from_micros(1_000_000);
        Self {
            exchange: Exchange::new(settings, now),
            now,
            until: Time::ZERO,
            epoch: 1,
            primary: None,
            players: Vec::new(),
            remotes: BTreeMap::new(),
            held: Vec::new(),
            room: usize::MAX,
            greets: true,
            real: false,
            switches: false,
            greetings: 0,
        }
    }

    /// A client comes. Its number.
    pub(crate) fn come(&mut self) -> usize {
        let (mut wire, mut end) = (Wire::new(self.room), None);
        let key = match self.exchange.client_opened(0, "player") {
            Ok(key) => Some(key),
            Err(packet) => {
                wire.got = packet;
                end = Some("refused".to_owned());
                None
            }
        };
        self.players.push(Player { key, wire, greeted: false, numbers: 0, login: Signing::default(), end });
        if let Some(key) = key {
            self.exchange.client_introduced(key, None);
        }
        self.settle();
        self.players.len() - 1
    }

    /// A client signs in, or sends its next command. Only one that was greeted has something to say.
    pub(crate) fn ask(&mut self, who: usize, command: u8) {
        self.hear(who);
        let player = &mut self.players[who];
        if player.end.is_some() || player.wire.ended || player.wire.got.is_empty() {
            return;
        }
        if self.real && !player.login.done {
            let Some((number, id)) = player.login.owes.take() else {
                return;
            };
            let bytes = if number == 1 { hello(id) } else { packet(number, &[id; 8]) };
            player.login.sent += bytes.len();
            player.wire.sent.extend(bytes);
            return;
        }
        let remote = player.key.and_then(|key| self.remotes.get(&key));
        let bytes = if player.greeted || self.real {
            let before = if self.real { 0 } else { 2 };
            let answered = remote.map_or(0, |remote| packets(remote.heard()).saturating_sub(before));
            if player.numbers >= answered + 7 {
                // Of more at once it is not known any more whether all are answered.
                return;
            }
            player.numbers += 1;
            packet(0, &[&[command], &player.numbers.to_le_bytes()[..]].concat())
        } else {
            player.greeted = true;
            packet(1, &[&0x200_u32.to_le_bytes()[..], &[0; 8]].concat())
        };
        player.wire.sent.extend(bytes);
    }

    /// A client takes what it has got of its login.
    fn hear(&mut self, who: usize) {
        let player = &mut self.players[who];
        let login = &mut player.login;
        while self.real
            && !login.done
            && let Some(packet) = first_packet(&player.wire.got[login.heard..])
        {
            login.heard += packet.len();
            assert!(login.owes.is_none(), "asked again before it has answered");
            let number = packet[3];
            assert_eq!(number, login.next, "packets out of order");
            match packet[4] {
                // Where its random bytes begin.
                10 => (login.owes, login.next) = (Some((1, packet[16])), 2),
                0xfe => (login.owes, login.next) = (Some((number + 1, packet[12])), number + 2),
                0 => login.done = true,
                other => assert_eq!(other, 0xff, "{packet:?}"),
            }
        }
    }

    pub(crate) fn end(&mut self, who: usize) {
        if self.players[who].end.is_none() {
            self.players[who].wire.ended = true;
        }
    }

    pub(crate) fn connect(&mut self, key: Key) {
        if let Some(remote) = self.remotes.get_mut(&key).filter(|remote| !remote.connected) {
            remote.connected = true;
            if self.greets && self.real {
                self.greetings = self.greetings.wrapping_add(1).max(11);
                remote.id = self.greetings;
                let greeting = greeting(remote.id);
                remote.login_sent += greeting.len();
                remote.wire.sent.extend(greeting);
            } else if self.greets {
                remote.wire.sent.extend(packet(0, b"\x0agreeting"));
            }
            self.exchange.server_connected(key);
            self.settle();
        }
    }

    /// A server answers what it got.
    pub(crate) fn answer(&mut self, key: Key) {
        let Some(remote) = self.remotes.get_mut(&key).filter(|it| it.connected && !it.wire.ended) else {
            return;
        };
        while let Some(question) = first_packet(&remote.wire.got[remote.answered..]) {
            remote.answered += question.len();
            if self.real && !remote.let_in {
                let answer = remote.judge(remote.answered - question.len(), self.switches);
                remote.login_got = remote.answered;
                remote.login_sent += answer.len();
                remote.wire.sent.extend(answer);
                continue;
            }
            remote.in_transaction = question[4] == BEGIN;
            let status = u8::from(remote.in_transaction);
            let answer = [&[0, 0, 0, status, 0, 0, 0], &question[4..]].concat();
            remote.wire.sent.extend(packet(1, &answer));
        }
    }

    /// Everything that can happen by itself does; no time passes.
    pub(crate) fn run(&mut self) {
        for _ in 0..8 {
            for key in self.remotes.keys().copied().collect::<Vec<_>>() {
                self.connect(key);
                self.pump(key, Side::Server, usize::MAX);
                self.pump(key, Side::Client, usize::MAX);
                self.answer(key);
                self.pump(key, Side::Server, usize::MAX);
            }
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.exchange.set_now(self.now);
        self.exchange.tick();
        self.settle();
    }

    pub(crate) fn order(&mut self, direction: &Direction, sources: &[Source]) {
        self.exchange.route(&service(), direction, sources);
        self.settle();
    }

    fn is_primary(address: SocketAddr) -> bool {
        address.ip() == primary_of(1).ip()
    }

    pub(crate) fn who(&self, key: Key) -> Option<usize> {
        self.players.iter().position(|player| player.key == Some(key))
    }

    fn wire(&mut self, key: Key, side: Side) -> Option<&mut Wire> {
        match side {
            Side::Client => {
                let who = self.who(key).filter(|who| self.players[*who].end.is_none())?;
                Some(&mut self.players[who].wire)
            }
            Side::Server => self.remotes.get_mut(&key).map(|remote| &mut remote.wire),
        }
    }

    /// As the loop does it, with what this side has sent.
    pub(crate) fn pump(&mut self, key: Key, from: Side, most: usize) {
        while self.exchange.wants(key, from) {
            let Some(wire) = self.wire(key, from) else {
                return;
            };
            let bytes = wire.take(most.max(1));
            if bytes.is_empty() {
                if wire.ended && !std::mem::replace(&mut wire.end_read, true) {
                    self.exchange.ended(key, from);
                    self.settle();
                    continue;
                }
                return;
            }
            self.exchange.set_now(self.now);
            if self.exchange.read(key, from, &bytes) == Verdict::Pass {
                let written = self.write(key, from.other(), &bytes);
                self.exchange.passed(key, from.other(), &bytes[written..], written);
            }
            self.settle();
        }
    }

    /// Nothing is written that must not be.
    fn write(&mut self, key: Key, to: Side, bytes: &[u8]) -> usize {
        let remote = self.remotes.get(&key).expect("bytes without a server");
        if Self::is_primary(remote.address) {
            assert_eq!(Some(remote.address), self.primary, "a primary without a lease");
            let needs = if to == Side::Server { MARGIN } else { Duration::ZERO };
            assert!(self.now + needs < self.until, "bytes to the {to:?} after the lease");
        }
        self.wire(key, to).map_or(0, |wire| wire.write(bytes))
    }

    pub(crate) fn flush(&mut self, key: Key, to: Side) {
        self.exchange.set_now(self.now);
        while let Some(output) = self.exchange.output(key, to).map(<[u8]>::to_vec) {
            let written = self.write(key, to, &output);
            if written == 0 || self.exchange.wrote(key, to, written) {
                return;
            }
        }
    }

    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(effect) = self.exchange.effect() {
                self.carry_out(effect);
            }
            let Some(key) = self.exchange.ready() else {
                return;
            };
            self.flush(key, Side::Server);
            self.flush(key, Side::Client);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Connect { pair, address } => {
                if Self::is_primary(address) {
                    assert_eq!(Some(address), self.primary, "connects to a primary without a lease");
                }
                let wire = Wire::new(self.room);
                let remote = Remote {
                    address,
                    wire,
                    connected: false,
                    answered: 0,
                    in_transaction: false,
                    id: 0,
                    login_got: 0,
                    login_sent: 0,
                    let_in: false,
                };
                assert!(self.remotes.insert(pair, remote).is_none(), "a second server");
            }
            Effect::Disconnect(pair) => {
                self.remotes.remove(&pair).expect("a server to be left");
                let who = self.who(pair).expect("its client");
                self.hear(who);
                let player = &self.players[who];
                if self.real {
                    assert!(!player.login.done && player.got().is_empty(), "it leaves who has let it in");
                } else {
                    assert_eq!(player.wire.got, b"", "it leaves a server that has spoken");
                }
            }
            Effect::Shut { pair, side } => {
                self.check_whole(pair, side);
                self.wire(pair, side).expect("who is told").shut = true;
            }
            Effect::Refuse { pair, packet } => {
                let who = self.who(pair).expect("who is refused");
                self.hear(who);
                let player = &mut self.players[who];
                assert!(!player.login.done, "refused after it was let in");
                assert!(self.real || player.wire.got.is_empty(), "refused after the greeting");
                assert_eq!(packet[3], player.login.next, "refused out of order");
                player.wire.got = packet;
                player.login.heard = 0;
                self.leave(pair, "refused");
            }
            Effect::Close { pair, client, server } => self.close(pair, client, server),
            Effect::Held(_, epoch) => {
                let left = self.remotes.values().filter(|remote| Self::is_primary(remote.address));
                assert_eq!(left.count(), 0, "held, and something leads to the primary");
                self.held.push(epoch);
            }
        }
    }

    /// This side has got all that the other one has said.
    fn check_whole(&mut self, pair: Key, side: Side) {
        let who = self.who(pair).expect("whose end it is");
        self.hear(who);
        let (player, remote) = (&self.players[who], &self.remotes[&pair]);
        match side {
            Side::Client => assert_eq!(player.got(), remote.heard(), "the client did not get everything"),
            Side::Server => assert_eq!(remote.got(), player.said(), "the server did not get everything"),
        }
    }

    fn close(&mut self, pair: Key, client: How, server: How) {
        let who = self.who(pair).expect("who is closed");
        self.hear(who);
        let player = &self.players[who];
        assert!(player.wire.ended || !player.wire.got.is_empty(), "closed without a word");
        let ended = player.wire.end_read || self.remotes.get(&pair).is_some_and(|it| it.wire.end_read);
        if (client, server) == (How::End, How::End) && !ended {
            let remote = &self.remotes[&pair];
            assert_eq!(remote.answered, remote.wire.got.len(), "closed before it was answered");
            assert_eq!(remote.heard(), player.got(), "closed before it heard the answer");
            assert!(!remote.in_transaction, "closed within a transaction");
        }
        self.leave(pair, &format!("{client:?}"));
    }

    fn leave(&mut self, pair: Key, how: &str) {
        self.remotes.remove(&pair);
        if let Some(who) = self.who(pair) {
            self.players[who].end = Some(how.to_owned());
        }
    }

    /// What arrives is the beginning of what was sent.
    fn look(&mut self) {
        for who in 0..self.players.len() {
            if self.players[who].end.is_none() {
                self.hear(who);
            }
        }
        for (key, remote) in &self.remotes {
            let Some(player) = self.who(*key).map(|who| &self.players[who]) else {
                panic!("a server of nobody");
            };
            if self.real && !(player.login.done && remote.let_in) {
                assert!(!player.login.done, "who was let in has its server");
                continue;
            }
            assert!(player.said().starts_with(remote.got()), "to the server");
            assert!(remote.heard().starts_with(player.got()), "to the client");
        }
    }

    /// One event; `what` and `size` are any numbers.
    fn step(&mut self, what: u8, size: u8) {
        let living: Vec<usize> =
            (0..self.players.len()).filter(|who| self.players[*who].end.is_none()).collect();
        let who = living.get(usize::from(size) % living.len().max(1)).copied();
        let key = who.and_then(|who| self.players[who].key);
        let some = usize::from(size >> 2);
        match (what % 16, who, key) {
            (0 | 1, ..) if living.len() < CLIENTS => drop(self.come()),
            (2 | 3, Some(who), _) => self.ask(who, if size < 40 { BEGIN } else { QUERY }),
            (4 | 5, _, Some(key)) => self.pump(key, Side::Client, some),
            (6, _, Some(key)) => {
                self.connect(key);
                self.answer(key);
            }
            (7, _, Some(key)) => self.pump(key, Side::Server, some),
            // As when the process was stopped between waking up and reading.
            (8, _, Some(key)) => {
                self.now = self.now + Duration::from_millis(u64::from(size) * 4);
                self.pump(key, if size % 8 < 4 { Side::Client } else { Side::Server }, some);
            }
            (9, ..) => self.chance(size),
            (10, Some(who), Some(key)) => match size / 4 % 8 {
                0 | 7 => self.end(who),
                1 => {
                    if let Some(remote) = self.remotes.get_mut(&key).filter(|remote| remote.connected) {
                        remote.wire.ended = true;
                    }
                }
                2 => self.exchange.server_failed(key, "played"),
                3 if self.players[who].wire.ended => self.exchange.hung_up(key),
                _ => self.make_room(key),
            },
            (11, _, Some(key)) if size < 128 => {
                for side in [Side::Client, Side::Server] {
                    self.flush(key, side);
                    self.settle();
                }
            }
            (11, _, Some(key)) => self.make_room(key),
            (12, ..) => self.pass(Duration::from_millis(u64::from(size))),
            // Shortly before the lease ends.
            (13, ..) => {
                let left = self.until.since(self.now);
                self.pass(left.saturating_sub(MARGIN / 2).max(Duration::from_millis(1)));
            }
            _ => self.pass(Duration::from_millis(1)),
        }
        self.settle();
        self.look();
    }

    /// Both sides take more. That they do is noticed later.
    fn make_room(&mut self, key: Key) {
        for side in [Side::Client, Side::Server] {
            if let Some(wire) = self.wire(key, side) {
                wire.room = wire.room.saturating_add(ROOM);
            }
        }
    }

    /// What the controllers say.
    fn chance(&mut self, size: u8) {
        let source = |number: u8| {
            let lag_bytes = u64::from(size >> (2 + number) & 1) * 2000;
            let target = Target { address: replica(u16::from(number)), host: "played".into() };
            Source { target, zone: "a".to_owned(), lag_bytes }
        };
        let sources: Vec<Source> =
            (1..3).filter(|number| size >> (4 + number) & 1 == 0).map(source).collect();
        let direction = match size % 8 {
            0 => {
                self.epoch += 1;
                self.primary = None;
                Direction::Hold { epoch: Epoch(self.epoch) }
            }
            1 => {
                self.epoch += 1;
                Direction::Drain { epoch: Epoch(self.epoch), until: self.until }
            }
            _ => {
                self.until = self.now + Duration::from_millis(400);
                let address = primary_of(self.epoch);
                self.primary = Some(address);
                let target = Target { address, host: "played".into() };
                Direction::Serve { epoch: Epoch(self.epoch), target, until: self.until }
            }
        };
        self.order(&direction, &sources);
    }

    /// Everything goes on until all that was said has arrived.
    fn finish(&mut self) {
        self.room = usize::MAX;
        // After a server that failed again and again the next attempt is half a second away.
        for _ in 0..100 {
            self.chance(0x07);
            for key in self.players.iter().filter_map(|player| player.key).collect::<Vec<_>>() {
                for side in [Side::Client, Side::Server] {
                    if let Some(wire) = self.wire(key, side) {
                        wire.room = usize::MAX;
                    }
                    self.flush(key, side);
                    self.settle();
                }
            }
            self.run();
            self.look();
            self.pass(Duration::from_millis(10));
        }
        for player in self.players.iter().filter(|player| player.end.is_none()) {
            let remote =
                player.key.and_then(|key| self.remotes.get(&key)).expect("everybody is linked at last");
            assert_eq!((player.said(), remote.heard()), (remote.got(), player.got()));
            assert!(player.wire.sent.is_empty() && remote.wire.sent.is_empty(), "bytes that nobody has read");
        }
    }
}

#[cfg(test)]
impl World {
    pub(crate) fn serve(&mut self, lease: Duration) {
        self.until = self.now + lease;
        self.primary = Some(primary_of(self.epoch));
        let target = Target { address: primary_of(self.epoch), host: "played".into() };
        self.order(&Direction::Serve { epoch: Epoch(self.epoch), target, until: self.until }, &[]);
    }

    pub(crate) fn hold(&mut self) {
        self.epoch += 1;
        self.primary = None;
        self.order(&Direction::Hold { epoch: Epoch(self.epoch) }, &[]);
    }

    pub(crate) fn drain(&mut self) {
        self.epoch += 1;
        self.order(&Direction::Drain { epoch: Epoch(self.epoch), until: self.until }, &[]);
    }
}

/// Plays a sequence that any bytes stand for.
pub(crate) fn play(script: &[u8]) {
    let reader = |otherwise| EndpointKind::Reader { max_lag_bytes: 1000, otherwise };
    let kind = match script.first().map_or(0, |first| first >> 5) {
        0 => reader(Otherwise::Refuse),
        1 => reader(Otherwise::Primary),
        2 => reader(Otherwise::Any),
        _ => EndpointKind::Primary,
    };
    let mut limits = EndpointLimits::default();
    if script.len() % 2 == 1 {
        (limits.hold_max, limits.held_commands_max) = (Duration::from_millis(300), 2);
    }
    let mut world = World::new(kind, limits);
    if script.len() / 2 % 2 == 1 {
        world.room = ROOM;
    }
    let first = script.first().copied().unwrap_or_default();
    (world.real, world.switches) = (first & 8 != 0, first & 16 != 0);
    for event in script.chunks_exact(2) {
        world.step(event[0], event[1]);
    }
    world.finish();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]
        #[test]
        fn whatever_happens_bytes_arrive_once_and_in_order_and_never_without_a_lease(
            script in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            play(&script);
        }
    }
}
