//! Plays any sequence of events to a whole gateway without a socket: clients that send, and that end when they have said
//! everything, servers that answer, cuts in every place, leases that end, holds, drains, lost connections. Whatever the
//! sequence, every command is answered exactly once and in order, no read sees a later write of its connection, no write is executed twice, none is acknowledged that
//! was not executed, and none whose reply was read after the lease's end. At a reader no write is executed at all.

use super::{Core, Effect, Key};
use crate::direction::{Direction, Source, Target};
use crate::scan::{ReplyScan, RequestScan, Words};
use crate::settings::{Endpoint, EndpointKind, EndpointLimits, Otherwise, Settings};
use backstay_model::{Epoch, ServiceName, Time};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

const CLIENTS: usize = 3;

/// What a client may hear for a command.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// This number back, and a smaller one: that of the client's last write that was executed before.
    Read(u64),
    /// This number back, at most once.
    Write(u64),
    /// Something of the gateway's own.
    Own,
    /// Something of the transaction that began with this number.
    Transaction(u64),
}

#[derive(Default)]
struct Player {
    key: Option<Key>,
    asked: VecDeque<Asked>,
    heard: Vec<u8>,
    /// It has begun a transaction with this number.
    transaction: Option<u64>,
    /// It has sent its last byte; within a transaction: true.
    closed: Option<bool>,
    /// Bytes that were not handed in yet.
    unsent: Vec<u8>,
}

/// One connection of a server.
#[derive(Default)]
struct Remote {
    connected: bool,
    heard: Vec<u8>,
    answers: Vec<u8>,
    /// The queued writes of an open transaction, and whose they are.
    queued: Option<Vec<(u64, usize)>>,
}

/// What servers have done: each has everything that another one did.
#[derive(Default)]
struct Executed {
    writes: BTreeSet<u64>,
    /// The last write of each player.
    last: [u64; CLIENTS],
}

impl Executed {
    fn write(&mut self, number: u64, who: usize) {
        assert!(self.writes.insert(number), "{number} is executed twice");
        self.last[who] = number;
    }
}

struct World {
    core: Core,
    now: Time,
    until: Time,
    epoch: u64,
    reads_only: bool,
    players: Vec<Player>,
    remotes: BTreeMap<Key, Remote>,
    executed: Executed,
    /// Which writes belong to which transaction.
    parts: BTreeMap<u64, u64>,
    /// Transactions whose MULTI was answered with OK.
    begun: BTreeSet<u64>,
    /// Transactions of which their clients heard that they cannot be executed.
    given_up: BTreeSet<u64>,
    confirmed: BTreeSet<Epoch>,
    numbers: u64,
}

fn service() -> ServiceName {
    "played".into()
}

impl World {
    fn new(kind: EndpointKind, limits: EndpointLimits) -> Self {
        let reads_only = kind != EndpointKind::Primary;
        let endpoint = Endpoint { limits, ..Endpoint::new("played", service(), kind) };
        let settings = Settings { zone: String::new(), endpoints: vec![endpoint] };
        let now = Time::from_micros(1_000_000);
        let mut world = Self {
            core: Core::new(settings, now),
            now,
            until: Time::ZERO,
            epoch: 1,
            reads_only,
            players: (0..CLIENTS).map(|_| Player::default()).collect(),
            remotes: BTreeMap::new(),
            executed: Executed::default(),
            parts: BTreeMap::new(),
            begun: BTreeSet::new(),
            given_up: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            numbers: 0,
        };
        // The third command in a row that the gateway answers itself waits for the next turn.
        world.core.work_max = 2;
        for player in &mut world.players {
            player.key = world.core.client_opened(0, "player").ok();
        }
        world
    }

    /// One event; `what` and `size` are any numbers.
    fn step(&mut self, what: u8, size: u8) {
        let who = usize::from(size) % CLIENTS;
        match what % 16 {
            0..=2 => self.ask(who, size),
            3..=5 => self.hand_in(who, usize::from(size)),
            6..=8 => self.serve(usize::from(size)),
            // As when the process was stopped between waking up and reading.
            9 => {
                self.now = self.now + Duration::from_millis(u64::from(size) * 4);
                self.serve(usize::from(size));
            }
            10 => self.pass(u64::from(size) * 4),
            11 => self.order(size),
            12 if size < 40 => self.lose(usize::from(size)),
            13 if size < 80 => self.half_close(who),
            _ => self.pass(1),
        }
        self.settle();
    }

