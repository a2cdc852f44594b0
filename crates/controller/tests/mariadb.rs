//! What the brain does otherwise for a MariaDB than for a Redis: whose acknowledgements count, histories that are named
//! by servers, heartbeats as witnesses, appliers that stand.

mod desk;

use backstay_controller::{Decided, Entry, Input, Reign, ServiceState};
use backstay_model::{
    Durability, Engine, Epoch, Health, MariaDbSpec, Observation, ReplId, ReplOffset, Replication, Role,
    SqlState,
};
use desk::{Desk, REFUSED, SILENT, address, spec, state};
use std::collections::BTreeSet;

fn mariadb(durability: Durability) -> Desk {
    let engine = Engine::MariaDb(MariaDbSpec { durability, events: false, ..MariaDbSpec::default() });
    let mut desk = Desk::settled_with(backstay_model::ServiceSpec { engine, ..spec() });
    desk.orders.clear();
    desk
}

fn replica(name: &str, offset: u64, sql: SqlState) -> Replication {
    let role = Role::Replica { of: address("r1"), link_up: true, syncing: false };
    Replication { sql, ..state(name, role, offset) }
}

fn primary(offset: u64, sql: SqlState) -> Replication {
    Replication { sql, ..state("r1", Role::Primary { replicas: 2 }, offset) }
}

fn sees(desk: &mut Desk, replication: Replication) {
    let name = replication.run_id.as_str().trim_start_matches("run-").to_owned();
    desk.sees(&name, Observation::Replication(replication));
}

const ACKS: SqlState = SqlState { acks: true, ..PLAIN };
const PLAIN: SqlState = SqlState {
    exposed: false,
    stalled: false,
    diverged: false,
    unapplied: 0,
    guarded: false,
    ackers: 0,
    acks: false,
    heartbeats: 0,
};

