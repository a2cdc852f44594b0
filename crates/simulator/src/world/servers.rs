//! Instances: what their processes do to the network, and replication between them.

use super::{Event, Place, SqlEvent, World};
use crate::instance::Instance;
use crate::redis::{Deed, Item, Redis, Sync};
use backstay_model::Address;
use std::time::Duration;

/// How long a full copy takes.
const FULL_COPY: Duration = Duration::from_millis(30);
/// How long before a replica tries again to reach whom it follows.
const REPLICA_RETRY: Duration = Duration::from_millis(200);

impl World {
    /// Carries out what a process did.
    pub(crate) fn carry_out(&mut self, server: usize, deeds: Vec<Deed>) {
        for deed in deeds {
            match deed {
                Deed::Respond(connection, response) => self.respond(connection, Some(response)),
                Deed::Close(connection) => self.respond(connection, None),
                Deed::Forget(connection) => self.forget(connection),
                Deed::Follow(address) => {
                    self.servers[server].link += 1;
                    let link = self.servers[server].link;
                    self.trace
                        .line(self.now, "follow", || format!("{} -> {address}", self.servers[server].name));
                    let reach = self.reach(server, link);
                    self.schedule(Duration::from_micros(300), reach);
                }
                Deed::Unfollow => {
                    self.servers[server].link += 1;
                    self.unlink(server);
                }
                Deed::DropReplicas => self.drop_replicas(server),
                Deed::Stream(item) => self.stream(server, item),
                Deed::Accepted(connection, write) => {
                    self.checkers.executed(connection, write);
                    self.check_accepted(server, write);
                }
                Deed::Answered(connection, read) => self.checkers.executed(connection, read),
                Deed::Promoted { closed } => {
                    self.trace.line(self.now, "primary", || {
                        format!("{} closed={closed}", self.servers[server].name)
                    });
                    self.check_promoted(server, closed);
                }
                Deed::Opened => self.check_opened(server),
                Deed::Pause(pause, duration) => {
                    self.schedule(duration, Event::PauseOver { server, pause });
                }
                Deed::StrangerTouched => self.stranger_touched(server),
                sql @ (Deed::Timer(..) | Deed::Logged(_) | Deed::Acknowledge(_) | Deed::Met(_)) => {
                    self.sql_deed(server, &sql);
                }
            }
        }
    }

    /// The replica's link ends; its primary counts one less.
    pub(super) fn unlink(&mut self, server: usize) {
        // A process' own timers are not the link's.
        self.servers[server].held.retain(|event| matches!(event, Event::Sql(_)));
        let Some(primary) = self.servers[server].linked_to.take() else {
            return;
        };
        self.servers[primary].acknowledged.remove(&server);
        if let Some(process) = &mut self.servers[primary].process {
            process.loses_replica(server);
        }
    }

    pub(super) fn replicas_of(&self, server: usize) -> Vec<usize> {
        (0..self.servers.len()).filter(|other| self.servers[*other].linked_to == Some(server)).collect()
    }

    /// All replicas lose their link once everything under way has arrived.
    fn drop_replicas(&mut self, server: usize) {
        self.servers[server].acknowledged.clear();
        for replica in self.replicas_of(server) {
            self.servers[replica].linked_to = None;
            let unserved = self.servers[server].unserved_until.remove(&replica);
            if unserved.is_some_and(|until| until > self.now) {
                // What the primary kept for it dies with the primary.
                self.servers[replica].link += 1;
            }
            let link = self.servers[replica].link;
            let at = self.stream_time(server, replica);
            let lost = match self.servers[replica].process {
                Some(Instance::MariaDb(_)) => Event::Sql(SqlEvent::LinkLost { server: replica, link }),
                _ => Event::LinkLost { server: replica, link },
            };
            self.schedule_at(at, lost);
        }
        if let Some(redis) = self.servers[server].redis_mut() {
            redis.replicas = 0;
        }
    }

    /// When the next thing in the stream arrives: never before the one before it.
    pub(super) fn stream_time(&mut self, primary: usize, replica: usize) -> backstay_model::Time {
        let latency = self.network.one_way(&mut self.random);
        let at = self.now + latency;
        let until = self.servers[primary].stream_until.entry(replica).or_insert(at);
        *until = (*until).max(at);
        *until
    }

