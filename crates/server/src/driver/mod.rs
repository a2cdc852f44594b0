//! The one loop: wait for an input or a wakeup, step the node, carry out its effects strictly in order. It decides
//! nothing, and nothing else touches the node.
//!
//! Inputs that wait come before wakeups: a process that stood still hears what happened before it judges silence.

mod batch;
mod certificates;
mod effects;
mod refusals;
mod waiting;

pub(crate) use certificates::Certificates;
pub(crate) use refusals::Names;

use crate::clock;
use crate::journal::Journal;
use crate::question::{Answer, Question, Request, Scope, Sealed};
use crate::storage::{StorageError, Writer};
use crate::tls::Standing;
use backstay_controller::Refusal;
use backstay_controller::link::LinkInput;
use backstay_model::{
    AgentOrders, AgentReport, GatewayId, GatewayOrders, GatewayReport, InstanceName, NodeId, Observation,
    ServiceName, Time,
};
use backstay_node::{Input, Node, PeerMessage};
use batch::Batch;
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep_until;
use waiting::{Waiter, Waiting};

/// How many inputs may wait. Who has more to say waits too.
pub(crate) const INCOMING_MAX: usize = 4096;
/// How many questions of this node's own ports may wait.
pub(crate) const REQUESTS_MAX: usize = 256;
/// How many inputs are taken before a wakeup that is due.
const INPUTS_MAX: usize = 1024;
/// How many inputs are taken before what they call for is done: the more, the fewer waits for the disk; the fewer, the
/// sooner.
const BATCH_MAX: usize = 128;
/// How much later than asked a wakeup may come before the network is looked at first.
const LATE: Duration = Duration::from_millis(20);
/// How often the network is looked at then: from its reader to the driver is more than one hop.
const LOOKS: usize = 3;
/// How long a leader that is asked to stop waits for a successor.
const HANDOVER: Duration = Duration::from_secs(1);

/// What happens to the driver.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A link saw something.
    Observed { service: ServiceName, instance: InstanceName, observation: Observation },
    /// A peer said something.
    Message { from: NodeId, message: PeerMessage },
    /// The way to a peer was opened or lost.
    Peer { node: NodeId, connected: bool },
    /// A peer asks, on behalf of somebody there.
    Asked { from: NodeId, id: u64, question: Question },
    /// A peer answers what this node asked it.
    Answered { from: NodeId, id: u64, answer: Answer },
    /// A peer says how its certificates stand.
    Certified { from: NodeId, standing: Standing },
    /// A gateway reports; with its first words on a connection comes the way to it.
    Gateway { gateway: GatewayId, report: GatewayReport, outlet: Option<mpsc::Sender<GatewayOrders>> },
    /// That way was lost.
    GatewayLost { gateway: GatewayId, outlet: mpsc::Sender<GatewayOrders> },
    /// An agent reports; with its first words on a connection comes the way to it.
    Agent {
        instance: InstanceName,
        process: u64,
        report: AgentReport,
        outlet: Option<mpsc::Sender<AgentOrders>>,
    },
    /// That way was lost.
    AgentLost { instance: InstanceName, process: u64, outlet: mpsc::Sender<AgentOrders> },
    /// This node's own certificates changed, or could not.
    Renewed,
}

/// What goes to a peer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Letter {
    /// From node to node.
    Node(PeerMessage),
    /// A question for the leader.
    Ask { id: u64, question: Sealed<Question> },
    /// The answer to the question with this number.
    Answer { id: u64, answer: Sealed<Answer> },
    /// How the sender's certificates stand.
    Certificates(Standing),
}

