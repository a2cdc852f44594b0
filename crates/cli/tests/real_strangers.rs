//! Servers and hands that are not of the group: what is theirs is left alone, and the operator is told.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Fault;
use backstay_lab::servers::redis::{Boot, RedisServer, Role};
use backstay_lab::servers::sentinel::Watch;
use backstay_lab::stack::stock::StockStack;
use backstay_model::InstanceName;
use nix::sys::signal::Signal;
use std::time::Duration;
use support::group::{
    Group, LIMIT, await_writes_elsewhere, count, fill, follows, guard, is_primary, never, ok, until,
};

const KEYS: usize = 100;

/// A Redis with data that belongs to nobody here.
fn stranger() -> (StockStack, RedisServer) {
    let mut stack = StockStack::empty().unwrap();
    let server = stack.start_redis("stranger", Boot::Open).unwrap();
    fill(&server, "theirs", KEYS);
    (stack, server)
}

fn follow_by_hand(replica: &RedisServer, primary: &RedisServer) {
    ok(replica, &["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
}

#[test]
fn a_replica_of_a_stranger_is_named_and_left_alone() {
    let (_stack, stranger) = stranger();
    let group = Group::up();
    let (old, epoch) = (group.named_primary(), group.epoch());
    let others = group.others(&old);
    let (lost, heir) = (&others[0], &others[1]);
    follow_by_hand(lost, &stranger);
    let sentence = until("the problem", || group.problem("ReplicaOfStranger"));
    assert!(
        sentence.starts_with(&format!("{} is a replica of {}", lost.name, stranger.address())),
        "{sentence}"
    );
    until("the stranger's data", || follows(lost, &stranger).then_some(()));
    let touched =
        || (!follows(lost, &stranger)).then(|| format!("{} was taken from the stranger", lost.name));
    never(touched);

    // Nor does a failover touch it, let alone choose it.
    let writer = group.writer();
    let killed = group.fault(Fault::Kill, &old.name).unwrap().at.at;
    let failover = group.await_failover(epoch);
    await_writes_elsewhere(&writer, old.address(), killed);
    assert_eq!(failover.to.as_ref().map(InstanceName::as_str), Some(heir.name.as_str()));
    assert!(group.problem("ReplicaOfStranger").is_some());
    never(touched);
    assert_eq!(count(lost, "theirs", KEYS), KEYS);
    assert_eq!(count(&stranger, "theirs", KEYS), KEYS);
    group.expect_all_written(writer);

    // Mended by hand, it belongs to the group again.
    follow_by_hand(lost, heir);
    until("the problem's end", || {
        let service = group.service()?;
        let back = service.instances.iter().any(|it| it.name.as_str() == lost.name && it.in_sync);
        (back && group.problem("ReplicaOfStranger").is_none()).then_some(())
    });
    assert_eq!(count(lost, "theirs", KEYS), 0);
}

#[test]
fn a_primary_with_data_that_was_never_part_of_the_group_is_named_and_left_alone() {
    let (_stack, stranger) = stranger();
    let group = Group::up();
    let (old, epoch) = (group.named_primary(), group.epoch());
    let file = group.config();
    let text = std::fs::read_to_string(&file).unwrap();
    let line =
        format!("instances = [\n  {{ name = \"r4\", address = \"{}\", priority = 1 }},", stranger.address());
    std::fs::write(&file, text.replace("instances = [", &line)).unwrap();
    group.fault_all(Fault::Restart, &["a", "b", "c"]).unwrap();
    let sentence = until("the problem", || group.problem("StrayPrimary"));
    assert!(
        sentence.starts_with("r4 takes itself for a primary; if it was never part of this group, empty it"),
        "{sentence}"
    );
    let touched = || {
        let left_alone = is_primary(&stranger) && guard(&stranger) == Some(0);
        (!left_alone).then(|| format!("{:?}, {:?}", stranger.role(), guard(&stranger)))
    };
    never(touched);

    let writer = group.writer();
    let killed = group.fault(Fault::Kill, &old.name).unwrap().at.at;
    let failover = group.await_failover(epoch);
    await_writes_elsewhere(&writer, old.address(), killed);
    assert_ne!(failover.to.as_ref().map(InstanceName::as_str), Some("r4"));
    never(touched);
    assert_eq!(count(&stranger, "theirs", KEYS), KEYS);
    ok(&stranger, &["SET", "theirs:still", "value"]);
    group.expect_all_written(writer);
}

#[test]
fn a_primary_that_somebody_else_made_a_replica_is_left_to_them() {
    let group = Group::up();
    let (primary, epoch) = (group.named_primary(), group.epoch());
    fill(&primary, "k", KEYS);
    let others = group.others(&primary);
    until("every key everywhere", || others.iter().all(|it| count(it, "k", KEYS) == KEYS).then_some(()));
    let other = &others[0];
    follow_by_hand(&primary, other);
    let sentence = until("the problem", || group.problem("ForeignManager"));
    let expected = format!("somebody else made {} a replica of {}", primary.name, other.address());
    assert!(sentence.starts_with(&expected) && sentence.contains("stop the other manager"), "{sentence}");
    never(|| {
        let theirs = matches!(primary.role(), Ok(Role::Replica { of, .. }) if of == other.port);
        (!theirs || group.epoch() != epoch || is_primary(other)).then(|| "something was done".to_owned())
    });
    let why = group.told(&["explain", "mymaster"]);
    assert!(why.contains("somebody else made"), "{why}");

    // Given back, it is the primary again.
    ok(&primary, &["REPLICAOF", "NO", "ONE"]);
    until("its end", || group.problem("ForeignManager").is_none().then_some(()));
    group.await_healthy(LIMIT).unwrap();
    assert_eq!(group.named_primary().name, primary.name);
    assert_eq!(group.epoch(), epoch);
    for instance in group.instances().unwrap() {
        assert_eq!(count(&instance, "k", KEYS), KEYS, "{}", instance.name);
    }
}

#[test]
fn a_replica_that_somebody_else_made_a_primary_is_left_to_them() {
    let group = Group::up();
    let (primary, epoch) = (group.named_primary(), group.epoch());
    let theirs = group.others(&primary).remove(0);
    ok(&theirs, &["REPLICAOF", "NO", "ONE"]);
    let sentence = until("the problem", || group.problem("ForeignManager"));
    assert!(sentence.starts_with(&format!("somebody else made {} a primary", theirs.name)), "{sentence}");
    ok(&theirs, &["SET", "theirs", "value"]);
    never(|| {
        let open = is_primary(&theirs) && guard(&theirs) == Some(0);
        (!open || group.epoch() != epoch).then(|| "something was done".to_owned())
    });
    assert_eq!(group.named_primary().name, primary.name);

    follow_by_hand(&theirs, &primary);
    until("its end", || group.problem("ForeignManager").is_none().then_some(()));
    group.await_healthy(LIMIT).unwrap();
    assert_eq!((group.epoch(), group.writable()), (epoch, vec![primary.name.clone()]));
}

#[test]
fn beside_a_sentinel_nothing_is_done_until_it_is_gone() {
    let group = Group::up();
    let (primary, epoch) = (group.named_primary(), group.epoch());
    let mut stack = StockStack::empty().unwrap();
    // It would need four others to do anything itself.
    let (address, down_after) = (primary.address(), Duration::from_secs(1));
    let watch = Watch { service: "theirs", primary: address, quorum: 5, down_after };
    let theirs = stack.start_sentinel("theirs", &watch).unwrap();
    let sentence = until("the problem with every instance", || {
        let sentence = group.problem("ForeignManager")?;
        let names = group.instances().unwrap().into_iter().map(|it| it.name);
        names.into_iter().all(|name| sentence.contains(&name)).then_some(sentence)
    });
    assert!(sentence.starts_with("a Sentinel manages r1, r2, r3 ("), "{sentence}");
    assert!(sentence.contains("stop it"), "{sentence}");

    let writer = group.writer();
    let killed = group.fault(Fault::Kill, &primary.name).unwrap().at.at;
    until("the reason why nothing is done", || {
        let why = group.told(&["explain", "mymaster"]);
        (why.contains("a Sentinel manages") && group.problem("PrimaryCrashed").is_some()).then_some(())
    });
    never(|| {
        let quiet = group.epoch() == epoch && group.writable().is_empty();
        (!quiet).then(|| format!("epoch {}, {:?} take writes", group.epoch(), group.writable()))
    });

    theirs.signal(Signal::SIGTERM).unwrap();
    let failover = group.await_failover(epoch);
    await_writes_elsewhere(&writer, primary.address(), killed);
    assert_ne!(failover.to.as_ref().map(InstanceName::as_str), Some(primary.name.as_str()));
    assert_eq!(group.problem("ForeignManager"), None);
    group.expect_all_written(writer);
}

#[test]
fn a_primary_that_a_sentinel_made_is_left_alone_when_the_sentinel_has_gone_also_while_it_hangs() {
    let group = Group::up();
    let (old, epoch) = (group.named_primary(), group.epoch());
    let others = group.others(&old);
    let mut stack = StockStack::empty().unwrap();
    let (address, down_after) = (old.address(), Duration::from_millis(500));
    let watch = Watch { service: "theirs", primary: address, quorum: 1, down_after };
    let sentinel = stack.start_sentinel("theirs", &watch).unwrap();
    until("the problem with both replicas", || {
        let sentence = group.problem("ForeignManager")?;
        others.iter().all(|it| sentence.contains(&it.name)).then_some(())
    });
    group.fault(Fault::Kill, &old.name).unwrap();
    let theirs = until("the Sentinel's failover", || others.iter().find(|it| is_primary(it)));
    until("the problem", || {
        group.problem("ForeignManager").filter(|it| it.starts_with("somebody else made"))
    });
    sentinel.signal(Signal::SIGTERM).unwrap();
    ok(theirs, &["SET", "theirs", "value"]);
    let touched = || {
        let alone = is_primary(theirs) && guard(theirs) == Some(0) && group.epoch() == epoch;
        (!alone).then(|| format!("{:?}, {:?}, epoch {}", theirs.role(), guard(theirs), group.epoch()))
    };
    never(touched);
    let hung = group.process(&theirs.name);
    hung.signal(Signal::SIGSTOP).unwrap();
    until("that its silence is seen", || group.problem("ReplicaDown"));
    never(|| (group.epoch() != epoch).then(|| "a failover has begun".to_owned()));
    hung.signal(Signal::SIGCONT).unwrap();
    until("an answer", || guard(theirs));
    never(touched);
}
