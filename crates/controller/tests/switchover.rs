//! Planned moves, step by step: what is ordered, in which order, and how each failure is undone.

mod desk;

use backstay_controller::{Effect, Input, Wish};
use backstay_model::{Address, Epoch, Fault, Health, Observation, ReplOffset, Role, Term, Time};
use desk::{Desk, REFUSED, SILENT, address, id, spec, state};

/// A settled group whose replicas received something since they were linked.
fn near() -> Desk {
    let mut desk = Desk::settled();
    advance(&mut desk, 1100);
    desk.orders.clear();
    desk.told.clear();
    desk
}

fn advance(desk: &mut Desk, offset: u64) {
    desk.primary("r1", offset);
    desk.follows("r2", "r1", offset);
    desk.follows("r3", "r1", offset);
}

fn ask(desk: &mut Desk, to: Option<&str>) -> Result<String, String> {
    wish(
        desk,
        Wish::SwitchOver { service: "shop".into(), to: to.map(Into::into), dry_run: false, by: "ada".into() },
    )
}

fn wish(desk: &mut Desk, wish: Wish) -> Result<String, String> {
    let effects = desk.brain.step(desk.clock(), Input::Asked { request: 7, wish });
    let mut answer = None;
    for effect in effects {
        match effect {
            Effect::Answer { result, .. } => answer = Some(result.map_err(|refusal| refusal.to_string())),
            Effect::Propose(entry) => {
                desk.step(Input::Committed(entry));
                answer = Some(Ok(String::new()));
            }
            _ => {}
        }
    }
    answer.expect("every wish is answered")
}

fn paused(desk: &mut Desk, epoch: u64, offset: u64) {
    let replication = state("r1", Role::Primary { replicas: 2 }, offset);
    desk.sees("r1", Observation::Paused { epoch: Epoch(epoch), replication });
}

fn demoted(desk: &mut Desk, offset: u64) {
    let of = address("r2");
    let role = Role::Replica { of, link_up: false, syncing: false };
    desk.sees("r1", Observation::Replication(state("r1", role, offset)));
}

fn promoted(instance: &str, offset: u64, closed: bool) -> Observation {
    let mut replication = state(instance, Role::Primary { replicas: 0 }, offset);
    replication.previous = Some(("history".into(), ReplOffset(offset)));
    replication.replid = "next".into();
    replication.closed = closed;
    Observation::Replication(replication)
}

/// Up to the point where writes wait.
fn hold(desk: &mut Desk) {
    assert_eq!(ask(desk, Some("r2")), Ok(String::new()));
    advance(desk, 1200);
    assert_eq!(desk.orders, ["r1 pause"]);
}

#[test]
fn a_switchover_holds_compares_demotes_promotes_and_lets_go() {
    let mut desk = near();
    hold(&mut desk);
    paused(&mut desk, 2, 1250);
    assert_eq!(desk.orders, ["r1 pause"], "r2 has not got everything yet");
    desk.follows("r2", "r1", 1250);
    assert_eq!(desk.orders[1..], ["r1 follow r2"]);
    demoted(&mut desk, 1250);
    assert_eq!(desk.orders[2..], ["r2 promote"]);
    assert_eq!(desk.phase(), "epoch 2 switching over");
    desk.sees("r2", promoted("r2", 1250, true));
    assert_eq!(desk.phase(), "epoch 2 opening");
    desk.sees("r2", promoted("r2", 1250, false));
    desk.sees("r2", Observation::CanaryAcknowledged { run_id: "run-r2".into() });
    assert_eq!(desk.phase(), "epoch 2 stable");
    assert_eq!(
        desk.orders[3..],
        ["r2 open", "r2 canary", "r1 resume"],
        "those who wait are let go at the end"
    );
    desk.pass(5);
    demoted(&mut desk, 1250);
    assert_eq!(
        desk.orders.last().map(String::as_str),
        Some("r1 follow r2"),
        "and then everybody is sent away"
    );
    let record = desk.brain.history(None).pop().unwrap();
    assert!(record.planned && record.lost.is_empty());
    assert_eq!(record.to, Some("r2".into()));
}

