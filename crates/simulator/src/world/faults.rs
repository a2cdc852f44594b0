//! What goes wrong, and when: planned from the seed before the world begins. In the end everything heals.

use super::settings::AGREED;
use super::{Event, Place, Server, World};
use crate::instance::Instance;
use crate::scenario::FaultKind;
use backstay_consensus::Durable;
use backstay_controller::Wish;
use backstay_model::{Fault as Ailment, Generation, Method};
use std::time::Duration;

/// One thing that goes wrong, or right again.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    KillServer {
        server: usize,
        primary: bool,
    },
    StartServer {
        server: usize,
        empty: bool,
    },
    StartServers,
    SaveServer(usize),
    StopServer {
        server: usize,
        primary: bool,
    },
    ResumeServers,
    CrashController {
        node: usize,
        leader: bool,
    },
    StartControllers,
    PauseController {
        node: usize,
        leader: bool,
        pause: Duration,
    },
    Block(Place, Place),
    Unblock(Place, Place),
    WipeController(usize),
    /// As `Wish`, to whoever leads, with something else going wrong within milliseconds.
    Ask {
        node: usize,
        wish: Wish,
    },
    Wish {
        node: usize,
        wish: Wish,
    },
    Ail {
        server: usize,
        primary: bool,
        ailment: Ailment,
    },
    Recover,
    /// It applies slowly what it receives, or nothing more.
    Hamper {
        server: usize,
        breaks: bool,
    },
    MendAppliers,
    LockTables {
        server: usize,
        primary: bool,
    },
    UnlockTables,
    LeaveOneAcker,
    Stranger {
        server: usize,
        primary: bool,
    },
    RemoveStrangers,
    Settings {
        node: usize,
        digest: &'static str,
    },
    Clock {
        node: usize,
        micros: i64,
    },
    CrashGateway(usize),
    /// Only the leader reaches it.
    LeadersGateway(usize),
    StartGateways,
    StopGateway {
        gateway: usize,
        stop: Duration,
    },
}

impl Fault {
    /// What it is counted as; nothing if it only mends.
    const fn name(&self) -> Option<&'static str> {
        Some(match self {
            Self::KillServer { .. } => "instance killed",
            Self::StartServer { empty: true, .. } => "instance started empty",
            Self::StartServer { .. } => "instance started from its file",
            Self::StopServer { .. } => "instance stopped",
            Self::CrashController { .. } => "controller killed",
            Self::PauseController { .. } => "controller stopped",
            Self::Block(..) => "way blocked",
            Self::WipeController(_) => "state folder lost",
            Self::Ail { ailment: Ailment::Busy, .. } => "instance busy",
            Self::Ail { .. } => "instance cannot save",
            Self::Hamper { breaks: true, .. } => "replica cannot apply",
            Self::Hamper { .. } => "replica applies slowly",
            Self::LockTables { .. } => "tables locked",
            Self::LeaveOneAcker => "one replica receives, and dies with the primary",
            Self::Stranger { .. } => "stranger at an address",
            Self::Settings { .. } => "controller with another file",
            Self::Clock { .. } => "wall clock set",
            Self::CrashGateway(_) => "gateway killed",
            Self::LeadersGateway(_) => "gateway reached by the leader alone",
            Self::StopGateway { .. } => "gateway stopped",
            _ => return None,
        })
    }
}

