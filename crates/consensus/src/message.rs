//! What controllers say to each other. Plain values: others encode them (postcard). Nothing in here is trusted; every
//! content is checked before Raft sees it.

use crate::{Entry, MemberId, Snapshot};
use backstay_model::{ClusterName, Generation, NodeId, Term, Time};
use serde::{Deserialize, Serialize};

/// One message between two controllers. It may be lost, delayed, repeated or overtaken without harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The sender's cluster.
    pub cluster: ClusterName,
    /// The sender.
    pub from: NodeId,
    /// The sender's state folder. One that differs from the remembered one has lost the votes it gave.
    pub from_generation: Generation,
    /// The sender's number as a member, once it is one.
    pub from_member: MemberId,
    /// The latest version that the sender speaks.
    pub version: u32,
    /// Whom it is for.
    pub to: NodeId,
    /// Which member that is, as the sender knows it. What is meant for another folder is not for this one.
    pub to_member: MemberId,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// "Who are you?" Sent to peers whose generation is not known yet, until it is; and by a controller that is no
    /// member, so that it can be made one.
    Hello,
    /// The answer: the envelope says it all.
    HelloReply,
    /// "You are no member", or "I remember you with another state folder".
    Stranger {
        /// The generation that is refused: the receiver's, or an old message's.
        generation: Generation,
        /// The entry that last changed the members, as far as the sender has applied the log. A receiver that was made
        /// one later knows better.
        index: u64,
        /// The controller is a member, but with another folder.
        replaced: bool,
        /// Who leads, as far as the sender knows: who is no member hears it from nobody else.
        leader: Option<NodeId>,
    },
    /// Raft's own.
    Raft(RaftMessage),
}

/// The kinds of Raft messages that cross the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// A leader's entries.
    Append,
    /// The answer, and also what a follower of a later term says to a deposed leader.
    AppendResponse,
    /// "Would you vote for me?" Changes nothing at the receiver.
    PreVote,
    /// The answer.
    PreVoteResponse,
    /// "Vote for me."
    Vote,
    /// The answer.
    VoteResponse,
    /// A leader's state, for a follower that is too far behind for entries.
    Snapshot,
    /// A leader lives.
    Heartbeat,
    /// The answer.
    HeartbeatResponse,
    /// "Campaign at once": the handover of the lead.
    TimeoutNow,
}

impl Kind {
    /// An answer to what this node said.
    pub(crate) const fn is_answer(self) -> bool {
        matches!(
            self,
            Self::AppendResponse | Self::PreVoteResponse | Self::VoteResponse | Self::HeartbeatResponse
        )
    }
}

/// A Raft message. Fields that a kind does not use are zero, empty or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftMessage {
    /// Which one.
    pub kind: Kind,
    /// The sender's term (pre-votes: the term that it would campaign for).
    pub term: Term,
    /// The term of the entry at `index` (rejected appends: at `reject_hint`).
    pub log_term: Term,
    /// The entry before `entries`; the last entry of a candidate; the last entry that a follower holds.
    pub index: u64,
    /// Entries to append, directly behind `index`.
    pub entries: Vec<Entry>,
    /// How far the sender knows the log to be committed.
    pub commit: u64,
    /// The term of the entry at `commit`, in votes.
    pub commit_term: Term,
    /// The state, in `Kind::Snapshot`.
    pub snapshot: Option<Box<Snapshot>>,
    /// No.
    pub reject: bool,
    /// Where a follower would rather have entries appended.
    pub reject_hint: u64,
    /// This candidate was asked to take over by the leader itself.
    pub handover: bool,
    /// The leader's own clock when it sent this; a follower sends it back untouched with its answer. It measures the
    /// leader's lease and means nothing to anyone else.
    pub stamp: Option<Time>,
}
