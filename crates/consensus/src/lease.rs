//! The leader's lease, measured on its own clock, and the follower's promise that makes it true.
//!
//! Why no two leases overlap. A leader stamps every append, heartbeat and snapshot with its clock; a follower that
//! takes one as its current leader's word promises to vote for nobody else for one election timeout, counted from the
//! receipt on its own clock, and returns the stamp. The receipt is later than the stamp, so from a stamp on the
//! follower is bound for at least (election timeout - one tick: its own campaign timer runs in ticks), and a lease of
//! that length less a margin for clocks of different speed ends earlier. A lease needs the stamps of a quorum (the
//! leader itself votes for nobody while it leads; when it stops its lease is gone), a new leader needs the votes of a
//! quorum, and any two quorums share a node. Four ways around the promise are closed:
//! - *The library's own check* (check-quorum, in-lease) forgets the leader when any message of a later term arrives,
//!   so the promise is kept here, by time, and covers votes and pre-votes alike.
//! - *A restart* forgets the promise: a started node is mute for a whole election timeout (see `Consensus::muted`).
//! - *A handover* lets the successor past all promises, and its messages may arrive late: from the first `TransferTo`
//!   the leader has no lease for the rest of its term, and it steps down if the handover fails.
//! - *A stopped process* still believes that it leads when it wakes: the end of a lease is a moment on a clock that
//!   counts the time asleep, and ticks run at most as fast as that clock.

use backstay_model::{NodeId, Term, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// The leader's side.
pub(crate) struct Lease {
    length: Duration,
    voters: usize,
    /// The reign that is measured: its term and when it began. Older stamps count for nothing.
    reign: Option<(Term, Time)>,
    /// The newest stamp that each follower returned in this reign.
    returned: BTreeMap<NodeId, Time>,
    /// The term whose lead was offered to another.
    handed_over: Option<Term>,
}

impl Lease {
    pub(crate) fn new(length: Duration, voters: usize) -> Self {
        Self { length, voters, reign: None, returned: BTreeMap::new(), handed_over: None }
    }

    /// Call whenever the role may have changed, with the term in which this node leads, if it does.
    pub(crate) fn observe(&mut self, leads: Option<Term>, now: Time) {
        if self.reign.map(|(term, _)| term) != leads {
            self.reign = leads.map(|term| (term, now));
            self.returned.clear();
        }
    }

    /// A follower of this term returned a stamp. Impossible ones are ignored.
    pub(crate) fn returned(&mut self, from: NodeId, term: Term, stamp: Time, now: Time) {
        match self.reign {
            Some((reign, since)) if reign == term && stamp >= since && stamp <= now => {
                let newest = self.returned.entry(from).or_insert(stamp);
                *newest = stamp.max(*newest);
            }
            _ => {}
        }
    }

    /// The lead was offered to another: no lease for the rest of this term.
    pub(crate) fn hand_over(&mut self, term: Term) {
        self.handed_over = Some(term);
    }

    /// Whether the lead of this term was offered to another.
    pub(crate) fn is_handed_over(&self, term: Term) -> bool {
        self.handed_over == Some(term)
    }

    /// When the lease ends: `Time::ZERO` without one, `Time::MAX` for a single voter.
    pub(crate) fn end(&self) -> Time {
        let Some((term, _)) = self.reign else {
            return Time::ZERO;
        };
        if self.is_handed_over(term) {
            return Time::ZERO;
        }
        let needed = self.voters / 2;
        if needed == 0 {
            return Time::MAX;
        }
        let mut stamps: Vec<Time> = self.returned.values().copied().collect();
        stamps.sort_unstable_by(|a, b| b.cmp(a));
        stamps.get(needed - 1).map_or(Time::ZERO, |stamp| *stamp + self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_millis(171);

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn of_five_voters_the_second_newest_stamp_counts() {
        let mut lease = Lease::new(LENGTH, 5);
        lease.observe(Some(Term(2)), at(100));
        lease.returned(NodeId(2), Term(2), at(120), at(130));
        assert_eq!(lease.end(), Time::ZERO, "two of five are no quorum");
        lease.returned(NodeId(3), Term(2), at(110), at(130));
        assert_eq!(lease.end(), at(110) + LENGTH);
        lease.returned(NodeId(4), Term(2), at(125), at(130));
        assert_eq!(lease.end(), at(120) + LENGTH);
    }

    #[test]
    fn stamps_of_another_reign_or_from_the_future_count_for_nothing() {
        let mut lease = Lease::new(LENGTH, 3);
        lease.observe(Some(Term(2)), at(100));
        lease.returned(NodeId(2), Term(2), at(99), at(130));
        lease.returned(NodeId(2), Term(1), at(110), at(130));
        lease.returned(NodeId(2), Term(2), at(131), at(130));
        assert_eq!(lease.end(), Time::ZERO);
    }

    #[test]
    fn a_handover_ends_the_lease_for_the_rest_of_the_term() {
        let mut lease = Lease::new(LENGTH, 3);
        lease.observe(Some(Term(2)), at(100));
        lease.hand_over(Term(2));
        lease.returned(NodeId(2), Term(2), at(120), at(130));
        assert_eq!(lease.end(), Time::ZERO);
        lease.observe(None, at(140));
        lease.observe(Some(Term(4)), at(300));
        lease.returned(NodeId(2), Term(4), at(310), at(320));
        assert_eq!(lease.end(), at(310) + LENGTH);
    }
}
