//! Others in the group: a Sentinel that manages it, instances that were never part of it.

mod desk;

use backstay_controller::problems::CATALOGUE;
use backstay_controller::{Input, State};
use backstay_model::{Address, Engine, Health, Observation, ReplOffset, Replication, Role, Sentinels};
use desk::{Desk, REFUSED, SILENT, address, spec, state};

fn problem(desk: &Desk, code: &str) -> Option<String> {
    assert!(CATALOGUE.iter().any(|problem| problem.code == code));
    let status = desk.brain.status(desk.clock());
    let mut problems = status.services[0].problems.iter();
    problems.find(|problem| problem.code == code).map(|problem| problem.sentence.clone())
}

#[test]
fn while_a_sentinel_manages_the_group_a_crash_is_left_to_it_and_failed_over_when_it_is_gone() {
    let mut desk = Desk::settled();
    desk.sees("r1", Observation::Sentinels(Sentinels::Seen(1)));
    desk.sees("r2", Observation::Sentinels(Sentinels::Seen(1)));
    let sentence = problem(&desk, "ForeignManager").unwrap();
    assert!(sentence.starts_with("a Sentinel manages r1, r2 "), "{sentence}");
    desk.everybody_thinks("r1", &REFUSED);
    desk.link_down("r2", "r1", 1000);
    desk.pass(5000);
    assert_eq!(desk.phase(), "epoch 1 stable");
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
    let why = desk.told.iter().find(|sentence| sentence.contains("no failover although")).unwrap();
    assert!(why.contains("a Sentinel manages r2 "), "{why}");

    desk.sees("r2", Observation::Sentinels(Sentinels::Seen(0)));
    desk.pass(500);
    assert_eq!(problem(&desk, "ForeignManager"), None);
    assert_eq!(desk.phase(), "epoch 2 fencing");
}

#[test]
fn what_a_dead_instance_said_of_sentinels_hinders_nothing() {
    let mut desk = Desk::settled();
    desk.sees("r1", Observation::Sentinels(Sentinels::Seen(1)));
    desk.everybody_thinks("r1", &REFUSED);
    assert_eq!(desk.phase(), "epoch 2 fencing");
}

#[test]
fn a_sentinel_that_the_operator_knows_of_hinders_nothing() {
    let mut settings = spec();
    let Engine::Redis(redis) = &mut settings.engine else {
        unreachable!("the desk watches a Redis");
    };
    redis.ignore_sentinels = true;
    let mut desk = Desk::settled_with(settings);
    desk.sees("r2", Observation::Sentinels(Sentinels::Seen(3)));
    assert_eq!(problem(&desk, "ForeignManager"), None);
    desk.everybody_thinks("r1", &REFUSED);
    assert_eq!(desk.phase(), "epoch 2 fencing");
}

#[test]
fn beside_a_sentinel_no_replica_is_pointed_anywhere() {
    let mut desk = Desk::settled();
    desk.sees("r3", Observation::Sentinels(Sentinels::Seen(1)));
    let elsewhere = Role::Replica { of: address("r2"), link_up: true, syncing: false };
    desk.sees("r3", Observation::Replication(state("r3", elsewhere, 1000)));
    desk.pass(2000);
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
    desk.sees("r3", Observation::Sentinels(Sentinels::Seen(0)));
    desk.pass(200);
    assert_eq!(desk.orders.first().map(String::as_str), Some("r3 follow r1"));
}

#[test]
fn a_failover_that_has_begun_goes_on_when_a_sentinel_appears() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    desk.sees("r2", Observation::Sentinels(Sentinels::Seen(1)));
    for replica in ["r2", "r3"] {
        desk.link_down(replica, "r1", 1000);
        desk.frozen(replica, 1000);
    }
    assert_eq!(desk.phase(), "epoch 2 promoting", "everybody is fenced: to stop here would help nobody");
}

