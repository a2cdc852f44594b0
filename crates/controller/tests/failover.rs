//! The brain, step by step: what it orders, and what it does not order, when.

mod desk;

use backstay_controller::{Cause, Decided, Entry, Input, Report, ServiceState, State, Wish};
use backstay_model::{
    Address, Epoch, Health, Identity, InstanceReport, InstanceSpec, Observation, ReplId, ReplOffset,
    Replication, Role, Term, Time, UnixMicros,
};
use desk::{Desk, REFUSED, SILENT, address, id, spec, state};
use std::time::Duration;

fn promoted(instance: &str, closed: bool) -> Observation {
    let mut replication = state(instance, Role::Primary { replicas: 0 }, 1000);
    replication.previous = Some(("history".into(), ReplOffset(1000)));
    replication.replid = "next".into();
    replication.closed = closed;
    Observation::Replication(replication)
}

/// The primary's port is closed; both replicas stand still at the same offset.
fn crash_r1_and_freeze_the_rest(desk: &mut Desk) {
    desk.everybody_thinks("r1", &REFUSED);
    for replica in ["r2", "r3"] {
        desk.link_down(replica, "r1", 1000);
        desk.frozen(replica, 1000);
    }
}

fn fail_over_to_r2(desk: &mut Desk) {
    crash_r1_and_freeze_the_rest(desk);
    desk.sees("r2", promoted("r2", true));
    desk.sees("r2", promoted("r2", false));
    desk.sees("r2", Observation::CanaryAcknowledged { run_id: "run-r2".into() });
}

#[test]
fn an_existing_group_is_taken_over_as_it_is() {
    let desk = Desk::settled();
    assert_eq!(desk.phase(), "epoch 1 stable");
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
}

#[test]
fn a_crash_is_failed_over_in_this_order() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    assert_eq!(desk.phase(), "epoch 2 fencing");
    desk.link_down("r2", "r1", 1000);
    desk.link_down("r3", "r1", 990);
    desk.frozen("r2", 1000);
    desk.frozen("r3", 990);
    assert_eq!(desk.phase(), "epoch 2 promoting");
    desk.sees("r2", promoted("r2", true));
    assert_eq!(desk.phase(), "epoch 2 opening");
    desk.sees("r2", promoted("r2", false));
    desk.sees("r2", Observation::CanaryAcknowledged { run_id: "run-r2".into() });
    assert_eq!(desk.phase(), "epoch 2 stable");
    let expected = [
        "r1 fence",
        "r1 freeze",
        "r2 freeze",
        "r3 freeze",
        "r2 promote",
        "r2 open",
        "r2 canary",
        "r3 follow r2",
    ];
    assert_eq!(desk.orders, expected);
}

#[test]
fn nothing_is_ordered_before_the_plan_is_committed() {
    let mut desk = Desk::settled();
    desk.quorum_is_slow = true;
    desk.everybody_thinks("r1", &REFUSED);
    desk.link_down("r2", "r1", 1000);
    desk.pass(100);
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
    desk.commit();
    assert!(!desk.orders.is_empty());
}

#[test]
fn nothing_is_promoted_before_the_choice_is_committed() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    desk.link_down("r2", "r1", 1000);
    desk.link_down("r3", "r1", 1000);
    desk.quorum_is_slow = true;
    desk.frozen("r2", 1000);
    desk.frozen("r3", 1000);
    desk.pass(50);
    assert!(!desk.orders.iter().any(|order| order.ends_with("promote")), "{:?}", desk.orders);
    desk.commit();
    assert!(desk.orders.contains(&"r2 promote".to_owned()));
}

#[test]
fn a_candidate_that_is_open_is_not_announced() {
    let mut desk = Desk::settled();
    crash_r1_and_freeze_the_rest(&mut desk);
    desk.sees("r2", promoted("r2", false));
    assert_eq!(desk.phase(), "epoch 2 promoting", "it may have taken writes that nobody accounts for");
}

