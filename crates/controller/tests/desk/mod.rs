//! A desk to try a brain on: one leader, two peers, three instances, and a quorum that commits whatever is proposed
//! unless it is told to wait.
#![allow(dead_code, reason = "each test uses what it needs")]

use backstay_controller::{Controller, Effect, Entry, Input, Refusal, Report, State, Wish};
use backstay_model::{
    Action, Address, AgentOrders, AgentReport, ClusterSpec, ControllerSpec, Engine, Evidence, Failsafe,
    GatewayOrders, Health, Identity, InstanceReport, InstanceSpec, NodeId, Now, Observation, Order,
    Preference, Progress, RedisSpec, ReplOffset, Replication, Role, ServiceSpec, SqlState, Term, Time,
    UnixMicros,
};
use std::collections::VecDeque;
use std::time::Duration;

pub(crate) struct Desk {
    pub(crate) brain: Controller,
    pub(crate) now_ms: u64,
    /// By how much the wall clock is wrong.
    pub(crate) wrong_by_ms: i64,
    /// Every order, as `instance action`.
    pub(crate) orders: Vec<String>,
    /// Every sentence.
    pub(crate) told: Vec<String>,
    /// Entries that wait to be committed, if the quorum is slow.
    pub(crate) waiting: VecDeque<Entry>,
    pub(crate) quorum_is_slow: bool,
    pub(crate) last_order: Option<Order>,
    /// What gateways were told, by name.
    pub(crate) gateways: Vec<(String, GatewayOrders)>,
    /// What agents were told, by instance.
    pub(crate) agents: Vec<(String, AgentOrders)>,
    /// What operators were answered.
    pub(crate) answers: Vec<Result<String, Refusal>>,
    /// The number of the last report of any gateway or agent.
    pub(crate) report: u64,
}

fn redis() -> Engine {
    Engine::Redis(RedisSpec {
        canary_key: "canary".into(),
        min_replicas_to_write: 0,
        ignore_sentinels: false,
    })
}

pub(crate) fn spec() -> ServiceSpec {
    let instance = |name: &str, zone: &str| InstanceSpec {
        name: name.into(),
        address: address(name),
        site: String::new(),
        zone: zone.into(),
        priority: 100,
        agent: None,
    };
    ServiceSpec {
        name: "shop".into(),
        engine: redis(),
        instances: vec![instance("r1", "z1"), instance("r2", "z2"), instance("r3", "z3")],
        down_after: Duration::from_millis(500),
        probe_interval: Duration::from_millis(100),
        drain_wait: Duration::from_millis(50),
        cooldown: Duration::from_secs(10),
        parallel_syncs: 1,
        preference: Preference::default(),
        failsafe: Failsafe::Off,
        digest: "same".into(),
    }
}

pub(crate) fn address(instance: &str) -> Address {
    format!("{instance}:6379").parse().unwrap()
}

impl Desk {
    /// A leader whose group has had `r1` as its primary for a while, with both replicas in step at offset 1000.
    pub(crate) fn settled() -> Self {
        Self::settled_with(spec())
    }

    pub(crate) fn settled_with(spec: ServiceSpec) -> Self {
        let mut desk = Self::leading(spec, State::default());
        desk.primary("r1", 1000);
        desk.follows("r2", "r1", 1000);
        desk.follows("r3", "r1", 1000);
        desk.orders.clear();
        desk.told.clear();
        desk
    }