#[test]
fn no_write_waits_before_the_move_is_committed() {
    let mut desk = near();
    desk.quorum_is_slow = true;
    let effects = desk.brain.step(
        desk.clock(),
        Input::Asked {
            request: 1,
            wish: Wish::SwitchOver { service: "shop".into(), to: None, dry_run: false, by: "ada".into() },
        },
    );
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Propose(_))));
    advance(&mut desk, 1200);
    desk.pass(100);
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
}

#[test]
fn a_dry_run_says_who_and_changes_nothing() {
    let mut desk = near();
    let dry = Wish::SwitchOver { service: "shop".into(), to: None, dry_run: true, by: "ada".into() };
    let answer = wish(&mut desk, dry).unwrap();
    assert!(answer.contains("r2 would take over from r1"), "{answer}");
    desk.pass(100);
    assert_eq!(desk.phase(), "epoch 1 stable");
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
}

#[test]
fn one_that_does_not_catch_up_is_given_up_and_writes_go_on() {
    let mut desk = near();
    hold(&mut desk);
    paused(&mut desk, 2, 5000);
    desk.pass(400);
    assert_eq!(desk.phase(), "epoch 2 opening");
    assert!(desk.told.iter().any(|told| told.contains("did not catch up")), "{:?}", desk.told);
    let orders: Vec<&str> = desk.orders.iter().map(String::as_str).collect();
    let place = |order| orders.iter().position(|one| *one == order);
    assert!(place("r1 resume").is_some() && place("r1 resume") < place("r1 canary"), "{orders:?}");
    assert!(!orders.contains(&"r2 promote") && !orders.contains(&"r1 follow r2"), "{orders:?}");
    desk.sees("r1", Observation::CanaryAcknowledged { run_id: "run-r1".into() });
    assert_eq!(desk.phase(), "epoch 2 stable");
    assert_eq!(ask(&mut desk, Some("r2")), Ok(String::new()), "nothing has to cool down");
}

#[test]
fn one_that_stays_far_behind_never_makes_a_write_wait() {
    let mut desk = near();
    desk.pass(5);
    assert!(ask(&mut desk, Some("r2")).is_ok());
    desk.primary("r1", 10_000_000);
    for round in 0..2200 {
        desk.primary("r1", 10_000_000 + round);
        desk.follows("r2", "r1", 1200 + round);
        desk.pass(5);
    }
    assert!(!desk.orders.contains(&"r1 pause".to_owned()), "{:?}", desk.orders);
    assert!(desk.told.iter().any(|told| told.contains("bytes behind")), "{:?}", desk.told);
}

#[test]
fn a_pause_that_is_refused_is_given_up() {
    let mut desk = near();
    hold(&mut desk);
    desk.sees("r1", Observation::OrderRefused { fault: Fault::NoPermission });
    assert_eq!(desk.phase(), "epoch 2 opening");
    assert!(!desk.orders.contains(&"r2 promote".to_owned()), "{:?}", desk.orders);
}

/// The move fails after the demotion, and the old primary holds more.
fn take_back(desk: &mut Desk) {
    hold(desk);
    paused(desk, 2, 1200);
    assert_eq!(desk.orders[1..], ["r1 follow r2"]);
    // The pause had expired, and a write came in between.
    demoted(desk, 1260);
    assert!(!desk.orders.contains(&"r2 promote".to_owned()));
    desk.pass(5);
    desk.link_down("r2", "r1", 1200);
    assert_eq!(desk.phase(), "epoch 3 fencing");
    desk.frozen("r1", 1260);
    desk.frozen("r2", 1200);
    desk.link_down("r3", "r1", 1200);
    desk.frozen("r3", 1200);
}

#[test]
fn what_the_old_one_took_after_all_is_not_left_behind() {
    let mut desk = near();
    take_back(&mut desk);
    assert_eq!(desk.orders.last().map(String::as_str), Some("r1 promote"), "{:?}", desk.orders);
}

#[test]
fn among_equals_the_old_one_takes_its_place_again() {
    let mut desk = near();
    assert!(ask(&mut desk, Some("r3")).is_ok());
    advance(&mut desk, 1200);
    paused(&mut desk, 2, 1200);
    let role = Role::Replica { of: address("r3"), link_up: false, syncing: false };
    desk.sees("r1", Observation::Replication(state("r1", role, 1200)));
    assert!(desk.orders.contains(&"r3 promote".to_owned()));
    desk.sees("r3", Observation::Health(REFUSED));
    assert_eq!(desk.phase(), "epoch 3 fencing");
    assert!(desk.brain.state().service(&"shop".into()).possible_primaries.contains(&"r3".into()));
}

