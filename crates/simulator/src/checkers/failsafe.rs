//! A gateway serves without a lease only where the operator takes that risk, and there only while nothing was heard of a
//! controller for a lease's length, in the epoch of its last lease, by a replica that acknowledged more of the primary's
//! stream a moment ago, and never without an alarm.

use crate::redis::WriteId;
use crate::world::{GatewayRun, World};
use backstay_model::{Address, Epoch, LEASE, Time};
use std::collections::BTreeSet;
use std::time::Duration;

/// For how long an acknowledgement speaks for a primary: 1.5 s from when it was seen, which is within a second of when it
/// came, and what clocks differ.
const SPEAKS: Duration = Duration::from_millis(2700);

#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Runs of gateways that said aloud that they serve without a lease.
    alarmed: BTreeSet<GatewayRun>,
    /// Writes that were acknowledged so.
    risked: BTreeSet<WriteId>,
}

impl Memory {
    pub(crate) fn alarm(&mut self, run: GatewayRun, begins: bool) {
        if begins {
            self.alarmed.insert(run);
        } else {
            self.alarmed.remove(&run);
        }
    }

    /// The write was acknowledged without a lease, so nothing is promised for it.
    pub(crate) fn is_risked(&self, write: WriteId) -> bool {
        self.risked.contains(&write)
    }
}

impl World {
    /// A gateway is about to send commands on to the primary of this epoch, or passes on that a write was acknowledged
    /// there: `now` is what its clock shows.
    pub(crate) fn check_permission(
        &mut self,
        run: GatewayRun,
        now: Time,
        (epoch, primary): (Epoch, &Address),
        acknowledges: Option<WriteId>,
    ) {
        let Some(unleased) = self.checkers.lease_at_reply.unleased(run, now, epoch, primary) else {
            return;
        };
        let does = if acknowledges.is_some() { "passes on a reply from" } else { "sends to" };
        let complaint = |what: String| format!("{run:?} {does} {primary} {what}");
        if !self.scenario.failsafe || unleased.is_superseded {
            return self.violate("a gateway serves only within its lease", complaint(unleased.what));
        }
        let moved = self.servers.iter().enumerate().find(|(index, _)| {
            self.spec.services[0].instances.get(*index).is_some_and(|it| it.address == *primary)
        });
        let silent = self.now.since(moved.map_or(Time::ZERO, |(_, server)| server.acknowledged_at));
        let reason = if now.since(unleased.heard) < LEASE {
            format!("{:?} after a controller spoke, {}", now.since(unleased.heard), unleased.what)
        } else if silent > SPEAKS {
            format!("although its replicas acknowledge nothing since {silent:?}")
        } else if !self.checkers.failsafe.alarmed.contains(&run) {
            "without an alarm".to_owned()
        } else {
            self.coverage.gateway("served without a lease");
            self.checkers.failsafe.risked.extend(acknowledges);
            return;
        };
        self.violate("a gateway without a lease needs silence, evidence and an alarm", complaint(reason));
    }
}
