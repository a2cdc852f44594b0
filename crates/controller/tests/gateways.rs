//! Leases of gateways: who gets one, what each is told, and what waits for them.

mod desk;

use backstay_controller::{Controller, Decided, Effect, Entry, GATEWAYS_MAX, Input, Mistake, State, Wish};
use backstay_model::{
    Epoch, FailsafeRun, GatewayId, GatewayReport, Health, LEASE, Observation, PrimaryOrder, Role, Term, Time,
};
use desk::{Desk, REFUSED, address, id, state};

fn app(number: u64) -> GatewayId {
    GatewayId { name: format!("app{number}").as_str().into(), process: number }
}

fn serve(host: &str) -> PrimaryOrder {
    PrimaryOrder::Serve(address(host))
}

impl Desk {
    /// The gateway reports, holding in this epoch if any.
    fn reports(&mut self, gateway: &GatewayId, holding: Option<u64>) {
        self.report += 1;
        let holding = holding.map(|epoch| ("shop".into(), Epoch(epoch))).into_iter().collect();
        let report = GatewayReport { number: self.report, holding, ..GatewayReport::default() };
        self.step(Input::Gateway { gateway: gateway.clone(), report: Some(report) });
    }

    fn failsafe(&mut self, gateway: &GatewayId, run: FailsafeRun) {
        self.report += 1;
        let failsafe = [("shop".into(), run)].into();
        let report = GatewayReport { number: self.report, failsafe, ..GatewayReport::default() };
        self.step(Input::Gateway { gateway: gateway.clone(), report: Some(report) });
    }

    fn leaves(&mut self, gateway: &GatewayId) {
        self.report += 1;
        let report = GatewayReport { number: self.report, leaving: true, ..GatewayReport::default() };
        self.step(Input::Gateway { gateway: gateway.clone(), report: Some(report) });
    }

    /// What gateways were told since this was asked last: to whom, in which epoch, what, and whether with a lease.
    fn said(&mut self) -> Vec<(String, u64, PrimaryOrder, bool)> {
        let told = std::mem::take(&mut self.gateways).into_iter();
        told.filter_map(|(name, orders)| {
            let shop = orders.services.first()?;
            let lease = orders.answers.is_some() && orders.lease == LEASE;
            Some((name, shop.epoch.0, shop.primary.clone(), lease))
        })
        .collect()
    }

    /// What was said last.
    fn last_said(&mut self) -> (u64, PrimaryOrder) {
        let (_, epoch, order, _) = self.said().pop().expect("something was said");
        (epoch, order)
    }

    fn is_registered(&self, gateway: &GatewayId) -> bool {
        self.brain.state().gateways.members.contains(gateway)
    }

    fn proposed_changes(&self) -> usize {
        let change = |entry: &&Entry| matches!(entry.decision, Decided::Gateways { .. });
        self.waiting.iter().filter(change).count()
    }

    /// The primary is found dead, and both replicas are drained and stand still.
    fn crash_and_freeze(&mut self) {
        self.everybody_thinks("r1", &REFUSED);
        self.pass(150);
        self.link_down("r2", "r1", 1000);
        self.link_down("r3", "r1", 1000);
        let frozen = self.orders.iter().filter(|order| order.ends_with("freeze")).count();
        assert!(frozen >= 2, "{:?}", self.orders);
        self.frozen("r2", 1000);
        self.frozen("r3", 1000);
    }

    fn promotes(&self, instance: &str) -> bool {
        self.orders.contains(&format!("{instance} promote"))
    }

    /// The candidate was promoted, closed.
    fn is_promoted(&mut self, instance: &str) {
        let mut seen = state(instance, Role::Primary { replicas: 0 }, 1000);
        seen.replid = "next".into();
        seen.previous = Some(("history".into(), backstay_model::ReplOffset(1000)));
        seen.closed = true;
        self.sees(instance, Observation::Replication(seen));
    }

