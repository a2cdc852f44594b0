//! In `majority` no acknowledged commit is lost, whatever happens: what a client heard of is in every later primary,
//! unless an operator decided for one that may lack it.

use super::writes::Writes;
use crate::world::World;

impl World {
    /// A primary reigns, or everything is mended, and this is what it holds.
    pub(super) fn check_majority(&mut self, name: &str, data: &Writes) {
        if !self.is_majority() || !self.checkers.decided.is_empty() {
            return;
        }
        if let Some(write) = self.checkers.writes.acknowledged_without(data) {
            let what = format!("{name} is the primary without write {write}, which a client was told of");
            self.violate("no acknowledged commit is lost in majority", what);
        }
    }
}
