//! MariaDBs in the world: links between a primary's binary log and a replica's relay log, and acknowledgements on their
//! way back.

use super::{Event, Fault, Place, World};
use crate::instance::Instance;
use crate::mariadb::{MariaDb, Transaction};
use crate::redis::{ConnectionId, Deed};
use backstay_model::{Address, RunId};
use std::time::Duration;

/// `MASTER_HEARTBEAT_PERIOD`.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// `slave_net_timeout`: without a sign of its primary for so long, a replica connects anew.
const NET_TIMEOUT: Duration = Duration::from_secs(3);
/// `MASTER_CONNECT_RETRY`.
const CONNECT_RETRY: Duration = Duration::from_secs(1);
/// How often a segment that found no way is sent again.
const RETRANSMISSION: Duration = Duration::from_millis(40);

/// What can happen next among MariaDBs.
#[derive(Debug)]
pub(crate) enum SqlEvent {
    /// A replica reaches for whom it follows.
    Reach { server: usize, link: u64 },
    /// The next transaction arrives on its link.
    Stream { server: usize, link: u64, transaction: Transaction },
    /// What was held up on it is sent again.
    Flush { server: usize, link: u64 },
    /// A heartbeat arrives there.
    Heartbeat { server: usize, link: u64 },
    /// The link ends.
    LinkLost { server: usize, link: u64 },
    /// An acknowledgement arrives at the process that it was sent to.
    Acknowledged { from: usize, primary: usize, run: RunId, number: u64 },
    /// A while that a process asked for is over.
    Timer { server: usize, run: RunId, timer: u64 },
    /// Primaries with idle replicas tell them that they live.
    Heartbeats,
    /// An operator looks for replicas that only a rebuild helps.
    Rebuild,
    /// A canary was waited for for long enough.
    CanaryOver { connection: ConnectionId },
}

impl World {
    pub(super) fn begin_pings(&mut self) {
        let (every, event) = match self.scenario.mariadb {
            Some(_) => (HEARTBEAT, Event::Sql(SqlEvent::Heartbeats)),
            None => (Duration::from_secs(1), Event::ReplicationPing),
        };
        self.schedule(every, event);
    }

    /// How a replica of this engine begins to reach for its primary.
    pub(super) const fn reach(&self, server: usize, link: u64) -> Event {
        match self.scenario.mariadb {
            Some(_) => Event::Sql(SqlEvent::Reach { server, link }),
            None => Event::Replicate { server, link },
        }
    }

    pub(crate) fn sql_deed(&mut self, server: usize, deed: &Deed) {
        let Some(run) = self.servers[server].mariadb().map(|it| it.run_id.clone()) else {
            return;
        };
        match *deed {
            Deed::Timer(timer, after) => {
                self.schedule(after, Event::Sql(SqlEvent::Timer { server, run, timer }));
            }
            Deed::Logged(transaction) => {
                for replica in self.replicas_of(server) {
                    self.stream_transaction(server, replica, transaction);
                }
            }
            Deed::Acknowledge(number) => self.acknowledge(server, number),
            Deed::Met(what) => self.coverage.mariadb(what),
            _ => {}
        }
    }

    fn stream_transaction(&mut self, primary: usize, server: usize, transaction: Transaction) {
        let link = self.servers[server].link;
        let at = self.stream_time(primary, server);
        self.schedule_at(at, Event::Sql(SqlEvent::Stream { server, link, transaction }));
    }

    fn acknowledge(&mut self, from: usize, number: u64) {
        let Some(primary) = self.servers[from].linked_to else {
            return;
        };
        let Some(run) = self.servers[primary].mariadb().map(|it| it.run_id.clone()) else {
            return;
        };
        let latency = self.network.one_way(&mut self.random);
        self.schedule(latency, Event::Sql(SqlEvent::Acknowledged { from, primary, run, number }));
    }

