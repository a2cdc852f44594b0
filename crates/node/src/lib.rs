//! One controller node: the brain and the consensus behind one step whose effects are one ordered list. The server and
//! the simulator both drive this, so what is simulated is what runs, in the order in which it runs.
//!
//! `controller` and `consensus` do not know each other; this is the seam between them, and nothing else.

mod members;

use backstay_consensus::{
    ACKERS, Consensus, Durable, GATEWAYS, Persist, REBUILDS, Refusal as ConsensusRefusal, Settings, Snapshot,
    StartError,
};
use backstay_controller::{
    Controller, Decided, Effect as BrainEffect, Entry, Input as BrainInput, Refusal, Report, State, Wish,
};
use backstay_model::{
    AgentOrders, AgentReport, ClusterSpec, Event, GatewayId, GatewayOrders, GatewayReport, InstanceName,
    NodeId, NodeName, Now, Observation, Order, Route, ServiceName, Time,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// After how many applied entries the log is replaced by the state.
const COMPACT_EVERY: u64 = 1024;

/// One node. See the module's head.
pub struct Node {
    me: NodeId,
    brain: Controller,
    consensus: Consensus,
    compacted: u64,
    /// The file's controllers.
    controllers: BTreeMap<NodeId, NodeName>,
}

/// What nodes send each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PeerMessage {
    /// Consensus.
    Consensus(backstay_consensus::Message),
    /// Opinions.
    Report(Report),
}

/// What can happen to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed. Call at or before `next_wakeup`.
    Wake,
    /// A peer's message arrived. The connection proved who sent it.
    Message {
        /// The sender.
        from: NodeId,
        /// The message.
        message: PeerMessage,
    },
    /// The connection to a peer was made or lost.
    Peer {
        /// The peer.
        node: NodeId,
        /// Whether it is connected now.
        connected: bool,
    },
    /// A probe saw something.
    Observed {
        /// The service.
        service: ServiceName,
        /// The instance.
        instance: InstanceName,
        /// What.
        observation: Observation,
    },
    /// A gateway reports, or its connection was lost.
    Gateway {
        /// Who.
        gateway: GatewayId,
        /// What. `None`: the connection was lost.
        report: Option<GatewayReport>,
    },
    /// An agent reports, or its connection was lost.
    Agent {
        /// Whose.
        instance: InstanceName,
        /// Which of its processes.
        process: u64,
        /// What. `None`: the connection was lost.
        report: Option<AgentReport>,
    },
    /// An operator wants something.
    Asked {
        /// To recognise the answer.
        request: u64,
        /// What.
        wish: Wish,
    },
    /// Give the lead away before a planned stop.
    StepDown,
}

/// What the world must do, strictly in this order; none after one that failed to persist.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Must be durable before any later effect runs. If that fails the process stops.
    Persist(Persist),
    /// Send to a peer, or drop.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: PeerMessage,
    },
    /// Act on an instance, unless the deadline has passed.
    Order(Order),
    /// Ask an instance more often.
    Watch {
        /// The service.
        service: ServiceName,
        /// The instance.
        instance: InstanceName,
        /// How often.
        interval: Duration,
        /// Until when.
        until: Time,
    },
    /// Send clients there.
    Route(Route),
    /// Say this to a gateway, or drop it.
    TellGateway {
        /// To whom.
        gateway: GatewayId,
        /// What.
        orders: GatewayOrders,
    },
    /// Say this to an agent, or drop it.
    TellAgent {
        /// Whose.
        instance: InstanceName,
        /// What.
        orders: AgentOrders,
    },
    /// Let it be known.
    Event(Event),
    /// Answer an operator.
    Answer {
        /// The request.
        request: u64,
        /// What was done, or why not.
        result: Result<String, Refusal>,
    },
    /// Stop: what was committed here cannot be understood, so this node's state would differ from its peers'.
    Unreadable {
        /// The entry, or the last one that the unreadable state holds.
        index: u64,
    },
    /// Tell the operator of a peer, or of this node's own state folder. If `is_fatal`, stop.
    Refused(ConsensusRefusal),
}

/// Why a node cannot start. Nothing was changed.
#[derive(Debug)]
pub enum NodeError {
    /// The settings or the stored log make no sense.
    Consensus(StartError),
    /// The stored state cannot be read.
    State(String),
}

impl std::fmt::Display for NodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Consensus(error) => write!(f, "the stored log cannot be taken up: {error}"),
            Self::State(error) => write!(f, "the stored state cannot be read: {error}"),
        }
    }
}

impl std::error::Error for NodeError {}