#[test]
fn one_controller_alone_begins_nothing() {
    let mut desk = Desk::settled();
    desk.sees("r1", Observation::Health(REFUSED));
    desk.pass(2000);
    assert_eq!(desk.phase(), "epoch 1 stable");
}

#[test]
fn the_most_advanced_replica_wins_whatever_the_operator_prefers() {
    let mut settings = spec();
    settings.preference.zone = Some("z2".into());
    let mut desk = Desk::settled_with(settings);
    desk.everybody_thinks("r1", &REFUSED);
    for (replica, offset) in [("r2", 900), ("r3", 1000)] {
        desk.link_down(replica, "r1", offset);
        desk.frozen(replica, offset);
    }
    assert!(desk.orders.contains(&"r3 promote".to_owned()), "{:?}", desk.orders);
}

#[test]
fn a_preference_wins_within_the_lag_that_the_operator_gives_up() {
    let mut settings = spec();
    settings.preference.zone = Some("z2".into());
    settings.preference.max_lag_bytes = 100;
    let mut desk = Desk::settled_with(settings);
    desk.everybody_thinks("r1", &REFUSED);
    for (replica, offset) in [("r2", 900), ("r3", 1000)] {
        desk.link_down(replica, "r1", offset);
        desk.frozen(replica, offset);
    }
    assert!(desk.orders.contains(&"r2 promote".to_owned()), "{:?}", desk.orders);
    let record = desk.brain.history(None).pop().unwrap();
    assert_eq!(record.lost.first().and_then(|lost| lost.bytes), Some(100), "what was given up is on record");
}

#[test]
fn a_replica_that_was_restarted_is_not_chosen() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    let other = Identity { run_id: "another".into(), version: "7".into(), keys: 0, loading: false };
    desk.sees("r3", Observation::Identity(other));
    desk.link_down("r2", "r1", 500);
    desk.frozen("r2", 500);
    desk.pass(1100);
    assert!(desk.orders.contains(&"r2 promote".to_owned()), "{:?}", desk.orders);
    assert!(!desk.orders.contains(&"r3 promote".to_owned()));
}

#[test]
fn after_a_crash_a_replica_is_frozen_only_when_its_link_is_down() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(5);
    desk.follows("r2", "r1", 1010);
    assert!(!desk.orders.contains(&"r2 freeze".to_owned()), "its socket may still hold acknowledged writes");
    desk.link_down("r2", "r1", 1020);
    assert!(desk.orders.contains(&"r2 freeze".to_owned()));
}

#[test]
fn a_link_that_stays_up_without_a_byte_is_waited_for_no_longer_than_drain_wait() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    for _ in 0..12 {
        desk.pass(5);
        desk.follows("r2", "r1", 1000);
    }
    assert!(desk.orders.contains(&"r2 freeze".to_owned()), "{:?}", desk.orders);
}

#[test]
fn a_primary_that_still_feeds_its_replicas_is_left_alone() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    for step in 0..120 {
        desk.pass(5);
        desk.follows("r2", "r1", 1000 + step);
        desk.follows("r3", "r1", 1000 + step);
    }
    assert!(!desk.orders.iter().any(|order| order.ends_with("promote")), "{:?}", desk.orders);
    assert!(desk.told.iter().any(|sentence| sentence.contains("still receives writes")), "{:#?}", desk.told);
}

#[test]
fn silence_is_contradicted_by_a_replica_that_still_receives() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &Health::Late);
    desk.follows("r2", "r1", 1000);
    desk.follows("r2", "r1", 1001);
    desk.everybody_thinks("r1", &SILENT);
    desk.pass(200);
    assert_eq!(desk.phase(), "epoch 1 stable");
    assert!(
        desk.told.iter().any(|sentence| sentence.contains("only unreachable for controllers")),
        "{:#?}",
        desk.told
    );
}

#[test]
fn silence_soon_after_a_failover_waits_for_the_cooldown() {
    let mut desk = Desk::settled();
    fail_over_to_r2(&mut desk);
    desk.everybody_thinks("r2", &SILENT);
    desk.pass(1000);
    assert_eq!(desk.phase(), "epoch 2 stable");
    desk.pass(10_000);
    assert_eq!(desk.phase(), "epoch 3 fencing");
}

