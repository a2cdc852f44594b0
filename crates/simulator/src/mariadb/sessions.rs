//! Connections, each with a thread of its own. What waits on one keeps only what stands behind it on the same one waiting.

use super::orders::After;
use super::{MariaDb, Timer};
use crate::redis::{ConnectionId, Deed, Request, Response};
use backstay_model::{Fault, Reply};
use std::collections::VecDeque;

/// One connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    /// It is in the list of processes, where one that disconnects the others finds it.
    pub(super) accepted: bool,
    unread: VecDeque<Request>,
    pub(super) busy: Option<Busy>,
}

/// What its thread waits for.
#[derive(Clone, Debug)]
pub(super) enum Busy {
    /// Its turn, after the process stood still.
    Waking,
    /// An acknowledgement.
    Committing,
    /// The lock that commits hold that wait for an acknowledgement; then it does this.
    Closing(After),
    /// Somebody who waits for that lock: it is fair.
    Behind(Request),
    /// What was received to be applied up to there.
    Draining(u64),
    /// The end of the receiving thread.
    Stopping,
}

impl MariaDb {
    /// A connection reached the host.
    pub(crate) fn connect(&mut self, connection: ConnectionId) {
        let session = Session { accepted: !self.stopped, ..Session::default() };
        self.sessions.insert(connection, session);
    }

