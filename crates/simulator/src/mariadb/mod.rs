//! A fake MariaDB with the behaviours that bite. One process on one host, that knows nothing of the network: the world
//! hands it what arrives and carries away what it says. The traps, each where it is built in: a relay log that is thrown
//! away, one acknowledgement that is enough, a restart that truncates the binary log, `read_only` that hangs, a killed
//! commit that happens all the same (mariadb.md, R3), and connections that are served each on its own, so that nothing on
//! one comes before anything on another.
//!
//! It lacks what no decision depends on: tables, several domains, purged binary logs, users.

mod commits;
mod orders;
mod receiving;
mod report;
mod sessions;

use crate::random::Random;
use crate::redis::{ConnectionId, Deed, WriteId};
use crate::scenario::Mistake;
use backstay_model::{Address, RunId};
use sessions::Session;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Who wrote a transaction, and its number in the domain, which grows by one from writer to writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gtid {
    pub(crate) server: u32,
    pub(crate) number: u64,
}

/// One in a binary log or a relay log. Without a client's write it is a heartbeat of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transaction {
    pub(crate) gtid: Gtid,
    pub(crate) write: Option<WriteId>,
}

/// The thread that receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    Stopped,
    Connecting,
    Connected,
    /// It receives no more, and still waits for the connection that it told its primary to end.
    Stopping,
    /// Its primary does not have its position (1236): it tries no more.
    Refused,
}

/// The process, while there is one; or what it left on its disk.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug)]
pub(crate) struct MariaDb {
    pub(crate) address: Address,
    pub(crate) run_id: RunId,
    server: u32,
    /// A thread that was refused (1236) is shown as one that follows nobody, not as one without a link.
    refusal_hidden: bool,
    /// How it is meant to be used: `Sql::Open` switches acknowledgements on.
    majority: bool,
    mistake: Option<Mistake>,
    binlog: Vec<Transaction>,
    /// Received and not applied.
    relay: VecDeque<Transaction>,
    /// How much of the binary log no restart can cut off.
    settled: usize,
    read_only: bool,
    /// Whom its configuration as a replica names. It survives a restart.
    pub(crate) follows: Option<Address>,
    receiver: Receiver,
    /// The SQL thread runs.
    applies: bool,
    /// It stops at the next transaction.
    breaks: bool,
    /// How long one takes, at most.
    pace: Duration,
    /// It acknowledges as a replica (`rpl_semi_sync_slave_enabled`).
    acks: bool,
    /// Its commits wait for an acknowledgement (`rpl_semi_sync_master_enabled`).
    guarded: bool,
    /// Its replicas, by the world's number, and which of them acknowledge.
    replicas: BTreeMap<usize, bool>,
    heartbeats: u64,
    /// Whom it follows does not answer now: the world keeps it.
    pub(crate) primary_hangs: bool,
    /// It is stopped: nothing runs until it is resumed.
    pub(crate) stopped: bool,
    sessions: BTreeMap<ConnectionId, Session>,
    /// Commits that wait for an acknowledgement, and whose they are.
    waiting: VecDeque<(u64, ConnectionId)>,
    /// A client has `LOCK TABLES` and does not let go.
    tables_locked: bool,
    timers: BTreeMap<u64, Timer>,
    next_timer: u64,
    random: Random,
}

/// What happens after a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    /// A connection's thread runs again after the process stood still.
    Wake(ConnectionId),
    /// It waited for a lock for too long.
    LockTimeout(ConnectionId),
    /// It waited for what was received to be applied for too long.
    DrainTimeout(ConnectionId),
    /// The receiving thread is gone.
    Received(Option<ConnectionId>),
    /// The next transaction is applied.
    Apply,
}

/// How long one transaction takes to apply.
const PACE: Duration = Duration::from_micros(300);

impl MariaDb {
    /// A process on an empty disk.
    pub(crate) fn start(address: Address, server: u32, run: u64, read_only: bool) -> Self {
        Self {
            address,
            run_id: RunId::from(format!("{server}-run{run}")),
            server,
            refusal_hidden: false,
            majority: false,
            mistake: None,
            binlog: Vec::new(),
            relay: VecDeque::new(),
            settled: 0,
            read_only,
            follows: None,
            receiver: Receiver::Stopped,
            applies: false,
            breaks: false,
            pace: PACE,
            acks: false,
            guarded: false,
            replicas: BTreeMap::new(),
            heartbeats: 0,
            primary_hangs: false,
            stopped: false,
            sessions: BTreeMap::new(),
            waiting: VecDeque::new(),
            tables_locked: false,
            timers: BTreeMap::new(),
            next_timer: 0,
            random: Random::new(run),
        }
    }

    /// What the service is to be like, and what is done wrong.
    pub(crate) const fn set_up(&mut self, majority: bool, refusal_hidden: bool, mistake: Option<Mistake>) {
        self.majority = majority;
        self.refusal_hidden = refusal_hidden;
        self.mistake = mistake;
    }