    pub(crate) fn sql_event(&mut self, event: SqlEvent) {
        match event {
            SqlEvent::Heartbeats => self.sql_heartbeats(),
            SqlEvent::Rebuild => self.rebuild_diverged(),
            SqlEvent::CanaryOver { connection } => self.canary_answered(connection, None),
            SqlEvent::Timer { server, ref run, timer } => {
                let run = run.clone();
                if let Some(mariadb) = self.runs_unstopped(server, &run, event) {
                    let deeds = mariadb.timer(timer);
                    self.carry_out(server, deeds);
                }
            }
            SqlEvent::Acknowledged { from, primary, ref run, number } => {
                if !self.network.passes(Place::Server(from), Place::Server(primary)) {
                    return self.schedule(RETRANSMISSION, Event::Sql(event));
                }
                let run = run.clone();
                if let Some(mariadb) = self.runs_unstopped(primary, &run, event) {
                    let deeds = mariadb.acknowledged(number);
                    self.carry_out(primary, deeds);
                }
            }
            SqlEvent::Reach { server, link }
            | SqlEvent::Stream { server, link, .. }
            | SqlEvent::Flush { server, link }
            | SqlEvent::Heartbeat { server, link }
            | SqlEvent::LinkLost { server, link } => self.on_sql_link(server, link, event),
        }
    }

    /// The process, if it is this run. While it is stopped, what came for it waits.
    fn runs_unstopped(&mut self, server: usize, run: &RunId, event: SqlEvent) -> Option<&mut MariaDb> {
        let it = &mut self.servers[server];
        let Some(Instance::MariaDb(mariadb)) = &mut it.process else {
            return None;
        };
        if mariadb.run_id != *run {
            return None;
        }
        if mariadb.stopped {
            it.held.push(Event::Sql(event));
            return None;
        }
        Some(mariadb)
    }

    /// Everything on a replication link. A stopped replica reads it later; an older link's is void.
    fn on_sql_link(&mut self, server: usize, link: u64, event: SqlEvent) {
        if self.servers[server].link != link {
            return;
        }
        let it = &mut self.servers[server];
        let Some(Instance::MariaDb(mariadb)) = &mut it.process else {
            return;
        };
        if mariadb.stopped {
            return it.held.push(Event::Sql(event));
        }
        match event {
            SqlEvent::Reach { .. } => self.reach_primary(server, link),
            SqlEvent::LinkLost { .. } => {
                mariadb.link_down();
                self.schedule(Duration::from_millis(1), Event::Sql(SqlEvent::Reach { server, link }));
            }
            SqlEvent::Stream { transaction, .. } => {
                let waiting = &mut self.servers[server].in_flight;
                waiting.retain(|(of, _)| *of == link);
                waiting.push_back((link, transaction));
                if waiting.len() == 1 {
                    self.flush_stream(server, link);
                }
            }
            SqlEvent::Flush { .. } => self.flush_stream(server, link),
            SqlEvent::Heartbeat { .. } if !self.is_held_up(server) => {
                self.servers[server].fed = self.now;
                self.servers[server].mariadb_mut().map(MariaDb::heartbeat).unwrap_or_default();
            }
            _ => {}
        }
    }

    /// Nothing passes from its primary.
    fn is_held_up(&self, server: usize) -> bool {
        let linked_to = self.servers[server].linked_to;
        linked_to.is_some_and(|primary| !self.network.passes(Place::Server(primary), Place::Server(server)))
    }

    /// What is on the way arrives, or is held up and keeps its order.
    fn flush_stream(&mut self, server: usize, link: u64) {
        if self.servers[server].in_flight.is_empty() {
            return;
        }
        if self.is_held_up(server) {
            return self.schedule(RETRANSMISSION, Event::Sql(SqlEvent::Flush { server, link }));
        }
        self.servers[server].fed = self.now;
        while let Some((_, transaction)) = self.servers[server].in_flight.pop_front() {
            let deeds =
                self.servers[server].mariadb_mut().map(|it| it.receive(transaction)).unwrap_or_default();
            self.carry_out(server, deeds);
        }
    }

