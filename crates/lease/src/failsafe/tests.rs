//! Each condition of the failsafe has a test that fails without it.

use super::*;
use crate::{MOVED_WITHIN, Standing};
use backstay_model::{
    GatewayLoad, GatewayOrders, GatewayReport, ReplOffset, RunId, ServiceOrders, UnixMicros,
};

const STEP: u64 = 10;

/// A gateway and what is around it: controllers, and a primary `r1` with a replica `r2`.
#[expect(clippy::struct_excessive_bools, reason = "each goes wrong by itself")]
struct World {
    leases: Leases,
    ms: u64,
    number: u64,
    /// Controllers answer.
    controllers: bool,
    /// The primary answers, as this process, and calls itself a primary.
    answers: bool,
    run_id: &'static str,
    is_primary: bool,
    /// The primary shows the replica as linked, and the replica acknowledges.
    linked: bool,
    acknowledges: bool,
    /// How often it does, in milliseconds.
    period: u64,
    offset: u64,
}

fn shop() -> ServiceName {
    "shop".into()
}

fn address(host: &str) -> Address {
    format!("{host}:6379").parse().unwrap()
}

fn said(answers: Option<u64>, epoch: u64, primary: PrimaryOrder) -> GatewayOrders {
    let told = ServiceOrders { service: shop(), epoch: Epoch(epoch), primary, readers: Vec::new() };
    GatewayOrders { answers, lease: LEASE, services: vec![told] }
}

impl World {
    fn new(leases: Leases) -> Self {
        Self {
            leases,
            ms: 10_000,
            number: 0,
            controllers: true,
            answers: true,
            run_id: "first",
            is_primary: true,
            linked: true,
            acknowledges: true,
            period: 1000,
            offset: 1,
        }
    }

    /// Everything has gone well for a while.
    fn well() -> Self {
        let mut world = Self::new(Leases::with_failsafe([shop()]));
        world.pass(3000);
        world
    }

    /// As `well`, and then the controllers are gone and the gateway goes on without.
    fn alone() -> Self {
        let mut world = Self::well();
        world.controllers = false;
        world.pass(1000);
        assert_eq!(world.serves(), Some(("r1".into(), 5)));
        assert!(world.leases.is_failsafe(&shop(), world.now()));
        world
    }

    fn now(&self) -> Time {
        Time::from_micros(self.ms * 1000)
    }

    fn clock(&self) -> Now {
        Now { time: self.now(), unix: UnixMicros(self.ms * 1000) }
    }

    fn pass(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            self.ms += STEP;
            if self.acknowledges && self.ms.is_multiple_of(self.period) {
                self.offset += 14;
            }
            if self.ms.is_multiple_of(100) {
                self.report();
                if self.controllers {
                    self.hears(Some(self.number), 5, PrimaryOrder::Serve(address("r1")));
                }
            }
            if self.ms.is_multiple_of(250) && self.answers {
                self.look("r1");
            }
        }
    }

    fn report(&mut self) -> GatewayReport {
        self.number += 1;
        self.leases.report(self.now(), GatewayLoad::default())
    }

    fn hears(&mut self, answers: Option<u64>, epoch: u64, primary: PrimaryOrder) {
        self.leases.told(self.now(), said(answers, epoch, primary));
    }

    fn look(&mut self, host: &str) {
        let acknowledged = self.linked.then(|| ("r2".into(), ReplOffset(self.offset)));
        let sample = Sample {
            asked: self.now(),
            address: address(host),
            run_id: RunId::from(self.run_id),
            is_primary: self.is_primary,
            acknowledged: acknowledged.into_iter().collect(),
        };
        self.leases.sample(self.now(), &shop(), sample);
    }

    /// Whom it serves, in which epoch.
    fn serves(&self) -> Option<(String, u64)> {
        match self.leases.standing(&shop(), self.now()) {
            Some(Standing::Serve { primary, epoch, .. }) => Some((primary.host.to_string(), epoch.0)),
            _ => None,
        }
    }

    /// Does not serve for so long, looked at again and again.
    fn never_serves(&mut self, ms: u64) {
        let end = self.ms + ms;
        while self.ms < end {
            self.pass(STEP);
            assert_eq!(self.serves(), None, "after {} ms", ms - (end - self.ms));
        }
    }

    /// The controllers are gone, but for what comes next.
    fn only_hears(&mut self, epoch: u64, primary: PrimaryOrder) {
        self.controllers = false;
        self.hears(None, epoch, primary);
        self.pass(500);
        self.never_serves(3000);
    }
}

#[test]
fn without_the_operators_word_a_gateway_holds_once_its_lease_is_over() {
    let mut world = World::new(Leases::with_failsafe(["other".into()]));
    world.pass(3000);
    world.controllers = false;
    world.pass(500);
    world.never_serves(5000);
    assert_eq!(world.leases.sampled(&shop()), None, "nor does it ask anybody");
}

