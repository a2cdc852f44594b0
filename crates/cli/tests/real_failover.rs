//! A primary that crashes, hangs, or dies together with the leading controller: what its clients wrote is there, and
//! everybody follows the next one.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Fault;
use backstay_lab::load::connection::{Connection, items};
use backstay_lab::load::zombie::PatientWriters;
use backstay_lab::wait::poll_until;
use backstay_model::InstanceName;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::io::ErrorKind;
use std::time::Duration;
use support::group::{Group, LIMIT, await_writes_elsewhere, fill, follows, guard, info, never, ok, until};

#[test]
fn a_crashed_primary_costs_no_acknowledged_write_and_its_replica_no_full_copy() {
    let group = Group::up();
    let (old, epoch) = (group.named_primary(), group.epoch());
    let writer = group.writer();
    let killed = group.fault(Fault::Kill, &old.name).unwrap().at.at;
    let failover = group.await_failover(epoch);

    let new = group.named_primary();
    assert_ne!(new.name, old.name);
    assert_eq!(failover.epoch.0, epoch + 1);
    assert_eq!(failover.from.as_ref().map(InstanceName::as_str), Some(old.name.as_str()));
    assert_eq!(failover.to.as_ref().map(InstanceName::as_str), Some(new.name.as_str()));
    assert!(failover.cause.contains("port closed"), "{failover}");
    assert!(failover.lost.is_empty(), "{failover:?}");
    let moments = failover
        .moments
        .in_order()
        .into_iter()
        .filter(|(name, _)| *name != "paused")
        .map(|(name, at)| at.unwrap_or_else(|| panic!("no moment '{name}' in {failover:?}")));
    assert!(moments.is_sorted(), "{failover:?}");

    let others = group.others(&new);
    let other = others.iter().find(|it| it.name != old.name).unwrap();
    until("the other replica follows", || follows(other, &new).then_some(()));
    assert_eq!(
        (info(&new, "sync_full").as_str(), info(&new, "sync_partial_ok").as_str()),
        ("0", "1"),
        "the other replica was copied anew"
    );
    await_writes_elsewhere(&writer, old.address(), killed);
    group.expect_all_written(writer);
    assert_eq!(group.writable(), [new.name.as_str()]);

    // The dead one comes back, and takes nothing over.
    group.fault(Fault::Restart, &old.name).unwrap();
    group.await_healthy(LIMIT).unwrap();
    assert!(follows(&old, &new));
    assert_eq!(group.epoch(), epoch + 1);
}

/// A background save's child that outlives its parent, and its parent's sockets with it.
struct Orphan(Pid);