    /// A process on this disk. What was not applied is gone with the relay log, which the next start of a thread throws
    /// away (R3, T1). What nobody was told of, or was told of a moment before, may be cut off the binary log, whoever
    /// received it (R3, T2: `init-rpl-role=SLAVE`): what the storage engine does not know to be committed. It is a replica, or closed, as its file says; with protected boot
    /// no thread runs (`skip-slave-start`).
    pub(crate) fn restart(disk: &Self, run: u64, protected: bool) -> Self {
        let mut next = Self::start(disk.address.clone(), disk.server, run, protected);
        next.set_up(disk.majority, disk.refusal_hidden, disk.mistake);
        next.follows.clone_from(&disk.follows);
        let mut kept = disk.binlog.len();
        if disk.guarded && next.random.chance(700) {
            kept = next.random.range(disk.settled.min(disk.untold()) as u64, disk.untold() as u64) as usize;
        }
        next.binlog = disk.binlog[..kept].to_vec();
        if disk.mistake == Some(Mistake::RestartReopened) {
            next.run_id = disk.run_id.clone();
        }
        next
    }

    /// Another server with a copy of this one's data: what it only received is not in it.
    pub(crate) fn copied_to(&self, other: Self) -> Self {
        Self { binlog: self.binlog.clone(), settled: self.binlog.len(), ..other }
    }

    /// It was made a primary or somebody's replica long ago.
    pub(crate) fn runs_as(&mut self, follows: Option<Address>) {
        let is_replica = follows.is_some();
        self.follows = follows;
        self.read_only = is_replica;
        self.guarded = self.majority && !is_replica;
        self.acks = self.majority && is_replica;
        self.start_threads();
    }

    /// It took these writes long ago.
    pub(crate) fn holds(&mut self, writes: &[WriteId]) {
        for write in writes {
            let transaction = self.next_transaction(Some(*write));
            self.binlog.push(transaction);
        }
    }

    /// A process that was started without protection begins to follow at once.
    pub(crate) fn start_threads(&mut self) -> bool {
        let somebody = self.follows.as_ref().is_some_and(|of| *of != Address::nowhere());
        if somebody {
            self.receiver = Receiver::Connecting;
            self.applies = true;
        }
        somebody
    }

    pub(crate) fn data(&self) -> Vec<WriteId> {
        self.binlog.iter().chain(&self.relay).filter_map(|it| it.write).collect()
    }

    /// Its writes whose names the other one has for something else.
    pub(crate) fn named_otherwise(&self, other: &Self) -> Vec<WriteId> {
        let here = self.binlog.iter().chain(&self.relay);
        let pairs = here.zip(other.binlog.iter().chain(&other.relay));
        let differs = pairs.filter(|(here, there)| here.gtid == there.gtid && here.write != there.write);
        differs.filter_map(|(here, _)| here.write).collect()
    }

    pub(crate) fn holds_lately(&self, write: WriteId) -> bool {
        self.binlog.iter().rev().any(|it| it.write == Some(write))
    }

    /// How much it can be promoted with: nothing, while it cannot apply what it received.
    pub(crate) fn promotable(&self) -> usize {
        if self.applies || self.relay.is_empty() { self.binlog.len() + self.relay.len() } else { 0 }
    }

    /// How much its binary log holds.
    pub(crate) const fn written(&self) -> usize {
        self.binlog.len()
    }

    pub(crate) const fn is_writable(&self) -> bool {
        self.follows.is_none() && !self.read_only
    }

    pub(crate) const fn is_linked(&self) -> bool {
        matches!(self.receiver, Receiver::Connected)
    }

    const fn next_transaction(&self, write: Option<WriteId>) -> Transaction {
        let number = self.binlog.len() as u64 + 1;
        Transaction { gtid: Gtid { server: self.server, number }, write }
    }

    fn set_timer(&mut self, timer: Timer, after: Duration, deeds: &mut Vec<Deed>) -> u64 {
        self.next_timer += 1;
        self.timers.insert(self.next_timer, timer);
        deeds.push(Deed::Timer(self.next_timer, after));
        self.next_timer
    }

    /// A while is over.
    pub(crate) fn timer(&mut self, number: u64) -> Vec<Deed> {
        let mut deeds = Vec::new();
        match self.timers.remove(&number) {
            None => {}
            Some(Timer::Wake(connection)) => self.wake(connection, &mut deeds),
            Some(Timer::LockTimeout(connection)) => self.lock_timed_out(connection, &mut deeds),
            Some(Timer::DrainTimeout(connection)) => self.drain_timed_out(connection, &mut deeds),
            Some(Timer::Received(connection)) => self.received_last(connection, &mut deeds),
            Some(Timer::Apply) => self.apply(&mut deeds),
        }
        deeds
    }
}
