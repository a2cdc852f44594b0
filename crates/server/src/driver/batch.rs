//! The effects of several steps, carried out together: the disk is waited for once, and a peer hears many opinions in
//! one letter. A thousand services that fail over at once would otherwise queue up behind each other's writes.
//!
//! Nothing runs before what must be durable first, because a write may only come earlier than it would alone, and all
//! else keeps its order. Opinions depend on nothing that is written, so they go first.

use backstay_consensus::Persist;
use backstay_controller::Report;
use backstay_model::NodeId;
use backstay_node::{Effect, PeerMessage};
use std::collections::BTreeMap;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// For each peer, what it is told.
    pub(super) reports: BTreeMap<NodeId, Report>,
    /// What came before the first write: letters that leave meanwhile.
    pub(super) before: Vec<Effect>,
    /// All writes, in order.
    pub(super) writes: Vec<Persist>,
    /// What came behind the first write, and so waits for all of them.
    pub(super) behind: Vec<Effect>,
}

impl Batch {
    /// Takes the effects of one more step.
    pub(super) fn add(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Persist(persist) => self.writes.push(persist),
                Effect::Send { to, message: PeerMessage::Report(report) } => {
                    let told = self.reports.entry(to).or_default();
                    if !report.digests.is_empty() {
                        told.digests = report.digests;
                    }
                    told.opinions.extend(report.opinions);
                }
                effect if self.writes.is_empty() => self.before.push(effect),
                effect => self.behind.push(effect),
            }
        }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.before.is_empty() && self.writes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_consensus::HardState;
    use backstay_model::{Health, InstanceReport, Term};

    fn write(term: u64) -> Effect {
        let hard = HardState { term: Term(term), ..HardState::default() };
        Effect::Persist(Persist { hard: Some(hard), ..Persist::default() })
    }

    fn answer(request: u64) -> Effect {
        Effect::Answer { request, result: Ok(String::new()) }
    }

    fn opinion(instance: &str, health: Health) -> Effect {
        let report = InstanceReport { health, ..InstanceReport::default() };
        let opinions = vec![("shop".into(), instance.into(), report)];
        let report = Report { digests: BTreeMap::new(), opinions };
        Effect::Send { to: NodeId(1), message: PeerMessage::Report(report) }
    }

    #[test]
    fn what_came_behind_a_write_waits_for_all_writes_and_nothing_else_does() {
        let mut batch = Batch::default();
        batch.add(vec![answer(1), write(1), answer(2)]);
        batch.add(vec![answer(3), write(2), answer(4)]);
        assert_eq!(batch.before, [answer(1)]);
        assert_eq!(batch.writes.len(), 2);
        assert_eq!(batch.behind, [answer(2), answer(3), answer(4)]);
    }

    #[test]
    fn a_peer_hears_many_opinions_in_one_letter_and_in_their_order() {
        let mut batch = Batch::default();
        batch.add(vec![opinion("r1", Health::Late), opinion("r2", Health::Up)]);
        batch.add(vec![opinion("r1", Health::Up)]);
        let told = &batch.reports[&NodeId(1)];
        let healths: Vec<_> =
            told.opinions.iter().map(|(_, name, report)| (name.as_str(), report.health.clone())).collect();
        assert_eq!(healths, [("r1", Health::Late), ("r2", Health::Up), ("r1", Health::Up)]);
    }
}