    fn is_open(&mut self, instance: &str) {
        let mut seen = state(instance, Role::Primary { replicas: 0 }, 1000);
        seen.replid = "next".into();
        self.sees(instance, Observation::Replication(seen));
    }

    fn elected(&mut self, term: u64) {
        self.step(Input::Leadership { leader: Some(id("a")), term: Term(term) });
        self.step(Input::Lease(Time::MAX));
    }

    /// Both streams are seen, and an operator moves the primary to r2.
    fn switches_over(&mut self) {
        self.primary("r1", 1010);
        self.follows("r2", "r1", 1010);
        self.follows("r3", "r1", 1010);
        self.pass(5);
        self.step(Input::Asked {
            request: 1,
            wish: Wish::SwitchOver {
                service: "shop".into(),
                to: Some("r2".into()),
                dry_run: false,
                by: "ada".into(),
            },
        });
        assert_eq!(self.phase(), "epoch 2 switching over");
    }

    /// Both are seen again, as near as they are.
    fn is_near(&mut self) {
        self.pass(5);
        self.primary("r1", 1010);
        self.follows("r2", "r1", 1010);
    }
}

/// A settled desk with one gateway that was served a moment ago, and nothing said or ordered since.
fn served() -> Desk {
    let mut desk = Desk::settled();
    desk.reports(&app(1), None);
    desk.pass(1000);
    desk.reports(&app(1), None);
    desk.said();
    desk.orders.clear();
    desk.told.clear();
    desk
}

#[test]
fn a_gateway_gets_its_first_lease_only_once_its_registration_is_committed() {
    let mut desk = Desk::settled();
    desk.quorum_is_slow = true;
    desk.reports(&app(1), None);
    assert_eq!(desk.said(), []);
    desk.commit();
    assert!(desk.is_registered(&app(1)));
    assert_eq!(desk.said(), [("app1".into(), 1, serve("r1"), true)], "and then at once");
}

#[test]
fn a_registration_that_takes_long_is_proposed_again_and_counts_once() {
    let mut desk = Desk::settled();
    desk.quorum_is_slow = true;
    desk.reports(&app(1), None);
    desk.reports(&app(1), None);
    assert_eq!(desk.proposed_changes(), 1);
    desk.pass(400);
    desk.reports(&app(1), None);
    assert_eq!(desk.proposed_changes(), 2);
    desk.commit();
    assert_eq!(desk.brain.state().gateways.changes, 1, "the second one was for the registry as it was");
}

#[test]
fn every_report_is_answered_with_a_lease_and_the_readers() {
    let mut desk = served();
    desk.follows("r3", "r1", 990);
    desk.reports(&app(1), None);
    let (_, orders) = desk.gateways.pop().unwrap();
    assert_eq!(orders.answers, Some(desk.report));
    let readers = &orders.services[0].readers;
    let lags: Vec<_> = readers.iter().map(|reader| (reader.instance.as_str(), reader.lag_bytes)).collect();
    assert_eq!(lags, [("r2", 0), ("r3", 10)]);
    let mut received = desk::linked("r3", "r1", true, 990);
    received.sql.unapplied = 5;
    desk.sees("r3", Observation::Replication(received.clone()));
    desk.reports(&app(1), None);
    let readers = &desk.gateways.pop().unwrap().1.services[0].readers;
    assert_eq!(readers[1].lag_bytes, 15, "what it received and did not apply cannot be read there");
    received.sql.stalled = true;
    desk.sees("r3", Observation::Replication(received));
    desk.link_down("r2", "r1", 1000);
    desk.reports(&app(1), None);
    let readers = &desk.gateways.pop().unwrap().1.services[0].readers;
    assert_eq!(readers.len(), 0, "neither one whose link is down, nor one that applies nothing");
}

#[test]
fn a_deposed_leader_grants_nothing() {
    let mut desk = served();
    desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
    desk.reports(&app(1), None);
    assert_eq!(desk.said(), []);
}

