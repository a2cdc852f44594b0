//! What goes wrong with gateways.

use crate::world::{Event, Fault, Place, World};
use std::time::Duration;

impl World {
    /// A gateway stops, dies, or hears or is heard no more by one of the others.
    pub(crate) fn gateway_fault(
        &mut self,
        at: Duration,
        lasts: Duration,
        servers: u64,
        nodes: u64,
    ) -> (Fault, Option<Fault>) {
        let gateway = self.random.range(0, self.scenario.gateways as u64 - 1) as usize;
        match self.random.range(0, 3) {
            0 => (Fault::StopGateway { gateway, stop: lasts / 2 }, None),
            1 => (Fault::CrashGateway(gateway), Some(Fault::StartGateways)),
            _ => {
                let there = if self.random.chance(700) {
                    Place::Controller(self.random.range(0, nodes - 1) as usize)
                } else {
                    Place::Server(self.random.range(0, servers - 1) as usize)
                };
                let here = Place::Gateway(gateway);
                let (from, to) = if self.random.chance(500) { (here, there) } else { (there, here) };
                if self.random.chance(300) {
                    self.schedule(at, Event::Fault(Fault::Block(to, from)));
                    self.schedule(at + lasts, Event::Fault(Fault::Unblock(to, from)));
                }
                (Fault::Block(from, to), Some(Fault::Unblock(from, to)))
            }
        }
    }

    /// The primary hangs; when that is about to be noticed the leader dies, who alone reached a gateway and just gave it a
    /// lease; the primary goes on at about the time at which another one is opened.
    pub(crate) fn inherit_at_the_worst_moment(&mut self, at: Duration) {
        let gateway = self.random.range(0, self.scenario.gateways as u64 - 1) as usize;
        let dies = at + self.random.micros(430_000, 560_000);
        let goes_on = dies + self.random.micros(240_000, 420_000);
        self.schedule(at, Event::Fault(Fault::LeadersGateway(gateway)));
        self.schedule(at, Event::Fault(Fault::StopServer { server: 0, primary: true }));
        self.schedule(dies, Event::Fault(Fault::CrashController { node: 0, leader: true }));
        self.schedule(goes_on, Event::Fault(Fault::ResumeServers));
        for node in 0..self.scenario.controllers {
            let (there, here) = (Place::Controller(node), Place::Gateway(gateway));
            for (from, to) in [(there, here), (here, there)] {
                self.schedule(dies + Duration::from_secs(2), Event::Fault(Fault::Unblock(from, to)));
            }
        }
        self.schedule(dies + Duration::from_secs(3), Event::Fault(Fault::StartControllers));
    }

    /// The gateway and every controller but the leader lose each other.
    pub(crate) fn leave_to_leader(&mut self, gateway: usize) {
        let leader = self.leader_instead(0, true);
        for node in (0..self.controllers.len()).filter(|node| *node != leader) {
            let (there, here) = (Place::Controller(node), Place::Gateway(gateway));
            self.network.blocked.extend([(there, here), (here, there)]);
        }
    }
}
