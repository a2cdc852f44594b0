//! Who waits for an answer. Bounded: those who gave up are forgotten, and past the limit the oldest are.

use crate::question::Answer;
use backstay_model::NodeId;
use std::collections::BTreeMap;
use tokio::sync::oneshot;

/// How many may wait at a time.
const WAITING_MAX: usize = 1024;

/// Somebody who waits.
#[derive(Debug)]
pub(super) enum Waiter {
    /// One of this node's ports.
    Here(oneshot::Sender<Answer>),
    /// A peer, for somebody there.
    Peer { node: NodeId, id: u64 },
}

/// Everybody who waits, by the number under which their question went out.
#[derive(Debug)]
pub(super) struct Waiting {
    next: u64,
    waiters: BTreeMap<u64, (Option<NodeId>, Waiter)>,
}

impl Waiting {
    pub(super) const fn new() -> Self {
        Self { next: 1, waiters: BTreeMap::new() }
    }

    /// Notes who waits for this node's own answer. The number recognises it.
    pub(super) fn add(&mut self, waiter: Waiter) -> u64 {
        self.insert(None, waiter)
    }

    /// Notes who waits for a peer's answer.
    pub(super) fn add_forwarded(&mut self, to: NodeId, waiter: Waiter) -> u64 {
        self.insert(Some(to), waiter)
    }

    /// The one who waits for this node's own answer with this number.
    pub(super) fn take(&mut self, id: u64) -> Option<Waiter> {
        self.waiters.remove(&id).map(|(_, waiter)| waiter)
    }

    /// Hands on a peer's answer, if it was that peer who was asked.
    pub(super) fn answered_by(&mut self, peer: NodeId, id: u64, answer: Answer) {
        if self.waiters.get(&id).is_some_and(|(asked, _)| *asked == Some(peer))
            && let Some(Waiter::Here(reply)) = self.take(id)
        {
            // Whoever asked may have given up.
            let _ = reply.send(answer);
        }
    }

    /// No answer will come from that peer.
    pub(super) fn give_up_on(&mut self, peer: NodeId) {
        self.waiters.retain(|_, (asked, _)| *asked != Some(peer));
    }

    fn insert(&mut self, asked: Option<NodeId>, waiter: Waiter) -> u64 {
        if self.waiters.len() >= WAITING_MAX {
            self.waiters.retain(|_, (_, waiter)| !matches!(waiter, Waiter::Here(reply) if reply.is_closed()));
            if self.waiters.len() >= WAITING_MAX {
                self.waiters.pop_first();
            }
        }
        let id = self.next;
        self.next += 1;
        self.waiters.insert(id, (asked, waiter));
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_peer_that_was_asked_can_answer() {
        let mut waiting = Waiting::new();
        let (reply, mut answer) = oneshot::channel();
        let id = waiting.add_forwarded(NodeId(1), Waiter::Here(reply));
        waiting.answered_by(NodeId(2), id, Answer::Address(None));
        assert!(answer.try_recv().is_err());
        waiting.answered_by(NodeId(1), id, Answer::Address(None));
        assert_eq!(answer.try_recv(), Ok(Answer::Address(None)));
    }

    #[test]
    fn whoever_waits_for_a_lost_peer_is_told_at_once() {
        let mut waiting = Waiting::new();
        let (reply, mut answer) = oneshot::channel();
        waiting.add_forwarded(NodeId(1), Waiter::Here(reply));
        waiting.give_up_on(NodeId(1));
        assert_eq!(answer.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn the_number_of_those_who_wait_is_bounded() {
        let mut waiting = Waiting::new();
        for id in 0..3000 {
            waiting.add(Waiter::Peer { node: NodeId(1), id });
        }
        assert_eq!(waiting.waiters.len(), WAITING_MAX);
    }
}
