//! Controllers that are added, removed, lost and upgraded on a lab of real servers, while failovers go on.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::Fault;
use backstay_lab::servers::controller::ControllerServer;
use backstay_lab::servers::ports::Ports;
use backstay_lab::servers::process::Liveness;
use backstay_lab::stack::state::{LabState, Member};
use backstay_model::{Explanation, FailoverRecord, MemberRole};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use support::group::{Group, LIMIT, until};

const REAL: &str = env!("CARGO_BIN_EXE_backstay");

/// The part of each controller, as the one in touch with a quorum sees it.
fn roles(group: &Group) -> Option<BTreeMap<String, MemberRole>> {
    let status = group.cluster_status().ok().filter(|status| status.quorum)?;
    Some(status.controllers.into_iter().map(|it| (it.name.to_string(), it.member)).collect())
}

fn await_role(group: &Group, name: &str, wanted: MemberRole) {
    until(&format!("{name} as {wanted:?}"), || {
        roles(group)?.get(name).filter(|role| **role == wanted).map(drop)
    });
}

/// Waits until somebody could take over: that a primary's history got another name, as happens when its first replica
/// comes, must be agreed on before it may be lost.
fn await_candidate(group: &Group) {
    until("somebody who could take over", || {
        let explained = group.backstay(&["explain", "mymaster", "-o", "json"]);
        let explanation: Explanation = serde_json::from_str(&explained.stdout).ok()?;
        explanation.winner.map(drop)
    });
}

/// Shows what the controllers say, if the test fails.
struct Witness<'a>(&'a Group);

impl Drop for Witness<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for words in [&["status"][..], &["explain", "mymaster"], &["history"]] {
                println!("{}", self.0.backstay(words).stdout);
            }
        }
    }
}

/// Kills the primary, waits for the next one, and starts the dead one again.
fn fail_over(group: &Group) -> FailoverRecord {
    let _witness = Witness(group);
    await_candidate(group);
    let (old, epoch) = (group.named_primary(), group.epoch());
    group.fault(Fault::Kill, &old.name).unwrap();
    let failover = group.await_failover(epoch);
    assert_ne!(group.named_primary().name, old.name);
    group.fault(Fault::Restart, &old.name).unwrap();
    failover
}

/// The newest version that controllers speak to each other (`backstay_consensus::VERSION`).
const NEWEST: u32 = 5;

/// Waits until members can change: every controller was heard to speak the newest version.
fn await_level(group: &Group, level: u32) {
    until("the level", || {
        let status = group.cluster_status().ok().filter(|status| status.quorum)?;
        (status.level == level).then_some(())
    });
}

/// Puts a fourth controller into the file that all nodes read. It is not started.
fn list_in_file(group: &Group, name: &str, ports: &mut Ports) {
    let dir = group.dir();
    let server = ControllerServer {
        remote_admin: None,
        name: name.to_owned(),
        peer: ports.claim().unwrap(),
        sentinel: ports.claim().unwrap(),
        admin: dir.join(format!("{name}.sock")),
        state: dir.join(name),
        log: dir.join(format!("{name}.log")),
    };
    let section = format!(
        "\n[[controllers]]\nname = \"{name}\"\naddress = \"{}\"\nsentinel = \"{}\"\nadmin = \"{}\"\nstate = \"{}\"\n",
        server.peer_address(),
        server.sentinel_address(),
        server.admin.display(),
        server.state.display()
    );
    let mut file = OpenOptions::new().append(true).open(group.config()).unwrap();
    file.write_all(section.as_bytes()).unwrap();
    LabState::update(dir, |state| state.controllers.push(Member::new(server))).unwrap();
}

/// Restarts controllers one after the other, each once the others are well.
fn roll(group: &Group, names: &[&str]) {
    for name in names {
        group.fault(Fault::Restart, name).unwrap();
        until("everybody in touch again", || {
            let status = group.cluster_status().ok().filter(|status| status.quorum)?;
            let voters = status.controllers.iter().filter(|it| it.member == MemberRole::Voter);
            voters.clone().all(|it| it.connected).then_some(())
        });
    }
}