    pub(crate) fn leading(spec: ServiceSpec, state: State) -> Self {
        let controller = |name: &str, port: u16| ControllerSpec {
            name: name.into(),
            address: Address { host: "127.0.0.1".into(), port },
            site: String::new(),
            zone: String::new(),
        };
        let controllers = vec![controller("a", 1), controller("b", 2), controller("c", 3)];
        let cluster = ClusterSpec { cluster: "test".into(), controllers, services: vec![spec] };
        let mut desk = Self {
            brain: Controller::new(&"a".into(), cluster, state, now(0)),
            now_ms: 0,
            wrong_by_ms: 0,
            orders: Vec::new(),
            told: Vec::new(),
            waiting: VecDeque::new(),
            quorum_is_slow: false,
            last_order: None,
            gateways: Vec::new(),
            agents: Vec::new(),
            answers: Vec::new(),
            report: 0,
        };
        desk.step(Input::Leadership { leader: Some(id("a")), term: Term(1) });
        desk.step(Input::Lease(Time::MAX));
        for peer in ["b", "c"] {
            desk.step(Input::Peer { node: id(peer), connected: true });
            desk.agree(peer, "same");
        }
        desk
    }

    /// The peer holds these settings of the service.
    pub(crate) fn agree(&mut self, peer: &str, digest: &str) {
        let digests = [("shop".into(), digest.into())].into();
        self.step(Input::Reported { from: id(peer), report: Report { digests, opinions: Vec::new() } });
    }

    pub(crate) fn step(&mut self, input: Input) {
        let effects = self.brain.step(self.clock(), input);
        let mut committed = Vec::new();
        for effect in effects {
            match effect {
                Effect::Propose(entry) if self.quorum_is_slow => self.waiting.push_back(entry),
                Effect::Propose(entry) => committed.push(entry),
                Effect::Order(order) => {
                    self.orders.push(format!("{} {}", order.instance, verb(&order.action)));
                    self.last_order = Some(order);
                }
                Effect::Event(event) => self.told.push(event.kind.to_string()),
                Effect::TellGateway { gateway, orders } => {
                    self.gateways.push((gateway.name.to_string(), orders));
                }
                Effect::TellAgent { instance, orders } => self.agents.push((instance.to_string(), orders)),
                Effect::Answer { result, .. } => self.answers.push(result),
                Effect::HandOver(_) => self.orders.push("hand over".into()),
                _ => {}
            }
        }
        for entry in committed {
            self.step(Input::Committed(entry));
        }
    }

    /// The agent of an instance reports.
    pub(crate) fn agent(&mut self, instance: &str, rebuild: Option<(u64, Progress)>) {
        self.report += 1;
        let report = Some(AgentReport { number: self.report, rebuild });
        self.step(Input::Agent { instance: instance.into(), process: 1, report });
    }

    /// An operator wants something.
    pub(crate) fn asks(&mut self, wish: Wish) -> Option<Result<String, Refusal>> {
        self.answers.clear();
        self.step(Input::Asked { request: 1, wish });
        self.answers.pop()
    }

    /// The slow quorum agrees at last.
    #[allow(dead_code, reason = "the desk serves several test binaries")]
    pub(crate) fn commit(&mut self) {
        while let Some(entry) = self.waiting.pop_front() {
            self.step(Input::Committed(entry));
        }
    }