    fn stream(&mut self, server: usize, item: Item) {
        for replica in self.replicas_of(server) {
            let link = self.servers[replica].link;
            let at = self.stream_time(server, replica);
            self.schedule_at(at, Event::Stream { server: replica, link, item });
        }
    }

    pub(crate) fn replication_pings(&mut self) {
        self.schedule(Duration::from_secs(1), Event::ReplicationPing);
        for server in 0..self.servers.len() {
            if let Some(deed) = self.servers[server].redis_mut().and_then(Redis::replication_ping) {
                self.carry_out(server, vec![deed]);
            }
        }
    }

    /// Everything on a replication link. A stopped replica reads it later; an older link's is void.
    pub(crate) fn replication(&mut self, event: Event) {
        let (server, link) = match &event {
            Event::Replicate { server, link }
            | Event::Synchronised { server, link, .. }
            | Event::Stream { server, link, .. }
            | Event::LinkLost { server, link } => (*server, *link),
            _ => return,
        };
        if self.servers[server].link != link {
            return;
        }
        let linked_to = self.servers[server].linked_to;
        let Some(redis) = self.servers[server].redis_mut() else {
            return;
        };
        if !redis.replicates() {
            self.servers[server].held.push(event);
            return;
        }
        match event {
            Event::Replicate { .. } => self.replicate(server, link),
            Event::Synchronised { sync, primary, .. } => self.synchronised(server, *sync, primary),
            Event::Stream { item, .. } => {
                if let Some(primary) = linked_to
                    && !self.network.passes(Place::Server(primary), Place::Server(server))
                {
                    // Held up until the way is free; the link and its order stay.
                    self.servers[primary].stream_until.insert(server, self.now + Duration::from_millis(40));
                    return self.schedule(Duration::from_millis(40), Event::Stream { server, link, item });
                }
                let deeds = redis.receive(item);
                self.carry_out(server, deeds);
            }
            Event::LinkLost { .. } => {
                redis.link_up = false;
                redis.syncing = false;
                self.schedule(REPLICA_RETRY, Event::Replicate { server, link });
            }
            _ => {}
        }
    }

    /// A replica reaches for whom it follows.
    fn replicate(&mut self, server: usize, link: u64) {
        let Some(redis) = self.servers[server].redis() else {
            return;
        };
        if redis.link_up || self.servers[server].linked_to.is_some() {
            return;
        }
        let Some(of) = redis.follows.clone() else {
            return;
        };
        let (replid, offset) = (redis.replid.clone(), redis.offset);
        let retry = Event::Replicate { server, link };
        let Some(primary) = self.server_at(&of).filter(|primary| {
            let (there, here) = (Place::Server(*primary), Place::Server(server));
            *primary != server && self.network.passes(there, here) && self.network.passes(here, there)
        }) else {
            if of != Address::nowhere() {
                self.schedule(REPLICA_RETRY, retry);
            }
            return;
        };
        // A replica serves its own replicas only while it is linked itself.
        // A stranger has another password.
        let ready = |redis: &Redis| {
            redis.replicates() && !redis.stranger && (redis.follows.is_none() || redis.link_up)
        };
        let Some(other) = self.servers[primary].redis_mut().filter(|redis| ready(redis)) else {
            return self.schedule(REPLICA_RETRY, retry);
        };
        let sync = other.synchronise(&replid, offset);
        let full = matches!(sync, Sync::Full(_));
        self.servers[server].linked_to = Some(primary);
        if let Some(other) = self.servers[primary].redis_mut() {
            other.replicas += 1;
        }
        if let Some(redis) = self.servers[server].redis_mut() {
            redis.syncing = full;
        }
        self.trace.line(self.now, "sync", || {
            format!("{} from {} full={full}", self.servers[server].name, self.servers[primary].name)
        });
        let delay = if full { FULL_COPY } else { Duration::from_micros(300) };
        let at = self.stream_time(primary, server).max(self.now + delay);
        self.servers[primary].stream_until.insert(server, at);
        if full {
            // Seen: the primary serves a fresh copy only after it acknowledged, up to a second later.
            let served = at + self.random.micros(0, 1_000_000);
            self.servers[primary].stream_until.insert(server, served);
            self.servers[primary].unserved_until.insert(server, served);
        }
        self.schedule_at(at, Event::Synchronised { server, link, sync: Box::new(sync), primary });
    }

