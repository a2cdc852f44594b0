//! What controllers tell it.

use super::sessions::Busy;
use super::{MariaDb, Receiver, Timer};
use crate::redis::{ConnectionId, Deed, Response};
use crate::scenario::Mistake;
use backstay_model::{Address, Command, Fault, Reply, Sql};
use std::time::Duration;

/// `lock_wait_timeout` of `SET GLOBAL read_only=1`.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// How long an ascent waits for what was received to be applied.
const DRAIN_WAIT: Duration = Duration::from_millis(200);
/// `rpl_semi_sync_slave_kill_conn_timeout`: how long the receiving thread of one that acknowledges asks a primary that
/// hangs to end their connection (seen: 1.01 s).
const KILL_WAIT: Duration = Duration::from_secs(1);

/// What is done once `read_only` is set.
#[derive(Clone, Debug)]
pub(super) enum After {
    Nothing,
    Follow { primary: Address, acker: bool },
    Demote { primary: Address, acker: bool },
    Ascend,
}

impl MariaDb {
    /// `None`: the reply comes later.
    pub(super) fn obey(
        &mut self,
        connection: ConnectionId,
        command: Command,
        deeds: &mut Vec<Deed>,
    ) -> Option<Reply> {
        match command {
            Command::Ping => Some(Reply::Pong),
            Command::Identify => Some(Reply::Identity(self.identity())),
            Command::Info => Some(Reply::Info(self.info())),
            Command::DisconnectClients(_) => {
                if self.mistake == Some(Mistake::SemiSyncOff) {
                    self.switch_semi_sync_off(deeds);
                }
                self.disconnect_others(connection, deeds);
                Some(Reply::Done)
            }
            Command::Canary(_) => self.canary(connection, command, deeds),
            Command::Sql(sql) => self.order(connection, sql, deeds),
            _ => Some(Reply::Refused(Fault::OtherError)),
        }
    }

    fn order(&mut self, connection: ConnectionId, sql: Sql, deeds: &mut Vec<Deed>) -> Option<Reply> {
        match sql {
            Sql::Close => self.close(connection, After::Nothing, deeds),
            Sql::Open => {
                self.guarded |= self.majority;
                self.read_only = false;
                deeds.push(Deed::Opened);
                Some(Reply::Done)
            }
            // A controller asks this beside what is simulated, when a canary is late.
            Sql::Delay => Some(Reply::Done),
            Sql::StopReceiving => self.stop_receiving(connection, deeds),
            Sql::Follow { primary, acker } => self.close(connection, After::Follow { primary, acker }, deeds),
            Sql::Demote { primary, acker } => {
                self.disconnect_others(connection, deeds);
                self.close(connection, After::Demote { primary, acker }, deeds)
            }
            Sql::Ascend { offset, .. } => self.ascend(connection, offset.0, deeds),
        }
    }

    /// Commits that wait for an acknowledgement, and `LOCK TABLES`, hold the lock that this needs (R3, T3).
    fn close(&mut self, connection: ConnectionId, after: After, deeds: &mut Vec<Deed>) -> Option<Reply> {
        if self.is_lock_free() {
            return Some(self.after(connection, after, deeds));
        }
        deeds.push(Deed::Met("close waits for commits"));
        self.wait(connection, Busy::Closing(after));
        self.set_timer(Timer::LockTimeout(connection), LOCK_WAIT, deeds);
        None
    }

    /// The lock is had.
    pub(super) fn after(&mut self, connection: ConnectionId, after: After, deeds: &mut Vec<Deed>) -> Reply {
        self.read_only = true;
        match after {
            After::Nothing => {}
            After::Follow { primary, acker } => {
                self.guarded = false;
                let same = self.follows.as_ref() == Some(&primary);
                if same && self.acks == acker {
                    self.start_slave(deeds);
                } else if same {
                    self.stop_receiver(deeds);
                    self.acks = acker;
                    self.start_slave(deeds);
                } else {
                    self.change_primary(primary, acker, deeds);
                }
            }
            After::Demote { primary, acker } => {
                self.disconnect_others(connection, deeds);
                self.guarded = false;
                self.change_primary(primary, acker, deeds);
            }
            After::Ascend => {
                self.disconnect_others(connection, deeds);
                self.stop_receiver(deeds);
                self.receiver = Receiver::Stopped;
                self.applies = false;
                self.relay.clear();
                self.acks = false;
                if self.follows.take().is_some() {
                    deeds.push(Deed::Promoted { closed: self.read_only });
                }
            }
        }
        Reply::Done
    }

