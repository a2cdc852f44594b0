//! What was tried: how often each kind of world, fault and failover came about. A property that holds says little about
//! what never happened.

use serde::Serialize;
use std::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// How worlds began and what they were like.
    pub worlds: BTreeMap<&'static str, u64>,
    /// What went wrong.
    pub faults: BTreeMap<&'static str, u64>,
    /// What controllers decided to do about it.
    pub decisions: BTreeMap<&'static str, u64>,
    /// What gateways and their leases went through.
    pub gateways: BTreeMap<&'static str, u64>,
    /// Which of MariaDB's traps were met.
    pub mariadb: BTreeMap<&'static str, u64>,
}

impl Coverage {
    /// Adds what another world, or many, tried.
    pub fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.worlds, &other.worlds),
            (&mut self.faults, &other.faults),
            (&mut self.decisions, &other.decisions),
            (&mut self.gateways, &other.gateways),
            (&mut self.mariadb, &other.mariadb),
        ];
        for (mine, others) in pairs {
            for (name, count) in others {
                *mine.entry(name).or_default() += count;
            }
        }
    }

    pub(crate) fn world(&mut self, name: &'static str) {
        *self.worlds.entry(name).or_default() += 1;
    }

    pub(crate) fn fault(&mut self, name: &'static str) {
        *self.faults.entry(name).or_default() += 1;
    }

    pub(crate) fn decision(&mut self, name: &'static str) {
        *self.decisions.entry(name).or_default() += 1;
    }

    pub(crate) fn mariadb(&mut self, name: &'static str) {
        *self.mariadb.entry(name).or_default() += 1;
    }

    pub(crate) fn gateway(&mut self, name: &'static str) {
        *self.gateways.entry(name).or_default() += 1;
    }
}
