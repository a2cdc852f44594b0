//! Controllers whose files differ, and controllers whose wall clocks jump.

use super::World;
use backstay_model::Digest;

/// What everybody's file says.
pub(crate) const AGREED: &str = "same";

impl World {
    /// The controller is started again with another file.
    pub(crate) fn restart_with(&mut self, node: usize, digest: &str) {
        let digest = Digest::from(digest);
        if self.controllers[node].digest == digest {
            return;
        }
        self.trace.line(self.now, "settings", || format!("{}: {digest}", self.controllers[node].name));
        self.controllers[node].digest = digest;
        self.crash_controller(node);
        self.start_controller(node);
    }

    /// Somebody sets the controller's wall clock.
    pub(crate) fn jump_clock(&mut self, node: usize, micros: i64) {
        let controller = &mut self.controllers[node];
        controller.unix_offset += micros;
        self.trace.line(self.now, "clock", || format!("{}: {micros} us", self.controllers[node].name));
    }
}