#[test]
fn a_leader_without_its_own_lease_grants_nothing() {
    let mut desk = served();
    let now = desk.clock().time;
    desk.step(Input::Lease(now));
    desk.reports(&app(1), None);
    assert_eq!(desk.said(), []);
    desk.step(Input::Lease(Time::MAX));
    desk.reports(&app(1), None);
    assert_eq!(desk.said().len(), 1);
}

#[test]
fn a_report_that_an_older_connection_brings_late_changes_nothing() {
    let mut desk = served();
    let late = GatewayReport { number: 1, leaving: true, ..GatewayReport::default() };
    desk.step(Input::Gateway { gateway: app(1), report: Some(late) });
    assert!(desk.is_registered(&app(1)));
    assert_eq!(desk.said(), []);
}

#[test]
fn all_gateways_are_told_to_hold_as_soon_as_a_failover_begins() {
    let mut desk = served();
    desk.reports(&app(2), None);
    desk.said();
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(150);
    let hold = |name: &str| (name.to_owned(), 2, PrimaryOrder::Hold, true);
    assert_eq!(desk.said(), [hold("app1"), hold("app2")]);
}

#[test]
fn a_promotion_waits_until_every_gateway_holds() {
    let mut desk = served();
    desk.reports(&app(1), None);
    desk.crash_and_freeze();
    assert!(!desk.promotes("r2"), "{:?}", desk.orders);
    desk.reports(&app(1), Some(1));
    assert!(!desk.promotes("r2"), "that was an older epoch");
    desk.reports(&app(1), Some(2));
    assert!(desk.promotes("r2"), "{:?}", desk.orders);
}

#[test]
fn a_hung_gateway_delays_a_promotion_by_one_lease_and_is_named_as_the_cause() {
    let mut desk = served();
    desk.reports(&app(1), None);
    let granted = desk.now_ms;
    desk.crash_and_freeze();
    let lease = LEASE.as_millis() as u64;
    desk.pass(granted + lease - desk.now_ms);
    assert!(!desk.promotes("r2"), "it may still serve");
    desk.pass(lease / 10);
    assert!(desk.promotes("r2"), "{:?}", desk.orders);
    let told = |part: &str| desk.told.iter().any(|sentence| sentence.contains(part));
    assert!(told("ms for gateway app1, which did not answer"), "{:?}", desk.told);
    let state = desk.brain.state().service(&"shop".into()).clone();
    assert!(state.history.back().unwrap().choice.contains("; waited "), "{:?}", state.history);
}

#[test]
fn one_that_is_told_to_hold_and_only_answers_delays_nothing_further() {
    let mut desk = served();
    desk.reports(&app(1), None);
    desk.crash_and_freeze();
    for _ in 0..10 {
        desk.pass(50);
        desk.reports(&app(1), None);
    }
    assert!(desk.promotes("r2"), "{:?}", desk.orders);
}

#[test]
fn without_gateways_a_promotion_waits_for_nothing() {
    let mut desk = Desk::settled();
    desk.crash_and_freeze();
    assert!(desk.promotes("r2"), "{:?}", desk.orders);
    assert!(!desk.told.iter().any(|sentence| sentence.contains("waited")));
}

#[test]
fn a_new_leader_waits_for_leases_that_the_one_before_may_have_granted() {
    let mut desk = served();
    desk.pass(1000);
    desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
    desk.elected(3);
    let elected = desk.now_ms;
    desk.crash_and_freeze();
    assert!(desk.now_ms - elected < LEASE.as_millis() as u64);
    assert!(!desk.promotes("r2"), "{:?}", desk.orders);
    desk.pass(440);
    assert!(desk.promotes("r2"), "{:?}", desk.orders);
}

#[test]
fn the_planted_mistake_of_a_new_leader_is_one() {
    let mut desk = served();
    desk.brain.plant(Mistake::NoInheritedLeases);
    desk.pass(1000);
    desk.elected(3);
    desk.crash_and_freeze();
    assert!(desk.promotes("r2"), "{:?}", desk.orders);
}