impl World {
    pub(crate) fn schedule_faults(&mut self) {
        let (servers, nodes) = (self.servers.len() as u64, self.controllers.len() as u64);
        for _ in 0..self.scenario.faults {
            let at = self.random.micros(2_000_000, self.scenario.fault_phase.as_micros() as u64);
            let lasts = self.random.micros(5_000, 4_000_000);
            let server = self.random.range(0, servers - 1) as usize;
            let node = self.random.range(0, nodes - 1) as usize;
            let chosen = self.random.chance(600);
            let kinds = self.scenario.kinds.clone();
            let kind = *self.random.pick(&kinds);
            let at = at.saturating_sub(Duration::from_secs(1));
            if self.random.chance(300) {
                self.schedule(at.saturating_sub(lasts), Event::Fault(Fault::SaveServer(server)));
            }
            if kind == FaultKind::Wipe && self.random.chance(500) {
                self.wipe_at_the_worst_moment(at, node);
                continue;
            }
            let (begin, end) = match kind {
                FaultKind::Crash => {
                    let empty = self.random.chance(500);
                    (
                        Fault::KillServer { server, primary: chosen },
                        Some(Fault::StartServer { server, empty }),
                    )
                }
                FaultKind::Hang => {
                    (Fault::StopServer { server, primary: chosen }, Some(Fault::ResumeServers))
                }
                FaultKind::ControllerCrash => {
                    (Fault::CrashController { node, leader: chosen }, Some(Fault::StartControllers))
                }
                FaultKind::ControllerPause => {
                    (Fault::PauseController { node, leader: chosen, pause: lasts / 2 }, None)
                }
                FaultKind::Partition => self.partition(at, lasts, servers, nodes),
                FaultKind::Wipe => (Fault::WipeController(node), None),
                FaultKind::Operator => (self.wish(node, lasts), None),
                FaultKind::Switchover => (self.move_primary(node, server), None),
                FaultKind::Rebuild => (self.want_rebuild(node, server), None),
                FaultKind::Decide => {
                    self.decide_in_haste(at, server);
                    continue;
                }
                FaultKind::Flap => {
                    self.flap(at);
                    continue;
                }
                FaultKind::Gateway => self.gateway_fault(at, lasts, servers, nodes),
                FaultKind::Silence => {
                    self.silence(at, lasts);
                    continue;
                }
                FaultKind::Inheritance => {
                    self.inherit_at_the_worst_moment(at);
                    continue;
                }
                rarer => self.rarer(rarer, server, node, chosen),
            };
            self.schedule(at, Event::Fault(begin));
            if let Some(end) = end {
                self.schedule(at + lasts, Event::Fault(end));
            }
        }
    }

    /// Kinds that a world draws from now and then, each with what mends it.
    fn rarer(
        &mut self,
        kind: FaultKind,
        server: usize,
        node: usize,
        primary: bool,
    ) -> (Fault, Option<Fault>) {
        let ail = |ailment| (Fault::Ail { server, primary, ailment }, Some(Fault::Recover));
        match kind {
            FaultKind::Busy => ail(Ailment::Busy),
            FaultKind::OneAck => (Fault::LeaveOneAcker, None),
            FaultKind::Locks => (Fault::LockTables { server, primary }, Some(Fault::UnlockTables)),
            FaultKind::Applier => {
                let breaks = self.random.chance(400);
                (Fault::Hamper { server, breaks }, Some(Fault::MendAppliers))
            }
            FaultKind::Stranger => (Fault::Stranger { server, primary }, Some(Fault::RemoveStrangers)),
            FaultKind::Settings => {
                let differs = Fault::Settings { node, digest: "another" };
                (differs, Some(Fault::Settings { node, digest: AGREED }))
            }
            FaultKind::Clock => {
                let day = 24 * 3600 * 1_000_000;
                let reach = *self.random.pick(&[1_000_000, 60_000_000, day]);
                let micros = self.random.range(0, 2 * reach) as i64 - reach as i64;
                (Fault::Clock { node, micros }, None)
            }
            _ => ail(Ailment::DiskError),
        }
    }

    /// Asks the leader for another primary; a pause, a hang or a death of it may come at any step.
    fn move_primary(&mut self, node: usize, server: usize) -> Fault {
        let (by, service) = ("operator".to_owned(), self.service.clone());
        let to = self.random.chance(500).then(|| self.servers[server].name.clone());
        let wish = if self.random.chance(850) {
            Wish::SwitchOver { service, to, dry_run: false, by }
        } else {
            Wish::FailOver { service, to: None, by }
        };
        Fault::Ask { node, wish }
    }

    /// Asks the leader to rebuild an instance, whatever it holds.
    fn want_rebuild(&mut self, node: usize, server: usize) -> Fault {
        let (by, service) = ("operator".to_owned(), self.service.clone());
        let (instance, method) = (self.servers[server].name.clone(), Method::Copy);
        let wish = if self.random.chance(800) {
            Wish::Rebuild { service, instance, method, dry_run: false, by }
        } else {
            Wish::CancelRebuild { service, instance, by }
        };
        Fault::Ask { node, wish }
    }