#[test]
fn a_fourth_controller_is_added_and_another_one_removed_while_failovers_work() {
    let group = Group::up();
    let writer = group.writer();
    let mut ports = Ports::open().unwrap();
    await_level(&group, NEWEST);

    list_in_file(&group, "d", &mut ports);
    roll(&group, &["a", "b", "c"]);
    await_role(&group, "d", MemberRole::Outside);
    fail_over(&group);
    let unheard = group.backstay(&["controller", "add", "d"]);
    assert_eq!(unheard.code, Some(1), "{unheard:?}");
    assert!(unheard.stderr.contains("no controller with a new state folder asks"), "{unheard:?}");

    group.fault(Fault::Restart, "d").unwrap();
    await_role(&group, "d", MemberRole::Waiting);
    let listed = group.backstay(&["controller", "list"]);
    assert_eq!(listed.code, Some(3), "{listed:?}");
    assert!(listed.stdout.contains("waits to be added"), "{listed:?}");
    let status = group.told(&["status"]);
    assert!(status.contains("`backstay controller add d` makes it one"), "{status}");

    assert_eq!(group.told(&["controller", "add", "d"]), "d is a member of the cluster and votes\n");
    assert_eq!(group.backstay(&["controller", "list"]).code, Some(0));
    let again = group.backstay(&["controller", "add", "d"]);
    assert!(again.stderr.contains("a member already, and votes"), "{again:?}");
    await_in_step(&group);
    fail_over(&group);

    let removed = group.await_leader();
    let told = group.told(&["controller", "remove", &removed]);
    assert!(told.starts_with(&format!("controller {removed} is no member any more. 3 voters")), "{told}");
    group.process(&removed).await_liveness(&removed, Liveness::Gone).unwrap();
    let log = fs::read_to_string(group.dir().join(format!("{removed}.log"))).unwrap();
    assert!(log.contains("it is no member of the cluster any more"), "{log}");
    await_role(&group, &removed, MemberRole::Outside);
    await_in_step(&group);
    fail_over(&group);
    await_in_step(&group);
    group.expect_all_written(writer);
}

#[test]
fn a_controller_that_lost_its_folder_gets_its_vote_back_and_the_cluster_survives_the_next_loss() {
    let group = Group::up();
    let writer = group.writer();
    await_level(&group, NEWEST);
    // The leader loses its folder: nobody waits for it.
    let lost = group.await_leader();
    group.fault(Fault::RestartEmpty, &lost).unwrap();
    await_role(&group, &lost, MemberRole::Waiting);
    let problem = until("the problem", || {
        let status = group.cluster_status().ok()?;
        status.problems.into_iter().find(|problem| problem.code == "ControllerNotMember")
    });
    let wanted =
        format!("controller {lost} lost its state folder and has no vote: `backstay controller add {lost}`");
    assert!(problem.sentence.starts_with(&wanted), "{problem:?}");
    fail_over(&group);
    let refused = group.backstay(&["controller", "remove", "nobody"]);
    assert!(refused.stderr.contains("no member has this name"), "{refused:?}");

    group.told(&["controller", "add", &lost]);
    await_role(&group, &lost, MemberRole::Voter);
    group.await_healthy(LIMIT).unwrap();
    // Now another one may die.
    let other = ["a", "b", "c"].into_iter().find(|name| *name != lost).unwrap();
    group.fault(Fault::Kill, other).unwrap();
    fail_over(&group);
    until("everybody misses it", || {
        let status = group.cluster_status().ok().filter(|status| status.quorum)?;
        let dead = status.controllers.into_iter().find(|it| it.name.as_str() == other)?;
        (!dead.connected).then_some(())
    });
    let third = ["a", "b", "c"].into_iter().find(|name| *name != lost && *name != other).unwrap();
    let refused = group.backstay(&["controller", "remove", third]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("1 live voters where 2 are needed"), "{refused:?}");
    // The dead one may go; the second of three may not.
    let told = group.told(&["controller", "remove", other]);
    assert!(told.contains("Two voters are left, and both are needed"), "{told}");
    let refused = group.backstay(&["controller", "remove", third]);
    assert!(refused.stderr.contains("would leave a single voter"), "{refused:?}");
    group.expect_all_written(writer);
}

/// Ends the restarts when the failovers are over, also by a failed test.
struct Storm<'a>(&'a AtomicBool);

