//! What a peer's message must satisfy before Raft sees it. The library panics on numbers that no correct peer sends;
//! each rule here keeps one of those panics, or a nonsense, out.

use crate::{Kind, MemberId, RaftMessage, Snapshot};
use backstay_model::Term;

/// Far more terms and entries than any cluster lives to see, and far from where adding to them overflows.
const LARGE: u64 = 1 << 48;

/// What the rules need to know of this node.
pub(crate) struct View {
    pub(crate) term: Term,
    pub(crate) leader: Option<MemberId>,
    pub(crate) leads: bool,
    /// The last entry in the log.
    pub(crate) last: u64,
}

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Let Raft see it.
    Take,
    /// A late message, without a meaning now.
    Drop,
    /// No correct peer sends it.
    Malformed(&'static str),
    /// It proves that this node's log was cut.
    LogLost,
}

pub(crate) fn judge(message: &RaftMessage, from: MemberId, view: &View) -> Verdict {
    if let Some(why) = nonsense(message) {
        return Verdict::Malformed(why);
    }
    let current = message.term == view.term;
    match message.kind {
        // A leader announces only what this node confirmed to it and what is committed, so it is never taken back.
        Kind::Heartbeat if message.term >= view.term && message.commit > view.last => Verdict::LogLost,
        Kind::AppendResponse if current && view.leads && !message.reject && message.index > view.last => {
            Verdict::Malformed("it confirms entries that the leader does not have")
        }
        Kind::TimeoutNow if !current || view.leader != Some(from) => Verdict::Drop,
        _ => Verdict::Take,
    }
}

fn nonsense(message: &RaftMessage) -> Option<&'static str> {
    let numbers = [
        message.term.0,
        message.log_term.0,
        message.index,
        message.commit,
        message.commit_term.0,
        message.reject_hint,
    ];
    if numbers.iter().any(|number| *number >= LARGE) {
        return Some("a number is larger than any cluster reaches");
    }
    if message.term == Term(0) {
        return Some("it has no term");
    }
    match message.kind {
        Kind::Append => bad_append(message),
        Kind::Snapshot => match message.snapshot.as_deref() {
            None => Some("the snapshot is missing"),
            Some(snapshot) if snapshot.index == 0 || snapshot.index >= LARGE => {
                Some("the snapshot's index is impossible")
            }
            Some(snapshot) if snapshot.term == Term(0) || snapshot.term > message.term => {
                Some("the snapshot's term is impossible")
            }
            Some(Snapshot { index, membership, .. })
                if membership.index > *index || !membership.is_sound(membership.index == 0) =>
            {
                Some("the snapshot's members are impossible")
            }
            Some(_) => None,
        },
        _ => None,
    }
}

fn bad_append(message: &RaftMessage) -> Option<&'static str> {
    if (message.index == 0) != (message.log_term == Term(0)) {
        return Some("the entry before the appended ones has an impossible term");
    }
    let (mut index, mut term) = (message.index, message.log_term.max(Term(1)));
    for entry in &message.entries {
        index += 1;
        if entry.index != index {
            return Some("the entries are not in sequence");
        }
        if entry.term < term || entry.term > message.term {
            return Some("the entries' terms are impossible");
        }
        if entry.change.as_ref().is_some_and(|change| !change.is_sound(false)) {
            return Some("it names members that no leader names");
        }
        term = entry.term;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Entry;

    fn message(kind: Kind) -> RaftMessage {
        RaftMessage {
            kind,
            term: Term(3),
            log_term: Term(0),
            index: 0,
            entries: Vec::new(),
            commit: 0,
            commit_term: Term(0),
            snapshot: None,
            reject: false,
            reject_hint: 0,
            handover: false,
            stamp: None,
        }
    }

    const VIEW: View = View { term: Term(3), leader: Some(MemberId(1)), leads: false, last: 5 };

    #[test]
    fn entries_that_skip_an_index_are_malformed() {
        let mut append = message(Kind::Append);
        append.entries = [1, 3].map(|index| Entry { index, term: Term(1), ..Entry::default() }).to_vec();
        assert!(matches!(judge(&append, MemberId(1), &VIEW), Verdict::Malformed(_)));
    }

    #[test]
    fn a_commit_beyond_the_log_shows_that_the_log_was_lost_unless_it_is_an_old_message() {
        let mut heartbeat = message(Kind::Heartbeat);
        heartbeat.commit = 6;
        assert_eq!(judge(&heartbeat, MemberId(1), &VIEW), Verdict::LogLost);
        heartbeat.term = Term(2);
        assert_eq!(judge(&heartbeat, MemberId(1), &VIEW), Verdict::Take);
    }

    #[test]
    fn only_the_present_leader_may_ask_for_a_campaign() {
        let timeout_now = message(Kind::TimeoutNow);
        assert_eq!(judge(&timeout_now, MemberId(1), &VIEW), Verdict::Take);
        assert_eq!(judge(&timeout_now, MemberId(2), &VIEW), Verdict::Drop);
    }
}
