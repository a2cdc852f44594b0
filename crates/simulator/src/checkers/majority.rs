//! In `majority` no acknowledged commit is lost, whatever happens: what a client heard of is in every later primary,
//! unless an operator decided for one that may lack it, or all processes of the group were restarted: then each may have
//! lost what it had not made durable, and more of them than the promise covers.

use super::writes::Writes;
use crate::world::World;

impl World {
    /// A primary reigns, or everything is mended, and this is what it holds.
    pub(super) fn check_majority(&mut self, name: &str, data: &Writes, all_restarted: bool) {
        if !self.is_majority() || !self.checkers.decided.is_empty() {
            return;
        }
        let Some(write) = self.checkers.writes.acknowledged_without(data) else {
            return;
        };
        if all_restarted {
            self.coverage.mariadb("acknowledged commit lost where all were restarted");
            return self.checkers.writes.forget_without(data);
        }
        let what = format!("{name} is the primary without write {write}, which a client was told of");
        self.violate("no acknowledged commit is lost in majority", what);
    }
}
