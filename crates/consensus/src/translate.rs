//! Between our messages and the library's. Nothing is parsed here: the library's own encoding never meets the network,
//! and what it could do beyond our ten kinds of messages (proposals, configuration changes, read requests) cannot be
//! said.

use crate::{Entry, Kind, RaftMessage, Snapshot};
use backstay_model::{NodeId, Term};
use raft::eraftpb::{self, ConfState, MessageType};

/// How the library marks a campaign that the leader asked for.
const HANDOVER: &[u8] = b"CampaignTransfer";

const KINDS: [(Kind, MessageType); 10] = [
    (Kind::Append, MessageType::MsgAppend),
    (Kind::AppendResponse, MessageType::MsgAppendResponse),
    (Kind::PreVote, MessageType::MsgRequestPreVote),
    (Kind::PreVoteResponse, MessageType::MsgRequestPreVoteResponse),
    (Kind::Vote, MessageType::MsgRequestVote),
    (Kind::VoteResponse, MessageType::MsgRequestVoteResponse),
    (Kind::Snapshot, MessageType::MsgSnapshot),
    (Kind::Heartbeat, MessageType::MsgHeartbeat),
    (Kind::HeartbeatResponse, MessageType::MsgHeartbeatResponse),
    (Kind::TimeoutNow, MessageType::MsgTimeoutNow),
];

pub(crate) fn entry_out(entry: Entry) -> eraftpb::Entry {
    eraftpb::Entry {
        index: entry.index,
        term: entry.term.0,
        data: entry.data.into(),
        ..eraftpb::Entry::default()
    }
}

pub(crate) fn entry_in(entry: &eraftpb::Entry) -> Entry {
    Entry { index: entry.index, term: Term(entry.term), data: entry.data.to_vec() }
}

pub(crate) fn snapshot_out(snapshot: Snapshot, voters: ConfState) -> eraftpb::Snapshot {
    let mut out = eraftpb::Snapshot { data: snapshot.data.into(), ..eraftpb::Snapshot::default() };
    let metadata = out.mut_metadata();
    metadata.index = snapshot.index;
    metadata.term = snapshot.term.0;
    metadata.set_conf_state(voters);
    out
}

pub(crate) fn snapshot_in(snapshot: &eraftpb::Snapshot) -> Snapshot {
    Snapshot {
        index: snapshot.get_metadata().index,
        term: Term(snapshot.get_metadata().term),
        data: snapshot.data.to_vec(),
    }
}

/// A checked message for the library.
pub(crate) fn message_out(
    from: NodeId,
    to: NodeId,
    message: RaftMessage,
    voters: ConfState,
) -> eraftpb::Message {
    let mut out = eraftpb::Message::default();
    let kind = KINDS.iter().find(|(kind, _)| *kind == message.kind);
    if let Some((_, library)) = kind {
        out.set_msg_type(*library);
    }
    out.from = from.0;
    out.to = to.0;
    out.term = message.term.0;
    out.log_term = message.log_term.0;
    out.index = message.index;
    out.commit = message.commit;
    out.commit_term = message.commit_term.0;
    out.reject = message.reject;
    out.reject_hint = message.reject_hint;
    if message.kind == Kind::Append {
        let entries: Vec<_> = message.entries.into_iter().map(entry_out).collect();
        out.set_entries(entries.into());
    }
    if let (Kind::Snapshot, Some(snapshot)) = (message.kind, message.snapshot) {
        out.set_snapshot(snapshot_out(snapshot, voters));
    }
    if message.kind == Kind::Vote && message.handover {
        out.context = HANDOVER.into();
    }
    out
}

/// What the library wants sent; none for what stays within a node.
pub(crate) fn message_in(message: &eraftpb::Message) -> Option<RaftMessage> {
    let (kind, _) = KINDS.iter().find(|(_, library)| *library == message.get_msg_type())?;
    Some(RaftMessage {
        kind: *kind,
        term: Term(message.term),
        log_term: Term(message.log_term),
        index: message.index,
        entries: message.entries.iter().map(entry_in).collect(),
        commit: message.commit,
        commit_term: Term(message.commit_term),
        snapshot: (*kind == Kind::Snapshot).then(|| snapshot_in(message.get_snapshot())),
        reject: message.reject,
        reject_hint: message.reject_hint,
        handover: message.context.as_ref() == HANDOVER,
        stamp: None,
    })
}