    fn synchronised(&mut self, server: usize, sync: Sync, primary: usize) {
        if self.servers[server].linked_to != Some(primary) {
            // The primary died meanwhile. What follows on this link would be read as if the answer had come.
            self.servers[server].link += 1;
            if let Some(redis) = self.servers[server].redis_mut() {
                redis.syncing = false;
            }
            let link = self.servers[server].link;
            return self.schedule(REPLICA_RETRY, Event::Replicate { server, link });
        }
        if let Some(redis) = self.servers[server].redis_mut() {
            let deeds = redis.synchronised(sync);
            self.carry_out(server, deeds);
        }
    }

    pub(super) fn server_at(&self, address: &Address) -> Option<usize> {
        self.spec.services[0].instances.iter().position(|instance| instance.address == *address)
    }

    /// Kill -9. What was sent arrives; what was not is gone.
    pub(crate) fn kill_server(&mut self, server: usize) {
        self.note_death(server);
        let Some(process) = self.servers[server].process.take() else {
            return;
        };
        if let Instance::MariaDb(_) = &process {
            self.servers[server].file = Some(process);
        }
        self.trace.line(self.now, "kill", || self.servers[server].name.to_string());
        self.servers[server].disturbed = self.now;
        self.close_from_server(server);
        self.servers[server].link += 1;
        self.unlink(server);
        self.drop_replicas(server);
    }

    /// Starts the process as its configuration file says, empty or from its last file.
    pub(crate) fn start_server(&mut self, server: usize, empty: bool) {
        if self.servers[server].process.is_some() || self.is_held_by_agent(server) {
            return;
        }
        self.runs += 1;
        if self.scenario.mariadb.is_some() {
            return self.start_mariadb(server, empty);
        }
        let address = self.spec.services[0].instances[server].address.clone();
        let file = self.servers[server].file.as_ref().and_then(Instance::redis).filter(|_| !empty).cloned();
        let mut redis = Redis::start(address, self.runs, self.boots_as(server), file.as_ref());
        redis.serves_no_stale_data = self.scenario.serves_no_stale_data;
        if self.scenario.mistake == Some(crate::scenario::Mistake::RestartedReplicaCounted) {
            redis.run_id = format!("run of {}", self.servers[server].name).into();
        }
        self.trace.line(self.now, "start", || format!("{} empty={empty}", self.servers[server].name));
        self.servers[server].disturbed = self.now;
        let follows = redis.follows.is_some();
        self.servers[server].process = Some(Instance::Redis(redis));
        if file.is_some() && self.scenario.loads {
            self.load(server);
        }
        if follows {
            let link = self.servers[server].link;
            self.schedule(Duration::from_millis(1), Event::Replicate { server, link });
        }
    }

    /// A pause of writes expires.
    pub(crate) fn pause_over(&mut self, server: usize, pause: u64) {
        if let Some(redis) = self.servers[server].redis_mut() {
            let deeds = redis.end_pause(Some(pause));
            self.carry_out(server, deeds);
        }
    }

    /// SIGSTOP.
    pub(crate) fn stop_server(&mut self, server: usize) {
        self.servers[server].disturbed = self.now;
        if let Some(process) = &mut self.servers[server].process {
            process.stop();
            self.trace.line(self.now, "stop", || self.servers[server].name.to_string());
        }
    }

    /// SIGCONT: connections are served as they became readable, then the replication link.
    pub(crate) fn resume_server(&mut self, server: usize) {
        self.servers[server].disturbed = self.now;
        let Some(process) = self.servers[server].process.as_mut().filter(|it| it.is_stopped()) else {
            return;
        };
        let deeds = process.resume();
        self.trace.line(self.now, "resume", || self.servers[server].name.to_string());
        self.carry_out(server, deeds);
        self.replay_held(server);
    }

    /// The process reads what its replication link brought while it could not.
    pub(crate) fn replay_held(&mut self, server: usize) {
        for event in std::mem::take(&mut self.servers[server].held) {
            self.happen(event);
        }
    }
}
