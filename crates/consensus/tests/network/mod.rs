//! A world for consensus on one seed: nodes with disks and clocks of their own, and a network that loses, delays and
//! repeats. Every event is followed by the checks of `check`: they hold in every test.

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of the vocabulary")]

mod check;
mod host;
mod rng;

use backstay_consensus::{Body, Effect, Input, Kind, Message};
use backstay_model::{NodeId, Time};
pub use check::Checks;
pub use host::Host;
pub use rng::Rng;
use std::collections::{BTreeMap, BTreeSet};

pub const MS: u64 = 1000;

/// What goes wrong by chance. Probabilities are per thousand.
#[derive(Clone, Copy)]
pub struct Faults {
    pub loss: u64,
    pub repeat: u64,
    pub delay_micros: (u64, u64),
    /// Before each effect.
    pub crash: u64,
}

pub const CALM: Faults = Faults { loss: 0, repeat: 0, delay_micros: (MS, 5 * MS), crash: 0 };

pub const ROUGH: Faults = Faults { loss: 50, repeat: 50, delay_micros: (MS / 10, 40 * MS), crash: 0 };

pub enum Event {
    Deliver(Message),
    Wake(NodeId, u64),
    Start(NodeId),
    Propose(NodeId, Vec<u8>),
}

pub struct World {
    pub now: u64,
    pub hosts: BTreeMap<NodeId, Host>,
    pub faults: Faults,
    /// Pairs between which nothing passes, in this direction.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Raft messages of this kind are lost.
    pub lost_kind: Option<Kind>,
    pub checks: Checks,
    pub rng: Rng,
    /// Entries between snapshots; none by default.
    pub compact_every: Option<u64>,
    queue: BTreeMap<(u64, u64), Event>,
    sequence: u64,
}

impl World {
    /// Nodes 1 to `count`, all started at about the same time.
    pub fn new(seed: u64, count: u64, faults: Faults) -> Self {
        Self::with_skew(seed, count, faults, 0)
    }

    /// As `new`; clocks run up to `skew_ppm` millionths too fast or too slow.
    pub fn with_skew(seed: u64, count: u64, faults: Faults, skew_ppm: u64) -> Self {
        let mut rng = Rng(seed);
        let voters: Vec<NodeId> = (1..=count).map(NodeId).collect();
        let mut world = Self {
            now: 0,
            hosts: BTreeMap::new(),
            faults,
            cut: BTreeSet::new(),
            lost_kind: None,
            checks: Checks::default(),
            compact_every: None,
            queue: BTreeMap::new(),
            sequence: 0,
            rng: Rng(0),
        };
        for id in &voters {
            let rate = 1_000_000 - skew_ppm + rng.below(2 * skew_ppm + 1);
            let host = Host::new(*id, voters.clone(), rate, rng.below(1_000_000_000), rng.next());
            world.hosts.insert(*id, host);
            world.schedule(rng.below(30 * MS), Event::Start(*id));
        }
        world.rng = rng;
        world
    }

    /// One more machine, whose folder is made after the cluster's first start. Everybody's file lists it.
    pub fn join(&mut self, id: u64) {
        let id = NodeId(id);
        let (offset, seed) = (self.rng.below(1_000_000_000), self.rng.next());
        self.hosts.insert(id, Host::new(id, Vec::new(), 1_000_000, offset, seed));
        self.schedule(0, Event::Start(id));
    }

    pub fn schedule(&mut self, delay: u64, event: Event) {
        self.sequence += 1;
        self.queue.insert((self.now + delay, self.sequence), event);
    }

    pub fn host(&self, id: u64) -> &Host {
        &self.hosts[&NodeId(id)]
    }

    pub fn host_mut(&mut self, id: u64) -> &mut Host {
        self.hosts.get_mut(&NodeId(id)).unwrap()
    }

    /// The node that leads and whose process runs, if exactly one does.
    pub fn leader(&self) -> Option<u64> {
        let mut leading = self.hosts.values().filter(|host| host.leading && host.is_up());
        let first = leading.next()?;
        leading.next().is_none().then_some(first.id.0)
    }

    pub fn run(&mut self, micros: u64) {
        let end = self.now + micros;
        while self.next_before(end) {
            self.turn();
        }
        self.now = end;
    }

