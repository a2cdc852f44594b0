//! Disks that are full, read-only, torn or changed, and processes that are killed while they write: a controller comes
//! back with what it said, or stops and says why. It never goes on with half a memory.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod support;

use backstay_consensus::{Durable, Entry, HardState, MemberId, Membership, Persist, Snapshot};
use backstay_model::{Generation, NodeId, Term};
use backstay_server::{RunError, Stopped, Storage, StorageError};
use serde_json::json;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::{Cluster, admin, until};

const FILE: &str = "backstay.redb";

/// `xorshift64*`: the same on every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides.max(1)
    }
}

const FOUNDERS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

/// The write that comes after `number` others: a vote, some entries, now and then a snapshot.
fn write(number: u64) -> Persist {
    let term = Term(number + 1);
    let entry = |index| {
        let data = vec![index as u8; 40 + (number as usize * 37) % 3000];
        Entry { index, term, data, change: None }
    };
    let compacts = number % 7 == 6;
    Persist {
        known: (number == 0).then_some((NodeId(9), Generation(4))),
        hard: Some(HardState { term, vote: Some(MemberId(number % 3 + 1)), commit: number }),
        snapshot: compacts.then(|| {
            let membership = Membership::founders(&FOUNDERS);
            Snapshot { index: number, term, data: vec![number as u8; 5000], membership }
        }),
        drop_before: compacts.then_some(number),
        entries: vec![entry(number + 1)],
        ..Persist::default()
    }
}

/// What a disk holds after so many writes.
fn after(writes: u64) -> Durable {
    let mut model = Durable::default();
    (0..writes).for_each(|number| model.apply(&write(number)));
    model
}

fn open(folder: &Path) -> Result<Storage, StorageError> {
    Storage::open(folder, &"shop".into(), &"a".into())
}

/// A folder after `writes` writes, and its file before and after the last one, as a kill -9 would leave it.
fn images(writes: u64) -> (Vec<u8>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::create(folder.path(), &"shop".into(), &"a".into(), &FOUNDERS).unwrap();
    let image = || fs::read(folder.path().join(FILE)).unwrap();
    let mut before = image();
    for number in 0..writes {
        before = image();
        storage.apply(&write(number)).unwrap();
    }
    (before, image())
}

/// What comes back from a file with this content; `Err`: the sentence of the refusal.
fn reopened(content: &[u8]) -> Result<Durable, String> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE), content).unwrap();
    let durable = open(folder.path()).and_then(|storage| storage.load());
    durable.map_err(|error| {
        assert!(
            matches!(
                error,
                StorageError::Damaged { .. } | StorageError::Io { .. } | StorageError::Format { .. }
            ),
            "{error:?}"
        );
        error.to_string()
    })
}

/// How many writes the memory in this file goes back to, given that `writes` were made; `Err`: it is refused.
fn remembered(content: &[u8], writes: u64) -> Result<u64, String> {
    let durable = reopened(content)?;
    let found = (0..=writes).rev().find(|writes| durable == after(*writes));
    Ok(found.unwrap_or_else(|| panic!("a memory that never was: {:?}", durable.hard)))
}

#[test]
fn a_write_that_was_torn_is_there_as_a_whole_or_not_at_all() {
    let mut dice = Dice(7);
    let (mut before, mut whole, mut refused) = (0, 0, 0);
    for writes in 1..=24 {
        let (old, new) = images(writes);
        for case in 0..20 {
            // The disk got some of the changed sectors or pages, in any order, and perhaps not yet the new length.
            let size = [512, 4096][case % 2];
            let missing_one_of = [3, 40][case / 2 % 2];
            let mut torn = old.clone();
            torn.resize(if dice.roll(4) > 0 { new.len() } else { old.len() }, 0);
            for (number, fresh) in new.chunks(size).enumerate() {
                let at = number * size;
                if at + fresh.len() <= torn.len() && dice.roll(missing_one_of) > 0 {
                    torn[at..at + fresh.len()].copy_from_slice(fresh);
                }
            }
            match remembered(&torn, writes) {
                Ok(found) if found == writes => whole += 1,
                Ok(found) if found == writes - 1 => before += 1,
                Ok(found) => panic!("write {writes}, case {case}: it goes back to {found}"),
                // A header and a length that do not go together: the file was growing or shrinking.
                Err(_) if old.len() != new.len() => refused += 1,
                Err(error) => panic!("write {writes}, case {case}: {error}"),
            }
        }
    }
    eprintln!("{before} before, {whole} after, {refused} refused");
    assert!(before > 20 && whole > 20);
}

