//! How all controllers' certificates stand, as they tell each other, and what the status says of it.

use super::{Letter, Outlets};
use crate::tls::{Keyring, Standing};
use backstay_model::{ClusterStatus, NodeId, NodeName, UnixMicros};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the certificates of this node and of its peers stand.
#[derive(Debug)]
pub(crate) struct Certificates {
    keyring: Arc<Keyring>,
    me: NodeName,
    /// As each peer said last.
    peers: BTreeMap<NodeId, Standing>,
}

impl Certificates {
    pub(crate) const fn new(keyring: Arc<Keyring>, me: NodeName) -> Self {
        Self { keyring, me, peers: BTreeMap::new() }
    }

    /// Notes what a peer says. Only peers that were welcomed get here, so they are few.
    pub(super) fn note(&mut self, peer: NodeId, standing: Standing) {
        self.peers.insert(peer, standing);
    }

    fn of(&self, node: &NodeName) -> Option<Standing> {
        if *node == self.me {
            return Some(self.keyring.standing());
        }
        self.peers.get(&NodeId::of(node)).cloned()
    }
}

impl Outlets {
    /// The status with what is known of certificates.
    pub(super) fn certified(&self, mut status: ClusterStatus, now: UnixMicros) -> ClusterStatus {
        if let Some(certificates) = &self.certificates {
            for controller in &mut status.controllers {
                if let Some(standing) = certificates.of(&controller.name) {
                    controller.certificate_expires = Some(standing.own.not_after);
                    status.problems.extend(standing.problems(&controller.name, now));
                }
            }
            status.problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
        }
        status
    }

    /// Tells a peer how this node's certificates stand.
    pub(super) fn tell_certificates(&self, peer: NodeId) {
        if let Some(certificates) = &self.certificates {
            self.post(peer, Letter::Certificates(certificates.keyring.standing()));
        }
    }

    pub(super) fn tell_certificates_to_all(&self) {
        for peer in self.peers.keys() {
            self.tell_certificates(*peer);
        }
    }
}
