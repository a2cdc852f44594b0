//! Instances that come back: with their data or without, one alone or all at once, and in doubt.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Fault;
use backstay_lab::load::connection::error_text;
use backstay_lab::servers::redis::{Boot, RedisServer};
use backstay_lab::wait::poll_until;
use std::time::Duration;
use support::group::{
    Group, LIMIT, assert_acknowledged, await_writes_elsewhere, count, fill, follows, guard, is_primary,
    never, ok, until,
};

const CONTROLLERS: [&str; 3] = ["a", "b", "c"];
const KEYS: usize = 500;

#[test]
fn an_old_primary_that_returns_open_is_closed_and_made_to_follow() {
    let group = Group::up();
    let (old, epoch) = (group.named_primary(), group.epoch());
    fill(&old, "k", KEYS);
    // It will come back with data of its own, as somebody who is the primary.
    ok(&old, &["SAVE"]);
    let writer = group.writer();
    let killed = group.fault(Fault::Kill, &old.name).unwrap().at.at;
    group.await_failover(epoch);
    await_writes_elsewhere(&writer, old.address(), killed);
    let new = group.named_primary();

    old.write_configuration(Boot::Open).unwrap();
    group.fault(Fault::Restart, &old.name).unwrap();
    let taken_in =
        poll_until(Duration::from_secs(2), || (!is_primary(&old) || guard(&old) > Some(0)).then_some(()));
    taken_in.expect("it still takes writes after two seconds");
    let refused = old.ask(&["SET", "stray", "value"]).unwrap();
    let code = error_text(&refused).unwrap_or_default();
    assert!(["READONLY", "NOREPLICAS"].iter().any(|known| code.starts_with(known)), "{refused:?}");
    group.await_healthy(LIMIT).unwrap();
    assert!(follows(&old, &new) && guard(&old) == Some(0));
    assert_eq!((group.epoch(), group.writable()), (epoch + 1, vec![new.name.clone()]));
    let acks = writer.record().lock().acks.clone();
    group.expect_all_written(writer);
    for instance in group.instances().unwrap() {
        assert_eq!(count(&instance, "k", KEYS), KEYS, "{}", instance.name);
        assert_acknowledged(&instance, &acks);
    }
}

#[test]
fn a_primary_that_is_restarted_empty_takes_no_key_from_its_replicas() {
    let group = Group::up();
    let (old, epoch) = (group.named_primary(), group.epoch());
    fill(&old, "k", KEYS);
    let replicas = group.others(&old);
    until("every key on every replica", || {
        replicas.iter().all(|it| count(it, "k", KEYS) == KEYS).then_some(())
    });
    let writer = group.writer();
    let killed = group.fault(Fault::RestartEmpty, &old.name).unwrap().at.at;
    let whole = || {
        let robbed = replicas.iter().find(|it| count(it, "k", KEYS) < KEYS)?;
        Some(format!("{} lost keys", robbed.name))
    };
    let failover = group.await_failover(epoch);
    never(whole);
    await_writes_elsewhere(&writer, old.address(), killed);
    assert_eq!(failover.epoch.0, epoch + 1);
    assert_ne!(group.named_primary().name, old.name);
    group.await_healthy(LIMIT).unwrap();
    assert_eq!(whole(), None);
    assert_eq!(count(&old, "k", KEYS), KEYS, "it was not filled again");
    assert_eq!(group.writable(), [group.named_primary().name]);
    group.expect_all_written(writer);
}

/// Everything goes down; then the instances come back as `restart` has them, and the controllers after them.
fn power_cut(group: &Group, restart: impl FnOnce(&Group)) {
    group.fault_all(Fault::Kill, &CONTROLLERS).unwrap();
    restart(group);
    group.fault_all(Fault::Restart, &CONTROLLERS).unwrap();
}

/// A group whose three members all hold the same keys.
fn filled() -> Group {
    let group = Group::up();
    fill(&group.named_primary(), "k", KEYS);
    until("every key on every instance", || {
        let instances = group.instances().unwrap();
        let full = |it: &RedisServer| count(it, "k", KEYS) == KEYS;
        instances.iter().all(full).then_some(())
    });
    group
}

