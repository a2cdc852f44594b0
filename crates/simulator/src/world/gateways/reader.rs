//! The reader endpoint: where its client's commands go, and that it changes nothing.

use super::{Door, Plane, Progress, READER};
use crate::redis::WriteId;
use crate::scenario::Mistake;
use crate::world::World;
use backstay_lease::{MARGIN, Standing};
use backstay_model::{Address, Epoch, Reader};

impl World {
    /// Brings what is read where in line with what the gateway was told.
    pub(super) fn tend_reader(&mut self, gateway: usize, start: u64) {
        let chosen = self.choose_source(gateway);
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        let used = plane.backend(Door::Reader).as_ref().map(|backend| &backend.target);
        if used.is_some() && used != chosen.as_ref().map(|(_, target)| target) {
            self.drop_backend(gateway, Door::Reader);
        }
        match chosen {
            Some((epoch, target)) => self.forward(gateway, start, Door::Reader, epoch, target),
            None if !self.scenario.readers_fall_back => self.refuse_reads(gateway),
            None => {}
        }
    }

    /// The nearest of the replicas that are not too far behind, least behind first, but rather the one that is used
    /// already; without one, the primary if the operator wants that.
    fn choose_source(&self, gateway: usize) -> Option<(Epoch, Address)> {
        let now = self.gateway_clock(gateway);
        let plane = self.gateways[gateway].plane.as_ref()?;
        let standing = plane.leases.standing(&self.service, now);
        let used = plane.reader.as_ref().map(|backend| &backend.target);
        let careless = self.scenario.mistake == Some(Mistake::ReaderWithoutBound);
        let zone = format!("z{}", gateway % 3);
        let rank =
            |it: &&Reader| (it.zone != zone, used != Some(&it.address), it.lag_bytes, it.address.clone());
        let readers = plane.leases.readers(&self.service).iter();
        let near = readers.filter(|it| careless || it.lag_bytes <= self.scenario.readers_max_lag);
        if let Some(source) = near.min_by_key(rank) {
            return Some((Epoch(0), source.address.clone()));
        }
        match standing? {
            Standing::Serve { epoch, primary, until } if now + MARGIN < until => {
                Some((epoch, primary)).filter(|_| self.scenario.readers_fall_back)
            }
            _ => None,
        }
    }

    fn refuse_reads(&mut self, gateway: usize) {
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        for command in plane.clients[READER].iter_mut().filter(|it| it.state == Progress::Held) {
            command.state = Progress::Refused;
            self.coverage.gateway("read refused: no replica is near enough");
        }
    }

    /// What becomes at once of a write that a reader endpoint's client sends.
    pub(super) fn write_at_reader(&mut self, write: WriteId) -> Progress {
        self.checkers.readers.sent_write(write);
        if self.scenario.mistake == Some(Mistake::ReaderForwardsWrites) {
            return Progress::Held;
        }
        self.coverage.gateway("write refused at a reader");
        Progress::Refused
    }

    /// Reads go there now.
    pub(super) fn note_source(&mut self, gateway: usize, start: u64, target: &Address) {
        let serves = |plane: &Plane| {
            plane.leases.readers(&self.service).iter().any(|reader| reader.address == *target)
        };
        let is_replica = self.gateways[gateway].plane.as_ref().is_some_and(serves);
        self.coverage.gateway(if is_replica { "read at a replica" } else { "read at the primary instead" });
        let found = self.checkers.readers.forwarded((gateway, start), target, self.scenario.readers_max_lag);
        self.complain(found);
    }
}
