//! What the ports of this process hold in their hand: questions to the driver, and what happens. Cheap to clone.
//!
//! Every question is answered in bounded time, or not at all: `None` and the refusals say which. It knows nothing of
//! sockets; the driver decides who answers.

use crate::journal::Journal;
use crate::question::{Answer, Question, Request, Scope};
use backstay_controller::{Refusal, Wish};
use backstay_model::{
    Address, ClusterStatus, Event, Explanation, FailoverStatus, NodeName, ServiceName, UnixMicros,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

/// How long a wish may take: to the leader, through the quorum, and back.
const WISH_PATIENCE: Duration = Duration::from_secs(5);
/// How long a question to another controller may take before this one answers itself.
const LEADER_PATIENCE: Duration = Duration::from_secs(1);
/// How long a wish waits for a leader to be elected, and between two looks.
const ELECTION_PATIENCE: Duration = Duration::from_millis(1500);
const ELECTION_PAUSE: Duration = Duration::from_millis(50);

/// A way to ask the driver.
#[derive(Clone, Debug)]
pub struct Handle {
    node: NodeName,
    requests: mpsc::Sender<Request>,
    journal: Journal,
}

impl Handle {
    pub(crate) const fn new(node: NodeName, requests: mpsc::Sender<Request>, journal: Journal) -> Self {
        Self { node, requests, journal }
    }

    /// This controller's name.
    pub const fn node(&self) -> &NodeName {
        &self.node
    }

    /// This node's own view; `None`: the driver stopped.
    pub async fn status(&self) -> Option<ClusterStatus> {
        match self.ask(Question::Status, Scope::Here).await? {
            Answer::Status(status) => Some(*status),
            _ => None,
        }
    }

    /// The leader's view if it can be reached, else this node's own, whose `quorum` says what it is worth. `None`: the
    /// driver stopped.
    pub async fn leader_status(&self) -> Option<ClusterStatus> {
        match self.ask_leader(Question::Status).await? {
            Answer::Status(status) => Some(*status),
            _ => None,
        }
    }

    /// Every remembered failover, oldest first, of one service or of all; `None`: the driver stopped.
    pub async fn history(&self, service: Option<ServiceName>) -> Option<Vec<FailoverStatus>> {
        match self.ask(Question::History(service), Scope::Here).await? {
            Answer::History(history) => Some(history),
            _ => None,
        }
    }

    /// Why there is or is not a failover, as this node sees it; `Err`: there is no such service; `None`: the driver
    /// stopped.
    pub async fn explain(&self, service: ServiceName) -> Option<Result<Explanation, String>> {
        match self.ask(Question::Explain(service), Scope::Here).await? {
            Answer::Explanation(result) => Some(result.map(|explanation| *explanation)),
            _ => None,
        }
    }

    /// As `explain`, but the leader answers if it can be reached.
    pub async fn leader_explain(&self, service: ServiceName) -> Option<Result<Explanation, String>> {
        match self.ask_leader(Question::Explain(service)).await? {
            Answer::Explanation(result) => Some(result.map(|explanation| *explanation)),
            _ => None,
        }
    }

    /// Where clients of the service are sent now, as this node knows it; `None`: nowhere yet, no such service, or the
    /// driver stopped.
    pub async fn address(&self, service: ServiceName) -> Option<Address> {
        match self.ask(Question::Address(service), Scope::Here).await? {
            Answer::Address(address) => address,
            _ => None,
        }
    }

    /// Does what an operator wants; forwarded to the leader if this node does not lead. After `Refusal::Unknown` it may
    /// or may not have been done.
    pub async fn wish(&self, wish: Wish) -> Result<String, Refusal> {
        match timeout(WISH_PATIENCE, self.persuade(wish)).await {
            Ok(Some(result)) => result,
            _ => Err(Refusal::Unknown),
        }
    }

    /// Asks again as long as an election takes, while it is sure that nothing was done.
    async fn persuade(&self, wish: Wish) -> Option<Result<String, Refusal>> {
        let give_up = Instant::now() + ELECTION_PATIENCE;
        loop {
            match self.ask(Question::Wish(wish.clone()), Scope::Leader).await? {
                Answer::Wish(Err(Refusal::NotLeader)) if Instant::now() < give_up => {
                    sleep(ELECTION_PAUSE).await;
                }
                Answer::Wish(result) => return Some(result),
                _ => return None,
            }
        }
    }

    /// What happens from now on, as this node sees it. Bounded: who reads too slowly loses the oldest
    /// (`RecvError::Lagged` says how many).
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.journal.listen()
    }

    /// What is remembered since then, oldest first, and what happens after that, as `events`.
    pub fn events_since(&self, since: UnixMicros) -> (Vec<Arc<Event>>, broadcast::Receiver<Arc<Event>>) {
        self.journal.since(since)
    }

    async fn ask(&self, question: Question, scope: Scope) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        let request = Request { question, scope, reply };
        self.requests.send(request).await.ok()?;
        answer.await.ok()
    }

    async fn ask_leader(&self, question: Question) -> Option<Answer> {
        match timeout(LEADER_PATIENCE, self.ask(question.clone(), Scope::Leader)).await {
            Ok(Some(answer)) => Some(answer),
            _ => self.ask(question, Scope::Here).await,
        }
    }
}