#[test]
fn a_file_that_was_changed_or_cut_off_is_read_as_it_was_or_refused() {
    const WRITES: u64 = 20;
    let (_, image) = images(WRITES);
    let mut dice = Dice(11);
    let (mut whole, mut shorter, mut refused) = (0, 0, 0);
    for case in 0..300 {
        let mut content = image.clone();
        match case % 4 {
            0 => content.truncate(dice.roll(image.len())),
            1 => {
                let at = dice.roll(image.len());
                content[at] ^= 1 << dice.roll(8);
            }
            2 => {
                // A page of another place, as a confused disk writes it.
                let pages = image.len() / 4096;
                let (from, to) = (dice.roll(pages) * 4096, dice.roll(pages) * 4096);
                content.copy_within(from..from + 4096, to);
            }
            _ => {
                let at = dice.roll(image.len());
                let end = (at + 1 + dice.roll(8192)).min(image.len());
                content[at..end].fill_with(|| dice.roll(256) as u8);
            }
        }
        match remembered(&content, WRITES) {
            Ok(WRITES) => whole += 1,
            // After a crash, damage to the very last write looks like a write that never came to its end.
            Ok(found) if found == WRITES - 1 => shorter += 1,
            Ok(found) => panic!("case {case}: it goes back to {found}"),
            Err(sentence) => {
                refused += 1;
                assert!(sentence.contains(FILE) && sentence.contains(". "), "{sentence}");
            }
        }
    }
    eprintln!("{whole} whole, {shorter} without the last write, {refused} refused");
    assert!(whole > 20 && refused > 20);
}

/// What the next test kills: writes for ever, and says of each write that it is done.
#[test]
#[ignore = "a part of another test"]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os("BACKSTAY_TEST_FOLDER") else {
        return;
    };
    let storage = open(Path::new(&folder)).unwrap();
    let begun = storage.load().unwrap().hard.term.0;
    for number in begun.. {
        storage.apply(&write(number)).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "\nwrote {}", number + 1).unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn a_process_that_is_killed_while_it_writes_forgets_nothing_that_it_said() {
    let folder = tempfile::tempdir().unwrap();
    drop(Storage::create(folder.path(), &"shop".into(), &"a".into(), &FOUNDERS).unwrap());
    let mut dice = Dice(3);
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_it_is_killed", "--ignored", "--nocapture", "--test-threads", "1"])
            .env("BACKSTAY_TEST_FOLDER", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said =
            lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("wrote ")?.parse().ok());
        // So many writes are waited for, then it dies wherever it is in the next one.
        let waited: u64 = said.nth(dice.roll(20)).expect("it writes");
        (0..dice.roll(200_000)).for_each(|_| std::hint::spin_loop());
        child.kill().unwrap();
        let last = said.last().unwrap_or(waited);
        child.wait().unwrap();
        let found = open(folder.path()).unwrap().load().unwrap();
        let writes = found.hard.term.0;
        assert!(writes == last || writes == last + 1, "round {round}: it said {last} and remembers {writes}");
        assert_eq!(found, after(writes), "round {round}");
    }
}

