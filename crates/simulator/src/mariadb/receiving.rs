//! Replication, both ends: what a replica receives and applies, and what a server has for its replicas.

use super::sessions::Busy;
use super::{Gtid, MariaDb, Receiver, Timer, Transaction};
use crate::redis::{ConnectionId, Deed, Response};
use backstay_model::{Address, Reply};
use std::time::Duration;

impl MariaDb {
    /// The last transaction that it received, or wrote.
    pub(crate) fn position(&self) -> Option<Gtid> {
        self.relay.back().or(self.binlog.last()).map(|it| it.gtid)
    }

    /// Whom its receiving thread tries to reach, if it does.
    pub(crate) const fn reaches_for(&self) -> Option<&Address> {
        match self.receiver {
            Receiver::Connecting => self.follows.as_ref(),
            _ => None,
        }
    }

    pub(crate) const fn acknowledges(&self) -> bool {
        self.acks
    }

    /// It is linked to its primary.
    pub(crate) const fn link_up(&mut self) {
        self.receiver = Receiver::Connected;
    }

    /// The link is gone; its thread tries again.
    pub(crate) const fn link_down(&mut self) {
        if matches!(self.receiver, Receiver::Connected) {
            self.receiver = Receiver::Connecting;
        }
    }

    /// Its primary does not have its position: the thread ends, until it is told to start again (1236).
    pub(crate) const fn refused(&mut self) {
        self.receiver = Receiver::Refused;
    }

    pub(crate) const fn is_refused(&self) -> bool {
        matches!(self.receiver, Receiver::Refused)
    }

    /// The next transaction arrived. It is acknowledged when it is received, not when it is applied.
    pub(crate) fn receive(&mut self, transaction: Transaction) -> Vec<Deed> {
        let mut deeds = Vec::new();
        if self.receiver != Receiver::Connected {
            return deeds;
        }
        self.relay.push_back(transaction);
        if self.acks {
            deeds.push(Deed::Acknowledge(transaction.gtid.number));
        }
        self.apply_soon(&mut deeds);
        deeds
    }

    /// Nothing is written, and its primary is alive.
    pub(crate) const fn heartbeat(&mut self) {
        self.heartbeats += 1;
    }

    pub(super) fn apply_soon(&mut self, deeds: &mut Vec<Deed>) {
        let planned = self.timers.values().any(|timer| *timer == Timer::Apply);
        if self.applies && !planned && !self.relay.is_empty() {
            let takes = self.random.micros(20, self.pace.as_micros() as u64);
            self.set_timer(Timer::Apply, takes, deeds);
        }
    }

    pub(super) fn apply(&mut self, deeds: &mut Vec<Deed>) {
        if !self.applies {
            return;
        }
        let next = self.binlog.len() as u64 + 1;
        let fits = self.relay.front().is_some_and(|it| it.gtid.number == next);
        // Out of order is an error (`gtid_strict_mode`): somebody wrote here.
        if self.breaks || !fits {
            self.applies = self.relay.is_empty();
            return;
        }
        if let Some(transaction) = self.relay.pop_front() {
            self.log(transaction, deeds);
        }
        self.let_drained_go_on(deeds);
        self.apply_soon(deeds);
    }

    fn let_drained_go_on(&mut self, deeds: &mut Vec<Deed>) {
        let drained = self.sessions.iter().filter(|(_, session)| match session.busy {
            Some(Busy::Draining(number)) => self.has_applied(number),
            _ => false,
        });
        for connection in drained.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.drained(connection, deeds);
        }
    }

    /// The receiving thread is gone.
    pub(super) fn received_last(&mut self, connection: Option<ConnectionId>, deeds: &mut Vec<Deed>) {
        if self.receiver == Receiver::Stopping {
            self.receiver = Receiver::Stopped;
        }
        if let Some(connection) = connection
            && matches!(self.busy(connection), Some(Busy::Stopping))
        {
            self.go_on(connection, Response::Reply(Reply::Done), deeds);
        }
    }

    /// What a replica at this position lacks. `None`: this one is not in the binary log, by server and number.
    pub(crate) fn missing(&self, position: Option<Gtid>) -> Option<Vec<Transaction>> {
        let Some(position) = position else {
            return Some(self.binlog.clone());
        };
        let known = self.binlog.get(position.number as usize - 1)?;
        (known.gtid == position).then(|| self.binlog[position.number as usize..].to_vec())
    }

    /// A replica is linked to it.
    pub(crate) fn attach(&mut self, replica: usize, acknowledges: bool) {
        self.replicas.insert(replica, acknowledges);
    }

    /// It is no more.
    pub(crate) fn detach(&mut self, replica: usize) {
        self.replicas.remove(&replica);
    }

    /// From now on its SQL thread takes so long for each, or stops at the next one.
    pub(crate) const fn hamper(&mut self, pace: Duration, breaks: bool) {
        self.pace = pace;
        self.breaks = breaks;
    }

    /// Somebody mends what it could not apply, and starts the thread again if it has stopped. If nothing is received
    /// meanwhile, that throws away what was (R3, T1). True: it did.
    pub(crate) fn mend(&mut self) -> (Vec<Deed>, bool) {
        let mut deeds = Vec::new();
        self.hamper(super::PACE, false);
        let before = self.relay.len();
        if !self.applies && before > 0 {
            self.start_applying(&mut deeds);
        }
        let threw_away = self.relay.len() < before;
        self.apply_soon(&mut deeds);
        (deeds, threw_away)
    }
}