    /// A request arrived on a connection.
    pub(crate) fn arrive(&mut self, connection: ConnectionId, request: Request) -> Vec<Deed> {
        let mut deeds = Vec::new();
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.unread.push_back(request);
            if !self.stopped {
                self.serve(connection, &mut deeds);
            }
        }
        deeds
    }

    /// The process goes on after it was stopped. Threads run in no order, unlike a Redis' connections: a fence on one
    /// connection does not come before clients' writes on others, nor before those who connected meanwhile.
    pub(crate) fn resume(&mut self) -> Vec<Deed> {
        self.stopped = false;
        let mut deeds = Vec::new();
        for connection in self.sessions.keys().copied().collect::<Vec<_>>() {
            let after = self.random.micros(0, 3000);
            let idle = self.sessions.get_mut(&connection).filter(|session| session.busy.is_none());
            if let Some(session) = idle {
                session.busy = Some(Busy::Waking);
                self.set_timer(Timer::Wake(connection), after, &mut deeds);
            }
        }
        self.unlocked(&mut deeds);
        deeds
    }

    pub(super) fn wake(&mut self, connection: ConnectionId, deeds: &mut Vec<Deed>) {
        let waking = |session: &&mut Session| matches!(session.busy, Some(Busy::Waking));
        if let Some(session) = self.sessions.get_mut(&connection).filter(waking) {
            session.accepted = true;
            session.busy = None;
            self.serve(connection, deeds);
        }
    }

    /// Does what it was told, one after the other, until it has to wait.
    fn serve(&mut self, connection: ConnectionId, deeds: &mut Vec<Deed>) {
        while let Some(session) = self.sessions.get_mut(&connection)
            && session.busy.is_none()
            && let Some(request) = session.unread.pop_front()
        {
            self.answer(connection, request, deeds);
        }
    }

    fn answer(&mut self, connection: ConnectionId, request: Request, deeds: &mut Vec<Deed>) {
        let response = match request {
            Request::Command(command) => self.obey(connection, command, deeds).map(Response::Reply),
            Request::Write(write) => self.write(connection, write, deeds),
            Request::Read(read) => {
                deeds.push(Deed::Answered(connection, read));
                Some(Response::Value(read))
            }
            // Noticed only here: a thread that waits does not look at its socket.
            Request::Close => {
                self.sessions.remove(&connection);
                return deeds.push(Deed::Forget(connection));
            }
        };
        deeds.extend(response.map(|response| Deed::Respond(connection, response)));
    }

    pub(super) fn wait(&mut self, connection: ConnectionId, busy: Busy) {
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.busy = Some(busy);
        }
    }

    pub(super) fn busy(&self, connection: ConnectionId) -> Option<&Busy> {
        self.sessions.get(&connection)?.busy.as_ref()
    }

    /// What the connection waited for is done.
    pub(super) fn go_on(&mut self, connection: ConnectionId, response: Response, deeds: &mut Vec<Deed>) {
        if let Some(session) = self.sessions.get_mut(&connection) {
            session.busy = None;
            deeds.push(Deed::Respond(connection, response));
            self.serve(connection, deeds);
        }
    }

    /// Ends every other connection that is known. A commit that waits for an acknowledgement is not undone: its client
    /// hears nothing, and it is done here (R3, T3).
    pub(super) fn disconnect_others(&mut self, connection: ConnectionId, deeds: &mut Vec<Deed>) {
        let known = self.sessions.iter().filter(|(id, session)| **id != connection && session.accepted);
        let others: Vec<ConnectionId> = known.map(|(id, _)| *id).collect();
        for other in others {
            self.sessions.remove(&other);
            let waiting = self.waiting.len();
            self.waiting.retain(|(_, waits)| *waits != other);
            if self.waiting.len() < waiting {
                deeds.push(Deed::Met("commit done although its client was sent away"));
            }
            deeds.push(Deed::Close(other));
        }
        self.tables_locked = false;
        self.unlocked(deeds);
    }

    pub(super) fn is_lock_free(&self) -> bool {
        self.waiting.is_empty() && !self.tables_locked
    }

    /// Some client locks tables for writing: others' commits wait, and so does `read_only`.
    pub(crate) const fn lock_tables(&mut self) {
        self.tables_locked = !self.read_only;
    }

    pub(crate) fn unlock_tables(&mut self) -> Vec<Deed> {
        let mut deeds = Vec::new();
        self.tables_locked = false;
        if !self.stopped {
            self.unlocked(&mut deeds);
        }
        deeds
    }

    /// Commits must wait for somebody.
    pub(super) fn is_locked(&self) -> bool {
        self.tables_locked || self.somebody_closes()
    }

    fn somebody_closes(&self) -> bool {
        self.sessions.values().any(|session| matches!(session.busy, Some(Busy::Closing(_))))
    }

    /// Whoever waited for the lock has it, if no commit holds it any more; then whoever stood behind.
    pub(super) fn unlocked(&mut self, deeds: &mut Vec<Deed>) {
        while self.is_lock_free()
            && let Some((connection, after)) = self.sessions.iter().find_map(|(id, session)| {
                let Some(Busy::Closing(after)) = &session.busy else {
                    return None;
                };
                Some((*id, after.clone()))
            })
        {
            self.wait(connection, Busy::Waking);
            let reply = self.after(connection, after, deeds);
            self.go_on(connection, Response::Reply(reply), deeds);
        }
        self.let_behind_go_on(deeds);
    }

    fn let_behind_go_on(&mut self, deeds: &mut Vec<Deed>) {
        if self.is_locked() {
            return;
        }
        let behind = self.sessions.iter().filter(|(_, it)| matches!(it.busy, Some(Busy::Behind(_))));
        for connection in behind.map(|(id, _)| *id).collect::<Vec<_>>() {
            let Some(session) = self.sessions.get_mut(&connection) else {
                continue;
            };
            if let Some(Busy::Behind(request)) = session.busy.take() {
                session.unread.push_front(request);
            }
            self.serve(connection, deeds);
        }
    }

    pub(super) fn lock_timed_out(&mut self, connection: ConnectionId, deeds: &mut Vec<Deed>) {
        if matches!(self.busy(connection), Some(Busy::Closing(_))) {
            deeds.push(Deed::Met("close refused: commits wait"));
            self.go_on(connection, Response::Reply(Reply::Refused(Fault::Locked)), deeds);
            self.let_behind_go_on(deeds);
        }
    }
}