fn assert_open_with_all_keys(group: &Group) {
    group.await_healthy(LIMIT).unwrap();
    let primary = group.named_primary();
    assert_eq!(group.writable(), [primary.name.as_str()]);
    ok(&primary, &["SET", "after", "value"]);
    for instance in group.instances().unwrap() {
        assert_eq!(count(&instance, "k", KEYS), KEYS, "{}", instance.name);
    }
}

#[test]
fn a_group_that_was_restarted_as_a_whole_opens_again_with_its_data() {
    let group = filled();
    let epoch = group.epoch();
    power_cut(&group, |group| {
        group.fault_all(Fault::Restart, &["r1", "r2", "r3"]).unwrap();
    });
    let record = group.await_failover(epoch);
    assert_eq!(record.epoch.0, epoch + 1);
    assert!(record.choice.contains("newest of one history"), "{record:?}");
    assert_open_with_all_keys(&group);
}

#[test]
fn an_empty_instance_never_wins_a_cold_start() {
    let group = filled();
    let epoch = group.epoch();
    let old = group.named_primary();
    let others = group.others(&old);
    power_cut(&group, |group| {
        // The one with the data comes last: whoever guesses early guesses wrong.
        group.fault_all(Fault::RestartEmpty, &[&old.name, &others[0].name]).unwrap();
        group.fault(Fault::Restart, &others[1].name).unwrap();
    });
    let record = group.await_failover(epoch);
    assert_eq!(group.named_primary().name, others[1].name);
    assert!(record.choice.contains("only one with data (50"), "{record:?}");
    assert_open_with_all_keys(&group);
}

#[test]
fn a_cold_start_in_doubt_waits_for_the_operators_word() {
    let group = filled();
    let epoch = group.epoch();
    let instances = group.instances().unwrap();
    power_cut(&group, |group| {
        for instance in &instances {
            ok(instance, &["REPLICAOF", "NO", "ONE"]);
            ok(instance, &["SET", "mine", &instance.name]);
            group.fault(Fault::Restart, &instance.name).unwrap();
        }
    });
    let stuck = until("a doubt", || group.problem("Stuck"));
    assert!(
        stuck.contains("nothing tells whose file is newest") && stuck.contains("`backstay decide"),
        "{stuck}"
    );
    let mine = |instance: &RedisServer| {
        let reply = instance.ask(&["GET", "mine"]).unwrap();
        backstay_lab::load::connection::text(&reply)
    };
    never(|| {
        let touched = instances.iter().find(|it| mine(it) != it.name)?;
        Some(format!("{} lost its data", touched.name))
    });
    assert_eq!(group.writable(), [""; 0]);
    assert_eq!(group.epoch(), epoch + 1);

    let plan = group.told(&["decide", "mymaster", "r2", "--dry-run"]);
    assert!(plan.starts_with("this would make r2 the primary of mymaster in epoch 2\n"), "{plan}");
    assert!(plan.contains("r1 stands at offset") && plan.contains("is given up"), "{plan}");
    let plan = group.told(&["decide", "mymaster", "r2", "--dry-run", "-o", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["means"].as_array().unwrap().len(), 3);
    // Without a terminal there is nobody to ask.
    let refused = group.backstay(&["decide", "mymaster", "r2"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("nothing was done") && refused.stderr.contains("--yes"), "{refused:?}");

    for (answer, code, outcome) in
        [("no\n", 1, "nothing was done"), ("yes\n", 0, "r2 will be the primary of mymaster")]
    {
        let mut terminal = group.on_terminal(&["decide", "mymaster", "r2"]);
        terminal.await_text("type yes to do it: ");
        terminal.press(answer);
        assert_eq!(terminal.end(), Some(code), "{}", terminal.shown());
        terminal.await_text(outcome);
    }
    let record = group.await_failover(epoch);
    assert_eq!(record.choice, "the operator chose it");
    assert_eq!(group.named_primary().name, "r2");
    assert_open_with_all_keys(&group);
    for instance in &instances {
        assert_eq!(mine(instance), "r2", "{}", instance.name);
    }
    assert_eq!(group.problem("Stuck"), None);
}
