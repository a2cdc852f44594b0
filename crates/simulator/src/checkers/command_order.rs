//! Commands of one client connection are executed in the order in which they were sent, as far as they are answered
//! with a result: of what is answered with an unknown outcome nobody knows when it runs. But what is answered with a result
//! was not executed behind a write that the client sent later, whatever that is answered with: a read that is sent again
//! shows no write that came after it.

use crate::redis::{ConnectionId, WriteId};
use crate::world::ClientRun;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Memory {
    executions: u64,
    /// When each was executed. A read that was sent again may be, on two connections.
    executed: BTreeMap<(ConnectionId, WriteId), u64>,
    /// When the last one that was answered with a result was executed.
    answered: BTreeMap<ClientRun, u64>,
    /// Whose each write is. A client's later commands have larger numbers.
    writes: BTreeMap<WriteId, ClientRun>,
    /// When which of a client's writes were executed, but for those before its last answer.
    ran: BTreeMap<ClientRun, BTreeMap<WriteId, u64>>,
}

impl Memory {
    /// A client sends its next command to a gateway, and that is a write.
    pub(crate) fn sent_write(&mut self, client: ClientRun, command: WriteId) {
        self.writes.insert(command, client);
    }

    pub(super) fn executed(&mut self, connection: ConnectionId, command: WriteId) {
        self.executions += 1;
        self.executed.insert((connection, command), self.executions);
        if let Some(client) = self.writes.get(&command) {
            self.ran.entry(*client).or_default().insert(command, self.executions);
        }
    }

    pub(crate) fn answered(
        &mut self,
        client: ClientRun,
        connection: ConnectionId,
        command: WriteId,
    ) -> Option<(&'static str, String)> {
        let executed = self.executed.get(&(connection, command)).copied().unwrap_or_default();
        let before = self.answered.insert(client, executed).unwrap_or_default();
        let later = self.forget_until(client, command);
        let overtaken = later.and_then(|later| later.iter().find(|(_, at)| **at < executed));
        let what = if executed <= before {
            format!("the one before as {before}")
        } else if let Some((later, at)) = overtaken {
            format!("{later}, which it sent later, as {at}")
        } else {
            return None;
        };
        Some((
            "commands of a connection keep their order",
            format!("command {command} of {client:?} was executed as number {executed}, {what}"),
        ))
    }

    /// Nothing is asked any more of commands up to this one. What is remembered of later ones.
    fn forget_until(&mut self, client: ClientRun, command: WriteId) -> Option<&BTreeMap<WriteId, u64>> {
        let ran = self.ran.get_mut(&client)?;
        let later = ran.split_off(&(command + 1));
        for done in std::mem::replace(ran, later).into_keys() {
            self.writes.remove(&done);
        }
        self.ran.get(&client)
    }
}
