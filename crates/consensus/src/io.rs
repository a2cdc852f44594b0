//! What goes into a step and what comes out, and what can be looked at in between.

use crate::{Change, ChangeRefusal, Changed, Entry, MemberId, Membership, Message, Persist, Snapshot};
use backstay_model::{ClusterName, NodeId, Term, Time};
use std::collections::BTreeMap;

/// What a node is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The moment of `next_wakeup` has come (too early does no harm).
    Wake,
    /// A message arrived.
    Message(Message),
    /// Commit this, if this node leads. Refused if it is empty. Without a `ProposalRefused` it was appended, and is
    /// either applied later or lost with the lead: after a change of leadership what was not applied is unknown.
    Propose(Vec<u8>),
    /// The state after the entry at `index`, so that older entries can be dropped. Ignored if that entry has not been
    /// applied yet or an equal or newer state is stored.
    Compact {
        /// The last entry that `data` holds.
        index: u64,
        /// The whole state, as `Restore` will give it back.
        data: Vec<u8>,
    },
    /// Hand the lead to this node. Ends the lease for good: orders that were not sent yet must not be sent. If the
    /// other does not take over within an election timeout, this node steps down. Ignored if this node does not lead
    /// or the other is no voter.
    TransferTo(NodeId),
    /// The way to this controller was lost. It does not count as alive until it is heard again.
    Lost(NodeId),
    /// Change who belongs to the cluster. Answered by `Effect::ChangeAnswer`, always.
    Change {
        /// To recognise the answer.
        request: u64,
        /// What.
        change: Change,
    },
}

/// What the caller has to do, one after the other, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Must be durable, all of it or nothing, before any later effect runs. If it fails the process must stop.
    Persist(Persist),
    /// Send, or drop: Raft repeats what matters.
    Send {
        /// The receiver.
        to: NodeId,
        /// The message.
        message: Message,
    },
    /// Committed: apply. Indices grow but may skip (Raft's own entries are not shown).
    Apply(Entry),
    /// Replace the whole state by this one; later `Apply`s continue behind its index.
    Restore(Snapshot),
    /// Who leads; only when it changed. A loss comes before every other effect of its step, a gain after them.
    Leadership {
        /// The leader, if one is known.
        leader: Option<NodeId>,
        /// The term.
        term: Term,
        /// This node leads and has applied everything that was ever committed.
        me_leading: bool,
    },
    /// Until when, on this node's clock, no other node can lead: only when it changed. `Time::ZERO` takes it back,
    /// before every other effect of its step; `Time::MAX` is a cluster of one.
    LeaseUntil(Time),
    /// The proposal was not appended and never will be: this node does not lead, is handing over, or has too much
    /// uncommitted already. State is unaffected.
    ProposalRefused(Vec<u8>),
    /// Something must be told to the operator. State is unaffected.
    Refused(Refusal),
    /// These are the members now: at the start and after each change.
    Members(Membership),
    /// The answer to `Input::Change`: it is committed, or why not.
    ChangeAnswer {
        /// The request.
        request: u64,
        /// What was done, or why not.
        result: Result<Changed, ChangeRefusal>,
    },
}

/// Why a message was refused, once per change and peer. After `is_fatal` ones the node is inert until it is restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The sender belongs to another cluster.
    OtherCluster {
        /// Its number there.
        peer: NodeId,
        /// Its cluster.
        cluster: ClusterName,
    },
    /// The sender is not among our voters.
    UnknownPeer {
        /// Its number.
        peer: NodeId,
    },
    /// The peer lost its state folder: it comes with another generation than we remember, and may vote no more.
    LostState {
        /// The peer.
        peer: NodeId,
    },
    /// A message that no correct node sends, or one that was for another node.
    Malformed {
        /// The sender.
        peer: NodeId,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The peer speaks only versions that the cluster has left behind.
    Outdated {
        /// The peer.
        peer: NodeId,
        /// The latest version that it speaks.
        version: u32,
        /// The cluster's level.
        level: u32,
    },
    /// Fatal: the cluster has gone on to a version that this node does not speak.
    TooNew {
        /// The cluster's level.
        level: u32,
    },
    /// Fatal: this node was a member and is none any more.
    Removed,
    /// Fatal: a peer remembers this node with another state folder. This one was lost or replaced.
    IAmStranger {
        /// The peer that said so.
        told_by: NodeId,
    },
    /// Fatal: the leader knows that this node held entries which it no longer has. The state folder is an old one.
    LogLost {
        /// The leader.
        leader: NodeId,
        /// The last entry that this node confirmed.
        confirmed: u64,
        /// The last entry that it has.
        last: u64,
    },
}

impl Refusal {
    /// Whether this node must stop: it does nothing any more, whatever it is told.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::IAmStranger { .. } | Self::LogLost { .. } | Self::TooNew { .. } | Self::Removed)
    }
}

/// A look at a node, for status pages and checkers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub me: NodeId,
    /// Its term.
    pub term: Term,
    /// Whom it voted for in this term.
    pub vote: Option<MemberId>,
    /// The leader, if it knows one; who is no member knows it by hearsay.
    pub leader: Option<NodeId>,
    /// As in `Effect::Leadership`.
    pub me_leading: bool,
    /// As in `Effect::LeaseUntil`.
    pub lease_until: Time,
    /// The last entry known to be committed.
    pub commit: u64,
    /// The last entry that was given out to be applied.
    pub applied: u64,
    /// The last entry in the log.
    pub last: u64,
    /// The last entry that the stored snapshot holds; zero if there is none.
    pub snapshot: u64,
    /// The members, as far as this node has applied the log.
    pub membership: Membership,
    /// Controllers that ask to be made members, heard of lately.
    pub applicants: Vec<NodeId>,
    /// The latest version that each controller speaks, as last heard.
    pub versions: BTreeMap<NodeId, u32>,
    /// The founders that were never heard of. Until it is empty this node neither votes nor campaigns.
    pub unmet: Vec<NodeId>,
    /// A fatal refusal was reported.
    pub halted: bool,
}
