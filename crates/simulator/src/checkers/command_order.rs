//! Commands of one client connection are executed in the order in which they were sent, as far as they are answered
//! with a result: of what is answered with an unknown outcome nobody knows when it runs.

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
}

impl Memory {
    pub(super) fn executed(&mut self, connection: ConnectionId, command: WriteId) {
        self.executions += 1;
        self.executed.insert((connection, command), self.executions);
    }

    pub(crate) fn answered(
        &mut self,
        client: ClientRun,
        connection: ConnectionId,
        command: WriteId,
    ) -> Option<(&'static str, String)> {
        let executed = self.executed.get(&(connection, command)).copied().unwrap_or_default();
        let before = self.answered.insert(client, executed).unwrap_or_default();
        (executed <= before).then(|| {
            (
                "commands of a connection keep their order",
                format!("command {command} of {client:?} was executed as number {executed}, the one before as {before}"),
            )
        })
    }
}
