//! A fake Redis with the behaviours that bite: replication ids and offsets, partial and full resynchronisation, copies
//! taken from whoever is pointed at, commands that run late, connections served in the order in which they became
//! readable, starts that are empty, from an old file, or protected.
//!
//! It is one process on one host and knows nothing of the network: the world hands it what arrives and carries away
//! what it says.

mod commands;
mod replication;

use crate::mariadb::Transaction as Logged;
use backstay_model::{Address, Command, Fault, ReplId, Reply, RunId};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Every write has a number of its own.
pub(crate) type WriteId = u64;
/// What a stranger's keys are called here: no client writes it.
const STRANGE: WriteId = 0;
/// A connection's number.
pub(crate) type ConnectionId = u64;

/// What clients and controllers send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A controller's command.
    Command(Command),
    /// A client's write.
    Write(WriteId),
    /// A client's read, with a number of its own.
    Read(WriteId),
    /// The dialling end closed: nothing follows.
    Close,
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Response {
    /// To a controller.
    Reply(Reply),
    /// The write was accepted.
    Written(WriteId),
    /// The read was answered.
    Value(WriteId),
    /// The command was refused: read-only, or closed.
    Rejected(WriteId),
}

/// What the world must carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// Answer on this connection.
    Respond(ConnectionId, Response),
    /// Close this connection, whatever lies unread on it.
    Close(ConnectionId),
    /// Everything on this connection was read, and its other end is closed.
    Forget(ConnectionId),
    /// Drop the link to the primary and make one to this address.
    Follow(Address),
    /// Drop the link to the primary.
    Unfollow,
    /// Drop the links to all replicas.
    DropReplicas,
    /// Stream this to the replicas.
    Stream(Item),
    /// A write was accepted, for the checkers.
    Accepted(ConnectionId, WriteId),
    /// A read was answered, for the checkers.
    Answered(ConnectionId, WriteId),
    /// It took writes by `REPLICAOF NO ONE` while open or closed, for the checkers.
    Promoted {
        /// It was closed.
        closed: bool,
    },
    /// Its write guard was opened while it was a primary, for the checkers.
    Opened,
    /// Writes wait for so long, unless that is ended before.
    Pause(u64, Duration),
    /// It is a stranger's, and was told to change its role or its guard, for the checkers.
    StrangerTouched,
    /// Call back with this number after so long (MariaDB).
    Timer(u64, Duration),
    /// Written to the binary log: stream it to the replicas (MariaDB).
    Logged(Logged),
    /// Tell the primary that everything up to this number is received (MariaDB).
    Acknowledge(u64),
    /// Something that bites came about, to be counted (MariaDB).
    Met(&'static str),
}

/// One thing in the replication stream; each counts one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    /// A write.
    Write(WriteId),
    /// A replication ping.
    Ping,
}

/// A primary's answer to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    /// Go on in this history with these.
    Continue {
        /// The primary's current history.
        replid: ReplId,
        /// What was missed.
        items: Vec<Item>,
    },
    /// Throw everything away and take this.
    Full(Box<Copy>),
}

/// A full copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copy {
    replid: ReplId,
    offset: u64,
    data: Vec<WriteId>,
}

