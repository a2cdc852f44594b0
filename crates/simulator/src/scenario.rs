//! What one seed means: how large the world is, what goes wrong in it, and which mistake is planted, if one is.

use crate::random::Random;
use backstay_model::{
    ClusterSpec, ControllerSpec, Durability, Engine, Failsafe, InstanceSpec, MariaDbSpec, Preference,
    RedisSpec, ServiceSpec,
};
use std::time::Duration;

/// See the module's head.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Everything follows from it.
    pub seed: u64,
    /// Keep every line of the trace, not only its digest and its end.
    pub trace: bool,
    /// A mistake that a checker must notice.
    pub mistake: Option<Mistake>,
    /// How many controllers.
    pub controllers: usize,
    /// How many instances.
    pub instances: usize,
    /// How many clients.
    pub clients: usize,
    /// How many gateways.
    pub gateways: usize,
    /// How many faults.
    pub faults: u64,
    /// The kinds that this seed draws from: each seed enables a subset, so that faults meet that rarely meet.
    pub kinds: Vec<FaultKind>,
    /// Until when things go wrong.
    pub fault_phase: Duration,
    /// Clocks run at different speeds.
    pub skewed_clocks: bool,
    /// What there is before the first controller comes.
    pub founding: Founding,
    /// Instances start as replicas of nowhere, and only controllers open them.
    pub protected: bool,
    /// Replicas without their primary answer no reads.
    pub serves_no_stale_data: bool,
    /// An instance that is started from a file has to load it first.
    pub loads: bool,
    /// Each instance's priority.
    pub priorities: Vec<u32>,
    /// The zone in which the primary should be, and how many bytes may be given up for it.
    pub preferred_zone: Option<(String, u64)>,
    /// How far behind a replica may be from which a gateway's reader endpoint reads.
    pub readers_max_lag: u64,
    /// The operator lets gateways go on without a lease.
    pub failsafe: bool,
    /// Where none is near enough, it reads at the primary, or refuses.
    pub readers_fall_back: bool,
    /// The instances are MariaDBs, and when a commit is acknowledged there.
    pub mariadb: Option<Durability>,
    /// A replica that its primary refuses (1236) shows to follow nobody.
    pub refusal_hidden: bool,
    pub(crate) loss_per_mille: u64,
    pub(crate) duplication_per_mille: u64,
    pub(crate) slow_per_mille: u64,
    pub(crate) crash_per_100k: u64,
    pub(crate) stall_per_mille: u64,
}

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An instance is killed, and started later: empty, or from an old file.
    Crash,
    /// An instance stops, and goes on later.
    Hang,
    /// A controller is killed, and started later.
    ControllerCrash,
    /// A controller stops, and goes on later.
    ControllerPause,
    /// Nothing passes between two places, in one direction or both.
    Partition,
    /// A controller loses its state folder.
    Wipe,
    /// An operator pauses or resumes.
    Operator,
    /// An operator moves the primary, or orders a failover.
    Switchover,
    /// The primary dies, and an operator decides who follows, whatever that one holds.
    Decide,
    /// A primary dies again and again.
    Flap,
    /// An instance cannot save, so it takes no writes.
    DiskError,
    /// An instance runs a script that does not end.
    Busy,
    /// An instance's process is replaced by somebody else's.
    Stranger,
    /// A controller is started again with another file.
    Settings,
    /// A controller's wall clock is set, by as much as a day.
    Clock,
    /// A MariaDB applies slowly what it receives, or stops doing so.
    Applier,
    /// A client of a MariaDB locks tables and forgets about it.
    Locks,
    /// Only one replica of a MariaDB receives, and dies together with the primary.
    OneAck,
    /// A gateway stops, is killed, or is cut off in one direction.
    Gateway,
    /// The primary hangs and the leader dies while a gateway still holds a lease of its and can be told nothing; then the
    /// primary goes on.
    Inheritance,
    /// A gateway and all controllers lose each other.
    Silence,
    /// An operator wants a MariaDB rebuilt, or not any more. There are agents then.
    Rebuild,
}

impl FaultKind {
    /// Those that a world draws from often.
    pub(crate) const FIRST: [Self; 8] = [
        Self::Crash,
        Self::Hang,
        Self::ControllerCrash,
        Self::ControllerPause,
        Self::Partition,
        Self::Wipe,
        Self::Operator,
        Self::Switchover,
    ];
    /// Those that a world draws from now and then.
    pub(crate) const RARER: [Self; 7] =
        [Self::Decide, Self::Flap, Self::DiskError, Self::Busy, Self::Stranger, Self::Settings, Self::Clock];
}

/// How a world begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Founding {
    /// Every instance is empty.
    Empty,
    /// A group runs already, with data.
    Running {
        /// Its primary.
        primary: usize,
    },
}