    fn ask(&mut self, who: usize, size: u8) {
        self.numbers += 1;
        let number = self.numbers;
        let player = &mut self.players[who];
        if player.closed.is_some() {
            return;
        }
        let words = match size / 16 {
            0..=4 => {
                player.asked.push_back(player.transaction.map_or(Asked::Read(number), Asked::Transaction));
                format!("ECHO {number} {who}")
            }
            5..=11 => {
                if let Some(transaction) = player.transaction {
                    self.parts.insert(number, transaction);
                }
                player.asked.push_back(player.transaction.map_or(Asked::Write(number), Asked::Transaction));
                format!("INCRBY {number} {who}")
            }
            12 if player.transaction.is_none() => {
                player.asked.push_back(Asked::Own);
                "CLIENT ID".to_owned()
            }
            13 if player.transaction.is_none() => {
                player.transaction = Some(number);
                player.asked.push_back(Asked::Transaction(number));
                "MULTI".to_owned()
            }
            _ => match player.transaction.take() {
                Some(transaction) => {
                    player.asked.push_back(Asked::Transaction(transaction));
                    "EXEC".to_owned()
                }
                None => return,
            },
        };
        let words: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
        player.unsent.extend_from_slice(&super::connect::request(&words));
    }

    fn hand_in(&mut self, who: usize, size: usize) {
        let player = &mut self.players[who];
        let Some(key) = player.key.filter(|key| self.core.wants_input(*key)) else {
            return;
        };
        let some: Vec<u8> = player.unsent.drain(..player.unsent.len().min(size)).collect();
        self.core.client_read(key, &some);
    }

    /// A client says what it has left to say, and that this is all. It is dropped if it leaves a transaction open.
    fn half_close(&mut self, who: usize) {
        self.hand_in(who, usize::MAX);
        let player = &mut self.players[who];
        if let Some(key) = player.key.filter(|key| self.core.wants_input(*key)) {
            player.closed = Some(player.transaction.is_some());
            self.core.client_eof(key);
        }
    }

    /// A client ended: everything was answered, and somebody else comes.
    fn replace(&mut self, key: Key) {
        let Some(player) = self.players.iter_mut().find(|player| player.key == Some(key)) else {
            return;
        };
        let in_transaction = player.closed.expect("no client ends that has more to say");
        assert!(in_transaction || player.asked.is_empty(), "never answered: {:?}", player.asked);
        *player = Player { key: self.core.client_opened(0, "player").ok(), ..Player::default() };
    }

    /// Lets one server connection read, execute and answer some.
    fn serve(&mut self, size: usize) {
        let Some(key) = self.remotes.keys().nth(size % self.remotes.len().max(1)).copied() else {
            return;
        };
        let Some(remote) = self.remotes.get_mut(&key) else {
            return;
        };
        if !remote.connected {
            remote.connected = true;
            return self.core.link_connected(key);
        }
        while let Ok(Some(request)) = RequestScan::default().next(&remote.heard) {
            let command: Vec<u8> = remote.heard.drain(..request.len).collect();
            execute(remote, &command, &mut self.executed);
        }
        let some: Vec<u8> = remote.answers.drain(..remote.answers.len().min(size)).collect();
        if !some.is_empty() {
            let before = self.heard_numbers();
            self.core.set_now(self.now);
            self.core.link_read(key, &some);
            let late = !self.reads_only && self.now >= self.until;
            assert!(!late || self.heard_numbers() == before, "acknowledged after the lease");
        }
    }

    fn heard_numbers(&mut self) -> usize {
        let keys: Vec<Key> = self.players.iter().filter_map(|player| player.key).collect();
        let mut count = 0;
        for key in keys {
            if let Some((output, _)) = self.core.client_output(key) {
                count += String::from_utf8_lossy(output).matches(':').count();
            }
        }
        count
    }

    fn pass(&mut self, millis: u64) {
        self.now = self.now + Duration::from_millis(millis);
        self.core.set_now(self.now);
        self.core.tick();
    }

    fn order(&mut self, size: u8) {
        let epoch = Epoch(self.epoch);
        let direction = match size % 8 {
            0 => {
                self.epoch += 1;
                Direction::Hold { epoch: Epoch(self.epoch) }
            }
            1 => {
                self.epoch += 1;
                Direction::Drain { epoch: Epoch(self.epoch), until: self.until }
            }
            _ => {
                self.until = self.now + Duration::from_millis(400);
                let address = ([127, 0, 0, 1], self.epoch as u16).into();
                Direction::Serve {
                    epoch,
                    target: Target { address, host: "played".into() },
                    until: self.until,
                }
            }
        };
        // Two replicas: each is listed, too far behind or near enough.
        let replica = |number: u8| {
            let address = ([127, 0, 0, 2], u16::from(number)).into();
            let lag_bytes = u64::from(size >> (2 + number) & 1) * 2000;
            Source { target: Target { address, host: "played".into() }, zone: String::new(), lag_bytes }
        };
        let sources: Vec<Source> =
            (1..3).filter(|number| size >> (4 + number) & 1 == 0).map(replica).collect();
        self.core.route(&service(), &direction, &sources);
    }