#[test]
fn a_pause_stops_automatic_action_and_a_resume_lets_it_go_on() {
    let mut desk = Desk::settled();
    let duration = Duration::from_secs(60);
    desk.step(Input::Asked { request: 1, wish: Wish::Pause { service: None, duration, by: "ann".into() } });
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(500);
    assert_eq!(desk.phase(), "epoch 1 stable");
    desk.step(Input::Asked { request: 2, wish: Wish::Resume { service: None, by: "ann".into() } });
    desk.pass(10);
    assert_eq!(desk.phase(), "epoch 2 fencing");
}

#[test]
fn nothing_automatic_happens_while_no_majority_holds_the_same_settings() {
    let mut desk = Desk::settled();
    desk.agree("b", "other");
    desk.agree("c", "third");
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(200);
    assert_eq!(desk.phase(), "epoch 1 stable");
    desk.agree("c", "same");
    desk.pass(200);
    assert_eq!(desk.phase(), "epoch 2 fencing");
}

#[test]
fn a_leader_without_a_lease_orders_nothing() {
    let mut desk = Desk::settled();
    desk.step(Input::Lease(Time::ZERO));
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(200);
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
}

#[test]
fn a_deposed_leader_orders_nothing() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
    desk.orders.clear();
    desk.link_down("r2", "r1", 1000);
    desk.frozen("r2", 1000);
    desk.pass(500);
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
}

#[test]
fn a_promotion_that_is_not_seen_makes_the_next_candidate_a_new_epoch() {
    let mut desk = Desk::settled();
    crash_r1_and_freeze_the_rest(&mut desk);
    desk.sees("r2", Observation::Health(SILENT));
    assert_eq!(desk.phase(), "epoch 3 fencing");
    desk.pass(5);
    assert!(desk.orders.contains(&"r2 fence".to_owned()), "a possible primary is fenced: {:?}", desk.orders);
    desk.frozen("r3", 1000);
    assert!(desk.orders.contains(&"r3 promote".to_owned()), "{:?}", desk.orders);
}

#[test]
fn an_old_primary_that_returns_is_closed_before_it_follows() {
    let mut desk = Desk::settled();
    fail_over_to_r2(&mut desk);
    desk.orders.clear();
    desk.pass(200);
    desk.orders.clear();
    desk.primary("r1", 1200);
    assert_eq!(desk.orders, ["r1 fence"]);
    let mut closed = state("r1", Role::Primary { replicas: 0 }, 1200);
    closed.closed = true;
    desk.pass(120);
    desk.sees("r1", Observation::Replication(closed));
    assert!(desk.orders.contains(&"r1 follow r2".to_owned()), "{:?}", desk.orders);
    assert!(
        desk.told.iter().any(|sentence| sentence.contains("held 200 bytes of writes")),
        "{:#?}",
        desk.told
    );
}

/// A desk whose third instance is somebody else's primary, which never was part of the group.
fn with_a_stranger() -> Desk {
    let mut desk = Desk::settled();
    let mut service = desk.brain.state().service(&"shop".into()).clone();
    service.trusted.remove(&"r3".into());
    service.known.remove(&"r3".into());
    let services = [("shop".into(), service)].into();
    desk.step(Input::Restored(State { services, ..State::default() }));
    let identity = Identity { run_id: "theirs".into(), version: "7".into(), keys: 77, loading: false };
    let mut theirs = state("r3", Role::Primary { replicas: 1 }, 9000);
    (theirs.run_id, theirs.replid) = ("theirs".into(), "theirs".into());
    desk.sees("r3", Observation::Identity(identity));
    desk.sees("r3", Observation::Replication(theirs));
    desk.orders.clear();
    desk
}

