//! A fake Redis with the behaviours that bite: replication ids and offsets, partial and full resynchronisation, copies
//! taken from whoever is pointed at, commands that run late, connections served in the order in which they became
//! readable, starts that are empty, from an old file, or protected.
//!
//! It is one process on one host and knows nothing of the network: the world hands it what arrives and carries away
//! what it says.

use crate::mariadb::Transaction as Logged;
use backstay_model::{
    Address, ClientKind, Command, Fault, Identity, Info, ReplId, ReplOffset, Reply, Role, RunId, SqlState,
};
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

    /// It takes part in replication: neither stopped, nor loading, nor busy.
    pub(crate) fn replicates(&self) -> bool {
        !self.stopped && !matches!(self.ailment, Some(Fault::Loading | Fault::Busy))
    }

    /// A primary with replicas tells them every second that it lives.
    pub(crate) fn replication_ping(&mut self) -> Option<Deed> {
        if !self.replicates() || self.follows.is_some() || self.replicas == 0 {
            return None;
        }
        self.append(Item::Ping);
        Some(Deed::Stream(Item::Ping))
    }

    fn append(&mut self, item: Item) {
        self.offset += 1;
        if let Some(backlog) = &mut self.backlog {
            backlog.push_back(item);
            if backlog.len() > BACKLOG_MAX {
                backlog.pop_front();
            }
        }
    }

    /// What it answers instead of doing it (Redis, `processCommand`).
    fn refusal(&self, command: &Command) -> Option<Fault> {
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
    fn obey(&mut self, connection: ConnectionId, command: Command, deeds: &mut Vec<Deed>) -> Reply {
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

    fn replicate(&mut self, address: Address, deeds: &mut Vec<Deed>) {
        if self.follows.as_ref() == Some(&address) {
            return; // Already so: Redis says OK and does nothing.
        }
        self.follows = Some(address.clone());
        self.link_up = false;
        self.syncing = false;
        deeds.push(Deed::DropReplicas);
        deeds.push(Deed::Unfollow);
        deeds.push(Deed::Follow(address));
    }

    fn replicate_no_one(&mut self, deeds: &mut Vec<Deed>) {
        if self.follows.take().is_none() {
            return;
        }
        self.promotions += 1;
        let next = ReplId::from(format!("{}.{}", self.run_id, self.promotions));
        self.previous = Some((std::mem::replace(&mut self.replid, next), self.offset));
        self.link_up = false;
        self.syncing = false;
        deeds.push(Deed::DropReplicas);
        deeds.push(Deed::Unfollow);
        deeds.push(Deed::Promoted { closed: self.guard > u64::from(self.replicas) });
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

    /// A replica asks to go on from `offset` in history `replid`.
    pub(crate) fn synchronise(&mut self, replid: &ReplId, offset: u64) -> Sync {
        if self.backlog.is_none() && self.follows.is_none() {
            self.backlog = Some(VecDeque::new());
            self.promotions += 1;
            self.replid = ReplId::from(format!("{}.{}", self.run_id, self.promotions));
            self.previous = None;
        }
        let mine = *replid == self.replid && offset <= self.offset;
        let before = self.previous.as_ref().is_some_and(|(old, ended)| old == replid && offset <= *ended);
        let missed = self.offset.saturating_sub(offset) as usize;
        if let Some(backlog) =
            self.backlog.as_ref().filter(|backlog| missed <= backlog.len() && (mine || before))
        {
            let items = backlog.iter().skip(backlog.len() - missed).copied().collect();
            return Sync::Continue { replid: self.replid.clone(), items };
        }
        Sync::Full(Box::new(Copy {
            replid: self.replid.clone(),
            offset: self.offset,
            data: self.data.clone(),
        }))
    }

    /// The primary's answer arrived.
    pub(crate) fn synchronised(&mut self, sync: Sync) -> Vec<Deed> {
        self.link_up = true;
        self.syncing = false;
        self.backlog.get_or_insert_default();
        match sync {
            Sync::Continue { replid, items } => {
                if replid != self.replid {
                    self.previous = Some((std::mem::replace(&mut self.replid, replid), self.offset));
                }
                items.into_iter().flat_map(|item| self.receive(item)).collect()
            }
            Sync::Full(copy) => {
                self.replid = copy.replid;
                self.previous = None;
                self.offset = copy.offset;
                self.data = copy.data;
                self.backlog = Some(VecDeque::new());
                vec![Deed::DropReplicas]
            }
        }
    }

    /// The next item of the stream arrived; it is passed on to this one's own replicas.
    pub(crate) fn receive(&mut self, item: Item) -> Vec<Deed> {
        self.append(item);
        if let Item::Write(id) = item {
            self.data.push(id);
        }
        vec![Deed::Stream(item)]
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