#[test]
fn a_new_leader_finishes_what_it_finds_promoted() {
    let mut desk = near();
    hold(&mut desk);
    paused(&mut desk, 2, 1200);
    demoted(&mut desk, 1200);
    desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
    desk.step(Input::Leadership { leader: Some(id("a")), term: Term(3) });
    desk.step(Input::Lease(Time::MAX));
    desk.pass(5);
    desk.sees("r2", promoted("r2", 1200, true));
    assert_eq!(desk.phase(), "epoch 2 opening");
}

#[test]
fn a_primary_that_dies_meanwhile_is_failed_over() {
    let mut desk = near();
    hold(&mut desk);
    desk.everybody_thinks("r1", &REFUSED);
    assert_eq!(desk.phase(), "epoch 3 fencing");
}

#[test]
fn a_demotion_that_runs_late_is_nobody_elses() {
    let mut desk = near();
    hold(&mut desk);
    paused(&mut desk, 2, 1200);
    assert_eq!(desk.orders[1..], ["r1 follow r2"]);
    give_up(&mut desk, 2);
    everybody_finds_demoted(&mut desk);
    assert_eq!(desk.phase(), "epoch 3 fencing", "{:?}", desk.told);
}

/// Nothing more is seen until the move is given up, and a write is acknowledged after that.
fn give_up(desk: &mut Desk, epoch: u64) {
    desk.pass(400);
    assert_eq!(desk.phase(), format!("epoch {epoch} opening"));
    desk.sees("r1", Observation::CanaryAcknowledged { run_id: "run-r1".into() });
    assert_eq!(desk.phase(), format!("epoch {epoch} stable"));
}

fn everybody_finds_demoted(desk: &mut Desk) {
    demoted(desk, 5000);
    for peer in ["b", "c"] {
        desk.peer_finds_replica(peer, "r1");
    }
}

/// The primary was made a replica of `r2`, and nothing is done about it but to say so.
#[track_caller]
fn is_somebody_elses(desk: &mut Desk, phase: &str) {
    desk.pass(1000);
    assert_eq!(desk.phase(), phase, "{:?}", desk.told);
    let problems = desk.brain.status(desk.clock()).services.remove(0).problems;
    let foreign = problems.iter().find(|problem| problem.code == "ForeignManager");
    assert!(foreign.is_some_and(|it| it.sentence.contains("made r1 a replica of r2")), "{problems:?}");
}

#[test]
fn after_a_move_that_ordered_no_demotion_one_is_somebody_elses() {
    let mut desk = near();
    hold(&mut desk);
    paused(&mut desk, 2, 5000);
    give_up(&mut desk, 2);
    everybody_finds_demoted(&mut desk);
    is_somebody_elses(&mut desk, "epoch 2 stable");
}

#[test]
fn a_demotion_that_another_leader_may_have_ordered_is_nobody_elses() {
    let mut desk = near();
    hold(&mut desk);
    relead(&mut desk);
    desk.step(Input::Lease(Time::MAX));
    advance(&mut desk, 1300);
    paused(&mut desk, 2, 5000);
    give_up(&mut desk, 2);
    everybody_finds_demoted(&mut desk);
    assert_eq!(desk.phase(), "epoch 3 fencing", "{:?}", desk.told);
}

#[test]
fn a_second_move_does_not_make_the_late_demotion_of_the_first_somebody_elses() {
    let mut desk = near();
    hold(&mut desk);
    paused(&mut desk, 2, 1200);
    give_up(&mut desk, 2);
    assert_eq!(ask(&mut desk, Some("r3")), Ok(String::new()));
    advance(&mut desk, 1300);
    paused(&mut desk, 3, 5000);
    give_up(&mut desk, 3);
    everybody_finds_demoted(&mut desk);
    assert_eq!(desk.phase(), "epoch 4 fencing", "{:?}", desk.told);
}