/// The process, while there is one.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Debug)]
pub(crate) struct Redis {
    /// Where it listens.
    pub(crate) address: Address,
    /// Its run; new at every start.
    pub(crate) run_id: RunId,
    /// Whom it follows, if it is a replica.
    pub(crate) follows: Option<Address>,
    /// It is linked to whom it follows.
    pub(crate) link_up: bool,
    /// It takes a full copy.
    pub(crate) syncing: bool,
    /// Its history.
    pub(crate) replid: ReplId,
    /// The one before.
    pub(crate) previous: Option<(ReplId, u64)>,
    /// Its offset.
    pub(crate) offset: u64,
    /// Its data.
    pub(crate) data: Vec<WriteId>,
    /// The stream's tail, ending at `offset`.
    /// None until the first replica of one that never had any: then it is made, and the history named anew.
    backlog: Option<VecDeque<Item>>,
    guard: u64,
    /// How many replicas are linked; the world keeps it.
    pub(crate) replicas: u32,
    /// It is stopped: nothing runs until it is resumed.
    pub(crate) stopped: bool,
    /// Unread requests by connection, in the order in which the connections became readable.
    readable: Vec<ConnectionId>,
    unread: BTreeMap<ConnectionId, VecDeque<Request>>,
    /// Connections that the kernel holds but the process has not accepted.
    unaccepted: Vec<ConnectionId>,
    accepted: Vec<ConnectionId>,
    /// The number of the pause in force.
    paused: Option<u64>,
    pauses: u64,
    /// Connections whose next request is a write that waits for the end of a pause.
    postponed: Vec<ConnectionId>,
    /// Transactions that are begun and not committed.
    transactions: BTreeMap<ConnectionId, Transaction>,
    promotions: u64,
    /// It loads its file, runs a script that does not end, or cannot save.
    pub(crate) ailment: Option<Fault>,
    /// As a replica that lost its primary it answers nothing that reads.
    pub(crate) serves_no_stale_data: bool,
    /// Somebody else's server at an address of the service.
    pub(crate) stranger: bool,
}

/// What `MULTI` collects.
#[derive(Clone, Debug, Default)]
struct Transaction {
    commands: Vec<Command>,
    /// One was refused, so all will be.
    spoilt: bool,
}

const BACKLOG_MAX: usize = 4096;

impl Redis {
    /// A process that starts with this data, and as its configuration file says: as a replica of somebody, or of
    /// nowhere if it is protected, or as a primary.
    pub(crate) fn start(address: Address, run: u64, follows: Option<Address>, file: Option<&Redis>) -> Self {
        let run_id = RunId::from(format!("run{run}"));
        let fresh = ReplId::from(format!("hist{run}"));
        // Redis, `loadDataFromDisk`: what starts as a replica goes on in the file's history, a primary begins its own.
        let (inherited, left) = if follows.is_some() { (file, None) } else { (None, file) };
        Self {
            address,
            follows,
            link_up: false,
            syncing: false,
            replid: inherited.map_or(fresh, |file| file.replid.clone()),
            previous: left.map(|file| (file.replid.clone(), file.offset)),
            offset: file.map_or(0, |file| file.offset),
            data: file.map_or_else(Vec::new, |file| file.data.clone()),
            backlog: None,
            guard: 0,
            replicas: 0,
            stopped: false,
            readable: Vec::new(),
            unread: BTreeMap::new(),
            unaccepted: Vec::new(),
            accepted: Vec::new(),
            paused: None,
            pauses: run * 1_000_000,
            postponed: Vec::new(),
            transactions: BTreeMap::new(),
            promotions: 0,
            ailment: None,
            serves_no_stale_data: false,
            stranger: false,
            run_id,
        }
    }

    /// A stranger's replica, with five keys of its own.
    pub(crate) fn stranger(address: Address, run: u64, owner: Address) -> Self {
        let mut redis = Self::start(address, run, Some(owner), None);
        redis.link_up = true;
        redis.offset = 5;
        redis.data = vec![STRANGE; 5];
        redis.stranger = true;
        redis
    }

    /// It was made a primary or somebody's replica long ago.
    pub(crate) fn runs_as(&mut self, follows: Option<Address>) {
        self.follows = follows;
        self.backlog = Some(VecDeque::new());
    }

    /// It took these writes long ago.
    pub(crate) fn holds(&mut self, writes: &[WriteId]) {
        self.offset += writes.len() as u64;
        self.data.extend(writes);
    }

    /// A primary that takes writes.
    pub(crate) fn is_writable(&self) -> bool {
        self.follows.is_none() && self.guard <= u64::from(self.replicas)
    }

    /// A client's connection reached the host.
    pub(crate) fn connect(&mut self, connection: ConnectionId) {
        if self.stopped {
            self.unaccepted.push(connection);
        } else {
            self.accepted.push(connection);
        }
    }