impl Drop for Storm<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until every instance counts again; controllers may come and go meanwhile.
fn await_in_step(group: &Group) {
    until("every instance in step", || {
        let service = group.service().filter(|service| service.phase == "stable")?;
        service.instances.iter().all(|instance| instance.in_sync).then_some(())
    });
}

/// Waits, unless a failover runs, until the group is whole: whoever restarts controllers all the time keeps them from
/// mending anything.
fn await_next_moment(group: &Group, over: &AtomicBool) {
    until("a failover or a whole group", || {
        let service = group.service()?;
        let whole = service.instances.iter().all(|instance| instance.in_sync);
        (over.load(Ordering::Relaxed) || whole || service.phase != "stable").then_some(())
    });
}

#[test]
fn a_rolling_restart_of_all_controllers_under_a_storm_of_failovers_loses_and_doubles_none() {
    let group = Group::up();
    let writer = group.writer();
    let first = group.epoch();
    let over = AtomicBool::new(false);
    let mut failovers = Vec::new();
    std::thread::scope(|scope| {
        let rolling = scope.spawn(|| {
            let mut restarts = 0;
            while !over.load(Ordering::Relaxed) {
                for name in ["a", "b", "c"] {
                    roll(&group, &[name]);
                    await_next_moment(&group, &over);
                    restarts += 1;
                }
            }
            restarts
        });
        let storm = Storm(&over);
        for _ in 0..5 {
            failovers.push(fail_over(&group));
            await_in_step(&group);
        }
        drop(storm);
        assert!(rolling.join().unwrap() >= 3);
    });
    let epochs: Vec<u64> = failovers.iter().map(|failover| failover.epoch.0).collect();
    assert_eq!(epochs, (first + 1..=first + 5).collect::<Vec<_>>(), "{failovers:?}");
    until("one history", || {
        let told = ["a", "b", "c"].map(|name| group.history_of(name));
        (told[0].is_some() && told[0] == told[1] && told[1] == told[2]).then_some(())
    });
    let history = group.history_of("a").unwrap();
    let later: Vec<_> = history.iter().filter(|record| record.epoch.0 > first).collect();
    assert_eq!(later.len(), 5);
    assert!(later.iter().all(|record| record.to.is_some() && record.moments.first_write.is_some()));
    group.expect_all_written(writer);
}

/// A program that plays the version before.
fn older(folder: &Path) -> PathBuf {
    let path = folder.join("backstay-before");
    fs::write(&path, format!("#!/bin/sh\nBACKSTAY_PROTOCOL_MAX=1 exec {REAL} \"$@\"\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn run_by(group: &Group, program: &Path) {
    LabState::update(group.dir(), |state| state.backstay = Some(program.to_owned())).unwrap();
}

#[test]
fn two_versions_run_side_by_side_until_the_last_controller_is_upgraded() {
    let folder = tempfile::tempdir().unwrap();
    let older = older(folder.path());
    let group = Group::by(&older);
    let writer = group.writer();
    fail_over(&group);
    group.await_healthy(LIMIT).unwrap();
    run_by(&group, Path::new(REAL));
    for upgraded in ["a", "b"] {
        roll(&group, &[upgraded]);
        fail_over(&group);
        group.await_healthy(LIMIT).unwrap();
    }
    // Whoever leads, nothing is done that c would not understand.
    let refused = group.backstay(&["controller", "remove", "a"]);
    assert!(refused.stderr.contains("members cannot change while controller c"), "{refused:?}");
    assert_eq!(group.cluster_status().unwrap().level, 1);
    roll(&group, &["c"]);
    await_level(&group, NEWEST);
    fail_over(&group);
    group.await_healthy(LIMIT).unwrap();
    // There is no way back: what was agreed on may not be understood there.
    run_by(&group, &older);
    let refused = group.fault(Fault::Restart, "b");
    let log = until("its last words", || {
        let log = fs::read_to_string(group.dir().join("b.log")).ok()?;
        log.contains(&format!("the cluster works at level {NEWEST}")).then_some(log)
    });
    assert!(log.contains("start the newer version"), "{refused:?} {log}");
    group.process("b").await_liveness("b", Liveness::Gone).unwrap();
    run_by(&group, Path::new(REAL));
    group.fault(Fault::Restart, "b").unwrap();
    fail_over(&group);
    group.expect_all_written(writer);
}
