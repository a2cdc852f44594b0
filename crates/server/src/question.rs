//! What can be asked of a controller and what it answers, by its own ports and, between controllers, by those that
//! forward to the leader. Plain values; who answers is the driver's business.

use backstay_controller::{Refusal, Wish};
use backstay_model::{Address, ClusterStatus, Explanation, FailoverStatus, ServiceName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::marker::PhantomData;
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
    History(Vec<FailoverStatus>),
    /// To `Explain`; `Err` says that there is no such service.
    Explanation(Result<Box<Explanation>, String>),
    /// To `Address`.
    Address(Option<Address>),
    /// To `Wish`.
    Wish(Result<String, Refusal>),
}

/// A question or an answer on its way between controllers that may run different versions: as JSON, in which one finds
/// what it knows and passes over what it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Sealed<T> {
    json: String,
    #[serde(skip)]
    holds: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Sealed<T> {
    pub(crate) fn of(value: &T) -> Self {
        // Plain values with text for keys: cannot fail.
        Self { json: serde_json::to_string(value).unwrap_or_default(), holds: PhantomData }
    }

    /// `None`: another version's, which this one does not understand.
    pub(crate) fn open(&self) -> Option<T> {
        serde_json::from_str(&self.json).ok()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_an_older_version_does_not_say_has_a_default_and_what_it_does_not_know_is_passed_over() {
        let wish = Wish::Pause { service: None, duration: Duration::from_millis(1500), by: "ada".into() };
        let question = Question::Wish(wish);
        assert_eq!(Sealed::of(&question).open(), Some(question));
        let older = r#"{"Status":{"cluster":"shop","node":"a","leader":null,"term":3,"quorum":true,
            "controllers":[{"name":"a","address":"127.0.0.1:1","connected":true,"leader":true,"mood":"new"}],
            "services":[]}}"#;
        let sealed = Sealed::<Answer> { json: older.to_owned(), holds: PhantomData };
        assert!(matches!(sealed.open(), Some(Answer::Status(status)) if status.level == 0));
        let newer = Sealed::<Question> { json: r#""Weather""#.to_owned(), holds: PhantomData };
        assert_eq!(newer.open(), None);
    }
}
