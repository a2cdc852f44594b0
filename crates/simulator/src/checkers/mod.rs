//! The properties, one file each. A checker looks at the whole world, which nobody inside it can, and stops it at the
//! first violation.

mod acts;
mod agreement;
mod command_order;
mod convergence;
mod epochs;
mod failover_times;
mod failsafe;
mod flapping;
mod identical_state;
mod lease_at_reply;
mod lost_writes;
mod old_primaries;
mod one_answer;
mod one_primary;
mod readers;
mod writes;

use crate::redis::{ConnectionId, WriteId};
use crate::scenario::{FaultKind, Scenario};
use crate::world::{Sent, World};
use backstay_model::{Command, Epoch, InstanceName, Order, Route, Time};
use std::collections::BTreeSet;

/// What the checkers remember.
#[derive(Debug)]
pub(crate) struct Checkers {
    violation: Option<(&'static str, String)>,
    identical: identical_state::Memory,
    epochs: epochs::Memory,
    primaries: one_primary::Memory,
    newest: Epoch,
    acts: acts::Memory,
    flapping: flapping::Memory,
    writes: lost_writes::Memory,
    pub(crate) lease_at_reply: lease_at_reply::Memory,
    pub(crate) old_primaries: old_primaries::Memory,
    pub(crate) command_order: command_order::Memory,
    pub(crate) one_answer: one_answer::Memory,
    pub(crate) readers: readers::Memory,
    pub(crate) failsafe: failsafe::Memory,
    pub(crate) times: failover_times::Memory,
    /// Whose data an operator ever chose: what was ordered then may run after another choice.
    pub(crate) decided: BTreeSet<InstanceName>,
    /// The controller whose folder was wiped.
    pub(crate) wiped: Option<usize>,
}

impl Checkers {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            violation: None,
            identical: identical_state::Memory::new(scenario.controllers),
            epochs: epochs::Memory::default(),
            primaries: one_primary::Memory::default(),
            newest: Epoch(0),
            acts: acts::Memory::default(),
            flapping: flapping::Memory::default(),
            writes: lost_writes::Memory::default(),
            lease_at_reply: lease_at_reply::Memory::default(),
            old_primaries: old_primaries::Memory::default(),
            command_order: command_order::Memory::default(),
            one_answer: one_answer::Memory::default(),
            readers: readers::Memory::default(),
            failsafe: failsafe::Memory::default(),
            times: failover_times::Memory::default(),
            decided: BTreeSet::new(),
            wiped: None,
        }
    }

    fn is_new_epoch(&mut self, epoch: Epoch) -> bool {
        let new = epoch > self.newest;
        self.newest = self.newest.max(epoch);
        new
    }

    pub(crate) const fn violation(&self) -> Option<&(&'static str, String)> {
        self.violation.as_ref()
    }

    pub(crate) fn violate(&mut self, property: &'static str, what: String) {
        self.violation.get_or_insert((property, what));
    }

    /// Writes that a running group took before controllers came.
    pub(crate) fn acknowledged_before(&mut self, writes: &[WriteId]) {
        self.writes.acknowledged_before(writes);
    }

    pub(crate) const fn next_write(&mut self) -> WriteId {
        self.writes.next_write()
    }

    /// A server ran a client's command.
    pub(crate) fn executed(&mut self, connection: ConnectionId, command: WriteId) {
        self.command_order.executed(connection, command);
    }

    pub(crate) const fn fault_began(&mut self, now: Time, primary: bool) {
        if primary {
            self.times.fault_began(now);
        }
    }

    pub(crate) const fn acknowledged(&self) -> u64 {
        self.writes.acknowledged
    }

    pub(crate) const fn lost(&self) -> u64 {
        self.writes.lost
    }

    pub(crate) const fn stale(&self) -> u64 {
        self.primaries.stale_writes
    }
}

impl World {
    /// After every step of a node: is its state one that it may have?
    pub(crate) fn check_state(&mut self, node: usize) {
        let Some(it) = self.controllers[node].node() else {
            return;
        };
        let applied = it.consensus().applied();
        let service = it.brain().state().service(&self.service);
        self.checkers.acts.note_step(node, applied, service);
        if !self.checkers.identical.is_new(node, applied) {
            return;
        }
        let state = it.brain().state().clone();
        let service = state.service(&self.service).clone();
        self.checkers.decided.extend(service.decided.clone());
        let found = self
            .checkers
            .identical
            .check(node, applied, &state)
            .or_else(|| self.checkers.epochs.check(applied, service.epoch))
            .or_else(|| self.checkers.primaries.reign(&service));
        if let Some((property, what)) = found {
            return self.violate(property, what);
        }
        // Where clocks differ a wait may be forgotten.
        if !self.scenario.skewed_clocks && !self.scenario.kinds.contains(&FaultKind::Clock) {
            let (now, cooldown) = (self.now, self.spec.services[0].cooldown);
            if let Some((property, what)) = self.checkers.flapping.check(now, cooldown, &service) {
                return self.violate(property, what);
            }
        }
        if self.checkers.is_new_epoch(service.epoch) {
            self.check_agreement(&service);
        }
        self.note_begin(&service);
        self.note_reign(&service);
    }

    pub(crate) fn check_order(&mut self, node: usize, order: &Order) {
        let now = self.clock(node).time;
        let Some(it) = self.controllers[node].node() else {
            return;
        };
        let term = it.consensus().term();
        // A lone voter commits in the middle of a step, so its state may be ahead of the order.
        if it.consensus().status().membership.majority() == 1 {
            return;
        }
        let late = now >= order.deadline;
        let spec = &self.spec.services[0];
        if let Some((property, what)) = self.checkers.acts.check(spec, node, term, order, late) {
            self.violate(property, what);
        }
    }

    /// An act goes over the wire: what allowed it must not have lapsed since it was ordered.
    pub(crate) fn check_sent(&mut self, node: usize, commands: &[Command], by: Option<&Sent>) {
        let acts = |command: &Command| {
            matches!(
                command,
                Command::Replicate(_)
                    | Command::ReplicateNoOne
                    | Command::SetWriteGuard(_)
                    | Command::Canary(_)
            )
        };
        if !commands.iter().any(acts) {
            return;
        }
        let now = self.clock(node).time;
        let found = by.map_or_else(
            || Some(("no act without a commit", format!("{commands:?} without an order"))),
            |by| self.checkers.acts.check_sent(now, by),
        );
        if let Some((property, what)) = found {
            self.violate(property, what);
        }
    }

    pub(crate) fn check_route(&mut self, route: &Route) {
        if self.controllers.len() == 1 {
            return; // Its reign is noted only once it is durable.
        }
        if let Some((property, what)) = self.checkers.primaries.route(&self.spec.services[0], route) {
            self.violate(property, what);
        }
    }
}