    /// Blocks the way between two places, sometimes in both directions.
    fn partition(
        &mut self,
        at: Duration,
        lasts: Duration,
        servers: u64,
        nodes: u64,
    ) -> (Fault, Option<Fault>) {
        let (from, to) = self.two_places(servers, nodes);
        if self.random.chance(500) {
            self.schedule(at, Event::Fault(Fault::Block(to, from)));
            self.schedule(at + lasts, Event::Fault(Fault::Unblock(to, from)));
        }
        (Fault::Block(from, to), Some(Fault::Unblock(from, to)))
    }

    /// One controller misses what the other two commit; then one of those loses its folder and the other one dies. The
    /// two that are left are a majority, but none of them knows what was committed.
    fn wipe_at_the_worst_moment(&mut self, at: Duration, wiped: usize) {
        let nodes = self.controllers.len();
        let (behind, dies) = ((wiped + 1) % nodes, (wiped + 2) % nodes);
        for other in (0..nodes).filter(|other| *other != behind) {
            for (from, to) in [(behind, other), (other, behind)] {
                let (from, to) = (Place::Controller(from), Place::Controller(to));
                self.schedule(at, Event::Fault(Fault::Block(from, to)));
                self.schedule(at + Duration::from_secs(2), Event::Fault(Fault::Unblock(from, to)));
            }
        }
        self.schedule(
            at + Duration::from_secs(1),
            Event::Fault(Fault::KillServer { server: 0, primary: true }),
        );
        let after = at + Duration::from_millis(1990);
        self.schedule(after, Event::Fault(Fault::CrashController { node: dies, leader: false }));
        self.schedule(after, Event::Fault(Fault::WipeController(wiped)));
        self.schedule(at + Duration::from_secs(4), Event::Fault(Fault::StartControllers));
    }

    /// The primary dies as soon as there is one again, or nearly.
    fn flap(&mut self, at: Duration) {
        let mut at = at;
        for _ in 0..self.random.range(3, 10) {
            self.schedule(at, Event::Fault(Fault::KillServer { server: 0, primary: true }));
            let back = at + self.random.micros(20_000, 300_000);
            self.schedule(back, Event::Fault(Fault::StartServers));
            at += self.random.micros(100_000, 1_200_000);
        }
    }

    fn two_places(&mut self, servers: u64, nodes: u64) -> (Place, Place) {
        if self.scenario.mariadb.is_some() && servers > 1 && self.random.chance(400) {
            // A primary whose replicas receive nothing, or whose acknowledgements do not arrive.
            let from = self.random.range(0, servers - 1);
            let to = (from + self.random.range(1, servers - 1)) % servers;
            return (Place::Server(from as usize), Place::Server(to as usize));
        }
        let node = Place::Controller(self.random.range(0, nodes - 1) as usize);
        let other = if self.random.chance(500) {
            Place::Controller(self.random.range(0, nodes - 1) as usize)
        } else {
            Place::Server(self.random.range(0, servers - 1) as usize)
        };
        if self.random.chance(500) { (node, other) } else { (other, node) }
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.stir();
        if self.healed && !matches!(fault, Fault::StartControllers | Fault::Wish { .. }) {
            return;
        }
        if let Some(name) = fault.name() {
            self.coverage.fault(name);
        }
        match fault {
            Fault::KillServer { server, primary } => {
                let server = self.primary_instead(server, primary);
                self.checkers.fault_began(self.now, self.primary() == Some(server));
                self.kill_server(server);
            }
            Fault::StartServer { server, empty } => self.start_server(server, empty),
            Fault::StartServers => {
                for server in 0..self.servers.len() {
                    self.start_server(server, true);
                }
            }
            Fault::SaveServer(server) => self.save_server(server),
            Fault::StopServer { server, primary } => {
                let server = self.primary_instead(server, primary);
                self.checkers.fault_began(self.now, self.primary() == Some(server));
                self.stop_server(server);
            }
            Fault::ResumeServers => {
                for server in 0..self.servers.len() {
                    self.resume_server(server);
                }
            }
            Fault::CrashController { node, leader } => {
                let node = self.leader_instead(node, leader);
                self.crash_controller(node);
            }
            Fault::StartControllers => {
                for node in 0..self.controllers.len() {
                    self.start_controller(node);
                }
            }
            Fault::PauseController { node, leader, pause } => {
                let node = self.leader_instead(node, leader);
                self.pause_controller(node, pause);
            }
            Fault::Block(from, to) => {
                self.trace.line(self.now, "block", || format!("{from:?} to {to:?}"));
                self.disturb(from, to);
                self.network.blocked.insert((from, to));
            }
            Fault::Unblock(from, to) => {
                self.disturb(from, to);
                self.network.blocked.remove(&(from, to));
            }
            Fault::Ask { node, wish } => {
                let node = self.leader_instead(node, true);
                self.trouble_soon(node);
                self.trace.line(self.now, "wish", || format!("{wish:?}"));
                self.ask(node, wish);
            }
            Fault::WipeController(node) => self.wipe(node),
            Fault::Wish { node, wish } => self.ask(node, wish),
            rarer => self.rarer_fault(&rarer),
        }
    }

