//! Planned moves of real primaries under a writing client: nothing acknowledged is lost, and what cannot be moved is
//! refused with its reason.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Fault;
use backstay_lab::load::checker::{Expected, missing};
use backstay_lab::load::saturating::{self, SaturatingWriter};
use backstay_lab::servers::redis::RedisServer;
use std::time::Instant;
use support::group::{Group, LIMIT, await_writes_elsewhere, guard, info, is_primary, never, ok, until};

/// An instance that can take over.
fn fit(group: &Group) -> RedisServer {
    let replica = group.replicas().unwrap().into_iter().next().expect("a replica");
    group.await_fit(&replica.name).unwrap();
    replica
}

fn full_copies(group: &Group) -> u64 {
    let of = |server: RedisServer| info(&server, "sync_full").parse::<u64>().unwrap_or(0);
    group.instances().unwrap().into_iter().map(of).sum()
}

#[test]
fn a_switchover_there_and_back_loses_nothing_and_copies_nothing() {
    let group = Group::up();
    let writer = group.writer();
    let first = group.named_primary();
    for _ in 0..2 {
        let (old, to) = (group.named_primary(), fit(&group));
        let (copies, at) = (full_copies(&group), Instant::now());
        let done = group.backstay(&["switchover", "mymaster", "--to", &to.name]);
        assert_eq!(done.code, Some(0), "{done:?}");
        assert!(done.stdout.contains(&format!("{} to {}", old.name, to.name)), "{}", done.stdout);
        assert!(done.stdout.contains("paused"), "{}", done.stdout);
        await_writes_elsewhere(&writer, old.address(), at);
        group.await_healthy(LIMIT).unwrap();
        assert!(is_primary(&to) && !is_primary(&old));
        assert_eq!(guard(&to), Some(0));
        assert_eq!(full_copies(&group), copies, "everybody goes on where they were");
    }
    assert_ne!(group.named_primary().name, "nobody");
    assert!(group.instances().unwrap().iter().any(|it| it.name == first.name));
    group.expect_all_written(writer);
}

#[test]
fn a_switchover_under_saturating_writes_loses_nothing() {
    let group = Group::up();
    let writer = SaturatingWriter::start(group.client().unwrap(), "sat");
    until("many writes", || (writer.record().lock().acks.len() > 5000).then_some(()));
    let (old, to) = (group.named_primary(), fit(&group));
    let at = Instant::now();
    let done = group.backstay(&["switchover", "mymaster", "--to", &to.name, "-o", "json"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let record: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&record["planned"], &record["to"]), (&true.into(), &to.name.as_str().into()));
    until("writes elsewhere", || writer.record().lock().first_elsewhere(old.address(), at));
    let record = writer.stop();
    let expected: Vec<Expected> = record
        .acks
        .iter()
        .map(|ack| Expected { key: saturating::key("sat", ack.number), value: None })
        .collect();
    assert_eq!(missing(to.address(), &expected).unwrap(), Vec::<String>::new());
}

#[test]
fn what_is_not_fit_is_refused_with_its_reason_and_nothing_is_changed() {
    let group = Group::up();
    let primary = group.named_primary();
    let replica = fit(&group);
    let refused = |words: &[&str], why: &str| {
        let outcome = group.backstay(&[&["switchover"], words].concat());
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(outcome.stderr.contains(why), "{words:?}: {}", outcome.stderr);
    };
    refused(&["mymastr"], "did you mean mymaster?");
    refused(&["mymaster", "--to", "r9"], "no instance called r9");
    refused(&["mymaster", "--to", &primary.name], "is the primary already");
    let dry = group.told(&["switchover", "mymaster", "--to", &replica.name, "--dry-run"]);
    assert!(dry.contains("would take over") && dry.contains("nothing was changed"), "{dry}");
    // Unreachable.
    group.fault(Fault::Hang, &replica.name).unwrap();
    until("that it is found to be silent", || {
        let outcome = group.backstay(&["switchover", "mymaster", "--to", &replica.name, "--dry-run"]);
        outcome.stderr.contains("cannot take over").then_some(())
    });
    group.fault(Fault::Resume, &replica.name).unwrap();
    // Somebody else's replica.
    ok(&replica, &["REPLICAOF", "127.0.0.1", "2"]);
    until("that it is found to be elsewhere", || {
        let outcome = group.backstay(&["switchover", "mymaster", "--to", &replica.name, "--dry-run"]);
        (outcome.code == Some(1) && !outcome.stderr.contains("silent")).then_some(())
    });
    never(|| (!is_primary(&primary)).then(|| "the primary was touched".to_owned()));
    assert_eq!(group.named_primary().name, primary.name);
}

#[test]
fn a_candidate_that_dies_in_the_middle_leaves_a_group_that_takes_writes() {
    let group = Group::up();
    let writer = group.writer();
    let (old, to) = (group.named_primary(), fit(&group));
    let epoch = group.epoch();
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| group.backstay(&["switchover", "mymaster", "--to", &to.name]));
        // At whatever step this meets it.
        group.fault(Fault::Kill, &to.name).unwrap();
        asked.join().unwrap()
    });
    group.fault(Fault::Restart, &to.name).unwrap();
    group.await_healthy(LIMIT).unwrap();
    let acknowledged = writer.record().lock().acks.len();
    until("that writes go on", || (writer.record().lock().acks.len() > acknowledged + 50).then_some(()));
    assert!(group.epoch() >= epoch, "{} and {}", old.name, to.name);
    group.expect_all_written(writer);
}

#[test]
fn a_leader_that_dies_in_the_middle_leaves_a_move_that_is_finished_or_undone() {
    let group = Group::up();
    let writer = group.writer();
    for _ in 0..3 {
        let to = fit(&group);
        let (leader, epoch) = (group.await_leader(), group.epoch());
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| group.backstay(&["switchover", "mymaster", "--to", &to.name]));
            until("that it is committed", || (group.epoch() > epoch).then_some(()));
            group.fault(Fault::Kill, &leader).unwrap();
            asked.join().unwrap()
        });
        group.fault(Fault::Restart, &leader).unwrap();
        group.await_healthy(LIMIT).unwrap();
        let acknowledged = writer.record().lock().acks.len();
        until("that writes go on", || (writer.record().lock().acks.len() > acknowledged + 50).then_some(()));
    }
    group.expect_all_written(writer);
}

#[test]
fn a_failover_is_ordered_with_a_word_of_consent_and_takes_another_primary() {
    let group = Group::up();
    let writer = group.writer();
    let old = group.named_primary();
    fit(&group);
    let unasked = group.backstay(&["failover", "mymaster"]);
    assert_eq!(unasked.code, Some(2), "{unasked:?}");
    assert_eq!(group.named_primary().name, old.name);
    let at = Instant::now();
    let done = group.backstay(&["failover", "mymaster", "--yes"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    assert!(done.stdout.contains("ada ordered it"), "{}", done.stdout);
    await_writes_elsewhere(&writer, old.address(), at);
    group.await_healthy(LIMIT).unwrap();
    assert_ne!(group.named_primary().name, old.name);
    drop(writer);
}