#[test]
fn an_instance_that_does_not_let_us_see_sentinels_is_named() {
    let mut desk = Desk::settled();
    desk.sees("r2", Observation::Sentinels(Sentinels::Hidden));
    let sentence = problem(&desk, "SentinelsUnseen").unwrap();
    assert!(sentence.starts_with("r2 does not say") && sentence.contains("+pubsub|numsub"), "{sentence}");
    assert_eq!(problem(&desk, "ForeignManager"), None);
    desk.everybody_thinks("r1", &Health::Down(backstay_model::Evidence::Refused));
    assert_eq!(desk.phase(), "epoch 2 fencing");
}

/// A Sentinel made `r2` a primary after `r1` died, and has gone since.
fn usurped() -> Desk {
    let mut desk = Desk::settled();
    desk.sees("r2", Observation::Sentinels(Sentinels::Seen(1)));
    desk.everybody_thinks("r1", &REFUSED);
    let mut theirs = state("r2", Role::Primary { replicas: 1 }, 1200);
    theirs.replid = "theirs".into();
    desk.sees("r2", Observation::Replication(theirs));
    desk.sees("r2", Observation::Sentinels(Sentinels::Seen(0)));
    desk.pass(500);
    desk
}

#[test]
fn a_primary_that_a_sentinel_made_is_left_alone_also_while_it_does_not_answer() {
    for health in [Health::Late, SILENT, Health::Up] {
        let mut desk = usurped();
        desk.sees("r2", Observation::Health(health));
        desk.pass(3000);
        assert_eq!(desk.phase(), "epoch 1 stable");
        assert!(desk.orders.is_empty(), "{:?}", desk.orders);
        assert!(problem(&desk, "ForeignManager").unwrap().starts_with("somebody else made r2 a primary"));
    }
}

#[test]
fn a_moment_in_which_nobody_answers_does_not_hide_a_sentinel() {
    let mut desk = Desk::settled();
    for instance in ["r2", "r3"] {
        desk.sees(instance, Observation::Sentinels(Sentinels::Seen(1)));
        desk.everybody_thinks(instance, &SILENT);
    }
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(3000);
    assert_eq!(desk.phase(), "epoch 1 stable");
    assert!(desk.orders.is_empty(), "{:?}", desk.orders);
}

#[test]
fn what_a_silent_instance_said_of_sentinels_counts_no_more_when_another_one_answers() {
    let mut desk = Desk::settled();
    desk.sees("r2", Observation::Sentinels(Sentinels::Seen(1)));
    desk.everybody_thinks("r2", &SILENT);
    desk.sees("r3", Observation::Sentinels(Sentinels::Seen(0)));
    desk.everybody_thinks("r1", &REFUSED);
    assert_eq!(desk.phase(), "epoch 2 fencing");
}

/// The third instance was never in step. It was frozen with what it copied from the process that is the primary now, in a
/// history that nobody agreed on; that one ended at 1000.
fn orders_for_one_that_copied(offset: u64) -> Vec<String> {
    let mut desk = Desk::settled();
    let mut service = desk.brain.state().service(&"shop".into()).clone();
    service.trusted.remove(&"r3".into());
    service.known.remove(&"r3".into());
    service.reign.as_mut().unwrap().replid = "next".into();
    desk.step(Input::Restored(State { services: [("shop".into(), service)].into(), ..State::default() }));
    let mut primary = state("r1", Role::Primary { replicas: 0 }, 2000);
    (primary.replid, primary.previous) = ("next".into(), Some(("middle".into(), ReplOffset(1000))));
    desk.sees("r1", Observation::Replication(primary));
    let nowhere = Role::Replica { of: Address::nowhere(), link_up: false, syncing: false };
    let copied = Replication { replid: "middle".into(), ..state("r3", nowhere, offset) };
    desk.sees("r3", Observation::Replication(copied));
    desk.pass(200);
    desk.orders.into_iter().filter(|order| order.starts_with("r3")).collect()
}

#[test]
fn one_that_was_never_in_step_follows_a_primary_that_has_all_it_holds() {
    assert_eq!(orders_for_one_that_copied(900).first().map(String::as_str), Some("r3 follow r1"));
    assert_eq!(orders_for_one_that_copied(1001), Vec::<String>::new());
}