#[test]
fn a_strangers_primary_is_neither_fenced_nor_overwritten_by_a_failover() {
    let mut desk = with_a_stranger();
    desk.everybody_thinks("r1", &REFUSED);
    desk.link_down("r2", "r1", 1000);
    desk.frozen("r2", 1000);
    desk.sees("r2", promoted("r2", true));
    desk.sees("r2", promoted("r2", false));
    desk.sees("r2", Observation::CanaryAcknowledged { run_id: "run-r2".into() });
    desk.pass(500);
    assert_eq!(desk.phase(), "epoch 2 stable");
    assert!(!desk.orders.iter().any(|order| order.starts_with("r3")), "{:?}", desk.orders);
}

#[test]
fn a_contradiction_lapses_when_nothing_more_is_received() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &Health::Late);
    desk.follows("r2", "r1", 1000);
    desk.follows("r2", "r1", 1001);
    desk.everybody_thinks("r1", &SILENT);
    for _ in 0..140 {
        desk.pass(5);
        desk.follows("r2", "r1", 1001);
        desk.follows("r3", "r1", 1001);
        desk.everybody_thinks("r1", &SILENT);
    }
    assert_ne!(desk.phase(), "epoch 1 stable", "{:#?}", desk.told);
}

#[test]
fn a_refused_freeze_is_ordered_again() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    desk.link_down("r2", "r1", 1000);
    let epoch = desk.brain.state().service(&"shop".into()).epoch;
    let syncing = Role::Replica { of: address("r1"), link_up: false, syncing: true };
    desk.sees("r2", Observation::Frozen { epoch, replication: state("r2", syncing, 1000) });
    desk.orders.clear();
    desk.pass(200);
    assert!(desk.orders.contains(&"r2 freeze".to_owned()), "{:?}", desk.orders);
}

#[test]
fn a_primary_that_somebody_still_talks_to_is_not_held_to_have_crashed() {
    let mut desk = Desk::settled();
    desk.peer_thinks("b", "r1", &REFUSED);
    desk.peer_thinks("c", "r1", &REFUSED);
    assert_eq!(desk.phase(), "epoch 1 stable", "the news of a crash may still be on its way here");
    for step in 0..30 {
        desk.pass(5);
        desk.follows("r2", "r1", 1001 + step);
        desk.primary("r1", 1001 + step);
        desk.peer_thinks("b", "r1", &REFUSED);
        desk.peer_thinks("c", "r1", &REFUSED);
    }
    let cause = desk.brain.history(None).pop().map(|told| told.record.cause);
    assert_ne!(cause.as_deref(), Some("2 controllers found its port closed"));
}

#[test]
fn failovers_that_follow_each_other_closely_back_off() {
    let mut desk = Desk::settled();
    fail_over_to_r2(&mut desk);
    let mut record = desk.brain.state().service(&"shop".into()).clone();
    record.flaps = 3;
    let at = record.ended.unwrap();
    record.not_before = Some(at + Duration::from_secs(4));
    let mut state = desk.brain.state().clone();
    state.services.insert("shop".into(), record);
    desk.step(Input::Restored(state));
    desk.everybody_thinks("r2", &REFUSED);
    desk.pass(1000);
    assert_eq!(desk.phase(), "epoch 2 stable");
    assert!(
        desk.told.iter().any(|sentence| sentence.contains("followed each other closely")),
        "{:#?}",
        desk.told
    );
    desk.pass(4000);
    assert_eq!(desk.phase(), "epoch 3 fencing");
}

#[test]
fn a_replica_that_somebody_else_promoted_is_left_alone_and_stops_everything() {
    let mut desk = Desk::settled();
    let mut usurper = state("r2", Role::Primary { replicas: 0 }, 1000);
    usurper.replid = "theirs".into();
    desk.sees("r2", Observation::Replication(usurper));
    desk.pass(300);
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
    let explanation = desk.brain.status(desk.clock()).services.remove(0);
    assert!(explanation.problems.iter().any(|problem| problem.code == "ForeignManager"), "{explanation:?}");
}

/// A replica that somebody pointed at a server outside of the file.
fn of_elsewhere(instance: &str, replid: &str, offset: u64) -> Observation {
    let role = Role::Replica { of: address("elsewhere"), link_up: replid != "history", syncing: false };
    Observation::Replication(Replication { replid: replid.into(), ..state(instance, role, offset) })
}

