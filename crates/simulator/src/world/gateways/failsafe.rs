//! What a gateway with a failsafe looks at: what the primary says of its replicas. And what it says aloud.

use crate::scenario::Mistake;
use crate::world::{Event, Fault, Place, UNIX_START, World};
use backstay_lease::{Alarm, Leases, Sample};
use backstay_model::{Now, ReplOffset, UnixMicros};
use std::time::Duration;

/// How often the primary is looked at.
pub(super) const SAMPLED_EVERY: Duration = Duration::from_millis(250);
/// How often a replica acknowledges.
const ACKNOWLEDGES_EVERY: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn new_leases(&self) -> Leases {
        if self.has_failsafe() { Leases::with_failsafe([self.service.clone()]) } else { Leases::default() }
    }

    fn has_failsafe(&self) -> bool {
        self.scenario.failsafe || self.scenario.mistake == Some(Mistake::FailsafeUnasked)
    }

    /// Asks the primary for its replicas; one that hangs, or cannot be reached, does not answer.
    pub(super) fn gateway_samples(&mut self, gateway: usize, start: u64) {
        let (asked, has_failsafe) = (self.gateway_clock(gateway), self.has_failsafe());
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        if !has_failsafe || plane.samples_at > asked {
            return;
        }
        plane.samples_at = asked + SAMPLED_EVERY;
        let Some(address) = plane.leases.sampled(&self.service).cloned() else {
            return;
        };
        let Some(server) = self.spec.services[0].instances.iter().position(|it| it.address == address) else {
            return;
        };
        let (here, there) = (Place::Gateway(gateway), Place::Server(server));
        let passes = self.network.passes(here, there) && self.network.passes(there, here);
        let Some(redis) = self.servers[server].redis().filter(|redis| passes && redis.replicates()) else {
            return;
        };
        let trusts = self.scenario.mistake == Some(Mistake::FailsafeTrustsLinks);
        let linked = (0..self.servers.len()).filter(|other| self.servers[*other].linked_to == Some(server));
        let acknowledged = linked.filter_map(|replica| {
            let offset = *self.servers[server].acknowledged.get(&replica)?;
            let offset = if trusts { self.now.as_micros() } else { offset };
            Some((self.servers[replica].name.clone(), ReplOffset(offset)))
        });
        let sample = Box::new(Sample {
            asked,
            address,
            run_id: redis.run_id.clone(),
            is_primary: redis.follows.is_none(),
            acknowledged: acknowledged.collect(),
        });
        let delay = self.network.one_way(&mut self.random) + self.network.one_way(&mut self.random);
        self.schedule(delay, Event::GatewaySampled { gateway, start, sample });
    }

    pub(super) fn gateway_sampled(&mut self, gateway: usize, sample: Sample) {
        let now = self.gateway_clock(gateway);
        if let Some(plane) = &mut self.gateways[gateway].plane {
            plane.leases.sample(now, &self.service, sample);
        }
    }

    /// Says aloud what begins and ends.
    pub(super) fn tell_alarms(&mut self, gateway: usize, start: u64) {
        let unix = UnixMicros(UNIX_START + self.now.as_micros());
        let now = Now { time: self.gateway_clock(gateway), unix };
        let Some(plane) = &mut self.gateways[gateway].plane else {
            return;
        };
        if self.scenario.mistake == Some(Mistake::FailsafeWithoutAlarm) {
            return;
        }
        for alarm in plane.leases.alarms(now) {
            let begins = matches!(alarm, Alarm::Begins { .. });
            self.coverage.gateway(if begins { "failsafe began" } else { "failsafe ended" });
            self.trace.line(self.now, "alarm", || format!("{}: {alarm:?}", self.gateways[gateway].name));
            self.checkers.failsafe.alarm((gateway, start), begins);
        }
    }

    /// Every replica that is linked says how far it is.
    pub(crate) fn replicas_acknowledge(&mut self) {
        self.schedule(ACKNOWLEDGES_EVERY, Event::ReplicasAcknowledge);
        for server in 0..self.servers.len() {
            let (it, here) = (&self.servers[server], Place::Server(server));
            let linked = it.redis().filter(|redis| redis.link_up && redis.replicates());
            let Some((redis, primary)) = linked.zip(it.linked_to) else {
                continue;
            };
            if self.network.passes(here, Place::Server(primary)) {
                let (offset, link) = (redis.offset, it.link);
                let delay = self.network.one_way(&mut self.random);
                self.schedule(delay, Event::Acknowledged { primary, replica: server, link, offset });
            }
        }
    }

    /// Its primary hears that.
    pub(crate) fn acknowledged_by(&mut self, primary: usize, replica: usize, link: u64, offset: u64) {
        let from = &self.servers[replica];
        let heard = from.link == link && from.linked_to == Some(primary);
        let it = &mut self.servers[primary];
        if heard && it.redis().is_some_and(crate::redis::Redis::replicates) {
            let before = it.acknowledged.insert(replica, offset);
            if before.is_some_and(|before| before < offset) {
                it.acknowledged_at = self.now;
            }
        }
    }

    /// A gateway and all controllers lose each other, in one direction or both.
    pub(crate) fn silence(&mut self, at: Duration, lasts: Duration) {
        let here = Place::Gateway(self.random.range(0, self.scenario.gateways as u64 - 1) as usize);
        let (deaf, mute) = *self.random.pick(&[(true, true), (true, false), (false, true)]);
        for node in 0..self.scenario.controllers {
            let there = Place::Controller(node);
            let ways = [(there, here, deaf), (here, there, mute)];
            for (from, to, _) in ways.into_iter().filter(|(.., blocked)| *blocked) {
                self.schedule(at, Event::Fault(Fault::Block(from, to)));
                self.schedule(at + lasts, Event::Fault(Fault::Unblock(from, to)));
            }
        }
    }
}