/// Mistakes of safety, section 10, that belong to this path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// A promotion does not close first, so one that runs late opens a second primary.
    PromoteOpen,
    /// A replica is frozen by pointing it at another one.
    FreezeOntoReplica,
    /// The next candidate is promoted in the same epoch.
    NextCandidateInSameEpoch,
    /// A controller whose folder was wiped votes as if it had not been.
    WipedVoter,
    /// A restarted replica counts because its replication id is right.
    RestartedReplicaCounted,
    /// The candidate is promoted before its choice is committed.
    PromoteBeforeCommit,
    /// A planned move does not compare before it promotes.
    PromoteUncompared,
    /// A controller decides without the others.
    DecideAlone,
    /// A gateway looks at its lease before it forwards, and not when it reads the reply.
    LeaseCheckedOnlyBefore,
    /// A new leader forgets the leases that the one before may have granted.
    NoInheritedLeases,
    /// A gateway sends a read again although a later write of the same client may have run.
    ReadSentAgainBehindWrite,
    /// A gateway's reader endpoint reads from any replica, however far it is behind.
    ReaderWithoutBound,
    /// A gateway's reader endpoint sends writes on, too.
    ReaderForwardsWrites,
    /// A gateway's failsafe goes by the replicas that the primary shows, whether or not they acknowledge anything.
    FailsafeTrustsLinks,
    /// A gateway serves without a lease and does not say so.
    FailsafeWithoutAlarm,
    /// A gateway has a failsafe although the operator did not ask for one.
    FailsafeUnasked,
    /// Semi-synchronous replication is switched off while commits wait for an acknowledgement.
    SemiSyncOff,
    /// One is promoted although another that may have acknowledged a commit was not read.
    PromoteUnread,
    /// A primary that was restarted is taken for the one that it was, and opened again.
    RestartReopened,
    /// A replica's two threads are stopped, and the applying one is started again.
    ApplyAfterBothStopped,
    /// An agent may discard the data of one whose acknowledgements count.
    DiscardCounted,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 21] = [
        Self::PromoteOpen,
        Self::FreezeOntoReplica,
        Self::NextCandidateInSameEpoch,
        Self::WipedVoter,
        Self::RestartedReplicaCounted,
        Self::PromoteBeforeCommit,
        Self::PromoteUncompared,
        Self::DecideAlone,
        Self::LeaseCheckedOnlyBefore,
        Self::NoInheritedLeases,
        Self::ReadSentAgainBehindWrite,
        Self::ReaderWithoutBound,
        Self::ReaderForwardsWrites,
        Self::FailsafeTrustsLinks,
        Self::FailsafeWithoutAlarm,
        Self::FailsafeUnasked,
        Self::SemiSyncOff,
        Self::PromoteUnread,
        Self::RestartReopened,
        Self::ApplyAfterBothStopped,
        Self::DiscardCounted,
    ];
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xbac_57a9);
        let mut kinds: Vec<FaultKind> = FaultKind::FIRST.into_iter().filter(|_| random.chance(450)).collect();
        kinds.extend(FaultKind::RARER.into_iter().filter(|_| random.chance(120)));
        if kinds.is_empty() {
            kinds.push(FaultKind::Crash);
        }
        let rough = random.chance(600);
        let instances = *random.pick(&[2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 1]);
        let running = random.chance(350);
        let founding = if running {
            Founding::Running { primary: random.range(0, instances - 1) as usize }
        } else {
            Founding::Empty
        };
        let unequal = random.chance(250);
        let priorities = (0..instances)
            .map(|_| if unequal { *random.pick(&[100, 100, 50, 200, 0]) } else { 100 })
            .collect();
        let preferred_zone =
            random.chance(200).then(|| (format!("z{}", random.range(0, 2)), *random.pick(&[0, 0, 5, 50])));
        let mut scenario = Self {
            seed,
            trace: false,
            mistake: None,
            controllers: *random.pick(&[3, 3, 3, 5, 2, 1]),
            instances: instances as usize,
            clients: random.range(2, 5) as usize,
            faults: random.range(1, 10),
            kinds,
            fault_phase: Duration::from_secs(random.range(4, 16)),
            skewed_clocks: random.chance(400),
            founding,
            protected: random.chance(850),
            serves_no_stale_data: random.chance(200),
            loads: random.chance(300),
            priorities,
            preferred_zone,
            loss_per_mille: if rough { random.range(0, 60) } else { 0 },
            duplication_per_mille: if rough { random.range(0, 50) } else { 0 },
            slow_per_mille: if rough { random.range(0, 80) } else { 0 },
            crash_per_100k: if random.chance(200) { random.range(1, 60) } else { 0 },
            stall_per_mille: if random.chance(200) { random.range(1, 60) } else { 0 },
            gateways: *random.pick(&[0, 0, 0, 1, 2, 3]),
            readers_max_lag: 0,
            readers_fall_back: false,
            failsafe: false,
            mariadb: None,
            refusal_hidden: false,
        };
        if scenario.gateways > 0 {
            let kinds = [(FaultKind::Gateway, 600), (FaultKind::Inheritance, 200)];
            scenario
                .kinds
                .extend(kinds.into_iter().filter(|(_, often)| random.chance(*often)).map(|(kind, _)| kind));
            scenario.readers_max_lag = *random.pick(&[0, 2, 10, 1000]);
            scenario.readers_fall_back = random.chance(500);
            scenario.failsafe = random.chance(300);
            if random.chance(if scenario.failsafe { 800 } else { 150 }) {
                scenario.kinds.push(FaultKind::Silence);
            }
        }
        scenario.choose_engine();
        scenario
    }

    /// A third of the worlds are a MariaDB's; drawn apart, so that the others stay as they were.
    fn choose_engine(&mut self) {
        let mut random = Random::new(self.seed ^ 0x005e_9017);
        if random.chance(350) {
            let durability = if random.chance(500) { Durability::Majority } else { Durability::Async };
            self.become_mariadb(durability);
        }
    }

    /// What has no meaning there is left out: MariaDB answers nothing while it starts, no script keeps it busy, a full disk
    /// stops it, and whose data a server holds its history tells (a stranger's is another domain's); and its gateways have no failsafe.
    pub fn become_mariadb(&mut self, durability: Durability) {
        let none = [FaultKind::DiskError, FaultKind::Busy, FaultKind::Stranger, FaultKind::Silence];
        self.mariadb = Some(durability);
        let mut random = Random::new(self.seed ^ 0x0a99_11e5);
        self.kinds.retain(|kind| ![FaultKind::Applier, FaultKind::Locks, FaultKind::OneAck].contains(kind));
        self.kinds.extend(random.chance(400).then_some(FaultKind::Applier));
        self.kinds.extend(random.chance(300).then_some(FaultKind::Locks));
        self.kinds.extend(random.chance(150).then_some(FaultKind::OneAck));
        self.refusal_hidden = random.chance(500);
        self.kinds.retain(|kind| !none.contains(kind));
        if self.kinds.is_empty() {
            self.kinds.push(FaultKind::Crash);
        }
        self.failsafe = false;
        self.loads = false;
        self.serves_no_stale_data = false;
        if durability == Durability::Majority {
            self.instances = 3;
            self.protected = true;
            if let Founding::Running { primary } = &mut self.founding {
                *primary %= self.instances;
            }
        }
    }

    fn engine(&self) -> Engine {
        match self.mariadb {
            Some(durability) => {
                Engine::MariaDb(MariaDbSpec { durability, events: false, ..MariaDbSpec::default() })
            }
            None => Engine::Redis(RedisSpec { canary_key: "canary".into(), ..RedisSpec::default() }),
        }
    }

    pub(crate) fn spec(&self) -> ClusterSpec {
        let zone = |index: usize| format!("z{}", index % 3);
        let address = |host: &str, port: u16| backstay_model::Address { host: host.into(), port };
        let controllers = (0..self.controllers).map(|index| ControllerSpec {
            name: format!("c{index}").into(),
            address: address("10.0.1.1", 7000 + index as u16),
            site: String::new(),
            zone: zone(index),
        });
        let rebuilds = self.kinds.contains(&FaultKind::Rebuild);
        let instances = (0..self.instances).map(|index| InstanceSpec {
            name: format!("r{index}").into(),
            address: address("10.0.2.1", 6000 + index as u16),
            site: String::new(),
            zone: zone(index),
            priority: self.priorities.get(index).copied().unwrap_or(100),
            agent: rebuilds.then(|| address("10.0.2.1", 8000 + index as u16)),
        });
        let preference =
            self.preferred_zone.clone().map_or_else(Preference::default, |(zone, max_lag_bytes)| {
                Preference { site: None, zone: Some(zone), max_lag_bytes }
            });
        ClusterSpec {
            cluster: "simulated".into(),
            controllers: controllers.collect(),
            services: vec![ServiceSpec {
                name: "shop".into(),
                instances: instances.collect(),
                down_after: Duration::from_millis(500),
                probe_interval: Duration::from_millis(100),
                drain_wait: Duration::from_millis(50),
                cooldown: Duration::from_secs(2),
                parallel_syncs: 1,
                preference,
                engine: self.engine(),
                failsafe: if self.failsafe { Failsafe::RiskTwoPrimaries } else { Failsafe::Off },
                digest: "same".into(),
            }],
        }
    }
}