    /// Lets time pass, peers being heard of all the while.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now_ms + ms;
        while self.now_ms < end {
            self.now_ms = (self.now_ms + 5).min(end);
            for peer in ["b", "c"] {
                self.step(Input::Reported { from: id(peer), report: Report::default() });
            }
            self.step(Input::Wake);
        }
    }

    pub(crate) fn sees(&mut self, instance: &str, observation: Observation) {
        self.step(Input::Observed { service: "shop".into(), instance: instance.into(), observation });
    }

    fn answers(&mut self, instance: &str) {
        let run_id = format!("run-{instance}").into();
        self.sees(
            instance,
            Observation::Identity(Identity { run_id, version: "7".into(), keys: 5, loading: false }),
        );
        self.sees(instance, Observation::Health(Health::Up));
    }

    pub(crate) fn primary(&mut self, instance: &str, offset: u64) {
        self.answers(instance);
        self.sees(instance, Observation::Replication(state(instance, Role::Primary { replicas: 2 }, offset)));
    }

    pub(crate) fn follows(&mut self, instance: &str, primary: &str, offset: u64) {
        self.answers(instance);
        self.sees(instance, Observation::Replication(linked(instance, primary, true, offset)));
    }

    /// A replica reports that its link broke.
    pub(crate) fn link_down(&mut self, instance: &str, primary: &str, offset: u64) {
        self.sees(instance, Observation::Replication(linked(instance, primary, false, offset)));
    }

    /// The freeze of the brain's current epoch was answered.
    pub(crate) fn frozen(&mut self, instance: &str, offset: u64) {
        let epoch = self.brain.state().service(&"shop".into()).epoch;
        let mut replication = linked(instance, instance, false, offset);
        replication.role = Role::Replica { of: Address::nowhere(), link_up: false, syncing: false };
        self.sees(instance, Observation::Frozen { epoch, replication });
    }

    /// All three controllers have this opinion of an instance.
    pub(crate) fn everybody_thinks(&mut self, instance: &str, health: &Health) {
        self.sees(instance, Observation::Health(health.clone()));
        for peer in ["b", "c"] {
            self.peer_thinks(peer, instance, health);
        }
    }

    pub(crate) fn peer_thinks(&mut self, peer: &str, instance: &str, health: &Health) {
        let run_id = Some(format!("run-{instance}").into());
        let report = InstanceReport { health: health.clone(), run_id, primary: instance == "r1" };
        let opinions = vec![("shop".into(), instance.into(), report)];
        self.step(Input::Reported { from: id(peer), report: Report { digests: [].into(), opinions } });
    }

    /// A peer finds that the instance answers as a replica.
    #[allow(dead_code, reason = "the desk serves several test binaries")]
    pub(crate) fn peer_finds_replica(&mut self, peer: &str, instance: &str) {
        let run_id = Some(format!("run-{instance}").into());
        let report = InstanceReport { health: Health::Up, run_id, primary: false };
        let opinions = vec![("shop".into(), instance.into(), report)];
        self.step(Input::Reported { from: id(peer), report: Report { digests: [].into(), opinions } });
    }

    pub(crate) fn clock(&self) -> Now {
        let mut now = now(self.now_ms);
        now.unix = UnixMicros(now.unix.0.saturating_add_signed(self.wrong_by_ms * 1000));
        now
    }

    pub(crate) fn phase(&self) -> String {
        let state = self.brain.state().service(&"shop".into());
        format!("epoch {} {}", state.epoch, state.phase.name())
    }
}

pub(crate) const REFUSED: Health = Health::Down(Evidence::Refused);
pub(crate) const SILENT: Health = Health::Down(Evidence::Silent);

pub(crate) fn id(name: &str) -> NodeId {
    NodeId::of(&name.into())
}

fn now(ms: u64) -> Now {
    Now {
        time: Time::from_micros(1_000_000 + ms * 1000),
        unix: UnixMicros(1_700_000_000_000_000 + ms * 1000),
    }
}

fn verb(action: &Action) -> String {
    match action {
        Action::Fence => "fence".into(),
        Action::Freeze => "freeze".into(),
        Action::Promote => "promote".into(),
        Action::Open => "open".into(),
        Action::Canary => "canary".into(),
        Action::Pause { .. } => "pause".into(),
        Action::Resume => "resume".into(),
        Action::Follow { primary, .. } => format!("follow {}", primary.host),
    }
}

pub(crate) fn state(instance: &str, role: Role, offset: u64) -> Replication {
    Replication {
        run_id: format!("run-{instance}").into(),
        role,
        replid: "history".into(),
        previous: None,
        offset: ReplOffset(offset),
        closed: false,
        sql: SqlState::default(),
    }
}

pub(crate) fn linked(instance: &str, primary: &str, link_up: bool, offset: u64) -> Replication {
    state(instance, Role::Replica { of: address(primary), link_up, syncing: false }, offset)
}