impl Node {
    /// A node called `me` with what its disk holds, and the first effects.
    pub fn new(
        me: &NodeName,
        spec: ClusterSpec,
        settings: Settings,
        durable: Durable,
        now: Now,
    ) -> Result<(Self, Vec<Effect>), NodeError> {
        let compacted = durable.snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
        let state = match &durable.snapshot {
            Some(snapshot) => decode_state(snapshot).map_err(NodeError::State)?,
            None => State::default(),
        };
        let (consensus, first) = Consensus::new(settings, durable, now.time).map_err(NodeError::Consensus)?;
        let controllers = spec.controllers.iter().map(|it| (it.id(), it.name.clone())).collect();
        let brain = Controller::new(me, spec, state, now);
        let mut node = Self { me: NodeId::of(me), brain, consensus, compacted, controllers };
        let effects = node.turn(now, first, None);
        Ok((node, effects))
    }

    /// The brain, to be asked for status.
    pub const fn brain(&self) -> &Controller {
        &self.brain
    }

    /// The brain, to plant a mistake in.
    pub const fn brain_mut(&mut self) -> &mut Controller {
        &mut self.brain
    }

    /// The consensus, to be asked for status.
    pub const fn consensus(&self) -> &Consensus {
        &self.consensus
    }

    /// When to call with `Wake` at the latest. Early and repeated calls are harmless.
    pub fn next_wakeup(&self) -> Time {
        self.brain.next_wakeup().min(self.consensus.next_wakeup())
    }