#[test]
fn a_new_leader_in_the_middle_of_a_promotion_waits_for_inherited_leases_and_then_gives_it_its_full_time() {
    let mut desk = served();
    desk.pass(500);
    desk.crash_and_freeze();
    assert_eq!(desk.phase(), "epoch 2 promoting");
    desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
    desk.elected(3);
    desk.orders.clear();
    desk.pass(300);
    assert!(!desk.promotes("r2"), "{:?}", desk.orders);
    desk.pass(200);
    assert!(desk.promotes("r2"), "{:?}", desk.orders);
    desk.pass(300);
    assert_eq!(desk.phase(), "epoch 2 promoting", "its time counts from the order");
}

#[test]
fn what_a_gateway_confirmed_to_a_follower_counts_once_that_one_leads() {
    let mut desk = served();
    desk.crash_and_freeze();
    desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
    desk.reports(&app(1), Some(2));
    desk.elected(3);
    desk.pass(5);
    desk.frozen("r2", 1000);
    desk.frozen("r3", 1000);
    assert!(desk.promotes("r2"), "{:?}", desk.orders);
}

#[test]
fn writes_are_sent_to_a_new_primary_once_it_was_seen_open() {
    let mut desk = served();
    desk.crash_and_freeze();
    desk.reports(&app(1), Some(2));
    desk.said();
    desk.is_promoted("r2");
    assert_eq!(desk.phase(), "epoch 2 opening");
    desk.reports(&app(1), Some(2));
    assert_eq!(desk.last_said(), (2, PrimaryOrder::Hold), "it would refuse them");
    desk.pass(5);
    desk.is_open("r2");
    assert_eq!(desk.said(), [("app1".into(), 2, serve("r2"), true)], "without another question");
}

#[test]
fn in_a_switchover_gateways_drain_before_writes_are_paused() {
    let mut desk = served();
    desk.switches_over();
    desk.reports(&app(1), None);
    assert_eq!(desk.last_said(), (1, serve("r1")), "until the candidate is near");
    desk.is_near();
    assert_eq!(desk.last_said(), (2, PrimaryOrder::Drain));
    assert!(!desk.orders.contains(&"r1 pause".into()), "{:?}", desk.orders);
    desk.reports(&app(1), Some(2));
    assert!(desk.orders.contains(&"r1 pause".into()), "{:?}", desk.orders);
}

#[test]
fn a_hung_gateway_delays_the_pause_of_a_switchover_by_at_most_one_lease() {
    let mut desk = served();
    desk.switches_over();
    desk.is_near();
    for _ in 0..90 {
        desk.is_near();
    }
    assert!(desk.orders.contains(&"r1 pause".into()), "{:?}", desk.orders);
    assert!(desk.told.iter().any(|it| it.contains("gateway app1, which did not answer")), "{:?}", desk.told);
}

/// What the gateway was told last, and all that it was told before is forgotten.
fn told_last(desk: &mut Desk, gateway: &str) -> Option<(u64, PrimaryOrder)> {
    let said = desk.said().into_iter().filter(|(name, ..)| name == gateway);
    said.last().map(|(_, epoch, order, _)| (epoch, order))
}

#[test]
fn while_a_switchover_waits_for_a_gateway_that_sleeps_the_others_serve_on() {
    let mut desk = served();
    let lease_ends = desk.now_ms + 440;
    desk.reports(&app(2), None);
    desk.pass(250);
    desk.reports(&app(2), None);
    desk.switches_over();
    desk.reports(&app(2), None);
    while desk.now_ms + 5 < lease_ends {
        desk.is_near();
        desk.reports(&app(2), None);
        assert_eq!(told_last(&mut desk, "app2"), Some((1, serve("r1"))), "at {} ms", desk.now_ms);
    }
    desk.is_near();
    assert_eq!(told_last(&mut desk, "app2"), Some((2, PrimaryOrder::Drain)));
    desk.reports(&app(2), Some(2));
    assert!(desk.orders.contains(&"r1 pause".into()), "{:?}", desk.orders);
    assert!(desk.told.iter().any(|it| it.contains("gateway app1, which did not answer")), "{:?}", desk.told);
}