    fn rarer_fault(&mut self, fault: &Fault) {
        match *fault {
            Fault::Ail { server, primary, ailment } => {
                let server = self.primary_instead(server, primary);
                self.ail(server, ailment);
            }
            Fault::Recover => self.recover_all(),
            Fault::Hamper { server, breaks } => self.hamper_applier(server, breaks),
            Fault::MendAppliers => self.mend_appliers(),
            Fault::LockTables { server, primary } => {
                let server = self.primary_instead(server, primary);
                self.lock_tables(server);
            }
            Fault::UnlockTables => self.unlock_tables(),
            Fault::LeaveOneAcker => self.leave_one_acker(),
            Fault::Stranger { server, primary } => {
                let server = self.primary_instead(server, primary);
                self.checkers.fault_began(self.now, self.primary() == Some(server));
                self.replace_by_stranger(server);
            }
            Fault::RemoveStrangers => self.remove_strangers(),
            Fault::Settings { node, digest } => self.restart_with(node, digest),
            Fault::Clock { node, micros } => self.jump_clock(node, micros),
            Fault::CrashGateway(gateway) => self.crash_gateway(gateway),
            Fault::LeadersGateway(gateway) => self.leave_to_leader(gateway),
            Fault::StopGateway { gateway, stop } => self.stop_gateway(gateway, stop),
            Fault::StartGateways => {
                for gateway in 0..self.gateways.len() {
                    self.start_gateway(gateway);
                }
            }
            _ => {}
        }
    }

    /// What its process holds is what it would start with.
    fn save_server(&mut self, server: usize) {
        let Server { process, file, .. } = &mut self.servers[server];
        // A MariaDB's disk holds all that it committed.
        if let Some(Instance::Redis(redis)) = process
            && !redis.stranger
        {
            *file = Some(Instance::Redis(redis.clone()));
        }
    }

    fn pause_controller(&mut self, node: usize, pause: Duration) {
        let name = &self.controllers[node].name;
        self.trace.line(self.now, "pause", || format!("{name} for {pause:?}"));
        let until = self.controllers[node].paused_until.max(self.now + pause);
        self.controllers[node].paused_until = until;
    }

    /// A planned move takes milliseconds: what is to meet it must come at once.
    fn trouble_soon(&mut self, leader: usize) {
        if self.random.chance(500) {
            return;
        }
        let soon = self.random.micros(100, 12_000);
        let lasts = self.random.micros(1_000, 4_000_000);
        let server = self.random.range(0, self.servers.len() as u64 - 1) as usize;
        let primary = self.random.chance(500);
        let pause = Fault::PauseController { node: leader, leader: false, pause: lasts };
        let (begin, end) = match self.random.range(0, 3) {
            0 => (Fault::StopServer { server, primary }, Fault::ResumeServers),
            1 => (Fault::KillServer { server, primary }, Fault::StartServer { server, empty: false }),
            2 => (Fault::CrashController { node: leader, leader: false }, Fault::StartControllers),
            _ => (pause, Fault::StartControllers),
        };
        self.schedule(soon, Event::Fault(begin));
        self.schedule(soon + lasts, Event::Fault(end));
    }

