//! What goes into a step and what comes out of it.

use crate::entry::Entry;
use crate::state::State;
use backstay_model::{
    AgentOrders, AgentReport, Digest, Event, GatewayId, GatewayOrders, GatewayReport, InstanceName,
    InstanceReport, Method, NodeId, NodeName, Observation, Order, Route, ServiceName, Term, Time,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What can happen to a controller.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time passed. Call at or before `next_wakeup`.
    Wake,
    /// A probe of this node saw something.
    Observed {
        /// The service.
        service: ServiceName,
        /// The instance.
        instance: InstanceName,
        /// What.
        observation: Observation,
    },
    /// A peer told its opinions.
    Reported {
        /// Who.
        from: NodeId,
        /// What.
        report: Report,
    },
    /// The connection to a peer was (re)made or lost.
    Peer {
        /// Who.
        node: NodeId,
        /// Whether it is connected.
        connected: bool,
    },
    /// Somebody else or nobody leads; or this node does, and its state holds everything committed before.
    Leadership {
        /// Who, if anybody is known to.
        leader: Option<NodeId>,
        /// In which term.
        term: Term,
    },
    /// This leader's lease holds until then.
    Lease(Time),
    /// These controllers vote, and nobody else's opinion counts.
    Voters(BTreeSet<NodeId>),
    /// An entry was committed.
    Committed(Entry),
    /// The whole state was replaced by a newer one.
    Restored(State),
    /// A proposal of this node will not be committed.
    ProposalRefused,
    /// A gateway reports, or its connection was lost.
    Gateway {
        /// Who.
        gateway: GatewayId,
        /// What. `None`: the connection was lost, which says nothing about the gateway.
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
    /// An operator wants something. The leader answers once it is committed; another node refuses.
    Asked {
        /// To recognise the answer.
        request: u64,
        /// What.
        wish: Wish,
    },
}

/// What an operator can order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    /// Stop all automatic action, for one service or for all.
    Pause {
        /// One service, or all of them.
        service: Option<ServiceName>,
        /// For how long.
        duration: Duration,
        /// Who asks.
        by: String,
    },
    /// End a pause.
    Resume {
        /// One service, or all of them.
        service: Option<ServiceName>,
        /// Who asks.
        by: String,
    },
    /// Settle a doubt that a plan waits with: take this instance's data.
    Decide {
        /// The service.
        service: ServiceName,
        /// The instance.
        instance: InstanceName,
        /// Who asks.
        by: String,
    },
    /// Make another instance the primary, losing nothing, or change nothing.
    SwitchOver {
        /// The service.
        service: ServiceName,
        /// The next primary; the best one, if left out.
        to: Option<InstanceName>,
        /// Only say what would be done.
        dry_run: bool,
        /// Who asks.
        by: String,
    },
    /// Fail over now, whatever stands against it and whatever is lost.
    FailOver {
        /// The service.
        service: ServiceName,
        /// The next primary, even one that somebody else promoted; the best one, if left out.
        to: Option<InstanceName>,
        /// Who asks.
        by: String,
    },
    /// Make a member of a controller that runs with a new state folder.
    AddController {
        /// Its name.
        name: NodeName,
        /// Who asks.
        by: String,
    },
    /// Take a controller's membership away.
    RemoveController {
        /// Its name.
        name: NodeName,
        /// Even if too few live voters are left.
        forced: bool,
        /// Who asks.
        by: String,
    },
    /// Let an instance get rid of what only it holds.
    Rebuild {
        /// The service.
        service: ServiceName,
        /// The instance.
        instance: InstanceName,
        /// How.
        method: Method,
        /// Only say what would be done.
        dry_run: bool,
        /// Who asks.
        by: String,
    },
    /// End a rebuild that has discarded nothing yet.
    CancelRebuild {
        /// The service.
        service: ServiceName,
        /// The instance.
        instance: InstanceName,
        /// Who asks.
        by: String,
    },
}

/// What controllers tell each other, unasked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Digests of the services' sections of the file, if this is a whole report.
    pub digests: BTreeMap<ServiceName, Digest>,
    /// Opinions: those that changed, or all if this is a whole report.
    pub opinions: Vec<(ServiceName, InstanceName, InstanceReport)>,
}

/// What the world must do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put this before the quorum.
    Propose(Entry),
    /// Tell these opinions to a peer, or to all.
    Tell {
        /// One peer, or all.
        to: Option<NodeId>,
        /// What.
        report: Report,
    },
    /// Do this to an instance.
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
    /// Let this controller lead instead.
    HandOver(NodeId),
    /// Let it be known.
    Event(Event),
    /// Answer an operator.
    Answer {
        /// The request.
        request: u64,
        /// What was done, or why not.
        result: Result<String, Refusal>,
    },
}

/// Why an operator's wish was not granted. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Another node leads, or none.
    #[error("this controller does not lead: ask the leader")]
    NotLeader,
    /// Leadership changed while the wish waited to be committed: it may or may not have been.
    #[error(
        "the leader changed before this was committed; look at `backstay status` and ask again if need be"
    )]
    Unknown,
    /// The file has no such thing.
    #[error("{0}")]
    NoSuch(String),
    /// It makes no sense now.
    #[error("{0}")]
    Unfit(String),
}