#[test]
fn a_failover_leaves_a_replica_of_a_stranger_alone() {
    let mut desk = Desk::settled();
    desk.sees("r3", of_elsewhere("r3", "theirs", 5000));
    desk.everybody_thinks("r1", &REFUSED);
    desk.link_down("r2", "r1", 1000);
    desk.frozen("r2", 1000);
    assert_eq!(desk.phase(), "epoch 2 promoting");
    desk.sees("r2", promoted("r2", true));
    desk.pass(500);
    assert!(!desk.orders.iter().any(|order| order.starts_with("r3")), "{:?}", desk.orders);
}

#[test]
fn a_failover_leaves_a_stranger_alone_that_took_the_primarys_place() {
    let mut desk = Desk::settled();
    let identity = Identity { run_id: "theirs".into(), version: "7".into(), keys: 77, loading: false };
    let mut theirs = of_elsewhere("r1", "theirs", 5000);
    if let Observation::Replication(replication) = &mut theirs {
        replication.run_id = "theirs".into();
    }
    let replaced = InstanceReport { health: Health::Up, run_id: Some("theirs".into()), primary: false };
    let opinions = vec![("shop".into(), "r1".into(), replaced)];
    let report = Report { digests: [].into(), opinions };
    desk.step(Input::Reported { from: id("b"), report });
    desk.sees("r1", Observation::Identity(identity));
    assert_eq!(desk.phase(), "epoch 2 fencing");
    desk.sees("r1", theirs);
    desk.sees("r1", Observation::Health(Health::Up));
    desk.link_down("r2", "r1", 1000);
    desk.frozen("r2", 1000);
    desk.link_down("r3", "r1", 1000);
    desk.frozen("r3", 1000);
    assert_eq!(desk.phase(), "epoch 2 promoting");
    desk.sees("r2", promoted("r2", true));
    desk.pass(500);
    assert!(!desk.orders.iter().any(|order| order.starts_with("r1")), "{:?}", desk.orders);
}

#[test]
fn a_replica_of_the_old_primary_that_was_never_seen_in_step_is_led_to_the_new_one() {
    let mut desk = Desk::settled();
    let mut service = desk.brain.state().service(&"shop".into()).clone();
    service.trusted.remove(&"r3".into());
    service.known.remove(&"r3".into());
    desk.step(Input::Restored(State { services: [("shop".into(), service)].into(), ..State::default() }));
    desk.follows("r3", "r1", 900);
    desk.everybody_thinks("r1", &REFUSED);
    for replica in ["r2", "r3"] {
        desk.link_down(replica, "r1", 1000);
        desk.frozen(replica, 1000);
    }
    desk.sees("r2", promoted("r2", true));
    desk.pass(500);
    assert!(desk.orders.contains(&"r3 follow r2".to_owned()), "{:?}", desk.orders);
}

#[test]
fn another_process_in_the_place_of_the_promoted_one_is_not_opened() {
    let mut desk = Desk::settled();
    crash_r1_and_freeze_the_rest(&mut desk);
    desk.sees("r2", promoted("r2", true));
    assert_eq!(desk.phase(), "epoch 2 opening");
    let identity = Identity { run_id: "theirs".into(), version: "7".into(), keys: 77, loading: false };
    desk.sees("r2", Observation::Identity(identity));
    desk.orders.clear();
    desk.pass(500);
    let told = desk.orders.iter().any(|order| order == "r2 open" || order == "r2 canary");
    assert!(!told, "{:?}", desk.orders);
}

#[test]
fn a_replica_that_was_pointed_elsewhere_in_vain_still_holds_what_is_ours() {
    let mut desk = Desk::settled();
    desk.sees("r3", of_elsewhere("r3", "history", 1010));
    desk.everybody_thinks("r1", &REFUSED);
    desk.link_down("r2", "r1", 1000);
    desk.frozen("r2", 1000);
    desk.sees("r3", of_elsewhere("r3", "history", 1010));
    desk.frozen("r3", 1010);
    assert!(desk.orders.contains(&"r3 promote".to_owned()), "{:?}", desk.orders);
}