#[test]
fn with_it_the_gateway_goes_on_with_the_last_primary_for_as_long_as_a_replica_speaks_for_it() {
    let mut world = World::well();
    assert_eq!(world.leases.sampled(&shop()), Some(&address("r1")));
    world.controllers = false;
    world.pass(LEASE.as_millis() as u64);
    assert_eq!(world.serves(), None, "a controller may yet speak");
    for _ in 0..6000 {
        world.pass(STEP);
        assert_eq!(world.serves(), Some(("r1".into(), 5)));
    }
}

#[test]
fn a_replica_that_acknowledges_somewhat_late_leaves_no_gap() {
    let mut world = World::well();
    (world.controllers, world.period) = (false, 1110);
    world.pass(2000);
    for _ in 0..6000 {
        world.pass(STEP);
        assert_eq!(world.serves(), Some(("r1".into(), 5)));
    }
}

#[test]
fn it_does_not_begin_before_every_controller_was_silent_for_longer_than_a_lease() {
    let mut world = World::well();
    world.controllers = false;
    for _ in 0..20 {
        world.pass(300);
        world.hears(None, 5, PrimaryOrder::Serve(address("r1")));
        assert!(!world.leases.is_failsafe(&shop(), world.now()));
    }
    world.pass(400);
    assert_eq!(world.serves(), None);
    world.pass(20);
    assert!(world.leases.is_failsafe(&shop(), world.now()));
}

#[test]
fn a_word_about_another_service_is_a_word_of_a_controller() {
    let mut world = World::alone();
    world.leases.told(world.now(), GatewayOrders { answers: None, lease: LEASE, services: Vec::new() });
    assert_eq!(world.serves(), None);
}

#[test]
fn a_service_that_is_told_to_hold_or_drain_stays_held() {
    for order in [PrimaryOrder::Hold, PrimaryOrder::Drain] {
        World::well().only_hears(6, order);
    }
}

#[test]
fn one_that_heard_of_a_newer_epoch_goes_on_in_none() {
    World::well().only_hears(6, PrimaryOrder::Serve(address("r2")));
    World::well().only_hears(6, PrimaryOrder::Serve(address("r1")));
}

#[test]
fn without_a_lease_before_there_is_nothing_to_go_on_with() {
    let mut world = World::new(Leases::with_failsafe([shop()]));
    world.controllers = false;
    world.hears(None, 5, PrimaryOrder::Serve(address("r1")));
    world.pass(500);
    world.never_serves(5000);
}

#[test]
fn who_answers_first_after_the_lease_may_be_anybody() {
    let mut world = World::new(Leases::with_failsafe([shop()]));
    world.answers = false;
    world.pass(3000);
    world.controllers = false;
    world.pass(500);
    world.answers = true;
    world.never_serves(5000);
}

#[test]
fn a_primary_whose_replicas_acknowledge_no_more_is_held_soon_although_it_shows_them_as_linked() {
    let mut world = World::alone();
    world.acknowledges = false;
    world.pass(MOVED_WITHIN.as_millis() as u64 + 250);
    world.never_serves(5000);
    world.acknowledges = true;
    world.pass(1500);
    assert_eq!(world.serves(), Some(("r1".into(), 5)), "it is back");
}

#[test]
fn what_is_allowed_ends_with_the_evidence() {
    let mut world = World::alone();
    world.answers = false;
    let Some(Standing::Serve { until, .. }) = world.leases.standing(&shop(), world.now()) else {
        panic!("it serves");
    };
    assert!(until <= world.now() + MOVED_WITHIN);
    world.pass(MOVED_WITHIN.as_millis() as u64);
    assert_eq!(world.serves(), None);
    assert!(world.now() >= until);
}

#[test]
fn a_primary_that_shows_no_replica_is_held_at_once() {
    let mut world = World::alone();
    world.linked = false;
    world.look("r1");
    assert_eq!(world.serves(), None, "all were frozen, say");
}

#[test]
fn one_that_is_no_primary_any_more_is_held_at_once_and_for_good() {
    let mut world = World::alone();
    world.is_primary = false;
    world.look("r1");
    assert_eq!(world.serves(), None);
    world.is_primary = true;
    world.never_serves(5000);
}

#[test]
fn one_that_was_no_primary_under_the_lease_does_not_become_one_without() {
    let mut world = World::new(Leases::with_failsafe([shop()]));
    world.is_primary = false;
    world.pass(350);
    (world.controllers, world.is_primary) = (false, true);
    world.pass(500);
    world.never_serves(3000);
}

#[test]
fn a_lease_is_a_lease_until_its_end_however_long_it_is() {
    let mut world = World::well();
    world.controllers = false;
    world.report();
    let mut orders = said(Some(world.number), 5, PrimaryOrder::Serve(address("r1")));
    orders.lease = Duration::from_secs(1);
    let until = world.now() + orders.lease;
    world.leases.told(world.now(), orders);
    world.pass(900);
    assert!(!world.leases.is_failsafe(&shop(), world.now()));
    let lease = Standing::Serve { epoch: Epoch(5), primary: address("r1"), until };
    assert_eq!(world.leases.standing(&shop(), world.now()), Some(lease));
}

#[test]
fn another_process_at_its_address_is_held_at_once_and_for_good() {
    let mut world = World::alone();
    world.run_id = "second";
    world.look("r1");
    assert_eq!(world.serves(), None);
    world.never_serves(5000);
    world.run_id = "first";
    world.never_serves(5000);
}

