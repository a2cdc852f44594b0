//! What must hold at every moment of every run: one leader per term, one lease at a time, one history.

use super::Host;
use super::host::digest;
use super::rng::mix;
use backstay_consensus::Effect;
use backstay_model::{NodeId, Term};
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Checks {
    /// Everything that happened, as one number.
    pub fingerprint: u64,
    pub tracing: bool,
    /// The leader that anybody ever saw in a term.
    pub leaders: BTreeMap<Term, NodeId>,
    /// What was applied at an index, and the state after it.
    pub history: BTreeMap<u64, (Vec<u8>, u64)>,
    /// Moments at which somebody held a lease.
    pub leased: u64,
}

impl Checks {
    pub fn trace(&mut self, now: u64, id: NodeId, effect: &Effect) {
        if self.tracing {
            let line = format!("{now} {id} {effect:?}");
            self.fingerprint = line.bytes().fold(self.fingerprint, |sum, byte| mix(sum ^ u64::from(byte)));
        }
    }

    pub fn effect(&mut self, host: &Host, effect: &Effect) {
        match effect {
            Effect::Leadership { leader: Some(leader), term, .. } => {
                let first = self.leaders.entry(*term).or_insert(*leader);
                assert_eq!(first, leader, "two leaders in term {term}");
            }
            Effect::Apply(entry) => {
                assert!(entry.index > host.applied, "{} applies {} twice", host.id, entry.index);
                let state = digest(host.state, entry.index, &entry.data);
                let now = (entry.data.clone(), state);
                let then = self.history.entry(entry.index).or_insert_with(|| now.clone());
                assert_eq!(*then, now, "node {} disagrees at {}", host.id, entry.index);
            }
            Effect::Restore(snapshot) => {
                let (_, (_, state)) = self.history.range(..=snapshot.index).next_back().unwrap();
                assert_eq!(snapshot.data, state.to_le_bytes(), "a wrong snapshot");
            }
            _ => {}
        }
    }

    pub fn leases(&mut self, now: u64, hosts: &BTreeMap<NodeId, Host>) {
        let holders: Vec<NodeId> = hosts
            .values()
            .filter(|host| host.is_up() && host.lease > host.clock(now))
            .map(|host| host.id)
            .collect();
        assert!(holders.len() <= 1, "at {now} us {holders:?} all hold a lease");
        self.leased += holders.len() as u64;
    }
}