#[test]
fn a_failover_leaves_a_primary_alone_that_was_never_part_of_the_group() {
    let before = Desk::settled().brain.state().clone();
    let mut settings = spec();
    let fourth = InstanceSpec { name: "r4".into(), address: address("r4"), ..settings.instances[0].clone() };
    settings.instances.push(fourth);
    let mut desk = Desk::leading(settings, before);
    desk.primary("r1", 1000);
    desk.follows("r2", "r1", 1000);
    desk.follows("r3", "r1", 1000);
    desk.primary("r4", 5000);
    crash_r1_and_freeze_the_rest(&mut desk);
    assert_eq!(desk.phase(), "epoch 2 promoting");
    desk.sees("r2", promoted("r2", true));
    desk.pass(500);
    assert!(!desk.orders.iter().any(|order| order.starts_with("r4")), "{:?}", desk.orders);
}

#[test]
fn a_primary_that_came_back_as_one_lacks_protected_boot_and_is_told_what_mends_that() {
    let sentence = |desk: &Desk| {
        let problems = desk.brain.status(desk.clock()).services.remove(0).problems;
        let found = problems.into_iter().find(|problem| problem.code == "PrimaryRestarted");
        found.expect("it was restarted").sentence
    };
    let mut desk = Desk::settled();
    desk.quorum_is_slow = true;
    let identity = Identity { run_id: "another".into(), version: "7".into(), keys: 0, loading: false };
    desk.sees("r1", Observation::Identity(identity));
    let mut born = state("r1", Role::Replica { of: address("r2"), link_up: false, syncing: false }, 0);
    born.run_id = "another".into();
    desk.sees("r1", Observation::Replication(born.clone()));
    assert!(!sentence(&desk).contains("adopt"), "{}", sentence(&desk));
    born.role = Role::Primary { replicas: 0 };
    desk.sees("r1", Observation::Replication(born));
    assert!(sentence(&desk).contains("`backstay adopt shop`"), "{}", sentence(&desk));
}

#[test]
fn a_restarted_primary_that_is_promoted_again_is_opened_though_others_have_not_found_it_yet() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    desk.link_down("r2", "r1", 1000);
    let decide = Wish::Decide { service: "shop".into(), instance: "r1".into(), by: "ann".into() };
    desk.step(Input::Asked { request: 1, wish: decide });
    desk.pass(300);
    let identity = Identity { run_id: "again".into(), version: "7".into(), keys: 5, loading: false };
    desk.sees("r1", Observation::Identity(identity));
    let seen = |role: Role, closed: bool| {
        let mut seen = state("r1", role, 1000);
        (seen.run_id, seen.replid) = ("again".into(), "next".into());
        seen.closed = closed;
        seen
    };
    let replica = Role::Replica { of: Address::nowhere(), link_up: false, syncing: false };
    let epoch = desk.brain.state().service(&"shop".into()).epoch;
    desk.sees("r1", Observation::Replication(seen(replica.clone(), false)));
    desk.sees("r1", Observation::Health(Health::Up));
    desk.sees("r1", Observation::Frozen { epoch, replication: seen(replica, false) });
    desk.pass(1100);
    assert_eq!(desk.phase(), "epoch 2 promoting", "{:#?}", desk.told);
    desk.sees("r1", Observation::Replication(seen(Role::Primary { replicas: 0 }, true)));
    assert!(desk.orders.contains(&"r1 open".to_owned()), "{:?}", desk.orders);
    desk.pass(3000);
    assert_eq!(desk.phase(), "epoch 2 opening", "{:#?}", desk.told);
}

/// A state that entries are applied to, one by one.
struct Log(State);

impl Log {
    fn adopted() -> Self {
        let mut log = Self(State::default());
        log.apply(Decided::Adopt {
            primary: "r1".into(),
            run_id: "run-r1".into(),
            replid: "history".into(),
            replicas: [].into(),
        });
        log
    }

    fn apply(&mut self, decision: Decided) {
        assert!(self.0.apply(&Entry { service: "shop".into(), decision }));
    }