    /// `CHANGE MASTER TO` throws away what was received and not applied, and the position is the one that was applied.
    fn change_primary(&mut self, primary: Address, acker: bool, deeds: &mut Vec<Deed>) {
        self.stop_receiver(deeds);
        self.receiver = Receiver::Stopped;
        self.applies = false;
        self.purge(deeds);
        self.acks = acker;
        self.follows = Some(primary);
        self.start_slave(deeds);
    }

    fn start_slave(&mut self, deeds: &mut Vec<Deed>) {
        let Some(primary) = self.follows.clone().filter(|of| *of != Address::nowhere()) else {
            return;
        };
        self.start_applying(deeds);
        if matches!(self.receiver, Receiver::Stopped | Receiver::Refused) {
            self.receiver = Receiver::Connecting;
            deeds.push(Deed::Follow(primary));
        }
    }

    /// `START SLAVE SQL_THREAD`: if neither thread ran, what was received is thrown away first (R3, T1).
    pub(super) fn start_applying(&mut self, deeds: &mut Vec<Deed>) {
        if self.follows.is_none() {
            return;
        }
        if !self.applies && matches!(self.receiver, Receiver::Stopped | Receiver::Refused) {
            self.purge(deeds);
        }
        self.applies = true;
        self.apply_soon(deeds);
    }

    fn purge(&mut self, deeds: &mut Vec<Deed>) {
        if !self.relay.is_empty() {
            deeds.push(Deed::Met("relay log thrown away with what was in it"));
        }
        self.relay.clear();
    }

    fn stop_receiver(&mut self, deeds: &mut Vec<Deed>) {
        if matches!(self.receiver, Receiver::Connected | Receiver::Connecting) {
            deeds.push(Deed::Unfollow);
        }
        self.receiver = Receiver::Stopped;
    }

    /// `STOP SLAVE IO_THREAD`: nothing more is received, at once. One that acknowledges tells its primary to end their
    /// connection first, and waits for that if it hangs.
    fn stop_receiving(&mut self, connection: ConnectionId, deeds: &mut Vec<Deed>) -> Option<Reply> {
        let waits = self.acks && self.receiver == Receiver::Connected && self.primary_hangs;
        self.stop_receiver(deeds);
        if self.mistake == Some(Mistake::ApplyAfterBothStopped) {
            self.applies = false;
            self.start_applying(deeds);
        }
        if !waits {
            return Some(Reply::Done);
        }
        self.receiver = Receiver::Stopping;
        deeds.push(Deed::Met("receiving stopped slowly"));
        self.wait(connection, Busy::Stopping);
        self.set_timer(Timer::Received(Some(connection)), KILL_WAIT, deeds);
        None
    }

    /// All of it or nothing: it stops at the first statement that fails.
    fn ascend(&mut self, connection: ConnectionId, number: u64, deeds: &mut Vec<Deed>) -> Option<Reply> {
        if self.has_applied(number) {
            return self.close(connection, After::Ascend, deeds);
        }
        if !self.applies {
            return Some(Reply::Refused(Fault::Draining));
        }
        deeds.push(Deed::Met("promotion waits for the applier"));
        self.wait(connection, Busy::Draining(number));
        self.set_timer(Timer::DrainTimeout(connection), DRAIN_WAIT, deeds);
        None
    }

    pub(super) const fn has_applied(&self, number: u64) -> bool {
        self.binlog.len() as u64 >= number
    }

    pub(super) fn drain_timed_out(&mut self, connection: ConnectionId, deeds: &mut Vec<Deed>) {
        if matches!(self.busy(connection), Some(Busy::Draining(_))) {
            deeds.push(Deed::Met("promotion refused: not applied"));
            self.go_on(connection, Response::Reply(Reply::Refused(Fault::Draining)), deeds);
        }
    }

    /// What it waited for is applied.
    pub(super) fn drained(&mut self, connection: ConnectionId, deeds: &mut Vec<Deed>) {
        if let Some(reply) = self.close(connection, After::Ascend, deeds) {
            self.go_on(connection, Response::Reply(reply), deeds);
        }
    }
}