    fn disturb(&mut self, from: Place, to: Place) {
        self.agreement_disturbed = self.now;
        for place in [from, to] {
            if let Place::Server(server) = place {
                self.servers[server].disturbed = self.now;
            }
        }
    }

    /// A controller loses its state folder and is started with a new one; an operator gives it its vote back. The next
    /// one is lost only after that, so that the others are still a majority of those that know the truth.
    fn wipe(&mut self, node: usize) {
        // A cluster whose controllers have not all met is still being founded: it waits for every one of them.
        let others = self.controllers.len() - 1;
        let founded = self.controllers.iter().filter(|it| !it.joined).all(|it| it.disk.known.len() == others);
        if !(self.checkers.wiped.is_none() || self.all_vote()) || others < 2 || !founded {
            return;
        }
        self.checkers.wiped = Some(node);
        self.crash_controller(node);
        self.trace.line(self.now, "wipe", || self.controllers[node].name.to_string());
        self.controllers[node].disk = Durable::default();
        if self.scenario.mistake != Some(crate::scenario::Mistake::WipedVoter) {
            self.controllers[node].generation = Generation(self.random.next() | 1);
            self.controllers[node].joined = true;
        }
        self.start_controller(node);
        self.ask_for_votes();
    }

    /// Every controller runs, and they all know the same list, in which everybody votes with the folder that it has.
    pub(crate) fn all_vote(&self) -> bool {
        let lists =
            self.controllers.iter().map(|it| it.node().map(|node| node.consensus().status().membership));
        let Some(lists) = lists.collect::<Option<Vec<_>>>() else {
            return false;
        };
        let votes = |controller: &super::Controller| {
            lists[0].of(controller.id).is_some_and(|member| {
                member.voter && member.generation.is_none_or(|it| it == controller.generation)
            })
        };
        lists.iter().all(|list| *list == lists[0]) && self.controllers.iter().all(votes)
    }

    /// The operator asks every controller, some time after, to make members of those that are none.
    pub(crate) fn ask_for_votes(&mut self) {
        let joined = self.controllers.iter().filter(|it| it.joined).map(|it| it.name.clone());
        for name in joined.collect::<Vec<_>>() {
            for node in 0..self.controllers.len() {
                let wish = Wish::AddController { name: name.clone(), by: "operator".into() };
                let at = self.random.micros(300_000, 4_000_000);
                self.schedule(at, Event::Fault(Fault::Wish { node, wish }));
            }
        }
    }

    /// The server that the controllers take for the primary.
    pub(crate) fn primary(&self) -> Option<usize> {
        let states = self.controllers.iter().filter_map(|controller| controller.node());
        let newest =
            states.map(|node| node.brain().state().service(&self.service)).max_by_key(|state| state.epoch)?;
        let name = &newest.reign.as_ref()?.instance;
        self.servers.iter().position(|server| server.name == *name)
    }

    fn primary_instead(&self, server: usize, primary: bool) -> usize {
        if primary { self.primary().unwrap_or(server) } else { server }
    }

    pub(crate) fn leader_instead(&self, node: usize, leader: bool) -> usize {
        let leads =
            |controller: &super::Controller| controller.node().is_some_and(|node| node.brain().leads());
        let found = self.controllers.iter().position(leads);
        if leader { found.unwrap_or(node) } else { node }
    }

    /// Everything that is broken is mended: what hangs goes on, what is dead starts, everyone can be reached.
    pub(crate) fn heal(&mut self) {
        self.healed = true;
        self.stir();
        self.trace.line(self.now, "heal", String::new);
        self.network.heal();
        self.remove_strangers();
        self.recover_all();
        self.mend_appliers();
        self.unlock_tables();
        self.mend_gateways();
        for server in 0..self.servers.len() {
            self.resume_server(server);
            self.start_server(server, false);
        }
        for node in 0..self.controllers.len() {
            self.restart_with(node, AGREED);
            self.start_controller(node);
        }
        for _ in 0..3 {
            self.ask_for_votes();
        }
    }
}