    /// A failover, up to the promotion.
    fn fail_over(&mut self, cause: Cause, at: UnixMicros) {
        let epoch = self.service().epoch.next();
        self.apply(Decided::Begin { epoch, cause, suspected: at, verdict: at });
        self.apply(Decided::Choose {
            epoch,
            candidate: "r2".into(),
            run_id: "run-r2".into(),
            offset: ReplOffset(1),
            surplus: Vec::new(),
            compared: Vec::new(),
            reason: "it is the only one".into(),
            committed: at,
            fenced: at,
        });
        self.apply(Decided::Promoted {
            epoch,
            replid: "next".into(),
            offset: ReplOffset(1),
            paused: None,
            fenced: None,
            at,
        });
    }

    fn end(&mut self, at: UnixMicros) {
        let epoch = self.service().epoch;
        self.apply(Decided::End { epoch, routed: at, first_write: at, quick: true });
    }

    fn service(&self) -> &ServiceState {
        self.0.service(&"shop".into())
    }
}

const fn second(seconds: u64) -> UnixMicros {
    UnixMicros(1_700_000_000_000_000 + seconds * 1_000_000)
}

#[test]
fn a_failover_that_was_overtaken_before_it_ended_counts_as_flapping() {
    let mut log = Log::adopted();
    for seconds in 1..=3 {
        log.fail_over(Cause::Crashed { votes: 3 }, second(seconds));
    }
    assert_eq!(log.service().flaps, 2);
    assert_eq!(log.service().backoff(second(3)), Some(Duration::from_secs(1)));
}

#[test]
fn what_an_operator_orders_is_no_flapping() {
    let ordered = || Cause::Ordered { to: None, by: "ann".into() };
    let mut log = Log::adopted();
    for seconds in 1..=4 {
        log.fail_over(ordered(), second(seconds));
        log.end(second(seconds));
    }
    assert_eq!(log.service().flaps, 0, "one after the other");
    log.fail_over(ordered(), second(5));
    log.fail_over(Cause::Crashed { votes: 3 }, second(6));
    assert_eq!(log.service().flaps, 0, "nor if what it led to is lost at once");
}

#[test]
fn a_new_leader_does_not_take_a_historys_new_name_back_by_what_it_saw_before_it_led() {
    let mut desk = Desk::settled();
    let recorded = |desk: &Desk| {
        let reign = desk.brain.state().service(&"shop".into()).reign.clone();
        reign.unwrap().replid
    };
    let before = recorded(&desk);
    // Another controller leads, and agrees on the new name; this one's last look at the primary is older.
    desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
    let (epoch, renamed) = (Epoch(1), ReplId::from("renamed"));
    let decision = Decided::Rename { epoch, replid: renamed.clone() };
    desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
    assert_eq!(recorded(&desk), renamed);
    desk.pass(10);
    desk.step(Input::Leadership { leader: Some(id("a")), term: Term(3) });
    desk.step(Input::Lease(Time::MAX));
    desk.pass(100);
    assert_eq!(recorded(&desk), renamed, "an old look says nothing");
    // A fresh one does.
    desk.primary("r1", 2000);
    assert_eq!(recorded(&desk), before);
}

#[test]
fn a_first_primary_that_counts_its_stream_anew_is_taken_as_it_is() {
    let mut desk = Desk::leading(spec(), State::default());
    for name in ["r1", "r2", "r3"] {
        desk.follows(name, name, 10);
        let of = Address::nowhere();
        let role = Role::Replica { of, link_up: false, syncing: false };
        desk.sees(name, Observation::Replication(state(name, role, 10)));
    }
    desk.pass(200);
    for name in ["r1", "r2", "r3"] {
        desk.frozen(name, 10);
    }
    desk.pass(50);
    // Without a replica yet it has no stream, and says 0.
    let mut seen = state("r1", Role::Primary { replicas: 0 }, 0);
    seen.closed = true;
    desk.sees("r1", Observation::Replication(seen));
    assert_eq!(desk.phase(), "epoch 1 opening", "{:#?}", desk.told);
}
