//! What right callers and right peers send.

use super::super::frames::append;
use super::super::gateways::GatewayLetter;
use super::super::hello::{Caller, Hello};
use super::{FILE, Letter, moment, settings};
use backstay_config::Config;
use backstay_consensus::{Body, Durable, Settings, VERSION};
use backstay_controller::Wish;
use backstay_model::{
    Address, ControllerSpec, Epoch, FailsafeRun, GatewayLoad, GatewayOrders, GatewayReport, Generation,
    LEASE, NodeId, Now, PrimaryOrder, Reader, ServiceOrders, UnixMicros,
};
use backstay_node::{Effect, Input, Node, PeerMessage};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Who calls rightly.
pub(crate) fn hello_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut out = vec![3];
    append(&mut out, &Hello::new(VERSION, &"shop".into(), &Caller::Controller("b".into()), &"a".into()))
        .expect("a hello can be written");
    vec![("welcome", out)]
}

/// Two reports of a gateway, and what a leader answers.
pub(crate) fn gateway_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut reports = vec![7];
    let load = GatewayLoad { clients: 3, ..GatewayLoad::default() };
    let run = FailsafeRun { began: UnixMicros(1_000_000), lasted_ms: Some(7) };
    let failsafe: BTreeMap<_, _> = [("mymaster".into(), run)].into();
    for number in 1..=2 {
        let holding = [("mymaster".into(), Epoch(number))].into();
        let report =
            GatewayReport { number, holding, load, leaving: number == 2, failsafe: failsafe.clone() };
        append(&mut reports, &GatewayLetter { process: 1, report }).expect("a report can be written");
    }
    let address: Address = "127.0.0.1:6379".parse().expect("an address");
    let reader = Reader { instance: "r2".into(), address: address.clone(), zone: "z".into(), lag_bytes: 5 };
    let mut orders = vec![0];
    for primary in [PrimaryOrder::Serve(address), PrimaryOrder::Drain, PrimaryOrder::Hold] {
        let service = ServiceOrders {
            service: "mymaster".into(),
            epoch: Epoch(2),
            primary,
            readers: vec![reader.clone()],
        };
        let told = GatewayOrders { answers: Some(1), lease: LEASE, services: vec![service] };
        append(&mut orders, &told).expect("orders can be written");
    }
    vec![("reports", reports), ("orders", orders)]
}

/// Letters that the second of three nodes sends to the first one, from their first start to a committed entry.
pub(crate) fn letter_seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mut cluster = Cluster::new();
    for round in 0..400 {
        cluster.now = moment(cluster.now.time.as_micros() + 5_000);
        for index in 0..cluster.nodes.len() {
            // The second one has time to be elected.
            if index == 1 || round > 150 {
                cluster.step(index, Input::Wake);
            }
            if round == 10 {
                let node = cluster.ids[(index + 1) % 3];
                cluster.step(index, Input::Peer { node, connected: true });
            }
        }
        if round == 300 {
            let wish = Wish::Pause { service: None, duration: Duration::from_secs(60), by: "ada".into() };
            cluster.step(1, Input::Asked { request: 1, wish });
        }
        cluster.deliver();
    }
    let mut kinds = BTreeMap::new();
    for message in &cluster.heard {
        kinds.entry(kind(message)).or_insert_with(|| message.clone());
    }
    let one_of_each: Vec<PeerMessage> = kinds.into_values().collect();
    let first = &cluster.heard[..cluster.heard.len().min(24)];
    vec![("one-of-each", framed(&one_of_each)), ("the-first", framed(first))]
}

/// Three nodes whose letters always arrive.
struct Cluster {
    ids: Vec<NodeId>,
    nodes: Vec<Node>,
    letters: VecDeque<(usize, usize, PeerMessage)>,
    /// What the second one sent to the first one.
    heard: Vec<PeerMessage>,
    now: Now,
}

impl Cluster {
    fn new() -> Self {
        let config = Config::parse("backstay.toml", FILE).expect("the example is right");
        let ids: Vec<_> = config.spec.controllers.iter().map(ControllerSpec::id).collect();
        let now = moment(1_000_000);
        let (nodes, letters, heard) = (Vec::new(), VecDeque::new(), Vec::new());
        let mut cluster = Self { ids, nodes, letters, heard, now };
        for (index, controller) in config.spec.controllers.iter().enumerate() {
            let generation = Generation(index as u64 + 1);
            let settings = Settings { me: controller.id(), generation, ..settings(&config) };
            let node =
                Node::new(&controller.name, config.spec.clone(), settings, Durable::default(), cluster.now);
            let (node, first) = node.expect("an empty folder is a beginning");
            cluster.nodes.push(node);
            cluster.post(index, first);
        }
        cluster
    }

    fn step(&mut self, index: usize, input: Input) {
        let effects = self.nodes[index].step(self.now, input);
        self.post(index, effects);
    }

    fn post(&mut self, from: usize, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Send { to, message } = effect {
                let to = self.ids.iter().position(|id| *id == to).expect("a peer");
                self.letters.push_back((from, to, message));
            }
        }
    }

    fn deliver(&mut self) {
        while let Some((from, to, message)) = self.letters.pop_front() {
            if (from, to) == (1, 0) {
                self.heard.push(message.clone());
            }
            self.step(to, Input::Message { from: self.ids[from], message });
        }
    }
}

fn kind(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Consensus(message) => match &message.body {
            Body::Raft(raft) => format!("{:?} {} {}", raft.kind, raft.entries.is_empty(), raft.reject),
            body => format!("{body:?}"),
        },
        PeerMessage::Report(report) => format!("report {}", report.opinions.is_empty()),
    }
}

fn framed(messages: &[PeerMessage]) -> Vec<u8> {
    let mut out = vec![0];
    for message in messages {
        append(&mut out, &Letter::Node(message.clone())).expect("a letter can be written");
    }
    out
}