#[test]
fn once_the_old_one_was_promoted_again_its_demotion_is_somebody_elses() {
    let mut desk = near();
    take_back(&mut desk);
    desk.sees("r1", promoted("r1", 1260, true));
    desk.sees("r1", promoted("r1", 1260, false));
    assert!(desk.orders.contains(&"r1 resume".to_owned()), "{:?}", desk.orders);
    desk.sees("r1", Observation::CanaryAcknowledged { run_id: "run-r1".into() });
    assert_eq!(desk.phase(), "epoch 3 stable");
    everybody_finds_demoted(&mut desk);
    is_somebody_elses(&mut desk, "epoch 3 stable");
}

#[track_caller]
fn refused(desk: &mut Desk, to: Option<&str>, why: &str) {
    let refusal = ask(desk, to).unwrap_err();
    assert!(refusal.contains(why), "{refusal}");
    desk.pass(50);
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
}

#[test]
fn unfit_ones_are_refused_each_with_its_reason() {
    let mut desk = near();
    refused(&mut desk, Some("r9"), "no instance called r9");
    refused(&mut desk, Some("r1"), "is the primary already");
    desk.sees("r2", Observation::Health(SILENT));
    refused(&mut desk, Some("r2"), "cannot take over: silent");
    desk.link_down("r3", "r1", 1100);
    refused(&mut desk, Some("r3"), "not linked to the primary");
    refused(&mut desk, None, "nobody can take over");
    let mut elsewhere = state("r3", Role::Replica { of: address("x"), link_up: true, syncing: false }, 1100);
    elsewhere.replid = "theirs".into();
    desk.sees("r3", Observation::Replication(elsewhere));
    refused(&mut desk, Some("r3"), "not in the file");
    let mut fenced = state("r3", Role::Replica { of: address("r1"), link_up: true, syncing: false }, 1100);
    fenced.closed = true;
    desk.quorum_is_slow = true;
    desk.sees("r3", Observation::Replication(fenced));
    desk.orders.clear();
    let refusal = ask(&mut desk, Some("r3")).unwrap_err();
    assert!(refusal.contains("is fenced"), "{refusal}");
}

#[test]
fn a_fresh_copy_must_have_received_something() {
    let mut desk = Desk::settled();
    refused(&mut desk, Some("r2"), "received nothing since");
}

#[test]
fn an_instance_of_priority_zero_is_never_promoted() {
    let mut spec = spec();
    spec.instances[1].priority = 0;
    let mut desk = Desk::settled_with(spec);
    advance(&mut desk, 1100);
    desk.orders.clear();
    refused(&mut desk, Some("r2"), "its priority is 0");
}

#[test]
fn nothing_is_moved_while_a_failover_runs_or_during_a_pause() {
    let mut desk = near();
    let pause = Wish::Pause { service: None, duration: std::time::Duration::from_secs(60), by: "ada".into() };
    wish(&mut desk, pause).unwrap();
    refused(&mut desk, Some("r2"), "automatic action is paused");
    wish(&mut desk, Wish::Resume { service: None, by: "ada".into() }).unwrap();
    desk.everybody_thinks("r1", &REFUSED);
    let refusal = ask(&mut desk, Some("r2")).unwrap_err();
    assert!(refusal.contains("shop is fencing"), "{refusal}");
}

#[test]
fn an_unreachable_primary_needs_a_failover_instead() {
    let mut desk = near();
    desk.sees("r1", Observation::Health(Health::Late));
    refused(&mut desk, Some("r2"), "`backstay failover` does without it");
}

#[test]
fn an_ordered_failover_takes_another_one_although_the_old_one_holds_more() {
    let mut desk = near();
    wish(&mut desk, Wish::FailOver { service: "shop".into(), to: None, by: "ada".into() }).unwrap();
    assert_eq!(desk.phase(), "epoch 2 fencing");
    desk.frozen("r1", 1300);
    for replica in ["r2", "r3"] {
        desk.link_down(replica, "r1", 1200);
        desk.frozen(replica, 1200);
    }
    assert_eq!(desk.orders.last().map(String::as_str), Some("r2 promote"), "{:?}", desk.orders);
    let record = desk.brain.history(None).pop().unwrap();
    assert_eq!(record.lost.iter().map(|lost| lost.bytes).collect::<Vec<_>>(), [Some(100)]);
}