    /// Runs until the condition holds; panics when it has not within `limit` micros. Returns the time that it took.
    pub fn run_until(&mut self, limit: u64, what: &str, condition: impl Fn(&Self) -> bool) -> u64 {
        let start = self.now;
        while !condition(self) {
            assert!(self.next_before(start + limit), "not within {limit} us: {what}");
            self.turn();
        }
        self.now - start
    }

    fn next_before(&self, end: u64) -> bool {
        self.queue.first_key_value().is_some_and(|((at, _), _)| *at <= end)
    }

    fn turn(&mut self) {
        let Some(((at, _), event)) = self.queue.pop_first() else {
            return;
        };
        self.now = self.now.max(at);
        match event {
            Event::Start(id) => self.start(id),
            Event::Deliver(message) => {
                if !self.cut.contains(&(message.from, message.to)) {
                    self.input(message.to, Input::Message(message));
                }
            }
            Event::Wake(id, ticket) => {
                if self.hosts[&id].ticket == ticket {
                    self.input(id, Input::Wake);
                }
            }
            Event::Propose(id, data) => self.input(id, Input::Propose(data)),
        }
        self.checks.leases(self.now, &self.hosts);
    }

    pub fn start(&mut self, id: NodeId) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        if host.node.is_none() {
            let effects = host.start(now);
            self.carry_out(id, effects);
        }
    }

    /// Ends the process. What was persisted stays.
    pub fn crash(&mut self, id: u64) {
        self.host_mut(id).crash();
    }

    /// Stops the process for a while; what arrives meanwhile waits.
    pub fn pause(&mut self, id: u64, micros: u64) {
        let until = self.now + micros;
        self.host_mut(id).paused_until = until;
    }

    pub fn isolate(&mut self, id: u64) {
        for other in self.hosts.keys().copied().collect::<Vec<_>>() {
            self.cut.insert((NodeId(id), other));
            self.cut.insert((other, NodeId(id)));
        }
    }

    pub fn input(&mut self, id: NodeId, input: Input) {
        let now = self.now;
        let Some(host) = self.hosts.get_mut(&id) else {
            return;
        };
        if now < host.paused_until {
            let wait = host.paused_until - now;
            let event = match input {
                Input::Message(message) => Event::Deliver(message),
                Input::Propose(data) => Event::Propose(id, data),
                _ => Event::Wake(id, host.ticket),
            };
            self.schedule(wait, event);
            return;
        }
        let local = host.clock(now);
        let Some(node) = &mut host.node else {
            return;
        };
        let effects = node.step(local, input);
        self.carry_out(id, effects);
        self.compact(id);
    }

    fn carry_out(&mut self, id: NodeId, effects: Vec<Effect>) {
        for effect in effects {
            if self.rng.per_mille(self.faults.crash) {
                self.hosts.get_mut(&id).unwrap().crash();
                let down = self.rng.below(1000 * MS);
                return self.schedule(down, Event::Start(id));
            }
            self.checks.trace(self.now, id, &effect);
            if let Effect::Send { message, .. } = effect {
                self.post(message);
            } else {
                let host = self.hosts.get_mut(&id).unwrap();
                self.checks.effect(host, &effect);
                host.carry_out(effect);
            }
        }
        let host = self.hosts.get_mut(&id).unwrap();
        host.ticket += 1;
        let ticket = host.ticket;
        if let Some(wait) = host.wait(self.now) {
            self.schedule(wait, Event::Wake(id, ticket));
        }
    }

    fn post(&mut self, message: Message) {
        if let (Some(lost), Body::Raft(raft)) = (self.lost_kind, &message.body)
            && raft.kind == lost
        {
            return;
        }
        let (least, most) = self.faults.delay_micros;
        if self.rng.per_mille(self.faults.repeat) {
            let delay = least + self.rng.below(most * 10);
            self.schedule(delay, Event::Deliver(message.clone()));
        }
        if !self.rng.per_mille(self.faults.loss) {
            let delay = least + self.rng.below(most - least + 1);
            self.schedule(delay, Event::Deliver(message));
        }
    }

    fn compact(&mut self, id: NodeId) {
        let host = &self.hosts[&id];
        let Some(every) = self.compact_every else {
            return;
        };
        if host.is_up() && host.applied >= host.disk.snapshot_index() + every {
            let (index, data) = (host.applied, host.state.to_le_bytes().to_vec());
            let local: Time = host.clock(self.now);
            let node = self.hosts.get_mut(&id).unwrap().node.as_mut().unwrap();
            let effects = node.step(local, Input::Compact { index, data });
            self.carry_out(id, effects);
        }
    }
}