    /// Requests arrived on a connection.
    pub(crate) fn arrive(&mut self, connection: ConnectionId, request: Request) -> Vec<Deed> {
        if request == Request::Close && self.postponed.contains(&connection) {
            self.forget(connection);
            return vec![Deed::Forget(connection)];
        }
        let idle =
            !self.stopped && self.paused.is_none() && self.readable.is_empty() && self.unaccepted.is_empty();
        if idle && self.accepted.contains(&connection) {
            let mut deeds = Vec::with_capacity(4);
            self.answer(connection, request, &mut deeds);
            return deeds;
        }
        self.unread.entry(connection).or_default().push_back(request);
        if !self.readable.contains(&connection) && !self.postponed.contains(&connection) {
            self.readable.push(connection);
        }
        if self.stopped { Vec::new() } else { self.serve() }
    }

    /// The process goes on after it was stopped.
    pub(crate) fn resume(&mut self) -> Vec<Deed> {
        self.stopped = false;
        self.serve()
    }

    /// Serves whole connections, those that were accepted first in the order in which they became readable.
    fn serve(&mut self) -> Vec<Deed> {
        let mut deeds = Vec::new();
        loop {
            let ready = self.readable.iter().position(|one| self.accepted.contains(one));
            let Some(ready) = ready else {
                if self.unaccepted.is_empty() {
                    return deeds;
                }
                let waiting = std::mem::take(&mut self.unaccepted);
                self.accepted.extend(waiting);
                continue;
            };
            let connection = self.readable.remove(ready);
            let mut requests = self.unread.remove(&connection).unwrap_or_default();
            while let Some(request) = requests.pop_front() {
                if self.postpones(&request) {
                    requests.push_front(request);
                    self.unread.insert(connection, requests);
                    self.postponed.push(connection);
                    break;
                }
                self.answer(connection, request, &mut deeds);
            }
        }
    }

    /// A write that would be taken waits for the end of a pause; one that is refused is refused at once.
    fn postpones(&self, request: &Request) -> bool {
        let writes = matches!(request, Request::Write(_) | Request::Command(Command::Canary(_)));
        writes && self.paused.is_some() && self.is_writable()
    }

    /// The pause is over: this one, or whichever is in force. What was postponed runs now.
    pub(crate) fn end_pause(&mut self, pause: Option<u64>) -> Vec<Deed> {
        if self.paused.is_none() || pause.is_some_and(|pause| self.paused != Some(pause)) {
            return Vec::new();
        }
        self.paused = None;
        self.readable.append(&mut self.postponed);
        if self.stopped { Vec::new() } else { self.serve() }
    }

    fn answer(&mut self, connection: ConnectionId, request: Request, deeds: &mut Vec<Deed>) {
        let response = match request {
            Request::Command(command) => Response::Reply(self.obey(connection, command, deeds)),
            Request::Write(id) => self.write(connection, id, deeds),
            Request::Read(id) => self.read(connection, id, deeds),
            Request::Close => {
                self.forget(connection);
                return deeds.push(Deed::Forget(connection));
            }
        };
        deeds.push(Deed::Respond(connection, response));
    }

    fn write(&mut self, connection: ConnectionId, id: WriteId, deeds: &mut Vec<Deed>) -> Response {
        if !self.is_writable() || self.ailment.is_some() {
            return Response::Rejected(id);
        }
        self.data.push(id);
        self.append(Item::Write(id));
        deeds.push(Deed::Stream(Item::Write(id)));
        deeds.push(Deed::Accepted(connection, id));
        Response::Written(id)
    }

    fn read(&self, connection: ConnectionId, id: WriteId, deeds: &mut Vec<Deed>) -> Response {
        if self.refusal(&Command::Ping).is_some_and(|fault| fault != Fault::DiskError) {
            return Response::Rejected(id);
        }
        deeds.push(Deed::Answered(connection, id));
        Response::Value(id)
    }

    /// A connection is gone: the client's end is closed and everything it sent was read.
    pub(crate) fn forget(&mut self, connection: ConnectionId) {
        self.accepted.retain(|one| *one != connection);
        self.unaccepted.retain(|one| *one != connection);
        self.readable.retain(|one| *one != connection);
        self.postponed.retain(|one| *one != connection);
        self.unread.remove(&connection);
        self.transactions.remove(&connection);
    }
}
