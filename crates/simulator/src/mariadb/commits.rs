//! Clients' commits, and the acknowledgements that they wait for.

use super::sessions::Busy;
use super::{MariaDb, Transaction};
use crate::redis::{ConnectionId, Deed, Request, Response, WriteId};
use backstay_model::{Command, Fault, Reply};

impl MariaDb {
    pub(super) fn write(
        &mut self,
        connection: ConnectionId,
        write: WriteId,
        deeds: &mut Vec<Deed>,
    ) -> Option<Response> {
        if self.read_only {
            return Some(Response::Rejected(write));
        }
        if self.is_locked() {
            self.wait(connection, Busy::Behind(Request::Write(write)));
            return None;
        }
        deeds.push(Deed::Accepted(connection, write));
        self.commit(connection, Some(write), deeds).then_some(Response::Written(write))
    }

    /// Our own write. We may write to one that is closed, so the statement itself looks.
    pub(super) fn canary(
        &mut self,
        connection: ConnectionId,
        command: Command,
        deeds: &mut Vec<Deed>,
    ) -> Option<Reply> {
        if self.read_only {
            return Some(Reply::Refused(Fault::OtherError));
        }
        if self.is_locked() {
            self.wait(connection, Busy::Behind(Request::Command(command)));
            return None;
        }
        self.commit(connection, None, deeds).then_some(Reply::Done)
    }

    /// Writes it to the binary log at once, and from there to the replicas; it is done once one of them acknowledged it
    /// (AFTER_SYNC), however long that takes. True: at once.
    fn commit(&mut self, connection: ConnectionId, write: Option<WriteId>, deeds: &mut Vec<Deed>) -> bool {
        let transaction = self.next_transaction(write);
        self.log(transaction, deeds);
        if self.guarded {
            self.waiting.push_back((transaction.gtid.number, connection));
            self.wait(connection, Busy::Committing);
        }
        !self.guarded
    }

    pub(super) fn log(&mut self, transaction: Transaction, deeds: &mut Vec<Deed>) {
        // To prepare one flushes what the storage engine knows of those before.
        self.settled = self.untold();
        self.binlog.push(transaction);
        deeds.push(Deed::Logged(transaction));
    }

    /// One replica has everything up to there, whichever it is: one is enough, and it counts for all commits before.
    pub(crate) fn acknowledged(&mut self, number: u64) -> Vec<Deed> {
        let mut deeds = Vec::new();
        while self.waiting.front().is_some_and(|(waits, _)| *waits <= number) {
            self.answer_first(&mut deeds);
        }
        self.unlocked(&mut deeds);
        deeds
    }

    /// How many transactions are done here: nobody waits for them.
    pub(super) fn untold(&self) -> usize {
        self.waiting.front().map_or(self.binlog.len(), |(number, _)| *number as usize - 1)
    }

    fn answer_first(&mut self, deeds: &mut Vec<Deed>) {
        if let Some((number, connection)) = self.waiting.pop_front() {
            let write = self.binlog.get(number as usize - 1).and_then(|it| it.write);
            let response = write.map_or(Response::Reply(Reply::Done), Response::Written);
            self.go_on(connection, response, deeds);
        }
    }

    /// Whoever waits hears OK, and nobody else may have it: what must never be done while somebody waits (safety,
    /// section 9).
    pub(super) fn switch_semi_sync_off(&mut self, deeds: &mut Vec<Deed>) {
        self.guarded = false;
        while !self.waiting.is_empty() {
            self.answer_first(deeds);
        }
    }
}
