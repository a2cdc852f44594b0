//! Who may hold a lease, as all controllers agree: a gateway is registered before its first lease, so that whoever leads
//! knows for whom a promotion must wait (safety, section 2.1).

use backstay_model::GatewayId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// How many gateways there may be.
pub const GATEWAYS_MAX: usize = 256;

/// See the module's head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registry {
    /// How often it changed. A change names the next number, so that one that is committed late changes nothing.
    pub changes: u64,
    /// The registered ones.
    pub members: BTreeSet<GatewayId>,
}

impl Registry {
    /// False: it was proposed for another state of the registry, and changed nothing.
    pub(crate) fn apply(&mut self, change: u64, joined: &[GatewayId], left: &[GatewayId]) -> bool {
        if change != self.changes + 1 {
            return false;
        }
        self.changes = change;
        for gateway in left {
            self.members.remove(gateway);
        }
        for gateway in joined {
            if self.members.len() < GATEWAYS_MAX {
                self.members.insert(gateway.clone());
            }
        }
        true
    }
}
