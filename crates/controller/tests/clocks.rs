//! Wall clocks that jump, and what follows a failover: nothing is decided by what a clock on the wall shows, but how long
//! to wait for the next one, and then a wrong clock never makes it long.

mod desk;

use backstay_controller::{Cause, Decided, Entry, State};
use backstay_model::{Epoch, InstanceName, Observation, ReplOffset, Role, UnixMicros};
use desk::{Desk, REFUSED, SILENT, state};
use std::time::Duration;

const DAY_MS: i64 = 24 * 3_600_000;

fn promoted(instance: &str, closed: bool) -> Observation {
    let mut replication = state(instance, Role::Primary { replicas: 0 }, 1000);
    replication.previous = Some(("history".into(), ReplOffset(1000)));
    replication.replid = "next".into();
    replication.closed = closed;
    Observation::Replication(replication)
}

/// Between each two steps the wall clock is set to something else.
fn fail_over_to_r2(desk: &mut Desk, wrong_by_ms: [i64; 4]) {
    desk.everybody_thinks("r1", &REFUSED);
    desk.wrong_by_ms = wrong_by_ms[0];
    for replica in ["r2", "r3"] {
        desk.link_down(replica, "r1", 1000);
        desk.frozen(replica, 1000);
    }
    desk.wrong_by_ms = wrong_by_ms[1];
    desk.sees("r2", promoted("r2", true));
    desk.wrong_by_ms = wrong_by_ms[2];
    desk.sees("r2", promoted("r2", false));
    desk.wrong_by_ms = wrong_by_ms[3];
    desk.sees("r2", Observation::CanaryAcknowledged { run_id: "run-r2".into() });
}

#[test]
fn a_wall_clock_that_jumps_is_no_reason_for_anything() {
    let mut desk = Desk::settled();
    for wrong_by_ms in [DAY_MS, -DAY_MS, 0, 1000 * DAY_MS, -1000 * DAY_MS] {
        desk.wrong_by_ms = wrong_by_ms;
        desk.pass(2000);
    }
    assert_eq!(desk.phase(), "epoch 1 stable");
    assert!(desk.orders.is_empty() && desk.told.is_empty(), "{:?} {:?}", desk.orders, desk.told);
}

#[test]
fn a_failover_goes_on_although_the_wall_clock_jumps_in_the_middle() {
    let mut desk = Desk::settled();
    fail_over_to_r2(&mut desk, [DAY_MS, -DAY_MS, 3 * DAY_MS, 0]);
    assert_eq!(desk.phase(), "epoch 2 stable");
}

#[test]
fn a_clock_that_was_set_back_does_not_make_the_cooldown_longer() {
    let mut desk = Desk::settled();
    fail_over_to_r2(&mut desk, [0; 4]);
    desk.wrong_by_ms = -DAY_MS;
    desk.everybody_thinks("r2", &SILENT);
    desk.pass(11_000);
    assert_eq!(desk.phase(), "epoch 3 fencing");
}

#[test]
fn the_history_is_told_in_the_order_of_epochs_although_a_clock_was_set_back() {
    let mut desk = Desk::settled();
    fail_over_to_r2(&mut desk, [0; 4]);
    desk.wrong_by_ms = -DAY_MS;
    desk.everybody_thinks("r2", &REFUSED);
    desk.pass(100);
    let epochs = desk.brain.history(None).into_iter().map(|record| record.epoch.0);
    assert_eq!(epochs.collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn hard_evidence_does_not_wait_for_the_cooldown() {
    let mut desk = Desk::settled();
    fail_over_to_r2(&mut desk, [0; 4]);
    desk.everybody_thinks("r2", &REFUSED);
    desk.pass(100);
    assert_eq!(desk.phase(), "epoch 3 fencing");
}

#[test]
fn while_one_failover_runs_no_other_one_begins() {
    let mut desk = Desk::settled();
    desk.everybody_thinks("r1", &REFUSED);
    desk.link_down("r2", "r1", 1000);
    assert_eq!(desk.phase(), "epoch 2 fencing");
    desk.everybody_thinks("r3", &REFUSED);
    desk.everybody_thinks("r1", &SILENT);
    desk.everybody_thinks("r1", &REFUSED);
    desk.pass(20);
    assert_eq!(desk.phase(), "epoch 2 fencing");
}

/// One failover more in the agreed state.
fn one_more(state: &mut State, at: UnixMicros, quick: bool) {
    let epoch = Epoch(state.service(&"shop".into()).epoch.0 + 1);
    let candidate: InstanceName = "r2".into();
    let decisions = [
        Decided::Begin { epoch, cause: Cause::Crashed { votes: 2 }, suspected: at, verdict: at },
        Decided::Choose {
            epoch,
            candidate,
            run_id: "run".into(),
            offset: ReplOffset(1),
            surplus: Vec::new(),
            compared: Vec::new(),
            reason: String::new(),
            committed: at,
            fenced: at,
        },
        Decided::Promoted {
            epoch,
            replid: "next".into(),
            offset: ReplOffset(1),
            paused: None,
            fenced: None,
            at,
        },
        Decided::End { epoch, routed: at, first_write: at, quick },
    ];
    for decision in decisions {
        assert!(state.apply(&Entry { service: "shop".into(), decision: decision.clone() }), "{decision:?}");
    }
}

#[test]
fn failovers_within_each_others_cooldown_wait_twice_as_long_each_time_up_to_a_bound() {
    let mut state = State::default();
    let at = UnixMicros(1_700_000_000_000_000);
    let adopt = Decided::Adopt {
        primary: "r1".into(),
        run_id: "run".into(),
        replid: "history".into(),
        replicas: [].into(),
    };
    state.apply(&Entry { service: "shop".into(), decision: adopt });
    one_more(&mut state, at, false);
    let mut waits = Vec::new();
    for _ in 0..12 {
        one_more(&mut state, at, true);
        waits.push(state.service(&"shop".into()).backoff(at).map_or(0, |wait| wait.as_secs()));
    }
    assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 64, 64, 64, 64, 64]);
    // A clock that is wrong by more than that is not waited for.
    let set_back = UnixMicros(at.0 - 3_600_000_000);
    assert_eq!(state.service(&"shop".into()).backoff(set_back), None);
    assert_eq!(state.service(&"shop".into()).backoff(at + Duration::from_secs(65)), None);
    // A quiet time ends it.
    one_more(&mut state, at, false);
    assert_eq!(state.service(&"shop".into()).backoff(at), None);
}
