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
//!
//! Members change by one voter at a time, once committed. A successor's log holds everything that the leader applied, so
//! its list of voters is the leader's or the one before or after it; majorities of the two share a node, whose promise
//! is its own and not its list's. A folder that replaces a lost one is another member: its stamps count from when it
//! votes, and the lost one's never for it.

use crate::MemberId;
use backstay_model::{Term, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// The leader's side.
pub(crate) struct Lease {
    length: Duration,
    /// All voters but this node.
    others: Vec<MemberId>,
    /// The reign that is measured: its term and when it began. Older stamps count for nothing.
    reign: Option<(Term, Time)>,
    /// The newest stamp that each follower returned in this reign.
    returned: BTreeMap<MemberId, Time>,
    /// The term whose lead was offered to another.
    handed_over: Option<Term>,
}

impl Lease {
    pub(crate) const fn new(length: Duration) -> Self {
        Self { length, others: Vec::new(), reign: None, returned: BTreeMap::new(), handed_over: None }
    }

    /// From now on this node and these others vote.
    pub(crate) fn follow(&mut self, others: Vec<MemberId>) {
        self.returned.retain(|member, _| others.contains(member));
        self.others = others;
    }

    /// Call whenever the role may have changed, with the term in which this node leads, if it does.
    pub(crate) fn observe(&mut self, leads: Option<Term>, now: Time) {
        if self.reign.map(|(term, _)| term) != leads {
            self.reign = leads.map(|term| (term, now));
            self.returned.clear();
        }
    }

    /// A follower of this term returned a stamp. Impossible ones are ignored.
    pub(crate) fn returned(&mut self, from: MemberId, term: Term, stamp: Time, now: Time) {
        match self.reign {
            Some((reign, since))
                if reign == term && stamp >= since && stamp <= now && self.others.contains(&from) =>
            {
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
        // With this node itself that is a majority.
        let needed = self.others.len().div_ceil(2);
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

    /// Of node 1 among `voters`.
    fn lease(voters: u64) -> Lease {
        let mut lease = Lease::new(LENGTH);
        lease.follow((2..=voters).map(MemberId).collect());
        lease
    }

    #[test]
    fn of_five_voters_the_second_newest_stamp_counts() {
        let mut lease = lease(5);
        lease.observe(Some(Term(2)), at(100));
        lease.returned(MemberId(2), Term(2), at(120), at(130));
        assert_eq!(lease.end(), Time::ZERO, "two of five are no quorum");
        lease.returned(MemberId(3), Term(2), at(110), at(130));
        assert_eq!(lease.end(), at(110) + LENGTH);
        lease.returned(MemberId(4), Term(2), at(125), at(130));
        assert_eq!(lease.end(), at(120) + LENGTH);
    }

    #[test]
    fn stamps_of_another_reign_or_from_the_future_count_for_nothing() {
        let mut lease = lease(3);
        lease.observe(Some(Term(2)), at(100));
        lease.returned(MemberId(2), Term(2), at(99), at(130));
        lease.returned(MemberId(2), Term(1), at(110), at(130));
        lease.returned(MemberId(2), Term(2), at(131), at(130));
        assert_eq!(lease.end(), Time::ZERO);
    }

    #[test]
    fn a_handover_ends_the_lease_for_the_rest_of_the_term() {
        let mut lease = lease(3);
        lease.observe(Some(Term(2)), at(100));
        lease.hand_over(Term(2));
        lease.returned(MemberId(2), Term(2), at(120), at(130));
        assert_eq!(lease.end(), Time::ZERO);
        lease.observe(None, at(140));
        lease.observe(Some(Term(4)), at(300));
        lease.returned(MemberId(2), Term(4), at(310), at(320));
        assert_eq!(lease.end(), at(310) + LENGTH);
    }

    #[test]
    fn only_voters_count_and_more_of_them_are_needed_as_soon_as_there_are_more() {
        let mut lease = lease(3);
        lease.observe(Some(Term(2)), at(100));
        lease.returned(MemberId(9), Term(2), at(120), at(130));
        assert_eq!(lease.end(), Time::ZERO, "a learner's word is no vote");
        lease.returned(MemberId(2), Term(2), at(120), at(130));
        assert_eq!(lease.end(), at(120) + LENGTH);
        lease.follow([2, 3, 9].map(MemberId).to_vec());
        assert_eq!(lease.end(), Time::ZERO, "two of four are no majority");
        lease.follow([3, 9].map(MemberId).to_vec());
        lease.returned(MemberId(3), Term(2), at(110), at(130));
        assert_eq!(lease.end(), at(110) + LENGTH, "a removed voter's word counts no more");
    }
}