    /// Advances the node to `now` with one input.
    #[must_use]
    pub fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        use backstay_consensus::Input as Raft;
        let (raft, brain) = match input {
            Input::Wake => (Some(Raft::Wake), Some(BrainInput::Wake)),
            Input::Message { message: PeerMessage::Consensus(message), .. } => {
                (Some(Raft::Message(message)), None)
            }
            Input::Message { from, message: PeerMessage::Report(report) } => {
                (None, Some(BrainInput::Reported { from, report }))
            }
            Input::Peer { node, connected } => {
                ((!connected).then_some(Raft::Lost(node)), Some(BrainInput::Peer { node, connected }))
            }
            Input::Observed { service, instance, observation } => {
                (None, Some(BrainInput::Observed { service, instance, observation }))
            }
            Input::Gateway { gateway, report } => (None, Some(BrainInput::Gateway { gateway, report })),
            Input::Agent { instance, process, report } => {
                (None, Some(BrainInput::Agent { instance, process, report }))
            }
            Input::Asked { request, wish: Wish::Rebuild { .. } } if self.consensus.level() < REBUILDS => {
                let why = "not all controllers run a version that knows rebuilds yet: see `backstay status`, and upgrade \
                           the others";
                return vec![Effect::Answer { request, result: Err(Refusal::Unfit(why.into())) }];
            }
            Input::Asked { request, wish } => match members::change(&wish) {
                Some(change) => (Some(Raft::Change { request, change }), None),
                None => (None, Some(BrainInput::Asked { request, wish })),
            },
            Input::StepDown => (self.heir(now).map(Raft::TransferTo), None),
        };
        let first = raft.map(|input| self.consensus.step(now.time, input)).unwrap_or_default();
        self.turn(now, first, brain)
    }

    /// Another controller that was heard of lately, to take over the lead.
    fn heir(&self, now: Now) -> Option<NodeId> {
        let membership = self.consensus.status().membership;
        let votes = |node: &NodeId| membership.of(*node).is_some_and(|member| member.voter);
        self.brain.peers().filter(votes).find(|node| self.brain.is_fresh(now.time, *node))
    }

    /// Carries the consensus' effects to the brain or out, strictly in order, and what the brain wants behind them;
    /// then the brain's own input; until nothing is left.
    fn turn(
        &mut self,
        now: Now,
        first: Vec<backstay_consensus::Effect>,
        input: Option<BrainInput>,
    ) -> Vec<Effect> {
        let mut raft = VecDeque::from(first);
        let mut out = Vec::new();
        let mut input = input;
        loop {
            let next = match raft.pop_front() {
                Some(effect) => self.carry(now, effect, &mut raft, &mut out),
                None if input.is_none() => return out,
                None => input.take(),
            };
            if let Some(next) = next {
                let effects = self.brain.step(now, next);
                self.act(now, effects, &mut raft, &mut out);
            }
        }
    }

    /// Carries out one effect of the consensus, or turns it into what the brain must hear.
    fn carry(
        &mut self,
        now: Now,
        effect: backstay_consensus::Effect,
        raft: &mut VecDeque<backstay_consensus::Effect>,
        out: &mut Vec<Effect>,
    ) -> Option<BrainInput> {
        use backstay_consensus::Effect as Raft;
        match effect {
            Raft::Persist(persist) => out.push(Effect::Persist(persist)),
            Raft::Send { to, message } => {
                out.push(Effect::Send { to, message: PeerMessage::Consensus(message) });
            }
            Raft::Refused(refusal) => out.push(Effect::Refused(refusal)),
            Raft::Apply(entry) => {
                self.compact_before(now, entry.index, raft);
                match postcard::from_bytes::<Entry>(&entry.data) {
                    Ok(decoded) => return Some(BrainInput::Committed(decoded)),
                    Err(_) => out.push(Effect::Unreadable { index: entry.index }),
                }
            }
            Raft::Restore(snapshot) => match decode_state(&snapshot) {
                Ok(state) => return Some(BrainInput::Restored(state)),
                Err(_) => out.push(Effect::Unreadable { index: snapshot.index }),
            },
            Raft::Leadership { leader, term, me_leading } => {
                // A leader that has not applied everything yet leads nothing.
                let leader = leader.filter(|leader| *leader != self.me || me_leading);
                return Some(BrainInput::Leadership { leader, term });
            }
            Raft::LeaseUntil(until) => return Some(BrainInput::Lease(until)),
            Raft::Members(membership) => {
                let voters = membership.voters().map(|member| member.node).collect();
                return Some(BrainInput::Voters(voters));
            }
            Raft::ChangeAnswer { request, result } => {
                out.push(Effect::Answer { request, result: self.sentence(result) });
            }
            Raft::ProposalRefused(_) => return Some(BrainInput::ProposalRefused),
        }
        None
    }

    /// Replaces the log by the state now and then. The state is that before the entry at `index`.
    fn compact_before(&mut self, now: Now, index: u64, raft: &mut VecDeque<backstay_consensus::Effect>) {
        let last = index.saturating_sub(1);
        if last >= self.compacted + COMPACT_EVERY {
            self.compacted = last;
            let compact =
                backstay_consensus::Input::Compact { index: last, data: encode(self.brain.state()) };
            raft.extend(self.consensus.step(now.time, compact));
        }
    }

    /// Turns the brain's effects into the node's. What it proposes goes to the consensus, whose effects queue up.
    fn act(
        &mut self,
        now: Now,
        effects: Vec<BrainEffect>,
        raft: &mut VecDeque<backstay_consensus::Effect>,
        out: &mut Vec<Effect>,
    ) {
        for effect in effects {
            match effect {
                // Asked for again and again, without an operator who waits: these come once all know them.
                BrainEffect::Propose(Entry {
                    decision:
                        decision @ (Decided::Gateways { .. } | Decided::Ackers { .. } | Decided::Rebuild { .. }),
                    ..
                }) if decision.level() > self.consensus.level() => {}
                BrainEffect::Propose(entry) if entry.decision.level() > self.consensus.level() => {
                    raft.push_back(backstay_consensus::Effect::ProposalRefused(Vec::new()));
                }
                BrainEffect::Propose(entry) => {
                    let propose = backstay_consensus::Input::Propose(encode(&entry));
                    raft.extend(self.consensus.step(now.time, propose));
                }
                BrainEffect::Tell { to, report } => {
                    let to: Vec<NodeId> = to.map_or_else(|| self.brain.peers().collect(), |to| vec![to]);
                    out.extend(to.into_iter().map(|to| {
                        let message = PeerMessage::Report(report.clone());
                        Effect::Send { to, message }
                    }));
                }
                BrainEffect::HandOver(to) => {
                    let transfer = backstay_consensus::Input::TransferTo(to);
                    raft.extend(self.consensus.step(now.time, transfer));
                }
                BrainEffect::Order(order) => out.push(Effect::Order(order)),
                BrainEffect::Watch { service, instance, interval, until } => {
                    out.push(Effect::Watch { service, instance, interval, until });
                }
                BrainEffect::TellGateway { gateway, orders } => {
                    out.push(Effect::TellGateway { gateway, orders });
                }
                BrainEffect::TellAgent { instance, orders } => {
                    out.push(Effect::TellAgent { instance, orders });
                }
                BrainEffect::Route(route) => out.push(Effect::Route(route)),
                BrainEffect::Event(event) => out.push(Effect::Event(event)),
                BrainEffect::Answer { request, result } => out.push(Effect::Answer { request, result }),
            }
        }
    }
}

fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Into memory, of plain values: cannot fail.
    postcard::to_stdvec(value).unwrap_or_default()
}

/// The state that a snapshot holds. One that was made before all members knew gateways, ackers or rebuilds may end where those
/// come now, and nowhere else: anything shorter was cut. What follows a whole state is a later version's, and is not read.
fn decode_state(snapshot: &Snapshot) -> Result<State, String> {
    let (data, level) = (&snapshot.data, snapshot.membership.level);
    let whole = postcard::from_bytes::<State>(data);
    if whole.is_err()
        && level < REBUILDS
        && let Ok(((services, gateways, counted), [])) = postcard::take_from_bytes(data)
    {
        return Ok(State { services, gateways, counted, ..State::default() });
    }
    if whole.is_err()
        && level < ACKERS
        && let Ok(((services, gateways), [])) = postcard::take_from_bytes(data)
    {
        return Ok(State { services, gateways, ..State::default() });
    }
    if whole.is_err()
        && level < GATEWAYS
        && let Ok((services, [])) = postcard::take_from_bytes(data)
    {
        return Ok(State { services, ..State::default() });
    }
    whole.map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests;
