//! What a controller's commands do, at once or in a transaction.

use super::{ConnectionId, Deed, Item, Redis, Transaction};
use backstay_model::{ClientKind, Command, Fault, Identity, Info, ReplOffset, Reply, Role, SqlState};

impl Redis {
    /// What it answers instead of doing it (Redis, `processCommand`).
    pub(super) fn refusal(&self, command: &Command) -> Option<Fault> {
        let ping_or_write = matches!(command, Command::Ping | Command::Canary(_));
        let changes_role = matches!(command, Command::Replicate(_) | Command::ReplicateNoOne);
        match self.ailment {
            Some(Fault::Busy) if *command != Command::Begin => Some(Fault::Busy),
            Some(Fault::Loading) if ping_or_write || changes_role => Some(Fault::Loading),
            Some(Fault::DiskError) if ping_or_write && self.follows.is_none() => Some(Fault::DiskError),
            _ => {
                let lost = self.follows.is_some() && !self.link_up && self.serves_no_stale_data;
                (lost && ping_or_write).then_some(Fault::PrimaryLost)
            }
        }
    }

    /// Runs a command now, or with its transaction: then all run, or none.
    pub(super) fn obey(
        &mut self,
        connection: ConnectionId,
        command: Command,
        deeds: &mut Vec<Deed>,
    ) -> Reply {
        let refusal = self.refusal(&command);
        if command == Command::Commit {
            let transaction = self.transactions.remove(&connection).unwrap_or_default();
            if transaction.spoilt || refusal.is_some() {
                return Reply::Refused(refusal.unwrap_or(Fault::OtherError));
            }
            for command in transaction.commands {
                self.execute(connection, command, deeds);
            }
            return Reply::Done;
        }
        if let Some(transaction) = self.transactions.get_mut(&connection) {
            transaction.spoilt |= refusal.is_some();
            transaction.commands.push(command);
            return refusal.map_or(Reply::Done, Reply::Refused);
        }
        match refusal {
            Some(fault) => Reply::Refused(fault),
            None => self.execute(connection, command, deeds),
        }
    }

    fn execute(&mut self, connection: ConnectionId, command: Command, deeds: &mut Vec<Deed>) -> Reply {
        let touches =
            matches!(command, Command::Replicate(_) | Command::ReplicateNoOne | Command::SetWriteGuard(_));
        if self.stranger && touches {
            deeds.push(Deed::StrangerTouched);
        }
        let loading = self.ailment == Some(Fault::Loading);
        match command {
            Command::Ping => Reply::Pong,
            Command::Identify => Reply::Identity(Identity {
                run_id: self.run_id.clone(),
                version: "fake".into(),
                keys: if loading { 0 } else { self.data.len() as u64 },
                loading,
            }),
            Command::Info => Reply::Info(self.info()),
            Command::Sentinels => Reply::Sentinels(0),
            Command::WriteGuard => Reply::WriteGuard { replicas: self.guard, max_lag: 10 },
            Command::SetWriteGuard(guard) => {
                self.guard = guard;
                if self.is_writable() {
                    deeds.push(Deed::Opened);
                }
                Reply::Done
            }
            Command::Begin => {
                self.transactions.insert(connection, Transaction::default());
                Reply::Done
            }
            Command::Commit | Command::EnableWriteGuard | Command::DisconnectClients(ClientKind::PubSub) => {
                Reply::Done
            }
            Command::DisconnectClients(ClientKind::Normal) => {
                for other in self.accepted.clone() {
                    if other != connection {
                        self.forget(other);
                        deeds.push(Deed::Close(other));
                    }
                }
                Reply::Done
            }
            Command::Replicate(address) => {
                self.replicate(address, deeds);
                Reply::Done
            }
            Command::ReplicateNoOne => {
                self.replicate_no_one(deeds);
                Reply::Done
            }
            Command::PauseWrites(duration) => {
                self.pauses += 1;
                self.paused = Some(self.pauses);
                deeds.push(Deed::Pause(self.pauses, duration));
                Reply::Done
            }
            Command::ResumeWrites => {
                // Served in this turn, behind the connection that asked.
                self.paused = None;
                self.readable.append(&mut self.postponed);
                Reply::Done
            }
            Command::Canary(_) if self.is_writable() => {
                self.append(Item::Ping);
                deeds.push(Deed::Stream(Item::Ping));
                Reply::Done
            }
            Command::Canary(_) | Command::Sql(_) => Reply::Refused(Fault::OtherError),
        }
    }

    fn info(&self) -> Info {
        let role = match &self.follows {
            None => Role::Primary { replicas: self.replicas },
            Some(of) => Role::Replica { of: of.clone(), link_up: self.link_up, syncing: self.syncing },
        };
        Info {
            role,
            replid: self.replid.clone(),
            previous: self.previous.clone().map(|(replid, offset)| (replid, ReplOffset(offset))),
            offset: ReplOffset(self.offset),
            closed: false,
            sql: SqlState::default(),
        }
    }
}
