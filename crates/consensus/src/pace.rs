//! From moments to Raft's ticks, and from terms to election timeouts. The library draws its timeouts from the system's
//! entropy; ours come from the term, so that a run can be repeated and nodes do not tie.

use crate::members::mix;
use crate::{Settings, TICK};
use backstay_model::{NodeId, Term, Time};
use std::time::Duration;

/// By how many ticks, at most, nodes differ within their slots.
const JITTER: u64 = 3;

/// Counts ticks.
pub(crate) struct Pace {
    /// The moment up to which ticks have been run.
    counted: Time,
    /// When this node asked to be woken.
    due: Time,
    /// How late a wake may be before the process counts as having been stopped.
    grace: Duration,
}

impl Pace {
    pub(crate) fn new(now: Time, election_timeout: Duration) -> Self {
        Self { counted: now, due: now, grace: election_timeout / 2 }
    }

    /// The ticks to run at `now`. After a long stop time did not pass for this node, at most one tick: what the others
    /// said meanwhile is still unread, and a campaign on old knowledge would only disturb them.
    pub(crate) fn ticks(&mut self, now: Time, woken: bool) -> u64 {
        if now.since(self.due) > self.grace {
            self.counted = now;
            return u64::from(woken);
        }
        let ticks = now.since(self.counted).as_millis() as u64 / TICK.as_millis() as u64;
        self.counted = self.counted + TICK * ticks as u32;
        ticks
    }

    /// No ticks are owed: Raft's time begins here.
    pub(crate) fn restart(&mut self, now: Time) {
        self.counted = now;
    }

    /// The moment at which `ticks` more will have passed.
    pub(crate) fn after(&self, ticks: usize) -> Time {
        self.counted + TICK * ticks as u32
    }

    /// The next wake was asked for at this moment.
    pub(crate) fn expect(&mut self, due: Time) {
        self.due = due;
    }
}

/// The election timeouts of a cluster, in ticks.
pub(crate) struct Timeouts {
    pub(crate) least: usize,
    pub(crate) most: usize,
    me: NodeId,
    voters: Vec<NodeId>,
    seed: u64,
}

impl Timeouts {
    /// A campaign begins two ticks after the others' promises to the old leader have ended: an earlier one would be
    /// ignored and cost a whole timeout more.
    pub(crate) fn new(settings: &Settings, voters: &[NodeId]) -> Self {
        let election = in_ticks(settings.election_timeout);
        Self {
            least: election + 2,
            most: election * 2,
            me: settings.me,
            voters: voters.to_vec(),
            seed: settings.seed,
        }
    }

    /// From now on these vote.
    pub(crate) fn follow(&mut self, voters: Vec<NodeId>) {
        self.voters = voters;
    }

    /// This node's timeout in this term, after `leader` fell silent. The range is cut into one slot per voter but the
    /// leader, dealt anew in every term in an order that all nodes compute alike: somebody is always first, and two do
    /// not campaign at once. Within its slot a node's own seed moves it a little.
    pub(crate) fn of(&self, term: Term, leader: Option<NodeId>) -> usize {
        let place = |node: NodeId| (mix(mix(term.0) ^ node.0), node);
        let mine = place(self.me);
        let runs = |node: &&NodeId| Some(**node) != leader || **node == self.me;
        let runners = self.voters.iter().filter(runs);
        let (before, count) = runners
            .fold((0, 0), |(before, count), node| (before + usize::from(place(*node) < mine), count + 1));
        let slot = ((self.most - self.least) / count.max(1)).max(1);
        let start = (self.least + before * slot).min(self.most - 1);
        let jitter = mix(mine.0 ^ self.seed) % (slot as u64 / 2).clamp(1, JITTER);
        (start + jitter as usize).min(self.most - 1)
    }
}

/// A duration in ticks, rounded up.
pub(crate) fn in_ticks(duration: Duration) -> usize {
    duration.as_millis().div_ceil(TICK.as_millis()) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_voters_campaign_at_the_same_tick_in_any_term() {
        for count in [2, 3, 5] {
            let voters: Vec<NodeId> = (1..=count).map(NodeId).collect();
            for term in 0..1000 {
                let leader = voters[term as usize % voters.len()];
                let mut timeouts: Vec<usize> = voters
                    .iter()
                    .filter(|me| **me != leader)
                    .map(|me| timeout(*me, &voters, Term(term), leader))
                    .collect();
                timeouts.sort_unstable();
                assert!((22..25).contains(&timeouts[0]), "somebody is first");
                assert!(timeouts[timeouts.len() - 1] < 40);
                timeouts.dedup();
                assert_eq!(timeouts.len(), voters.len() - 1, "term {term}");
            }
        }
    }

    fn timeout(me: NodeId, voters: &[NodeId], term: Term, leader: NodeId) -> usize {
        let generation = backstay_model::Generation(1);
        let settings = Settings::new(me, "c".into(), generation, voters.to_vec(), me.0);
        Timeouts::new(&settings, voters).of(term, Some(leader))
    }

    #[test]
    fn after_a_long_stop_at_most_one_tick_runs() {
        let start = Time::from_micros(1_000_000);
        let mut pace = Pace::new(start, Duration::from_millis(200));
        pace.expect(start + Duration::from_millis(50));
        assert_eq!(pace.ticks(start + Duration::from_millis(59), true), 5);
        pace.expect(start + Duration::from_millis(100));
        let late = start + Duration::from_secs(10);
        assert_eq!(pace.ticks(late, true), 1);
        assert_eq!(pace.after(2), late + TICK * 2);
    }
}