#[test]
fn a_switchover_goes_on_as_soon_as_a_gateway_that_slept_wakes() {
    let mut desk = served();
    desk.pass(250);
    desk.switches_over();
    desk.is_near();
    assert_ne!(told_last(&mut desk, "app1"), Some((2, PrimaryOrder::Drain)));
    desk.reports(&app(1), None);
    desk.is_near();
    assert_eq!(told_last(&mut desk, "app1"), Some((2, PrimaryOrder::Drain)));
}

#[test]
fn a_wait_for_a_gateway_that_slept_earlier_does_not_count_for_one_that_sleeps_now() {
    for far in [true, false] {
        let mut desk = served();
        desk.reports(&app(2), None);
        desk.pass(250);
        desk.reports(&app(2), None);
        desk.switches_over();
        desk.is_near();
        desk.said();
        // The candidate falls behind, or the old primary is late, before the gateways hold: nothing waits for them.
        if !far {
            desk.sees("r1", Observation::Health(Health::Down(backstay_model::Evidence::Silent)));
        }
        for step in 0..100 {
            if far {
                desk.primary("r1", 10_000_000);
            }
            desk.pass(5);
            desk.reports(&app(2), None);
            if step < 50 {
                desk.reports(&app(1), None);
            }
        }
        for _ in 0..10 {
            desk.is_near();
            desk.reports(&app(2), None);
            assert_eq!(told_last(&mut desk, "app2"), Some((1, serve("r1"))), "app1 sleeps now");
        }
        desk.reports(&app(1), None);
        desk.is_near();
        assert_eq!(told_last(&mut desk, "app2"), Some((2, PrimaryOrder::Drain)));
    }
}

#[test]
fn gateways_that_take_turns_to_sleep_delay_a_switchover_by_one_lease_at_most() {
    let mut desk = served();
    desk.reports(&app(2), None);
    desk.switches_over();
    let began = desk.now_ms;
    while told_last(&mut desk, "app1").is_none_or(|(_, order)| order != PrimaryOrder::Drain) {
        // Each renews its lease before that ends, and late, and never are both awake.
        match (desk.now_ms - began) % 420 {
            0 => desk.reports(&app(1), None),
            210 => desk.reports(&app(2), None),
            _ => {}
        }
        if desk.now_ms - began > 250 {
            desk.is_near();
        } else {
            desk.pass(5);
        }
        assert!(desk.now_ms - began < 800, "it waits for ever");
    }
}

#[test]
fn every_controller_tells_of_a_gateway_that_served_without_a_lease() {
    for leads in [true, false] {
        let mut desk = served();
        if !leads {
            desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
        }
        desk.told.clear();
        let began = desk.clock().unix;
        let mut reports = |lasted_ms| {
            desk.failsafe(&app(1), FailsafeRun { began, lasted_ms });
            let problems = desk.brain.status(desk.clock()).services.remove(0).problems;
            let found = problems.into_iter().find(|problem| problem.code == "ServedWithoutLease");
            (std::mem::take(&mut desk.told), found.map(|problem| problem.sentence).unwrap_or_default())
        };
        let (told, problem) = reports(None);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("gateway app1 (00000001) serves without a lease since 20"), "{told:?}");
        assert!(problem.contains("app1 serves without a lease since 20") && problem.contains("; start "));
        assert_eq!(reports(None).0, Vec::<String>::new(), "once");
        let (told, problem) = reports(Some(12_345));
        assert!(told[0].contains("served without a lease for 12.3 s from 20"), "{told:?}");
        assert!(
            problem.contains("for 12.3 s from 20") && problem.contains("`backstay history`"),
            "{problem}"
        );
        assert_eq!(reports(Some(12_345)).0, Vec::<String>::new(), "once");
    }
}

