//! What can be asked of a controller and what it answers, by its own ports and, between controllers, by those that
//! forward to the leader. Plain values; who answers is the driver's business.

use backstay_controller::{Refusal, Wish};
use backstay_model::{Address, ClusterStatus, Explanation, FailoverRecord, ServiceName};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

/// A question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// The whole picture.
    Status,
    /// Every remembered failover, of one service or of all.
    History(Option<ServiceName>),
    /// Why there is or is not a failover.
    Explain(ServiceName),
    /// Where clients are sent.
    Address(ServiceName),
    /// Something to be done.
    Wish(Wish),
}

/// The answer to the question of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// To `Status`.
    Status(Box<ClusterStatus>),
    /// To `History`.
    History(Vec<FailoverRecord>),
    /// To `Explain`; `Err` says that there is no such service.
    Explanation(Result<Box<Explanation>, String>),
    /// To `Address`.
    Address(Option<Address>),
    /// To `Wish`.
    Wish(Result<String, Refusal>),
}

/// Who shall answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// This node.
    Here,
    /// The leader, if this node knows one. If it is lost on the way, nobody answers.
    Leader,
}

/// A question on its way to the driver. A dropped `reply` means that nobody can answer.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) question: Question,
    pub(crate) scope: Scope,
    pub(crate) reply: oneshot::Sender<Answer>,
}
