//! Where callers wait until they have said who they are. It has so many places; one caller more, and the one that waited
//! longest is hung up on, of those who come from the address with the most callers. So whoever fills it from one
//! machine pushes out nobody but himself.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use tokio::task::AbortHandle;

/// Callers that are not known yet, oldest first.
#[derive(Debug)]
pub(crate) struct Anteroom {
    places: usize,
    callers: VecDeque<(IpAddr, AbortHandle)>,
}

impl Anteroom {
    pub(crate) const fn new(places: usize) -> Self {
        Self { places, callers: VecDeque::new() }
    }

    /// Makes room, for `call` to wait in.
    pub(crate) fn admit(&mut self, from: IpAddr, call: AbortHandle) {
        self.callers.retain(|(_, call)| !call.is_finished());
        while self.callers.len() >= self.places {
            let crowd = self.crowd();
            let oldest = self.callers.iter().position(|(address, _)| Some(*address) == crowd);
            match oldest.and_then(|at| self.callers.remove(at)) {
                Some((_, oldest)) => oldest.abort(),
                None => break,
            }
        }
        self.callers.push_back((from, call));
    }

    /// The address from which most callers come.
    fn crowd(&self) -> Option<IpAddr> {
        let mut counts = BTreeMap::<IpAddr, usize>::new();
        for (address, _) in &self.callers {
            *counts.entry(*address).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(address, _)| address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinSet;

    #[tokio::test]
    async fn a_flood_from_one_address_pushes_out_only_its_own() {
        let mut calls = JoinSet::new();
        let mut anteroom = Anteroom::new(8);
        let [flood, peer] = [[10, 0, 0, 9], [10, 0, 0, 1]].map(IpAddr::from);
        let honest = calls.spawn(std::future::pending::<()>());
        anteroom.admit(peer, honest.clone());
        for _ in 0..1000 {
            anteroom.admit(flood, calls.spawn(std::future::pending::<()>()));
        }
        assert_eq!(anteroom.callers.len(), 8);
        for _ in 0..993 {
            assert!(calls.join_next().await.unwrap().unwrap_err().is_cancelled());
        }
        assert!(!honest.is_finished());
    }
}