#[test]
fn a_gateway_that_serves_without_a_lease_again_and_again_is_told_of_once_and_then_summed_up_every_minute() {
    let mut desk = served();
    let start = desk.now_ms;
    let mut told: Vec<(u64, String)> = Vec::new();
    let mut runs = |desk: &mut Desk, until_ms: u64| {
        while desk.now_ms < start + until_ms {
            let began = desk.clock().unix;
            for lasted_ms in [None, Some(500)] {
                desk.failsafe(&app(1), FailsafeRun { began, lasted_ms });
                desk.pass(500);
                let sentences = std::mem::take(&mut desk.told).into_iter();
                told.extend(sentences.map(|it| ((desk.now_ms - start) / 1000, it)));
            }
        }
        std::mem::take(&mut told)
    };
    let told = runs(&mut desk, 130_000);
    let sums = told.iter().filter(|(_, it)| it.contains(" times more within the last minute"));
    assert_eq!(sums.count(), 2, "{told:#?}");
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told[0].1.starts_with("gateway app1 (00000001) serves without a lease since 20"), "{told:#?}");
    assert!(told[1].1.contains("served without a lease for 0.5 s from 20"), "{told:#?}");
    assert!(told[3].1.ends_with("; it began to do so 60 times more within the last minute"), "{told:#?}");
    // It falls silent, and is forgotten before the minute is over.
    desk.told.clear();
    desk.pass(15_000);
    assert!(!desk.is_registered(&app(1)));
    assert!(desk.told.iter().any(|it| it.contains("times more within the last minute")), "{:?}", desk.told);
}

#[test]
fn a_switchover_that_is_given_up_lets_gateways_serve_the_old_primary_again() {
    let mut desk = served();
    desk.switches_over();
    desk.is_near();
    desk.reports(&app(1), Some(2));
    desk.everybody_thinks("r2", &Health::Down(backstay_model::Evidence::Silent));
    desk.pass(300);
    assert_eq!(desk.phase(), "epoch 2 opening");
    desk.reports(&app(1), Some(2));
    desk.said();
    desk.primary("r1", 1010);
    assert_eq!(desk.last_said(), (2, serve("r1")));
}

#[test]
fn after_a_change_of_leaders_in_the_middle_of_a_drain_the_new_one_drains_before_it_pauses() {
    let mut desk = served();
    desk.switches_over();
    desk.is_near();
    assert_eq!(desk.last_said(), (2, PrimaryOrder::Drain));
    desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
    desk.elected(3);
    desk.orders.clear();
    desk.is_near();
    assert_eq!(desk.last_said(), (2, PrimaryOrder::Drain));
    assert_eq!(desk.orders, Vec::<String>::new());
    desk.reports(&app(1), Some(2));
    assert!(desk.orders.contains(&"r1 pause".into()), "{:?}", desk.orders);
}

#[test]
fn another_process_of_the_same_name_does_not_clear_the_lease_of_the_one_before() {
    let mut desk = served();
    desk.reports(&app(1), None);
    let restarted = GatewayId { process: 99, ..app(1) };
    desk.reports(&restarted, None);
    desk.crash_and_freeze();
    desk.reports(&restarted, Some(2));
    assert!(!desk.promotes("r2"), "the old process may still serve");
    desk.pass(440);
    assert!(desk.promotes("r2"), "{:?}", desk.orders);
}

#[test]
fn one_that_says_goodbye_is_removed_at_once_and_waited_for_no_more() {
    let mut desk = served();
    desk.reports(&app(1), None);
    desk.leaves(&app(1));
    assert!(!desk.is_registered(&app(1)));
    desk.crash_and_freeze();
    assert!(desk.promotes("r2"), "{:?}", desk.orders);
}

#[test]
fn one_from_which_nothing_is_heard_for_ten_seconds_is_removed() {
    let mut desk = served();
    desk.pass(9900);
    assert!(desk.is_registered(&app(1)));
    desk.pass(1000);
    assert!(!desk.is_registered(&app(1)));
    desk.reports(&app(1), None);
    assert!(desk.is_registered(&app(1)), "and again, when it wakes");
}