#[test]
fn an_ordered_failover_goes_on_with_the_next_candidate_during_a_pause() {
    let mut desk = near();
    let pause = Wish::Pause { service: None, duration: std::time::Duration::from_secs(60), by: "ada".into() };
    wish(&mut desk, pause).unwrap();
    wish(&mut desk, Wish::FailOver { service: "shop".into(), to: None, by: "ada".into() }).unwrap();
    for instance in ["r1", "r2", "r3"] {
        desk.link_down(instance, "r1", 1200);
        desk.frozen(instance, 1200);
    }
    assert_eq!(desk.phase(), "epoch 2 promoting");
    desk.sees("r2", Observation::Health(REFUSED));
    assert_eq!(desk.phase(), "epoch 3 fencing");
    desk.frozen("r1", 1200);
    desk.frozen("r3", 1200);
    assert_eq!(desk.phase(), "epoch 3 promoting", "{:?}", desk.told);
}

#[test]
fn a_named_one_that_dies_stops_an_ordered_failover_and_says_what_to_decide() {
    let mut desk = near();
    let order = Wish::FailOver { service: "shop".into(), to: Some("r2".into()), by: "ada".into() };
    wish(&mut desk, order).unwrap();
    desk.sees("r2", Observation::Health(REFUSED));
    for instance in ["r1", "r3"] {
        desk.link_down(instance, "r1", 1200);
        desk.frozen(instance, 1200);
    }
    desk.pass(1100);
    assert_eq!(desk.phase(), "epoch 2 fencing");
    let explained = desk.brain.explain(desk.clock(), &"shop".into()).unwrap();
    let stuck = explained.problems.iter().find(|problem| problem.code == "Stuck").unwrap();
    assert!(
        stuck.sentence.contains("r2, which the operator chose, does not answer")
            && stuck.sentence.contains("`backstay decide shop INSTANCE`"),
        "{}",
        stuck.sentence
    );
    wish(&mut desk, Wish::Decide { service: "shop".into(), instance: "r3".into(), by: "ada".into() })
        .unwrap();
    assert_eq!(desk.phase(), "epoch 2 promoting");
}

#[test]
fn a_failover_is_not_ordered_when_nobody_could_take_over() {
    let mut desk = near();
    for replica in ["r2", "r3"] {
        desk.sees(replica, Observation::Health(REFUSED));
    }
    let refusal =
        wish(&mut desk, Wish::FailOver { service: "shop".into(), to: None, by: "ada".into() }).unwrap_err();
    assert!(refusal.contains("no instance of shop can take over"), "{refusal}");
}

#[test]
fn a_primary_that_somebody_else_made_can_be_accepted() {
    let mut desk = near();
    desk.sees("r2", Observation::Replication(state("r2", Role::Primary { replicas: 0 }, 1300)));
    desk.pass(50);
    assert_eq!(desk.phase(), "epoch 1 stable");
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
    let accept = Wish::FailOver { service: "shop".into(), to: Some("r2".into()), by: "ada".into() };
    wish(&mut desk, accept).unwrap();
    assert!(desk.orders.contains(&"r2 freeze".to_owned()), "{:?}", desk.orders);
    for (instance, offset) in [("r1", 1200), ("r2", 1300), ("r3", 1200)] {
        desk.link_down(instance, "r1", offset);
        desk.frozen(instance, offset);
    }
    assert_eq!(desk.orders.last().map(String::as_str), Some("r2 promote"), "{:?}", desk.orders);
}

#[test]
fn a_primary_that_somebody_else_made_a_replica_ends_the_move_and_nothing_more() {
    let mut desk = near();
    hold(&mut desk);
    let role = Role::Replica { of: address("elsewhere"), link_up: false, syncing: false };
    desk.sees("r1", Observation::Replication(state("r1", role, 1200)));
    desk.pass(50);
    assert_eq!(desk.phase(), "epoch 2 opening");
    assert!(
        !desk.orders.iter().any(|order| order.contains("promote") || order.contains("freeze")),
        "{:?}",
        desk.orders
    );
}

fn relead(desk: &mut Desk) {
    desk.step(Input::Leadership { leader: Some(id("b")), term: Term(2) });
    desk.step(Input::Leadership { leader: Some(id("a")), term: Term(3) });
}

