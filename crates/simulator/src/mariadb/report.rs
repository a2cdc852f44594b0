//! What it says of itself, as the translation of the real one's words has it.

use super::{Gtid, MariaDb, Receiver};
use backstay_model::{Address, Identity, Info, ReplId, ReplOffset, Role, SqlState};

impl MariaDb {
    pub(super) fn identity(&self) -> Identity {
        Identity {
            run_id: self.run_id.clone(),
            version: "fake".into(),
            keys: self.binlog.len() as u64,
            loading: false,
        }
    }

    /// A history is named by whoever wrote last; a primary's by itself.
    pub(crate) fn history(&self) -> ReplId {
        let writer = match (&self.follows, self.position()) {
            (None, _) => self.server,
            (Some(_), position) => position.map_or(0, |it| it.server),
        };
        named(writer)
    }

    pub(super) fn info(&self) -> Info {
        let offset = ReplOffset(self.position().map_or(0, |it| it.number));
        let (role, closed, sql) = match &self.follows {
            None => self.as_primary(),
            Some(of) => self.as_replica(of),
        };
        Info { role, replid: self.history(), previous: self.previous(), offset, closed, sql }
    }

    fn as_primary(&self) -> (Role, bool, SqlState) {
        let ackers = self.replicas.values().filter(|acknowledges| **acknowledges).count() as u64;
        let sql = SqlState { guarded: self.guarded, ackers, ..SqlState::default() };
        (Role::Primary { replicas: self.replicas.len() as u32 }, self.read_only, sql)
    }

    fn as_replica(&self, of: &Address) -> (Role, bool, SqlState) {
        let receives = match self.receiver {
            Receiver::Stopped => false,
            Receiver::Refused => !self.refusal_hidden,
            Receiver::Connecting | Receiver::Connected | Receiver::Stopping => true,
        };
        let role = Role::Replica {
            of: if receives { of.clone() } else { Address::nowhere() },
            link_up: matches!(self.receiver, Receiver::Connected | Receiver::Stopping),
            syncing: false,
        };
        let sql = SqlState {
            exposed: !self.read_only,
            stalled: !self.applies,
            unapplied: self.relay.len() as u64,
            guarded: self.guarded,
            acks: self.acks,
            heartbeats: self.heartbeats,
            ..SqlState::default()
        };
        (role, false, sql)
    }

    /// Of a primary, the last transaction if another server wrote it; of a replica, the last one of another server
    /// than the one that wrote last.
    fn previous(&self) -> Option<(ReplId, ReplOffset)> {
        let name = |it: Gtid| (named(it.server), ReplOffset(it.number));
        let position = self.position()?;
        if self.follows.is_none() {
            return Some(position).filter(|it| it.server != self.server).map(name);
        }
        let mut others = self.binlog.iter().rev().map(|it| it.gtid);
        others.find(|it| it.server != position.server).map(name)
    }
}

fn named(server: u32) -> ReplId {
    format!("0-{server}").into()
}