#[test]
fn a_new_leader_gives_every_gateway_ten_seconds_to_find_it() {
    let mut desk = served();
    desk.pass(9000);
    desk.elected(3);
    desk.pass(5000);
    assert!(desk.is_registered(&app(1)));
}

#[test]
fn one_whose_removal_may_yet_be_committed_gets_no_lease_until_that_is_settled() {
    let mut desk = served();
    desk.quorum_is_slow = true;
    desk.pass(11_000);
    assert!(desk.proposed_changes() > 0);
    desk.reports(&app(1), None);
    assert_eq!(desk.said(), [], "its place may be taken away in this moment");
    desk.quorum_is_slow = false;
    desk.pass(1000);
    desk.reports(&app(1), None);
    assert_eq!(desk.said().len(), 1, "that proposal is void by now");
    desk.commit();
    assert!(desk.is_registered(&app(1)), "{:?}", desk.brain.state().gateways);
}

#[test]
fn the_connection_of_a_gateway_is_only_a_hint() {
    let mut desk = served();
    desk.reports(&app(1), None);
    desk.step(Input::Gateway { gateway: app(1), report: None });
    desk.said();
    desk.crash_and_freeze();
    assert_eq!(desk.said(), [], "there is no way to tell it");
    assert!(!desk.promotes("r2"), "but it may reach the primary");
}

#[test]
fn there_is_room_for_so_many_and_only_a_silent_one_makes_more() {
    let mut desk = Desk::settled();
    let many = GATEWAYS_MAX as u64;
    for number in 0..many {
        desk.reports(&app(number), None);
    }
    desk.reports(&app(many), None);
    assert!(!desk.is_registered(&app(many)), "all others hold leases");
    desk.pass(1000);
    for number in 1..=many {
        desk.reports(&app(number), None);
    }
    assert!(desk.is_registered(&app(many)));
    assert!(!desk.is_registered(&app(0)), "the one that said nothing");
    assert_eq!(desk.brain.state().gateways.members.len(), GATEWAYS_MAX);
}

#[test]
fn one_that_is_given_no_lease_hears_that_somebody_leads() {
    let mut desk = Desk::settled();
    for number in 0..=GATEWAYS_MAX as u64 {
        desk.reports(&app(number), None);
    }
    let late = app(GATEWAYS_MAX as u64);
    assert!(!desk.is_registered(&late));
    desk.gateways.clear();
    desk.reports(&late, None);
    let (name, orders) = desk.gateways.pop().unwrap();
    assert_eq!((&*name, orders.answers, orders.services.len()), (late.name.as_str(), None, 0));
    desk.step(Input::Lease(Time::ZERO));
    desk.reports(&late, None);
    assert!(desk.gateways.is_empty(), "who may not lead any more says nothing");
}

#[test]
fn a_change_of_the_registry_that_was_proposed_for_another_state_of_it_is_void() {
    let mut state = State::default();
    let change = |change, joined, left| Entry {
        service: "".into(),
        decision: Decided::Gateways { change, joined, left },
    };
    assert!(state.apply(&change(1, vec![app(1)], vec![])));
    assert!(!state.apply(&change(1, vec![], vec![app(1)])));
    assert!(!state.apply(&change(3, vec![], vec![app(1)])));
    assert!(state.gateways.members.contains(&app(1)));
    assert!(state.services.is_empty());
}

#[test]
fn a_follower_keeps_no_more_gateways_in_mind_than_it_can() {
    let mut desk = Desk::settled();
    desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
    for number in 0..5000 {
        desk.reports(&app(number), None);
    }
    let status = |brain: &Controller, desk: &Desk| brain.status(desk.clock()).gateways.len();
    assert_eq!(status(&desk.brain, &desk), 2 * GATEWAYS_MAX);
    let effects = desk.brain.step(desk.clock(), Input::Wake);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::TellGateway { .. })));
}