    /// A replica's receiving thread connects, tells its position, and gets what it lacks; or is refused.
    fn reach_primary(&mut self, server: usize, link: u64) {
        let Some(mariadb) = self.servers[server].mariadb() else {
            return;
        };
        let Some(of) = mariadb.reaches_for().cloned() else {
            return;
        };
        let (position, acknowledges) = (mariadb.position(), mariadb.acknowledges());
        let primary = self.answering(server, &of);
        let Some((primary, missing)) =
            primary.and_then(|it| Some((it, self.servers[it].mariadb()?.missing(position))))
        else {
            return self.schedule(CONNECT_RETRY, Event::Sql(SqlEvent::Reach { server, link }));
        };
        self.trace.line(self.now, "dump", || {
            let lacks = missing.as_ref().map(Vec::len);
            format!(
                "{} at {position:?} from {}: {lacks:?}",
                self.servers[server].name, self.servers[primary].name
            )
        });
        let Some(missing) = missing else {
            self.coverage.fault("replica refused: its position is in no history of its primary (1236)");
            if self.random.chance(500) {
                let after = self.random.micros(500_000, 3_000_000);
                self.schedule(after, Event::Sql(SqlEvent::Rebuild));
            }
            return self.servers[server].mariadb_mut().map(MariaDb::refused).unwrap_or_default();
        };
        self.servers[server].linked_to = Some(primary);
        self.servers[server].fed = self.now;
        if let Some(mariadb) = self.servers[primary].mariadb_mut() {
            mariadb.attach(server, acknowledges);
        }
        if let Some(mariadb) = self.servers[server].mariadb_mut() {
            mariadb.link_up();
        }
        for transaction in missing {
            self.stream_transaction(primary, server, transaction);
        }
    }

    /// What wrote something that its primary never had, and is refused there, is built anew by an operator: Backstay does
    /// not do that yet.
    pub(super) fn rebuild_diverged(&mut self) {
        let Some(reigning) = self.primary().and_then(|primary| self.servers[primary].mariadb().cloned())
        else {
            return;
        };
        if !reigning.is_writable() {
            return; // Restarted, it may lack what they hold.
        }
        for server in 0..self.servers.len() {
            let refused = self.servers[server].mariadb().is_some_and(|it| {
                it.is_refused()
                    && it.follows.as_ref() == Some(&reigning.address)
                    && reigning.missing(it.position()).is_none()
            });
            if refused {
                self.coverage.fault("diverged MariaDB built anew");
                self.kill_server(server);
                self.servers[server].file = None;
                self.start_server(server, true);
            }
        }
    }

    /// The server at this address, if it answers a replica.
    fn answering(&self, server: usize, of: &Address) -> Option<usize> {
        let primary = self.server_at(of)?;
        let (there, here) = (Place::Server(primary), Place::Server(server));
        let passes = self.network.passes(there, here) && self.network.passes(here, there);
        let runs = self.servers[primary].mariadb().is_some_and(|it| !it.stopped);
        (primary != server && passes && runs).then_some(primary)
    }

    /// Whether a replica that asks its primary to end their connection gets no answer.
    pub(crate) fn note_primary_hangs(&mut self, server: usize) {
        let hangs = self.servers[server].linked_to.is_some_and(|primary| {
            let address = &self.spec.services[0].instances[primary].address;
            self.answering(server, address).is_none()
        });
        if let Some(mariadb) = self.servers[server].mariadb_mut() {
            mariadb.primary_hangs = hangs;
        }
    }

    fn sql_heartbeats(&mut self) {
        self.schedule(HEARTBEAT, Event::Sql(SqlEvent::Heartbeats));
        for server in 0..self.servers.len() {
            let Some(primary) = self.servers[server].linked_to else {
                continue;
            };
            let lives = self.servers[primary].mariadb().is_some_and(|it| !it.stopped);
            let idle = self.now.since(self.servers[server].fed);
            let link = self.servers[server].link;
            if lives && idle >= HEARTBEAT {
                let at = self.stream_time(primary, server);
                self.schedule_at(at, Event::Sql(SqlEvent::Heartbeat { server, link }));
            }
            if idle > NET_TIMEOUT && self.servers[server].mariadb().is_some_and(|it| !it.stopped) {
                self.servers[server].link += 1;
                self.unlink(server);
                let link = self.servers[server].link;
                self.sql_event(SqlEvent::LinkLost { server, link });
            }
        }
    }