/// A small disk that ends with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Of so many KiB, as this folder. `None`: this user may not mount, which is said.
    fn mount(at: &Path, kib: u32) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={kib}k,mode=700");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        match output {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            Ok(output) => {
                let why = String::from_utf8_lossy(&output.stderr);
                eprintln!(
                    "SKIPPED, because a small tmpfs cannot be mounted (run as root to try this): {why}"
                );
                None
            }
            Err(error) => {
                eprintln!("SKIPPED, because there is no `mount`: {error}");
                None
            }
        }
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap().success());
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("somebody-elses")
    }

    /// Until there is not a byte left.
    fn fill(&self) {
        let mut file = fs::File::create(self.ballast()).unwrap();
        for size in [4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a failed test may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Something to remember.
async fn pause(cluster: &Cluster, asked: usize, by: &str) -> bool {
    let body = json!({"service": null, "for_seconds": 3600, "by": by});
    admin::post(&cluster.controllers[asked].admin, "/v1/pause", &body)
        .await
        .is_some_and(|(code, _)| code == 200)
}

fn assert_stopped_for_its_disk(ended: Result<(), RunError>, state: &Path) {
    let error = ended.expect_err("it must stop");
    assert!(matches!(error, RunError::Stopped(Stopped::DurabilityLost(_))), "{error:?}");
    assert_eq!(error.exit_code(), 74);
    let sentence = error.to_string();
    let file = state.join(FILE).display().to_string();
    assert!(sentence.starts_with("this controller stops, because it can no longer remember"), "{sentence}");
    assert!(sentence.contains(&file) && sentence.contains("Check the disk"), "{sentence}");
}

#[tokio::test]
async fn a_controller_whose_disk_is_full_stops_and_comes_back_when_there_is_room() {
    let mut cluster = Cluster::new(&["a", "b", "c"], &["r1"]);
    let Some(disk) = SmallDisk::mount(&cluster.controllers[2].state, 4096) else {
        return;
    };
    cluster.start_all();
    let leader = cluster.wait_for_leader().await;
    disk.fill();
    // There may be room in the file itself for a while.
    let asked = if leader == 2 { 0 } else { leader };
    let mut number = 0;
    until("its end", async || {
        number += 1;
        pause(&cluster, asked, &format!("{number} {}", "x".repeat(100))).await;
        cluster.has_ended(2).then_some(())
    })
    .await;
    let state = cluster.controllers[2].state.clone();
    assert_stopped_for_its_disk(cluster.ended(2).await, &state);

    // The others go on.
    until("a leader of the other two", async || cluster.leader().await.filter(|it| *it != 2)).await;
    assert!(until("another entry", async || pause(&cluster, asked, "after").await.then_some(true)).await);
    // On a disk that is still full it stops again for the same reason, or finds room in its own file.
    cluster.start(2, false);
    let is_back = async || cluster.status(2).await.is_some_and(|status| status.quorum);
    until("its end or its return", async || (cluster.has_ended(2) || is_back().await).then_some(())).await;
    if cluster.has_ended(2) {
        let error = cluster.ended(2).await.unwrap_err();
        assert!(error.exit_code() == 74 && error.to_string().contains("No space left"), "{error}");
    } else {
        cluster.kill(2).await;
    }
    disk.free();
    cluster.start(2, false);
    let paused = until("what the others agreed on meanwhile", async || {
        let status = cluster.status(2).await.filter(|status| status.quorum)?;
        status.services.first()?.paused.as_ref().map(|pause| pause.by.clone()).filter(|by| by == "after")
    })
    .await;
    assert_eq!(paused, "after");
}

#[tokio::test]
async fn a_controller_whose_disk_becomes_read_only_stops_and_comes_back_when_it_is_mended() {
    let mut cluster = Cluster::new(&["a"], &["r1"]);
    let state = cluster.controllers[0].state.clone();
    let Some(disk) = SmallDisk::mount(&state, 4096) else {
        return;
    };
    cluster.start_all();
    cluster.wait_for_leader().await;
    assert!(until("an entry", async || pause(&cluster, 0, "before").await.then_some(true)).await);
    cluster.kill(0).await;
    disk.remount("ro");
    cluster.start(0, false);
    let error = cluster.ended(0).await.unwrap_err();
    assert_eq!(error.exit_code(), 74);
    let sentence = error.to_string();
    assert!(sentence.contains("Read-only file system") && sentence.contains("Check the disk"), "{sentence}");
    disk.remount("rw");
    cluster.start(0, false);
    let paused = until("what it remembers", async || {
        let service = cluster.status(0).await?.services.into_iter().next()?;
        Some(service.paused?.by)
    })
    .await;
    assert_eq!(paused, "before");
}

#[tokio::test]
async fn a_first_start_on_a_full_disk_leaves_nothing_that_a_second_one_would_stumble_over() {
    let mut cluster = Cluster::new(&["a"], &["r1"]);
    let Some(disk) = SmallDisk::mount(&cluster.controllers[0].state, 1024) else {
        return;
    };
    disk.fill();
    cluster.start(0, true);
    let error = cluster.ended(0).await.unwrap_err();
    assert_eq!(error.exit_code(), 74);
    assert!(error.to_string().contains("No space left"), "{error}");
    cluster.start(0, false);
    let error = cluster.ended(0).await.unwrap_err();
    assert!(matches!(error, RunError::Storage(StorageError::Missing { .. })), "{error}");
    disk.free();
    disk.remount("size=16m");
    cluster.start(0, true);
    assert_eq!(cluster.wait_for_leader().await, 0);
}
