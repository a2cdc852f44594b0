//! Controllers that die or stand still in the middle of a failover: whoever leads next finishes it, and nobody who comes
//! back undoes it.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Fault;
use backstay_lab::load::light::LightWriter;
use backstay_lab::servers::process::Liveness;
use backstay_lab::servers::redis::RedisServer;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use support::group::{Group, LIMIT, assert_acknowledged, await_writes_elsewhere, never, until};

/// Lets this much time pass without giving the processor away: the point is to hit another moment of a failover, which
/// takes a few milliseconds, in each round.
fn pass(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// One open primary, the same for every controller, and everything that was acknowledged.
fn assert_settled(group: &Group, writer: &LightWriter, old: &RedisServer, killed: Instant) {
    await_writes_elsewhere(writer, old.address(), killed);
    let new = group.named_primary();
    assert_ne!(new.name, old.name);
    assert_eq!(group.writable(), [new.name.as_str()]);
    let acks = writer.record().lock().acks.clone();
    assert_acknowledged(&new, &acks);
}

/// Starts the dead again and waits until every controller tells the same story.
fn heal(group: &Group, dead: &[&str]) {
    group.fault_all(Fault::Restart, dead).unwrap();
    group.await_healthy(LIMIT).unwrap();
    until("one history", || {
        let told = ["a", "b", "c"].map(|name| group.history_of(name));
        (told[0].is_some() && told[0] == told[1] && told[1] == told[2]).then_some(())
    });
}

#[test]
fn a_leader_that_stands_still_in_the_middle_undoes_nothing_when_it_goes_on() {
    let group = Group::up();
    let writer = group.writer();
    for ms in [0, 1, 2, 4, 6, 10] {
        let (old, epoch, leader) = (group.named_primary(), group.epoch(), group.await_leader());
        let (primary, stalled) = (group.process(&old.name), group.process(&leader));
        let killed = Instant::now();
        primary.signal(Signal::SIGKILL).unwrap();
        pass(Duration::from_millis(ms));
        stalled.signal(Signal::SIGSTOP).unwrap();
        stalled.await_liveness(&leader, Liveness::Stopped).unwrap();

        let failover = group.await_failover(epoch);
        assert_settled(&group, &writer, &old, killed);
        let settled = group.epoch();
        assert_eq!(settled, failover.epoch.0);

        stalled.signal(Signal::SIGCONT).unwrap();
        never(|| {
            let service = group.service()?;
            let writable = group.writable();
            (service.epoch.0 != settled || writable.len() > 1).then(|| {
                format!(
                    "after {ms} ms, {leader} went on: epoch {settled} became {}, {writable:?} take writes",
                    service.epoch
                )
            })
        });
        assert_settled(&group, &writer, &old, killed);
        heal(&group, &[&old.name]);
        assert_eq!(group.epoch(), settled);
    }
    group.expect_all_written(writer);
}

#[test]
fn controllers_that_are_all_killed_in_the_middle_come_back_and_finish() {
    let group = Group::up();
    let writer = group.writer();
    // Milliseconds after the primary's death; a controller that is named later dies later.
    for (round, order) in [
        ([0, 0, 0], ["a", "b", "c"]),
        ([1, 2, 2], ["b", "c", "a"]),
        ([4, 1, 1], ["c", "a", "b"]),
        ([6, 0, 3], ["a", "c", "b"]),
        ([9, 1, 0], ["b", "a", "c"]),
    ] {
        let (old, epoch) = (group.named_primary(), group.epoch());
        let primary = group.process(&old.name);
        let controllers = order.map(|name| group.process(name));
        let killed = Instant::now();
        primary.signal(Signal::SIGKILL).unwrap();
        for (process, ms) in controllers.iter().zip(round) {
            pass(Duration::from_millis(ms));
            process.signal(Signal::SIGKILL).unwrap();
        }
        for (process, name) in controllers.iter().zip(order) {
            process.await_liveness(name, Liveness::Gone).unwrap();
        }
        assert!(group.writable().len() <= 1, "{:?}", group.writable());

        group.fault_all(Fault::Restart, &order).unwrap();
        let failover = group.await_failover(epoch);
        // Killed between the promotion and its observation, the next leader may have to choose again.
        assert!((1..=2).contains(&(failover.epoch.0 - epoch)), "{failover}");
        assert_settled(&group, &writer, &old, killed);
        heal(&group, &[&old.name]);
        assert_eq!(group.epoch(), failover.epoch.0);
    }
    group.expect_all_written(writer);
}