    /// A process on the disk that the one before left, or on an empty one.
    pub(super) fn start_mariadb(&mut self, server: usize, empty: bool) {
        let protected = self.scenario.protected;
        // What is committed is on disk. That a disk is lost, `majority` does not promise to survive beside anything else;
        // and one that takes writes at once would name new transactions as old ones, and nobody could tell (server and
        // number are all that a replica is asked for).
        let may_be_empty = protected && !self.is_majority();
        let disk = self.servers[server].file.take().filter(|_| !empty || !may_be_empty);
        let mut mariadb = match disk.as_ref().and_then(Instance::mariadb) {
            Some(disk) => MariaDb::restart(disk, self.runs, protected),
            None => self.new_mariadb(server, protected),
        };
        self.trace.line(self.now, "start", || {
            format!("{} empty={} at {:?}", self.servers[server].name, disk.is_none(), mariadb.position())
        });
        if let Some(disk) = disk.as_ref().and_then(Instance::mariadb)
            && disk.written() > mariadb.written()
        {
            self.coverage.mariadb("binary log cut at a restart");
        }
        let reaches = !protected && mariadb.start_threads();
        self.servers[server].disturbed = self.now;
        self.servers[server].process = Some(Instance::MariaDb(mariadb));
        if reaches {
            let link = self.servers[server].link;
            self.schedule(Duration::from_millis(1), Event::Sql(SqlEvent::Reach { server, link }));
        }
    }

    pub(super) fn new_mariadb(&self, server: usize, protected: bool) -> MariaDb {
        let address = self.spec.services[0].instances[server].address.clone();
        let mut mariadb = MariaDb::start(address, server as u32 + 1, self.runs, protected);
        mariadb.set_up(self.is_majority(), self.scenario.refusal_hidden, self.scenario.mistake);
        mariadb
    }

    pub(super) fn hamper_applier(&mut self, server: usize, breaks: bool) {
        let pace = self.random.micros(1_000, 30_000);
        self.servers[server].disturbed = self.now;
        if let Some(mariadb) = self.servers[server].mariadb_mut() {
            mariadb.hamper(pace, breaks);
            self.trace.line(self.now, "hamper", || format!("{} breaks={breaks}", self.servers[server].name));
        }
    }

    /// The primary and all replicas but one lose each other; what that one acknowledges it takes with it when both die.
    pub(super) fn leave_one_acker(&mut self) {
        let (count, Some(primary)) = (self.servers.len(), self.primary()) else {
            return;
        };
        let acker = (primary + 1) % count;
        for other in (0..count).filter(|other| *other != primary && *other != acker) {
            let (here, there) = (Place::Server(primary), Place::Server(other));
            for (from, to) in [(here, there), (there, here)] {
                self.fault(Fault::Block(from, to));
                self.schedule(Duration::from_secs(2), Event::Fault(Fault::Unblock(from, to)));
            }
        }
        for server in [primary, acker] {
            let dies = self.random.micros(800_000, 803_000);
            self.schedule(dies, Event::Fault(Fault::KillServer { server, primary: false }));
            let back = self.random.micros(2_000_000, 4_000_000);
            self.schedule(back, Event::Fault(Fault::StartServer { server, empty: false }));
        }
    }

    /// A client locks tables, and forgets about it.
    pub(super) fn lock_tables(&mut self, server: usize) {
        if let Some(mariadb) = self.servers[server].mariadb_mut() {
            mariadb.lock_tables();
            self.trace.line(self.now, "lock", || self.servers[server].name.to_string());
        }
    }

    pub(super) fn unlock_tables(&mut self) {
        for server in 0..self.servers.len() {
            if let Some(mariadb) = self.servers[server].mariadb_mut() {
                let deeds = mariadb.unlock_tables();
                self.carry_out(server, deeds);
            }
        }
    }

    pub(super) fn mend_appliers(&mut self) {
        for server in 0..self.servers.len() {
            if let Some(mariadb) = self.servers[server].mariadb_mut() {
                let (deeds, threw_away) = mariadb.mend();
                if threw_away {
                    // By an operator's hand, who accepts that one as it is now.
                    self.checkers.decided.insert(self.servers[server].name.clone());
                }
                self.carry_out(server, deeds);
            }
        }
    }

    /// Commits wait for acknowledgements in this world.
    pub(crate) fn is_majority(&self) -> bool {
        self.scenario.mariadb == Some(backstay_model::Durability::Majority)
    }
}