impl Drop for Orphan {
    fn drop(&mut self) {
        // The lab put the server into a process group of its own; the child may have ended by itself.
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}

#[test]
fn a_primary_killed_during_a_background_save_is_replaced_although_its_child_holds_the_sockets() {
    let group = Group::up();
    let (old, epoch) = (group.named_primary(), group.epoch());
    fill(&old, "k", 2000);
    let mut probe = old.connect().unwrap();
    probe.call(&["PING"]).unwrap();
    // The child looks for its parent at the first key, and again 1024 keys later: five seconds.
    ok(&old, &["CONFIG", "SET", "rdb-key-save-delay", "5000"]);
    old.ask(&["BGSAVE"]).unwrap();
    until("a child that saves", || (info(&old, "current_save_keys_processed") == "1").then_some(()));
    let _orphan = Orphan(Pid::from_raw(group.process(&old.name).pid));

    let replicas = group.others(&old);
    let begun = group.fault(Fault::Kill, &old.name).unwrap().at.at;
    let ended = poll_until(Duration::from_secs(3), || {
        let last = group.history()?.pop()?;
        (last.epoch.0 > epoch && last.moments.first_write.is_some()).then_some(last)
    });
    let ended = ended.unwrap_or_else(|| panic!("no failover within {:?}", begun.elapsed()));
    probe.set_limit(Duration::from_millis(1)).unwrap();
    let silence = probe.receive().unwrap_err();
    assert!(
        matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "the child did not hold the sockets: {silence}"
    );
    assert!(ended.cause.contains("port closed"), "{ended}");
    assert_eq!(ended.epoch.0, epoch + 1);
    let new = group.named_primary();
    assert_ne!(new.name, old.name);
    for replica in &replicas {
        assert_eq!(support::group::count(replica, "k", 2000), 2000, "{}", replica.name);
    }
    assert_eq!(group.writable(), [new.name.as_str()]);
}

#[test]
fn a_hung_primary_takes_nothing_when_it_wakes_and_follows_the_next_one() {
    let group = Group::up();
    let (old, epoch) = (group.named_primary(), group.epoch());
    let writer = group.writer();
    let hung = group.fault(Fault::Hang, &old.name).unwrap().at.at;
    let patients = PatientWriters::queue_up(old.address(), "t").unwrap();
    let failover = group.await_failover(epoch);
    assert!(failover.cause.contains("no answer in time"), "{failover}");
    assert_eq!(failover.epoch.0, epoch + 1);
    await_writes_elsewhere(&writer, old.address(), hung);

    group.fault(Fault::Resume, &old.name).unwrap();
    let zombie = patients.watch(LIMIT);
    assert_eq!(zombie.accepted, 0, "{zombie:?}");
    let new = group.named_primary();
    until("the zombie follows, open as it was", || {
        (follows(&old, &new) && guard(&old) == Some(0)).then_some(())
    });
    group.await_healthy(LIMIT).unwrap();
    assert_eq!(group.writable(), [new.name.as_str()]);
    assert_eq!(group.epoch(), epoch + 1);
    group.expect_all_written(writer);
    let keys = old.ask(&["KEYS", "z:*"]).unwrap();
    assert_eq!(items(&keys).map(<[_]>::len), Some(0), "{keys:?}");
}

/// For three seconds.
const COMPUTE: &str = "local t = redis.call('TIME')[1] + 3 while redis.call('TIME')[1] + 0 < t do end";

/// Cuts the replicas off, writes, and then computes for a while: one piece of work for Redis, with nothing in between.
fn write_what_nobody_receives(primary: &mut Connection) {
    primary
        .send(&[
            &["CLIENT", "KILL", "TYPE", "replica"],
            &["SET", "surplus", "value"],
            &["EVAL", COMPUTE, "0"],
        ])
        .unwrap();
}

#[test]
fn what_only_a_hung_primary_held_is_counted_and_given_up_before_it_follows() {
    let group = Group::up();
    let (old, epoch) = (group.named_primary(), group.epoch());
    fill(&old, "k", 100);
    let replicas = group.others(&old);
    let mut link = old.connect().unwrap();
    write_what_nobody_receives(&mut link);
    until("replicas without a link", || {
        replicas.iter().all(|it| info(it, "master_link_status") == "down").then_some(())
    });
    group.fault(Fault::Hang, &old.name).unwrap();
    let failover = group.await_failover(epoch);
    assert_eq!(failover.lost, []);

    group.fault(Fault::Resume, &old.name).unwrap();
    let lost = until("the surplus in the history", || {
        group.history()?.pop().filter(|last| !last.lost.is_empty()).map(|last| last.lost)
    });
    assert_eq!(lost.len(), 1, "{lost:?}");
    let bytes = lost[0].bytes.expect("they can be counted");
    assert!(lost[0].instance.as_str() == old.name && bytes > 0, "{lost:?}");
    assert!(group.told(&["history"]).contains(&bytes.to_string()), "the operator is not told");
    group.await_healthy(LIMIT).unwrap();
    let new = group.named_primary();
    assert!(follows(&old, &new) && guard(&old) == Some(0));
    for instance in group.instances().unwrap() {
        assert_eq!(info(&instance, "role") == "master", instance.name == new.name);
        assert!(instance.ask(&["GET", "surplus"]).unwrap().as_bytes().is_none());
        assert_eq!(support::group::count(&instance, "k", 100), 100);
    }
    assert_eq!(group.epoch(), epoch + 1);
}

#[test]
fn a_primary_and_the_leading_controller_that_die_together_are_both_replaced() {
    let group = Group::up();
    let (old, epoch, leader) = (group.named_primary(), group.epoch(), group.await_leader());
    let writer = group.writer();
    let killed = group.fault_all(Fault::Kill, &[&old.name, &leader]).unwrap().at.at;
    let failover = group.await_failover(epoch);
    assert_eq!(failover.epoch.0, epoch + 1);
    assert_eq!(failover.from.as_ref().map(InstanceName::as_str), Some(old.name.as_str()));
    assert_ne!(group.await_leader(), leader);
    await_writes_elsewhere(&writer, old.address(), killed);
    group.expect_all_written(writer);
    let new = group.named_primary();
    assert_eq!(group.writable(), [new.name.as_str()]);

    group.fault_all(Fault::Restart, &[&old.name, &leader]).unwrap();
    group.await_healthy(LIMIT).unwrap();
    assert!(follows(&old, &new));
    assert_eq!(group.status_of(&leader).unwrap().services.pop().unwrap().epoch.0, epoch + 1);
}

#[test]
fn a_paused_group_waits_for_the_operator_to_resume() {
    let group = Group::up();
    let (old, epoch) = (group.named_primary(), group.epoch());
    let writer = group.writer();
    group.told(&["pause", "mymaster", "--for", "10m"]);
    let killed = group.fault(Fault::Kill, &old.name).unwrap().at.at;
    until("everybody sees it dead", || group.problem("PrimaryCrashed"));
    never(|| (group.epoch() != epoch).then(|| "a failover during a pause".to_owned()));
    assert_eq!(group.writable(), [""; 0]);
    let why = group.told(&["explain", "mymaster"]);
    assert!(why.contains("no failover although") && why.contains("automatic action is paused"), "{why}");

    group.told(&["resume", "mymaster"]);
    let failover = group.await_failover(epoch);
    assert_eq!(failover.epoch.0, epoch + 1);
    await_writes_elsewhere(&writer, old.address(), killed);
    group.expect_all_written(writer);
}