#[test]
fn what_another_address_says_counts_for_nothing() {
    let mut world = World::alone();
    world.answers = false;
    for _ in 0..8 {
        world.pass(250);
        world.offset += 1;
        world.look("r2");
    }
    assert_eq!(world.serves(), None);
}

#[test]
fn an_offset_that_falls_back_is_another_history() {
    let mut world = World::alone();
    world.acknowledges = false;
    world.offset -= 1;
    world.look("r1");
    assert_eq!(world.serves(), None);
}

#[test]
fn one_that_stood_still_listens_before_it_goes_on() {
    let mut world = World::well();
    world.pass(990);
    // Asleep, and meanwhile the offset grew; on waking the first thing it sees is the primary.
    world.controllers = false;
    (world.ms, world.offset) = (world.ms + 600, world.offset + 100);
    world.look("r1");
    assert_eq!(world.serves(), None, "the controllers may have told others to promote");
    world.pass(LEASE.as_millis() as u64);
    assert_eq!(world.serves(), None);
    world.pass(1500);
    assert_eq!(world.serves(), Some(("r1".into(), 5)));
}

#[test]
fn what_moved_while_one_stood_still_may_have_moved_long_ago() {
    let mut world = World::well();
    (world.controllers, world.acknowledges, world.answers) = (false, false, false);
    (world.ms, world.offset) = (world.ms + 5000, world.offset + 100);
    world.look("r1");
    world.answers = true;
    world.never_serves(5000);
}

#[test]
fn a_controller_that_speaks_ends_it_at_once_and_its_lease_rules() {
    let mut world = World::alone();
    world.report();
    let asked = world.now();
    world.hears(Some(world.number), 5, PrimaryOrder::Serve(address("r1")));
    let lease = Standing::Serve { epoch: Epoch(5), primary: address("r1"), until: asked + LEASE };
    assert_eq!(world.leases.standing(&shop(), world.now()), Some(lease), "no longer than that");
    for order in [PrimaryOrder::Hold, PrimaryOrder::Drain, PrimaryOrder::Serve(address("r2"))] {
        let mut world = World::alone();
        world.hears(None, 6, order);
        assert_eq!(world.serves(), None);
        world.never_serves(3000);
    }
}

#[test]
fn one_that_leaves_serves_nobody_without_a_lease() {
    let mut world = World::alone();
    world.leases.forgo_failsafe();
    world.never_serves(3000);
    let mut world = World::alone();
    world.leases.leave();
    assert!(!world.leases.is_failsafe(&shop(), world.now()));
    world.never_serves(3000);
}

#[test]
fn its_begin_and_its_end_are_told_once_with_the_reason() {
    let mut world = World::well();
    assert_eq!(world.leases.alarms(world.clock()), []);
    world.controllers = false;
    world.pass(600);
    let begins = Alarm::Begins { service: shop(), primary: address("r1"), epoch: Epoch(5) };
    assert_eq!(world.leases.alarms(world.clock()), [begins]);
    world.pass(1000);
    assert_eq!(world.leases.alarms(world.clock()), []);
    world.controllers = true;
    world.pass(100);
    let ends = |because, ms| [Alarm::Ends { service: shop(), lasted: Duration::from_millis(ms), because }];
    assert_eq!(world.leases.alarms(world.clock()), ends(Ending::Told, 1100));
    assert_eq!(world.leases.alarms(world.clock()), []);

    let mut world = World::alone();
    assert_eq!(world.leases.alarms(world.clock()).len(), 1);
    world.answers = false;
    world.pass(2000);
    assert_eq!(world.leases.alarms(world.clock()), ends(Ending::Unsupported, 2000));

    let mut world = World::alone();
    assert_eq!(world.leases.alarms(world.clock()).len(), 1);
    world.leases.forgo_failsafe();
    assert_eq!(world.leases.alarms(world.clock()), ends(Ending::Leaving, 0));
}

#[test]
fn controllers_are_told_for_an_hour_since_when_and_for_how_long() {
    let mut world = World::alone();
    assert_eq!(world.leases.alarms(world.clock()).len(), 1);
    let began = world.clock().unix;
    assert_eq!(world.report().failsafe[&shop()], FailsafeRun { began, lasted_ms: None });
    world.controllers = true;
    world.pass(2000);
    assert_eq!(world.leases.alarms(world.clock()).len(), 1);
    let over = FailsafeRun { began, lasted_ms: Some(2000) };
    assert_eq!(world.report().failsafe[&shop()], over);
    world.pass(3_590_000);
    assert_eq!(world.report().failsafe[&shop()], over);
    world.pass(10_000);
    assert_eq!(world.report().failsafe.len(), 0);
}

#[test]
fn nobody_who_stands_still_goes_on_for_longer_than_a_lease_by_what_was_true_before() {
    let world = World::alone();
    let Some(Standing::Serve { until, .. }) = world.leases.standing(&shop(), world.now()) else {
        panic!("it serves");
    };
    assert!(until > world.now() && until <= world.now() + LEASE);
}