    fn lose(&mut self, size: usize) {
        if let Some(key) = self.remotes.keys().nth(size % self.remotes.len().max(1)).copied() {
            self.core.link_lost(key, "played");
        }
    }

    fn settle(&mut self) {
        self.core.begin_turn();
        loop {
            self.core.settle();
            while let Some(effect) = self.core.effect() {
                match effect {
                    Effect::Connect { link, .. } => drop(self.remotes.insert(link, Remote::default())),
                    // What was written is executed all the same: nobody hears of it.
                    Effect::CloseLink { link, .. } => {
                        if let Some(mut remote) = self.remotes.remove(&link) {
                            while let Ok(Some(request)) = RequestScan::default().next(&remote.heard) {
                                let command: Vec<u8> = remote.heard.drain(..request.len).collect();
                                execute(&mut remote, &command, &mut self.executed);
                            }
                        }
                    }
                    Effect::CloseClient(key) => self.replace(key),
                    Effect::Held(_, epoch) => {
                        self.confirmed.insert(epoch);
                    }
                }
            }
            while let Some(key) = self.core.dirty_links() {
                let (Some((output, sent)), Some(remote)) =
                    (self.core.link_output(key), self.remotes.get_mut(&key))
                else {
                    continue;
                };
                remote.heard.extend_from_slice(&output[sent..]);
                let written = output.len() - sent;
                self.core.link_wrote(key, written);
            }
            while let Some(key) = self.core.dirty_clients() {
                let player = self.players.iter_mut().find(|player| player.key == Some(key));
                let (Some((output, sent)), Some(player)) = (self.core.client_output(key), player) else {
                    continue;
                };
                player.heard.extend_from_slice(&output[sent..]);
                let written = output.len() - sent;
                self.core.client_wrote(key, written);
                self.executed_before_heard(key);
            }
            while self.core.readable().is_some() {}
            if !self.core.is_unsettled() {
                return;
            }
        }
    }

    /// Looks at what a client heard.
    fn executed_before_heard(&mut self, key: Key) {
        let Some(player) = self.players.iter_mut().find(|player| player.key == Some(key)) else {
            return;
        };
        if player.closed == Some(true) {
            return;
        }
        while let Some(length) = ReplyScan::default().next(&player.heard).unwrap() {
            let heard: Vec<u8> = player.heard.drain(..length).collect();
            let heard = String::from_utf8(heard).unwrap();
            let asked = player.asked.pop_front().expect("an answer that nobody asked for");
            let held = heard.starts_with("-HOLD")
                || heard.starts_with("-RATELIMIT")
                || (self.reads_only && heard.starts_with("-NOREPLICA "));
            match asked {
                Asked::Read(number) => {
                    let said = heard.split("\r\n").nth(1).and_then(|said| said.split_once('.'));
                    let (echo, last) = said
                        .map_or((0, 0), |(echo, last)| (echo.parse().unwrap(), last.parse::<u64>().unwrap()));
                    let lost = heard.starts_with("-UNKNOWNOUTCOME ");
                    assert!(held || lost || echo == number, "{asked:?}: {heard}");
                    assert!(last < number, "{number} sees the later write {last}");
                }
                Asked::Write(_) if self.reads_only => {
                    assert!(held || heard.starts_with("-READONLY "), "{heard}");
                }
                Asked::Write(number) => {
                    let known = heard == format!(":{number}\r\n");
                    assert!(held || known || heard.starts_with("-UNKNOWNOUTCOME "), "{asked:?}: {heard}");
                    assert!(!known || self.executed.writes.contains(&number), "{number} was never executed");
                }
                Asked::Own => assert!(held || heard.starts_with(':'), "{heard}"),
                Asked::Transaction(transaction) => {
                    let error = heard.starts_with('-');
                    if heard == "+OK\r\n" {
                        self.begun.insert(transaction);
                    }
                    // Behind a MULTI that was refused commands may be executed by themselves, and their client hears so.
                    let given_up = heard.starts_with("-EXECABORT") || heard.contains("cannot be executed");
                    if given_up && self.begun.contains(&transaction) {
                        self.given_up.insert(transaction);
                    }
                    assert!(
                        error
                            || ["+OK\r\n", "+QUEUED\r\n"].contains(&&*heard)
                            || heard.starts_with(['*', ':', '$']),
                        "{heard}"
                    );
                    for number in heard.split(':').skip(1).filter_map(|rest| rest.trim().parse().ok()) {
                        assert!(self.executed.writes.contains(&number), "{number} was never executed");
                    }
                }
            }
        }
    }