fn frozen_in_the_next_history(desk: &mut Desk, instance: &str, offset: u64) {
    let epoch = desk.brain.state().service(&"shop".into()).epoch;
    let role = Role::Replica { of: Address::nowhere(), link_up: false, syncing: false };
    let mut replication = state(instance, role, offset);
    replication.previous = Some(("history".into(), ReplOffset(offset)));
    replication.replid = "next".into();
    desk.sees(instance, Observation::Frozen { epoch, replication });
}

#[test]
fn a_candidate_that_a_dead_leader_promoted_is_compared_like_the_others() {
    let mut desk = near();
    hold(&mut desk);
    paused(&mut desk, 2, 1200);
    demoted(&mut desk, 1200);
    assert!(desk.orders.contains(&"r2 promote".to_owned()));
    relead(&mut desk);
    desk.everybody_thinks("r1", &REFUSED);
    desk.step(Input::Lease(Time::MAX));
    desk.pass(5);
    desk.sees("r2", promoted("r2", 1200, true));
    desk.link_down("r3", "r1", 1150);
    frozen_in_the_next_history(&mut desk, "r2", 1200);
    desk.frozen("r3", 1150);
    desk.pass(200);
    assert_eq!(desk.orders.last().map(String::as_str), Some("r2 promote"), "{:?}", desk.orders);
}

#[test]
fn nothing_is_promoted_while_giving_up_is_under_way() {
    let mut desk = near();
    hold(&mut desk);
    paused(&mut desk, 2, 1250);
    desk.follows("r2", "r1", 1250);
    desk.quorum_is_slow = true;
    desk.pass(255);
    demoted(&mut desk, 1250);
    desk.pass(50);
    assert!(!desk.orders.contains(&"r2 promote".to_owned()), "{:?}", desk.orders);
}

#[test]
fn a_promotion_that_belongs_to_another_plan_is_not_announced() {
    let mut desk = near();
    hold(&mut desk);
    desk.primary("r1", 5000);
    desk.sees("r2", promoted("r2", 1200, true));
    assert_ne!(desk.phase(), "epoch 2 opening", "{:?}", desk.orders);
    assert!(!desk.orders.contains(&"r2 open".to_owned()), "{:?}", desk.orders);
}

#[test]
fn a_leader_that_alone_lost_the_primary_lets_another_one_finish() {
    let mut desk = near();
    hold(&mut desk);
    desk.sees("r1", Observation::Health(SILENT));
    for peer in ["b", "c"] {
        desk.peer_thinks(peer, "r1", &Health::Up);
        desk.peer_thinks(peer, "r2", &Health::Up);
    }
    desk.pass(100);
    assert!(desk.orders.contains(&"hand over".to_owned()), "{:?}", desk.orders);
}

#[test]
fn a_primary_that_hangs_soon_after_a_switchover_is_failed_over_at_once() {
    let mut desk = near();
    hold(&mut desk);
    paused(&mut desk, 2, 1200);
    demoted(&mut desk, 1200);
    desk.sees("r2", promoted("r2", 1200, true));
    desk.sees("r2", promoted("r2", 1200, false));
    desk.sees("r2", Observation::CanaryAcknowledged { run_id: "run-r2".into() });
    assert_eq!(desk.phase(), "epoch 2 stable");
    desk.everybody_thinks("r2", &SILENT);
    desk.pass(100);
    assert_eq!(desk.phase(), "epoch 3 fencing", "{:?}", desk.told);
}

#[test]
fn an_ordered_failover_keeps_the_old_one_if_nobody_else_may_be_promoted() {
    let mut spec = spec();
    spec.instances[2].priority = 0;
    let mut desk = Desk::settled_with(spec);
    advance(&mut desk, 1100);
    wish(&mut desk, Wish::FailOver { service: "shop".into(), to: None, by: "ada".into() }).unwrap();
    desk.sees("r2", Observation::Health(REFUSED));
    desk.frozen("r1", 1100);
    desk.link_down("r3", "r1", 1100);
    desk.frozen("r3", 1100);
    desk.pass(100);
    assert!(desk.orders.contains(&"r1 promote".to_owned()), "{:?}", desk.orders);
}
