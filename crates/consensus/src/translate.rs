//! Between our messages and the library's. Nothing is parsed here: the library's own encoding never meets the network,
//! and what it could do beyond our ten kinds of messages (proposals, configuration changes, read requests) cannot be
//! said.

use crate::{Entry, Kind, MemberId, Membership, RaftMessage, Snapshot};
use backstay_model::Term;
use raft::eraftpb::{self, ConfState, EntryType, MessageType};

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
    let mut out = eraftpb::Entry {
        index: entry.index,
        term: entry.term.0,
        data: entry.data.into(),
        ..eraftpb::Entry::default()
    };
    if let Some(change) = &entry.change {
        out.set_entry_type(EntryType::EntryConfChangeV2);
        out.context = context(change).into();
    }
    out
}

/// A list of members as the library carries it for us, in a field that it does not read.
pub(crate) fn context(change: &Membership) -> Vec<u8> {
    // Into memory, of plain values: cannot fail.
    postcard::to_stdvec(change).unwrap_or_default()
}

pub(crate) fn entry_in(entry: &eraftpb::Entry) -> Entry {
    let term = Term(entry.term);
    if entry.get_entry_type() == EntryType::EntryNormal {
        return Entry { index: entry.index, term, data: entry.data.to_vec(), change: None };
    }
    // Only `context` writes it.
    let change = postcard::from_bytes(&entry.context).ok();
    Entry { index: entry.index, term, data: Vec::new(), change }
}

/// The members as the library counts them.
pub(crate) fn conf_state(membership: &Membership) -> ConfState {
    let numbers = |votes: bool| -> Vec<u64> {
        membership.members.iter().filter(|member| member.voter == votes).map(|member| member.id.0).collect()
    };
    let mut state = ConfState::default();
    state.set_voters(numbers(true));
    state.set_learners(numbers(false));
    state
}

/// For `me` itself to take up, or for somebody else. The library takes up none that does not name its own node; one
/// from before that node was made a member is right all the same.
pub(crate) fn snapshot_out(snapshot: Snapshot, me: Option<MemberId>) -> eraftpb::Snapshot {
    let mut members = conf_state(&snapshot.membership);
    if let Some(me) = me.filter(|me| snapshot.membership.member(*me).is_none()) {
        members.mut_learners().push(me.0);
    }
    let about = context(&snapshot.membership);
    let mut data = (about.len() as u64).to_le_bytes().to_vec();
    data.extend(about);
    data.extend(snapshot.data);
    let mut out = eraftpb::Snapshot { data: data.into(), ..eraftpb::Snapshot::default() };
    let metadata = out.mut_metadata();
    metadata.index = snapshot.index;
    metadata.term = snapshot.term.0;
    metadata.set_conf_state(members);
    out
}

pub(crate) fn snapshot_in(snapshot: &eraftpb::Snapshot) -> Snapshot {
    // The members and then the state, as only `snapshot_out` writes it.
    let (length, rest) = snapshot.data.split_at_checked(8).unwrap_or_default();
    let length = length.try_into().map_or(0, u64::from_le_bytes);
    let (about, data) = rest.split_at_checked(length as usize).unwrap_or((&[], rest));
    Snapshot {
        index: snapshot.get_metadata().index,
        term: Term(snapshot.get_metadata().term),
        data: data.to_vec(),
        membership: postcard::from_bytes(about).unwrap_or_default(),
    }
}

/// A checked message for the library.
pub(crate) fn message_out(from: MemberId, to: MemberId, message: RaftMessage) -> eraftpb::Message {
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
        out.set_snapshot(snapshot_out(*snapshot, Some(to)));
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
        snapshot: (*kind == Kind::Snapshot).then(|| Box::new(snapshot_in(message.get_snapshot()))),
        reject: message.reject,
        reject_hint: message.reject_hint,
        handover: message.context.as_ref() == HANDOVER,
        stamp: None,
    })
}
