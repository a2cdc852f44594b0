//! Wall clocks that jump, a controller that stands still, and failovers that follow each other.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_lab::{Fault, Options};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::group::{Group, LIMIT, await_writes_elsewhere, never, until};

const CONTROLLERS: [&str; 3] = ["a", "b", "c"];
/// In seconds.
const DAY: i64 = 24 * 3600;

/// The library that shows a process another wall clock, if it is installed. It leaves the clocks alone that measure.
fn faketime() -> Option<PathBuf> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib", "/usr/local/lib"];
    let paths = folders.iter().map(|folder| Path::new(folder).join("faketime/libfaketime.so.1"));
    let found = paths.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!(
            "SKIPPED: nothing can set a process' wall clock; install it with `apt-get install libfaketime`"
        );
    }
    found
}

/// Controllers whose wall clocks can be set, each by a file of its own.
struct Clocks {
    folder: tempfile::TempDir,
}

impl Clocks {
    fn new(library: &Path) -> Self {
        let clocks = Self { folder: tempfile::tempdir().unwrap() };
        clocks.set(CONTROLLERS.map(|name| (name, 0)));
        let script = format!(
            "#!/bin/sh\n\
             for word; do [ \"$before\" = --node ] && node=$word; before=$word; done\n\
             export LD_PRELOAD={} FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_NO_CACHE=1\n\
             export FAKETIME_TIMESTAMP_FILE={}/$node\n\
             exec {} \"$@\"\n",
            library.display(),
            clocks.folder.path().display(),
            env!("CARGO_BIN_EXE_backstay"),
        );
        fs::write(clocks.program(), script).unwrap();
        fs::set_permissions(clocks.program(), fs::Permissions::from_mode(0o755)).unwrap();
        clocks
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("backstay")
    }

    /// By how many seconds each clock is wrong from now on.
    fn set(&self, wrong_by: [(&str, i64); 3]) {
        for (name, seconds) in wrong_by {
            let (file, new) = (self.folder.path().join(name), self.folder.path().join("new"));
            fs::write(&new, format!("{seconds:+}\n")).unwrap();
            fs::rename(new, file).unwrap();
        }
    }
}

#[test]
fn wall_clocks_that_jump_cause_nothing_and_stop_no_failover() {
    let Some(library) = faketime() else {
        return;
    };
    let clocks = Clocks::new(&library);
    let group = Group::with(Options { backstay: Some(clocks.program()), ..Options::default() });
    let (old, epoch) = (group.named_primary(), group.epoch());
    let leader = group.await_leader();
    let term = group.status_of(&leader).unwrap().term;
    let writer = group.writer();
    for wrong_by in [[DAY, -DAY, 3600], [-DAY, DAY, 0], [0, 0, -1000 * DAY], [0, 0, 0]] {
        let pairs = [0, 1, 2].map(|index| (CONTROLLERS[index], wrong_by[index]));
        clocks.set(pairs);
        never(|| {
            let status = group.status_of(&leader)?;
            let service = status.services.first()?;
            let calm = status.term == term && service.epoch.0 == epoch && service.phase == "stable";
            (!calm).then(|| format!("{wrong_by:?}: term {term} became {}, {service:?}", status.term))
        });
    }
    // The clock is what was set: a pause tells until when.
    clocks.set(CONTROLLERS.map(|name| (name, 100 * 365 * DAY)));
    let far = until("a pause by the wrong clock", || {
        let told = group.told(&["pause", "--for", "1m"]);
        told.contains("until 21").then_some(told)
    });
    assert!(far.contains("paused"), "{far}");
    group.told(&["resume"]);

    clocks.set([("a", DAY), ("b", -DAY), ("c", 7)]);
    let killed = group.fault(Fault::Kill, &old.name).unwrap().at.at;
    clocks.set([("a", -DAY), ("b", DAY), ("c", 0)]);
    let failover = group.await_failover(epoch);
    await_writes_elsewhere(&writer, old.address(), killed);
    assert_eq!(failover.epoch.0, epoch + 1);
    group.expect_all_written(writer);
}

#[test]
fn a_leader_that_stood_still_finds_another_one_and_leaves_everything_as_it_is() {
    let group = Group::up();
    let (primary, epoch) = (group.named_primary(), group.epoch());
    let leader = group.await_leader();
    let writer = group.writer();
    group.fault(Fault::Hang, &leader).unwrap();
    let next = until("another leader", || {
        let others = CONTROLLERS.iter().filter(|name| **name != leader);
        others.into_iter().find_map(|name| {
            let status = group.status_of(name)?;
            status.leader.filter(|found| found.as_str() != leader)
        })
    });
    group.fault(Fault::Resume, &leader).unwrap();
    until("that it follows", || {
        group.status_of(&leader).and_then(|status| status.leader).filter(|found| *found == next)
    });
    never(|| {
        let service = group.service()?;
        let calm = service.epoch.0 == epoch && group.writable() == [primary.name.as_str()];
        (!calm).then(|| format!("epoch {}, {:?} take writes", service.epoch, group.writable()))
    });
    group.expect_all_written(writer);
}

/// A group in which two failovers within a minute are too many.
fn restless() -> Group {
    Group::with(Options { cooldown: Some(Duration::from_secs(60)), ..Options::default() })
}

fn fail_over_once(group: &Group) {
    let (old, epoch) = (group.named_primary(), group.epoch());
    group.fault(Fault::Kill, &old.name).unwrap();
    group.await_failover(epoch);
    group.fault(Fault::Restart, &old.name).unwrap();
    group.await_healthy(LIMIT).unwrap();
}

#[test]
fn silence_after_a_failover_waits_for_the_cooldown_and_says_so() {
    let group = restless();
    fail_over_once(&group);
    let (primary, epoch) = (group.named_primary(), group.epoch());
    group.fault(Fault::Hang, &primary.name).unwrap();
    until("the reason", || {
        let why = group.told(&["explain", "mymaster"]);
        why.contains("silence is soft evidence").then_some(())
    });
    never(|| (group.epoch() != epoch).then(|| "it was failed over all the same".to_owned()));
    group.fault(Fault::Resume, &primary.name).unwrap();
    group.await_healthy(LIMIT).unwrap();
    assert_eq!(group.epoch(), epoch);
    // Hard evidence does not wait.
    group.fault(Fault::Kill, &primary.name).unwrap();
    group.await_failover(epoch);
}

#[test]
fn failovers_that_follow_each_other_back_off_and_say_so() {
    let group = restless();
    for round in 1.. {
        assert!(round < 9, "it never backs off");
        let (old, epoch) = (group.named_primary(), group.epoch());
        group.fault(Fault::Kill, &old.name).unwrap();
        let reason = until("a failover, or why there is none yet", || {
            let why = group.told(&["explain", "mymaster"]);
            let waits = why.contains("followed each other closely");
            (waits || group.epoch() > epoch).then_some(waits.then_some(why))
        });
        group.await_failover(epoch);
        if let Some(why) = reason {
            assert!(round > 2, "the first and the second one wait for nothing: {why}");
            return;
        }
        group.fault(Fault::Restart, &old.name).unwrap();
        group.await_healthy(LIMIT).unwrap();
    }
}