    /// Serves until everything is answered.
    fn finish(&mut self) {
        for player in &mut self.players {
            player.transaction = None;
        }
        for _ in 0..2_000 {
            self.order(7);
            self.settle();
            for who in 0..CLIENTS {
                self.hand_in(who, usize::MAX);
                self.settle();
            }
            for number in 0..self.remotes.len() {
                self.serve_all(number);
                self.settle();
            }
            self.pass(10);
            self.settle();
            let waits = |player: &Player| {
                player.closed.is_some() || !player.asked.is_empty() || !player.unsent.is_empty()
            };
            if !self.players.iter().any(waits) {
                let (held, epoch) = (&self.confirmed, Epoch(self.epoch));
                assert!(held.iter().all(|held| *held <= epoch));
                let done = self.parts.iter().filter(|(number, _)| self.executed.writes.contains(number));
                let both: Vec<_> = done.filter(|(_, part)| self.given_up.contains(part)).collect();
                assert!(both.is_empty(), "executed, and said not to have been: {both:?}");
                return;
            }
        }
        let left: Vec<_> = self.players.iter().map(|player| &player.asked).collect();
        panic!("never answered: {left:?}");
    }

    fn serve_all(&mut self, number: usize) {
        let connections = self.remotes.len().max(1);
        // The number of bytes chooses the connection, too.
        self.serve(1_000_000 / connections * connections + number);
    }
}

/// Executes one command as Redis does.
fn execute(remote: &mut Remote, command: &[u8], executed: &mut Executed) {
    let words: Vec<String> =
        Words::of(command).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let number = words.get(1).and_then(|word| word.parse::<u64>().ok()).unwrap_or_default();
    let who = words.get(2).and_then(|word| word.parse::<usize>().ok()).unwrap_or_default();
    let answer = match &*words[0] {
        "EXEC" => match remote.queued.take() {
            Some(queued) => {
                let mut text = format!("*{}\r\n", queued.len());
                for (number, who) in queued {
                    executed.write(number, who);
                    text = format!("{text}:{number}\r\n");
                }
                text
            }
            None => "-ERR EXEC without MULTI\r\n".to_owned(),
        },
        "MULTI" => {
            remote.queued = Some(Vec::new());
            "+OK\r\n".to_owned()
        }
        "INCRBY" | "ECHO" if remote.queued.is_some() => {
            if words[0] == "INCRBY"
                && let Some(queued) = &mut remote.queued
            {
                queued.push((number, who));
            }
            "+QUEUED\r\n".to_owned()
        }
        "INCRBY" => {
            executed.write(number, who);
            format!(":{number}\r\n")
        }
        "ECHO" => {
            let said = format!("{number}.{}", executed.last[who]);
            format!("${}\r\n{said}\r\n", said.len())
        }
        "CLIENT" if words[1] == "ID" => ":7\r\n".to_owned(),
        _ => "+OK\r\n".to_owned(),
    };
    remote.answers.extend_from_slice(answer.as_bytes());
}

/// Plays a sequence that any bytes stand for; one of odd length at an endpoint that takes few commands.
pub(crate) fn play(script: &[u8]) {
    let reader = |otherwise| EndpointKind::Reader { max_lag_bytes: 1000, otherwise };
    let kind = match script.first().map_or(0, |first| first >> 5) {
        0 => reader(Otherwise::Refuse),
        1 => reader(Otherwise::Primary),
        2 => reader(Otherwise::Any),
        _ => EndpointKind::Primary,
    };
    // A client that takes minutes to say a command is thrown out, and rightly; here it is one that has more to say.
    let mut limits =
        EndpointLimits { request_timeout: Duration::from_secs(86_400), ..EndpointLimits::default() };
    if script.len() % 2 == 1 {
        (limits.commands_per_second, limits.hold_max) = (200, Duration::from_millis(300));
    }
    let mut world = World::new(kind, limits);
    if script.len() / 2 % 2 == 1 {
        // Two commands are one too many for a server.
        world.core.under_way_max = 30;
    }
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
        fn whatever_happens_every_command_is_answered_once_in_order_and_no_write_is_done_twice(
            script in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            play(&script);
        }
    }

    #[test]
    fn of_a_transaction_that_nobody_answers_only_so_much_is_taken() {
        let mut world = World::new(EndpointKind::Primary, EndpointLimits::default());
        world.core.work_max = usize::MAX;
        world.order(7);
        let key = world.players[0].key.unwrap();
        let command = |words: &[&[u8]]| super::super::connect::request(words);
        world.players[0].asked.push_back(Asked::Transaction(1));
        world.core.client_read(key, &command(&[b"MULTI"]));
        world.settle();
        for _ in 0..10 {
            for number in 0..world.remotes.len() {
                world.serve_all(number);
                world.settle();
            }
        }
        let taken = (0..10_000).take_while(|_| {
            world.core.client_read(key, &command(&[b"ECHO", b"1"]));
            world.core.wants_input(key)
        });
        assert!((100..2_000).contains(&taken.count()));
    }
}