/// Why the driver stopped without being asked to. Nothing was done after it.
#[derive(Debug, thiserror::Error)]
pub enum Stopped {
    /// What was decided can no longer be made durable.
    #[error("this controller stops, because it can no longer remember what it says to others: {0}")]
    DurabilityLost(#[source] StorageError),
    /// The state folder is not the one that this node once had.
    #[error("{0}")]
    StateLost(String),
}

/// Where effects go.
pub(crate) struct Outlets {
    pub(crate) storage: Writer,
    pub(crate) links: BTreeMap<(ServiceName, InstanceName), mpsc::Sender<LinkInput>>,
    pub(crate) peers: BTreeMap<NodeId, PeerOutlet>,
    pub(crate) gateways: BTreeMap<GatewayId, mpsc::Sender<GatewayOrders>>,
    pub(crate) agents: BTreeMap<InstanceName, mpsc::Sender<AgentOrders>>,
    pub(crate) journal: Journal,
    pub(crate) names: Names,
    /// None: nothing is encrypted.
    pub(crate) certificates: Option<Certificates>,
}

/// The way to a peer.
#[derive(Debug)]
pub(crate) struct PeerOutlet {
    pub(crate) letters: mpsc::Sender<Letter>,
    /// What is posted while it is not connected is dropped at once: Raft repeats what matters.
    pub(crate) connected: bool,
}

/// The loop and all that it owns.
pub(crate) struct Driver {
    node: Node,
    outlets: Outlets,
    incoming: Inbox,
    requests: mpsc::Receiver<Request>,
    waiting: Waiting,
    batch: Batch,
}

/// What happens to the driver, in two queues: however much the links have to say, peers are heard at once, or an
/// overloaded controller would lose its lead over a thousand replies to `INFO`.
pub(crate) struct Inbox {
    pub(crate) peers: mpsc::Receiver<Incoming>,
    pub(crate) links: mpsc::Receiver<Incoming>,
}

impl Inbox {
    /// The next one. Cancel-safe.
    async fn recv(&mut self) -> Option<Incoming> {
        tokio::select! {
            biased;
            Some(incoming) = self.peers.recv() => Some(incoming),
            Some(incoming) = self.links.recv() => Some(incoming),
            else => None,
        }
    }

    /// The next one that waits already.
    fn try_recv(&mut self) -> Option<Incoming> {
        self.peers.try_recv().or_else(|_| self.links.try_recv()).ok()
    }
}

/// What the loop woke up for.
enum Woke {
    Incoming(Incoming),
    Request(Request),
    Timer(Time),
    Shutdown,
}

impl Driver {
    pub(crate) fn new(
        node: Node,
        outlets: Outlets,
        incoming: Inbox,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        Self { node, outlets, incoming, requests, waiting: Waiting::new(), batch: Batch::default() }
    }

    /// Runs until `shutdown`, then hands the lead over, if it has it, and returns.
    pub(crate) async fn run(
        mut self,
        first: Vec<backstay_node::Effect>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), Stopped> {
        tokio::pin!(shutdown);
        let timer = sleep_until(clock::wakeup(clock::time()));
        tokio::pin!(timer);
        let mut stop_at = Time::MAX;
        self.batch.add(first);
        self.carry_out().await?;
        loop {
            let now = clock::time();
            if stop_at != Time::MAX && (now >= stop_at || !self.node.brain().leads()) {
                return Ok(());
            }
            let due = self.node.next_wakeup().min(stop_at);
            timer.as_mut().reset(clock::wakeup(due));
            let woke = tokio::select! {
                biased;
                () = &mut shutdown, if stop_at == Time::MAX => Woke::Shutdown,
                Some(incoming) = self.incoming.recv() => Woke::Incoming(incoming),
                Some(request) = self.requests.recv() => Woke::Request(request),
                () = &mut timer => Woke::Timer(due),
            };
            match woke {
                Woke::Incoming(incoming) => self.take(incoming).await?,
                Woke::Request(request) => self.answer(request).await?,
                Woke::Shutdown => {
                    stop_at = now + HANDOVER;
                    self.step(Input::StepDown);
                }
                Woke::Timer(due) => self.look_around(due).await,
            }
            self.catch_up().await?;
        }
    }