fn ackers(desk: &Desk) -> BTreeSet<String> {
    let counted = desk.brain.state().counted.get(&"shop".into());
    counted.map(|it| it.ackers.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

/// A primary whose commits wait for `r2` or `r3`.
fn guarded() -> Desk {
    let mut desk = mariadb(Durability::Majority);
    for offset in [1010, 1020, 1030] {
        sees(&mut desk, primary(offset, SqlState { guarded: true, ackers: 2, ..PLAIN }));
        sees(&mut desk, replica("r2", offset, ACKS));
        sees(&mut desk, replica("r3", offset, ACKS));
    }
    desk.orders.clear();
    desk
}

#[test]
fn who_acknowledges_is_agreed_on_before_it_does() {
    let mut desk = mariadb(Durability::Majority);
    desk.quorum_is_slow = true;
    let decision = Decided::Ackers { epoch: Epoch(1), ackers: BTreeSet::new() };
    desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
    desk.orders.clear();
    sees(&mut desk, replica("r2", 1010, PLAIN));
    sees(&mut desk, replica("r3", 1010, PLAIN));
    desk.pass(50);
    assert!(!desk.orders.iter().any(|order| order.contains("follow")), "{:?}", desk.orders);
    desk.commit();
    desk.quorum_is_slow = false;
    desk.pass(50);
    sees(&mut desk, replica("r2", 1010, PLAIN));
    sees(&mut desk, replica("r3", 1010, PLAIN));
    desk.pass(50);
    assert_eq!(ackers(&desk), ["r2", "r3"].map(String::from).into());
    let told = desk.told.join("\n");
    assert!(told.contains("epoch 1: commits are acknowledged by r2 or r3"), "{told}");
    for order in ["r2 follow r1", "r3 follow r1"] {
        assert!(desk.orders.iter().any(|one| one == order), "{:?}", desk.orders);
    }
    // Its commits wait only from then on.
    sees(&mut desk, primary(1020, PLAIN));
    assert!(desk.orders.iter().any(|one| one == "r1 open"), "{:?}", desk.orders);
}

#[test]
fn nobody_is_promoted_while_one_that_may_hold_an_acknowledged_commit_was_not_read() {
    let mut desk = guarded();
    desk.everybody_thinks("r3", &REFUSED);
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(200);
    desk.link_down("r2", "r1", 1030);
    desk.frozen("r2", 1030);
    desk.pass(3000);
    assert!(!desk.orders.iter().any(|order| order.contains("promote")), "{:?}", desk.orders);
    let told = desk.told.join("\n");
    assert!(told.contains("r3 may hold commits that were acknowledged, and could not be read"), "{told}");
    // Once it was, the one with more is chosen.
    desk.sees("r3", Observation::Health(Health::Up));
    desk.link_down("r3", "r1", 1031);
    desk.frozen("r3", 1031);
    desk.pass(200);
    assert!(desk.orders.iter().any(|order| order == "r3 promote"), "{:?} {:?}", desk.told, desk.phase());
}

#[test]
fn in_async_the_one_that_answers_takes_over() {
    let mut desk = mariadb(Durability::Async);
    desk.everybody_thinks("r3", &REFUSED);
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(200);
    desk.link_down("r2", "r1", 1030);
    desk.frozen("r2", 1030);
    desk.pass(1500);
    assert!(desk.orders.iter().any(|order| order == "r2 promote"), "{:?}", desk.orders);
}

#[test]
fn one_that_is_gone_counts_no_more_once_the_other_holds_everything() {
    let mut desk = guarded();
    desk.everybody_thinks("r3", &REFUSED);
    desk.pass(100);
    // The primary still hears it: it is shutting down behind a closed port.
    sees(&mut desk, primary(1040, SqlState { guarded: true, ackers: 2, ..PLAIN }));
    desk.pass(10);
    sees(&mut desk, replica("r2", 1040, ACKS));
    assert_eq!(ackers(&desk).len(), 2);
    sees(&mut desk, primary(1050, SqlState { guarded: true, ackers: 1, ..PLAIN }));
    desk.pass(10);
    sees(&mut desk, replica("r2", 1049, ACKS));
    assert_eq!(ackers(&desk).len(), 2, "the last commit may be on r3 alone");
    sees(&mut desk, replica("r2", 1050, ACKS));
    assert_eq!(ackers(&desk), ["r2".to_owned()].into());
    // The last one stays, whatever becomes of it.
    desk.everybody_thinks("r2", &REFUSED);
    desk.pass(100);
    sees(&mut desk, primary(1050, SqlState { guarded: true, ackers: 0, ..PLAIN }));
    assert_eq!(ackers(&desk), ["r2".to_owned()].into());
}

#[test]
fn a_replica_that_hangs_goes_on_counting() {
    let mut desk = guarded();
    desk.everybody_thinks("r3", &SILENT);
    desk.pass(100);
    sees(&mut desk, primary(1050, SqlState { guarded: true, ackers: 1, ..PLAIN }));
    desk.pass(10);
    sees(&mut desk, replica("r2", 1050, ACKS));
    assert_eq!(ackers(&desk).len(), 2, "it may wake up and acknowledge");
}

#[test]
fn a_heartbeat_speaks_for_a_primary_that_writes_nothing() {
    let mut desk = mariadb(Durability::Async);
    let beats = |heartbeats| SqlState { heartbeats, ..PLAIN };
    desk.everybody_thinks("r1", &Health::Late);
    for heartbeat in [5, 6] {
        sees(&mut desk, replica("r2", 1030, beats(heartbeat)));
    }
    desk.everybody_thinks("r1", &SILENT);
    desk.pass(200);
    assert_eq!(desk.phase(), "epoch 1 stable");
    desk.pass(1000);
    assert_eq!(desk.phase(), "epoch 2 fencing");
}

#[test]
fn one_that_does_not_apply_what_it_received_is_not_promoted() {
    let mut desk = mariadb(Durability::Async);
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(200);
    for (name, offset, stalled) in [("r2", 1040, true), ("r3", 1030, false)] {
        desk.link_down(name, "r1", offset);
        let role = Role::Replica { of: backstay_model::Address::nowhere(), link_up: false, syncing: false };
        let sql = SqlState { stalled, unapplied: if stalled { 10 } else { 0 }, ..PLAIN };
        let replication = Replication { sql, ..state(name, role, offset) };
        desk.sees(name, Observation::Frozen { epoch: Epoch(2), replication });
    }
    desk.pass(100);
    let told = desk.told.join("\n");
    assert!(told.contains("r2 has received what it does not apply"), "{told}");
    assert!(!desk.orders.iter().any(|order| order.contains("promote")), "{:?}", desk.orders);
}

#[test]
fn a_replica_that_takes_writes_is_closed() {
    let mut desk = mariadb(Durability::Async);
    sees(&mut desk, replica("r2", 1030, SqlState { exposed: true, ..PLAIN }));
    assert!(desk.orders.iter().any(|order| order == "r2 fence"), "{:?}", desk.orders);
    assert!(
        desk.told.iter().any(|told| told.contains("r2 is a replica and took clients' writes")),
        "{:?}",
        desk.told
    );
}

#[test]
fn what_is_wrong_with_a_group_has_a_name() {
    let mut desk = guarded();
    let codes = |desk: &Desk| -> Vec<String> {
        let problems = desk.brain.status(desk.clock()).services.remove(0).problems;
        problems.into_iter().map(|problem| problem.code).collect()
    };
    assert_eq!(codes(&desk), Vec::<String>::new());
    sees(&mut desk, replica("r2", 1030, SqlState { unapplied: 2001, ..ACKS }));
    assert_eq!(codes(&desk), ["ReplicaBehind"], "what it received and did not apply cannot be read there");
    let lag = desk.brain.status(desk.clock()).services.remove(0).instances[1].lag_bytes;
    assert_eq!(lag, Some(2001));
    sees(&mut desk, replica("r2", 1030, SqlState { exposed: true, ..ACKS }));
    assert_eq!(codes(&desk), ["ReplicaWritable"]);
    sees(&mut desk, replica("r2", 1030, SqlState { stalled: true, ..ACKS }));
    assert_eq!(codes(&desk), ["ReplicaStalled"]);
    sees(&mut desk, replica("r2", 1030, ACKS));
    sees(&mut desk, primary(1030, SqlState { ackers: 2, ..PLAIN }));
    assert_eq!(codes(&desk), ["CommitsUnguarded"]);
    desk.pass(100);
    assert!(desk.orders.iter().any(|order| order == "r1 open"), "{:?}", desk.orders);
}

#[test]
fn something_is_written_now_and_then_so_that_replicas_are_seen_to_receive() {
    let mut desk = mariadb(Durability::Async);
    desk.pass(2000);
    sees(&mut desk, primary(1040, PLAIN));
    desk.pass(2000);
    let beats = desk.orders.iter().filter(|order| *order == "r1 canary").count();
    assert!((3..=10).contains(&beats), "{:?}", desk.orders);
}

#[test]
fn what_a_server_wrote_in_an_earlier_reign_of_its_own_is_everybodys_and_what_no_reign_covers_is_surplus() {
    let state = ServiceState {
        // Server 1 until 100, server 3 until 150, then server 1 again.
        endings: [("0-1".into(), ReplOffset(100)), ("0-3".into(), ReplOffset(150))].into(),
        reign: Some(Reign {
            epoch: Epoch(3),
            instance: "r1".into(),
            run_id: "run-r1".into(),
            replid: "0-1".into(),
        }),
        ..ServiceState::default()
    };
    let ended =
        |history: &str, offset| state.end_of(&ReplId::from(history), ReplOffset(offset)).map(|it| it.0);
    let reigns = |history: &str, offset| state.is_in_reign(&ReplId::from(history), ReplOffset(offset));
    assert_eq!((ended("0-1", 90), reigns("0-1", 90)), (Some(100), false));
    assert_eq!((ended("0-1", 120), reigns("0-1", 120)), (Some(100), false));
    assert!(reigns("0-1", 170));
    assert_eq!((ended("0-3", 155), reigns("0-3", 155)), (Some(150), false));
    assert_eq!(ended("0-2", 10), None);
}

#[test]
fn an_entry_about_acknowledgements_of_another_epoch_changes_nothing() {
    let mut desk = guarded();
    let decision = Decided::Ackers { epoch: Epoch(9), ackers: BTreeSet::new() };
    desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
    assert_eq!(ackers(&desk).len(), 2);
}

#[test]
fn a_pause_does_not_keep_replicas_from_the_primary_whose_first_write_waits_for_them() {
    let mut desk = guarded();
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(200);
    for (name, offset) in [("r2", 1031), ("r3", 1030)] {
        desk.link_down(name, "r1", offset);
        desk.frozen(name, offset);
    }
    desk.pass(200);
    let (duration, by) = (std::time::Duration::from_secs(600), "ada".to_owned());
    desk.asks(backstay_controller::Wish::Pause { service: None, duration, by }).unwrap().unwrap();
    let role = Role::Primary { replicas: 0 };
    desk.sees("r2", Observation::Replication(Replication { closed: true, ..state("r2", role, 1031) }));
    desk.pass(50);
    assert!(desk.phase().ends_with("opening"), "{}", desk.phase());
    desk.link_down("r3", "r1", 1030);
    desk.pass(100);
    assert!(desk.orders.iter().any(|order| order == "r3 follow r2"), "{:?}", desk.orders);
}

#[test]
fn while_a_stranger_acknowledges_nobody_is_promoted_without_the_operators_word() {
    let mut desk = guarded();
    let more = |desk: &mut Desk, offset| {
        sees(desk, primary(offset, SqlState { guarded: true, ackers: 3, ..PLAIN }));
    };
    let problem = |desk: &Desk| {
        let problems = desk.brain.status(desk.clock()).services.remove(0).problems;
        problems.into_iter().any(|problem| problem.code == "StrangerAcknowledges")
    };
    // One that connects anew is counted twice for a moment.
    more(&mut desk, 1040);
    desk.pass(1000);
    assert!(!problem(&desk));
    for offset in 1041..1045 {
        more(&mut desk, offset);
        desk.pass(1000);
    }
    assert!(problem(&desk));
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(200);
    for name in ["r2", "r3"] {
        desk.link_down(name, "r1", 1040);
        desk.frozen(name, 1040);
    }
    desk.pass(3000);
    assert!(!desk.orders.iter().any(|order| order.contains("promote")), "{:?}", desk.orders);
    assert!(
        desk.told.join("\n").contains("somebody who is not one of r2, r3 acknowledged to r1"),
        "{:?}",
        desk.told
    );
    let epoch = desk.brain.state().service(&"shop".into()).epoch;
    let decision = Decided::Decide { epoch, instance: "r2".into(), by: "operator".into() };
    desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
    desk.pass(200);
    assert!(desk.orders.iter().any(|order| order == "r2 promote"), "{:?}", desk.told);
}

#[test]
fn one_that_was_restarted_is_trusted_once_it_has_what_the_primary_had_when_it_was_linked() {
    for (durability, early) in [(Durability::Async, true), (Durability::Majority, false)] {
        let mut desk = mariadb(durability);
        let again = |offset, link_up| {
            let role = Role::Replica { of: address("r1"), link_up, syncing: false };
            Replication { run_id: "run-again".into(), sql: ACKS, ..state("r2", role, offset) }
        };
        let trusted = |desk: &Desk| {
            let state = desk.brain.state().service(&"shop".into());
            state.trusted.get(&"r2".into()).is_some_and(|run| run.as_str() == "run-again")
        };
        let writes = |desk: &mut Desk, offset| {
            sees(desk, primary(offset, SqlState { guarded: true, ackers: 2, ..PLAIN }));
            desk.pass(20);
        };
        writes(&mut desk, 1500);
        let identity = Observation::Identity(backstay_model::Identity {
            run_id: "run-again".into(),
            version: "10.11.19".to_owned(),
            keys: 1,
            loading: false,
        });
        desk.sees("r2", identity);
        // It lost its relay log, and receives it again.
        for offset in [1100, 1101, 1102] {
            desk.sees("r2", Observation::Replication(again(offset, true)));
            writes(&mut desk, 1500);
        }
        assert_eq!(trusted(&desk), early, "{durability:?}");
        // However far the primary is by then.
        for offset in [1499, 1500] {
            desk.sees("r2", Observation::Replication(again(offset, true)));
            writes(&mut desk, offset + 1000);
        }
        assert!(trusted(&desk), "{durability:?}");
    }
}

/// As if r1 had crashed; who is frozen then says this of itself.
fn crashed(
    durability: Durability,
    frozen: &[(&str, u64, SqlState)],
    spec: backstay_model::ServiceSpec,
) -> Desk {
    let engine = Engine::MariaDb(MariaDbSpec { durability, events: false, ..MariaDbSpec::default() });
    let mut desk = Desk::settled_with(backstay_model::ServiceSpec { engine, ..spec });
    desk.orders.clear();
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(200);
    let epoch = desk.brain.state().service(&"shop".into()).epoch;
    for (name, offset, sql) in frozen {
        desk.link_down(name, "r1", *offset);
        let role = Role::Replica { of: backstay_model::Address::nowhere(), link_up: false, syncing: false };
        let replication = Replication { sql: *sql, ..state(name, role, *offset) };
        desk.sees(name, Observation::Frozen { epoch, replication });
    }
    desk.pass(200);
    desk
}

#[test]
fn one_whose_applier_stands_but_has_applied_everything_takes_over() {
    let stands = SqlState { stalled: true, ..PLAIN };
    let desk = crashed(Durability::Async, &[("r2", 1031, stands), ("r3", 1030, PLAIN)], spec());
    assert!(desk.orders.iter().any(|order| order == "r2 promote"), "{:?}", desk.told);
}

#[test]
fn the_operator_is_told_that_the_chosen_one_cannot_apply_what_it_has_received() {
    let stands = SqlState { stalled: true, unapplied: 1, ..PLAIN };
    let mut desk = crashed(Durability::Async, &[("r2", 1031, stands), ("r3", 1030, PLAIN)], spec());
    let epoch = desk.brain.state().service(&"shop".into()).epoch;
    let decision = Decided::Decide { epoch, instance: "r2".into(), by: "operator".into() };
    desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
    desk.pass(200);
    assert!(!desk.orders.iter().any(|order| order.ends_with("promote")), "{:?}", desk.orders);
    let told = desk.told.join("\n");
    assert!(told.contains("r2, which the operator chose, does not apply what it has received"), "{told}");
}

#[test]
fn no_acknowledged_commit_is_given_up_for_a_preferred_zone_in_majority() {
    for (durability, promoted) in [(Durability::Async, "r3 promote"), (Durability::Majority, "r2 promote")] {
        let mut preferring = spec();
        preferring.preference.zone = Some("z3".into());
        preferring.preference.max_lag_bytes = 50;
        let desk = crashed(durability, &[("r2", 1031, ACKS), ("r3", 1030, ACKS)], preferring);
        assert!(desk.orders.iter().any(|order| order == promoted), "{durability:?}: {:?}", desk.told);
    }
}

/// r2 stands, linked to nobody.
fn stands(desk: &mut Desk) {
    let role = Role::Replica { of: backstay_model::Address::nowhere(), link_up: false, syncing: false };
    desk.sees("r2", Observation::Replication(state("r2", role, 1000)));
}

#[test]
fn one_that_its_primary_refuses_is_told_to_follow_ever_more_rarely() {
    let mut desk = mariadb(Durability::Async);
    for _ in 0..3000 {
        stands(&mut desk);
        desk.pass(10);
    }
    let follows = desk.orders.iter().filter(|order| *order == "r2 follow r1").count();
    assert!((5..=12).contains(&follows), "{follows} in half a minute");
    assert_eq!(desk.told.iter().filter(|told| told.contains("r2 was told to follow r1")).count(), 1);
    // Once it was linked, at once.
    sees(&mut desk, replica("r2", 1000, PLAIN));
    desk.orders.clear();
    stands(&mut desk);
    assert_eq!(desk.orders, ["r2 follow r1"]);
}

#[test]
fn all_replicas_are_pointed_at_the_new_primary_at_once_because_none_takes_a_copy() {
    let mut desk = mariadb(Durability::Async);
    for name in ["r2", "r3"] {
        let role = Role::Replica { of: backstay_model::Address::nowhere(), link_up: false, syncing: false };
        desk.sees(name, Observation::Replication(state(name, role, 1000)));
    }
    assert_eq!(desk.orders, ["r2 follow r1", "r3 follow r1"]);
}

/// A planned move of a group in `majority` to r2, up to the moment in which r1's writes are closed at 1030.
fn moving() -> Desk {
    let mut desk = guarded();
    let decision = Decided::SwitchOver {
        epoch: Epoch(2),
        to: "r2".into(),
        run_id: "run-r2".into(),
        by: "ada".into(),
        at: desk.clock().unix,
        term: backstay_model::Term(1),
    };
    desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
    desk.pass(5);
    sees(&mut desk, primary(1030, SqlState { guarded: true, ackers: 2, ..PLAIN }));
    sees(&mut desk, replica("r2", 1030, ACKS));
    assert_eq!(desk.orders, ["r1 pause"]);
    desk
}

fn closed(desk: &mut Desk) {
    let replication = Replication { closed: true, ..primary(1030, PLAIN) };
    desk.sees("r1", Observation::Paused { epoch: Epoch(2), replication });
}

#[test]
fn an_old_primary_follows_the_next_one_only_once_that_has_applied_everything() {
    let mut desk = moving();
    sees(&mut desk, replica("r2", 1030, SqlState { unapplied: 3, ..ACKS }));
    closed(&mut desk);
    desk.pass(50);
    assert!(!desk.orders.contains(&"r1 follow r2".to_owned()), "{:?}", desk.orders);
    sees(&mut desk, replica("r2", 1030, ACKS));
    assert!(desk.orders.contains(&"r1 follow r2".to_owned()), "{:?}", desk.orders);
}

#[test]
fn an_old_primary_that_was_refused_is_pointed_again_before_the_first_write_is_acknowledged() {
    let mut desk = moving();
    closed(&mut desk);
    let role = Role::Replica { of: address("r2"), link_up: false, syncing: false };
    let refused = Replication { sql: ACKS, ..state("r1", role, 1030) };
    desk.sees("r1", Observation::Replication(refused.clone()));
    let promoted = state("r2", Role::Primary { replicas: 0 }, 1030);
    desk.sees("r2", Observation::Replication(Replication { closed: true, ..promoted }));
    assert_eq!(desk.phase(), "epoch 2 opening");
    desk.orders.clear();
    desk.pass(200);
    desk.sees("r1", Observation::Replication(refused));
    assert!(desk.orders.contains(&"r1 follow r2".to_owned()), "{:?}", desk.orders);
}

#[test]
fn before_it_was_agreed_on_who_acknowledges_anybody_may_have() {
    let engine = Engine::MariaDb(MariaDbSpec {
        durability: Durability::Majority,
        events: false,
        ..MariaDbSpec::default()
    });
    let mut desk = Desk::leading(
        backstay_model::ServiceSpec { engine, ..spec() },
        backstay_controller::State::default(),
    );
    let replicas = [("r2".into(), "run-r2".into()), ("r3".into(), "run-r3".into())].into();
    let decision =
        Decided::Adopt { primary: "r1".into(), run_id: "run-r1".into(), replid: "history".into(), replicas };
    desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
    for name in ["r1", "r3"] {
        desk.everybody_thinks(name, &REFUSED);
    }
    desk.follows("r2", "r1", 1030);
    desk.pass(200);
    desk.link_down("r2", "r1", 1030);
    desk.frozen("r2", 1030);
    desk.pass(3000);
    assert!(!desk.orders.iter().any(|order| order.contains("promote")), "{:?}", desk.orders);
}

fn nowhere(name: &str, replid: &str, offset: u64, sql: SqlState) -> Replication {
    let role = Role::Replica { of: backstay_model::Address::nowhere(), link_up: false, syncing: false };
    Replication { replid: replid.into(), sql, ..state(name, role, offset) }
}

/// r2 was chosen at 1040 and is to be promoted.
fn promoting() -> Desk {
    let desk = crashed(
        Durability::Async,
        &[("r2", 1040, SqlState { unapplied: 9, ..PLAIN }), ("r3", 1030, PLAIN)],
        spec(),
    );
    assert_eq!(desk.orders.last().map(String::as_str), Some("r2 promote"));
    desk
}

#[test]
fn a_candidate_that_threw_away_what_it_had_received_is_compared_anew() {
    let mut desk = promoting();
    desk.sees("r2", Observation::Replication(nowhere("r2", "history", 1031, PLAIN)));
    assert_eq!(desk.phase(), "epoch 3 fencing");
}

#[test]
fn a_leader_that_did_not_freeze_the_candidate_looks_before_it_promotes() {
    let mut desk = mariadb(Durability::Async);
    let at = desk.clock().unix;
    let cause = backstay_controller::Cause::Crashed { votes: 2 };
    let begin = Decided::Begin { epoch: Epoch(2), cause, suspected: at, verdict: at };
    let choose = Decided::Choose {
        epoch: Epoch(2),
        candidate: "r2".into(),
        run_id: "run-r2".into(),
        offset: ReplOffset(1040),
        surplus: Vec::new(),
        compared: vec!["r2".into(), "r3".into()],
        reason: String::new(),
        committed: at,
        fenced: at,
    };
    desk.quorum_is_slow = true;
    for decision in [begin, choose] {
        desk.step(Input::Committed(Entry { service: "shop".into(), decision }));
    }
    desk.pass(100);
    // What it saw last is from before the freeze.
    assert!(!desk.orders.contains(&"r2 promote".to_owned()), "{:?}", desk.orders);
    desk.sees("r2", Observation::Replication(nowhere("r2", "history", 1040, PLAIN)));
    assert!(desk.orders.contains(&"r2 promote".to_owned()), "{:?}", desk.orders);
}

/// r1 reigns as server 1 from 150 on, as it did before until 100; server 3 reigned in between. Then it dies, and r2 stands
/// here.
fn dies_in_its_second_reign(replid: &str, offset: u64) -> Desk {
    let engine = Engine::MariaDb(MariaDbSpec {
        durability: Durability::Async,
        events: false,
        ..MariaDbSpec::default()
    });
    let reign =
        Reign { epoch: Epoch(3), instance: "r1".into(), run_id: "run-r1".into(), replid: "0-1".into() };
    let service = ServiceState {
        epoch: Epoch(3),
        phase: backstay_controller::Phase::Stable,
        endings: [("0-1".into(), ReplOffset(100)), ("0-3".into(), ReplOffset(150))].into(),
        trusted: ["r1", "r2", "r3"].map(|name| (name.into(), format!("run-{name}").into())).into(),
        known: ["r1", "r2", "r3"].map(Into::into).into(),
        reign: Some(reign),
        ..ServiceState::default()
    };
    let state =
        backstay_controller::State { services: [("shop".into(), service)].into(), ..Default::default() };
    let mut desk = Desk::leading(backstay_model::ServiceSpec { engine, ..spec() }, state);
    desk.everybody_thinks("r1", &REFUSED);
    desk.everybody_thinks("r3", &REFUSED);
    desk.follows("r2", "r1", offset);
    desk.pass(200);
    let seen = nowhere("r2", replid, offset, PLAIN);
    desk.sees("r2", Observation::Replication(seen.clone()));
    desk.sees("r2", Observation::Frozen { epoch: Epoch(4), replication: seen });
    desk.pass(2000);
    desk
}

#[test]
fn one_that_stands_in_an_earlier_reign_of_the_same_server_does_not_inherit() {
    for (replid, offset, inherits) in
        [("0-1", 160, true), ("0-3", 150, true), ("0-1", 90, false), ("0-3", 149, false), ("0-2", 170, false)]
    {
        let desk = dies_in_its_second_reign(replid, offset);
        let promoted = desk.orders.contains(&"r2 promote".to_owned());
        assert_eq!(promoted, inherits, "{replid} at {offset}: {:?}", desk.told);
    }
}

#[test]
fn a_primary_that_came_back_closed_and_lacks_what_its_replicas_hold_is_not_adopted() {
    let engine = Engine::MariaDb(MariaDbSpec::default());
    let mut desk = Desk::leading(
        backstay_model::ServiceSpec { engine, ..spec() },
        backstay_controller::State::default(),
    );
    desk.follows("r2", "r1", 1000);
    desk.follows("r3", "r1", 1000);
    desk.primary("r1", 999);
    // Its first sample did not say that it is closed; a group that just runs looks like that.
    assert_eq!(desk.phase(), "epoch 1 stable");
    let mut desk = Desk::leading(
        backstay_model::ServiceSpec { engine: Engine::MariaDb(MariaDbSpec::default()), ..spec() },
        backstay_controller::State::default(),
    );
    desk.follows("r2", "r1", 1000);
    desk.follows("r3", "r1", 1000);
    let identity =
        backstay_model::Identity { run_id: "run-r1".into(), version: "10".into(), keys: 5, loading: false };
    desk.sees("r1", Observation::Identity(identity));
    desk.sees("r1", Observation::Health(Health::Up));
    desk.sees("r1", Observation::Replication(Replication { closed: true, ..primary(999, PLAIN) }));
    assert_eq!(desk.phase(), "epoch 1 fencing");
}

#[test]
fn one_that_could_not_apply_is_read_again_once_somebody_mended_it() {
    let stands = SqlState { stalled: true, unapplied: 1, ..PLAIN };
    let mut desk = crashed(Durability::Async, &[("r2", 1031, stands), ("r3", 1030, PLAIN)], spec());
    assert!(!desk.orders.iter().any(|order| order.ends_with("promote")), "{:?}", desk.orders);
    desk.orders.clear();
    let mended = nowhere("r2", "history", 1031, PLAIN);
    desk.sees("r2", Observation::Replication(mended.clone()));
    assert_eq!(desk.orders, ["r2 freeze"]);
    desk.sees("r2", Observation::Frozen { epoch: Epoch(2), replication: mended });
    desk.pass(50);
    assert!(desk.orders.contains(&"r2 promote".to_owned()), "{:?}", desk.told);
}