    /// After a standstill: lets the readers bring what has arrived before anybody judges silence.
    async fn look_around(&self, due: Time) {
        if clock::time().since(due) > LATE {
            for _ in 0..LOOKS {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Takes what waits already, then the wakeup if it is due. Bounded, so that however much comes in, operators are
    /// answered and time passes.
    async fn catch_up(&mut self) -> Result<(), Stopped> {
        for taken in 1..=INPUTS_MAX {
            let Some(incoming) = self.incoming.try_recv() else {
                break;
            };
            self.take(incoming).await?;
            if taken % BATCH_MAX == 0 {
                self.carry_out().await?;
            }
        }
        for _ in 0..REQUESTS_MAX {
            let Ok(request) = self.requests.try_recv() else {
                break;
            };
            self.answer(request).await?;
        }
        if clock::time() >= self.node.next_wakeup() {
            self.step(Input::Wake);
        }
        self.carry_out().await
    }

    fn step(&mut self, input: Input) {
        self.batch.add(self.node.step(clock::now(), input));
    }

    async fn take(&mut self, incoming: Incoming) -> Result<(), Stopped> {
        let input = match incoming {
            Incoming::Observed { service, instance, observation } => {
                Input::Observed { service, instance, observation }
            }
            Incoming::Message { from, message } => Input::Message { from, message },
            Incoming::Peer { node, connected } => {
                self.outlets.set_connected(node, connected);
                self.outlets.tell_certificates(node);
                if !connected {
                    self.waiting.give_up_on(node);
                }
                Input::Peer { node, connected }
            }
            Incoming::Asked { from, id, question } => {
                return self.consider(question, Waiter::Peer { node: from, id }).await;
            }
            Incoming::Answered { from, id, answer } => {
                self.waiting.answered_by(from, id, answer);
                return Ok(());
            }
            Incoming::Certified { from, standing } => {
                if let Some(certificates) = &mut self.outlets.certificates {
                    certificates.note(from, standing);
                }
                return Ok(());
            }
            Incoming::Gateway { gateway, report, outlet } => {
                if let Some(outlet) = outlet {
                    self.outlets.gateways.insert(gateway.clone(), outlet);
                }
                Input::Gateway { gateway, report: Some(report) }
            }
            Incoming::GatewayLost { gateway, outlet } => {
                if !self.outlets.forget_gateway(&gateway, &outlet) {
                    return Ok(());
                }
                Input::Gateway { gateway, report: None }
            }
            Incoming::Agent { instance, process, report, outlet } => {
                if let Some(outlet) = outlet {
                    self.outlets.agents.insert(instance.clone(), outlet);
                }
                Input::Agent { instance, process, report: Some(report) }
            }
            Incoming::AgentLost { instance, process, outlet } => {
                if !self.outlets.forget_agent(&instance, &outlet) {
                    return Ok(());
                }
                Input::Agent { instance, process, report: None }
            }
            Incoming::Renewed => {
                self.outlets.tell_certificates_to_all();
                return Ok(());
            }
        };
        self.step(input);
        Ok(())
    }

    /// A question of this node's own ports: forwarded, if the leader shall answer and is somebody else.
    async fn answer(&mut self, request: Request) -> Result<(), Stopped> {
        let waiter = Waiter::Here(request.reply);
        match (request.scope, self.other_leader()) {
            (Scope::Leader, Some(leader)) => {
                self.forward(leader, &request.question, waiter);
                Ok(())
            }
            _ => self.consider(request.question, waiter).await,
        }
    }

    fn forward(&mut self, leader: NodeId, question: &Question, waiter: Waiter) {
        let is_wish = matches!(question, Question::Wish(_));
        let id = self.waiting.add_forwarded(leader, waiter);
        if !self.outlets.post(leader, Letter::Ask { id, question: Sealed::of(question) })
            && let Some(waiter) = self.waiting.take(id)
            && is_wish
        {
            // It surely was not done, which is better to know than nothing.
            self.outlets.reply(waiter, Answer::Wish(Err(Refusal::NotLeader)));
        }
    }

    fn other_leader(&self) -> Option<NodeId> {
        let brain = self.node.brain();
        let leader = self.node.consensus().status().leader?;
        (!brain.leads() && self.outlets.peers.contains_key(&leader)).then_some(leader)
    }

    /// Answers a question here: at once, or for a wish once it is committed.
    async fn consider(&mut self, question: Question, waiter: Waiter) -> Result<(), Stopped> {
        // Nobody is told of what is not durable yet.
        self.carry_out().await?;
        let now = clock::now();
        let brain = self.node.brain();
        let answer = match question {
            Question::Status => {
                Answer::Status(Box::new(self.outlets.certified(self.node.status(now), now.unix)))
            }
            Question::History(service) => Answer::History(brain.history(service.as_ref())),
            Question::Explain(service) => Answer::Explanation(
                brain.explain(now, &service).map(Box::new).ok_or_else(|| brain.no_such_service(&service)),
            ),
            Question::Address(service) => Answer::Address(brain.address(&service).cloned()),
            Question::Wish(wish) => {
                let request = self.waiting.add(waiter);
                self.step(Input::Asked { request, wish });
                return Ok(());
            }
        };
        self.outlets.reply(waiter, answer);
        Ok(())
    }
}
