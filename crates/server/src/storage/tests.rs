//! The folder against crashes and damage. `Durable::apply` is the model.

use super::*;
use backstay_consensus::{Entry, Member, MemberId};
use backstay_model::Term;
use std::io::{Read, Seek, SeekFrom, Write};

fn names() -> (ClusterName, NodeName) {
    ("shop".into(), "a".into())
}

const FOUNDERS: [NodeId; 2] = [NodeId(1), NodeId(2)];

fn membership() -> Membership {
    Membership { level: 2, index: 3, ..Membership::founders(&FOUNDERS) }
}

fn entry(index: u64, term: u64) -> Entry {
    Entry { index, term: Term(term), data: vec![index as u8; 20], change: None }
}

fn changing(index: u64) -> Entry {
    let (id, node, generation) = (MemberId(9), NodeId(3), Some(Generation(5)));
    let mut change = membership();
    change.members.push(Member { id, node, generation, voter: false });
    Entry { index, term: Term(2), data: Vec::new(), change: Some(change) }
}

fn writes() -> Vec<Persist> {
    let hard = |term| Some(HardState { term: Term(term), vote: Some(MemberId(7)), commit: 1 });
    vec![
        Persist { known: Some((NodeId(9), Generation(4))), ..Persist::default() },
        Persist {
            hard: hard(1),
            entries: (1..=10).map(|index| entry(index, 1)).collect(),
            truncate_from: Some(1),
            ..Persist::default()
        },
        Persist {
            hard: hard(2),
            truncate_from: Some(8),
            entries: vec![entry(8, 2), changing(9)],
            ..Persist::default()
        },
        Persist {
            snapshot: Some(Snapshot {
                index: 5,
                term: Term(1),
                data: vec![1; 5000],
                membership: membership(),
            }),
            drop_before: Some(4),
            ..Persist::default()
        },
    ]
}

#[test]
fn what_was_written_is_there_after_a_crash_as_the_model_says() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, node) = names();
    let mut model = Durable::default();
    let generation = Storage::create(folder.path(), &cluster, &node, &FOUNDERS).unwrap().generation();
    for persist in writes() {
        let storage = Storage::open(folder.path(), &cluster, &node).unwrap();
        assert_eq!(storage.generation(), generation);
        storage.apply(&persist).unwrap();
        model.apply(&persist);
        // What the disk holds at this moment, without any closing: a kill -9.
        let image = std::fs::read(folder.path().join(FILE)).unwrap();
        let crashed = tempfile::tempdir().unwrap();
        std::fs::write(crashed.path().join(FILE), image).unwrap();
        let storage = Storage::open(crashed.path(), &cluster, &node).unwrap();
        assert_eq!(storage.load().unwrap(), model);
    }
}

#[test]
fn a_lost_folder_is_not_taken_for_a_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, node) = names();
    let error = Storage::open(&folder.path().join("gone"), &cluster, &node).unwrap_err();
    assert!(error.to_string().contains("--bootstrap"), "{error}");
}

#[test]
fn a_folder_is_made_once_and_used_by_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, node) = names();
    let open = Storage::create(folder.path(), &cluster, &node, &FOUNDERS).unwrap();
    let again = Storage::create(folder.path(), &cluster, &node, &FOUNDERS).unwrap_err();
    assert!(matches!(again, StorageError::Exists { .. }), "{again}");
    let second = Storage::open(folder.path(), &cluster, &node).unwrap_err();
    assert!(matches!(second, StorageError::InUse { .. }), "{second}");
    drop(open);
    assert!(Storage::open(folder.path(), &cluster, &node).is_ok());
}

#[test]
fn a_folder_of_another_cluster_or_node_is_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, node) = names();
    drop(Storage::create(folder.path(), &cluster, &node, &FOUNDERS).unwrap());
    for (cluster, node) in [("other", "a"), ("shop", "b")] {
        let error = Storage::open(folder.path(), &cluster.into(), &node.into()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("node a of cluster shop")
                && text.contains(&format!("node {node} of cluster {cluster}")),
            "{text}"
        );
    }
}

#[test]
fn a_damaged_file_is_an_error_and_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, node) = names();
    let storage = Storage::create(folder.path(), &cluster, &node, &FOUNDERS).unwrap();
    for persist in writes() {
        storage.apply(&persist).unwrap();
    }
    let stored = storage.load().unwrap();
    drop(storage);
    let path = folder.path().join(FILE);
    let mut whole = Vec::new();
    File::open(&path).unwrap().read_to_end(&mut whole).unwrap();
    let cuts = [0, 1, 64, 319, 4096, 8192, whole.len() / 2, whole.len() - 1];
    for cut in cuts {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let outcome = Storage::open(folder.path(), &cluster, &node).and_then(|storage| storage.load());
        assert!(outcome.is_err(), "cut at {cut}: {outcome:?}");
    }
    std::fs::write(&path, vec![0xa5; 100_000]).unwrap();
    let error = Storage::open(folder.path(), &cluster, &node).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    // Damage anywhere: an error, or the stored state as it was, but no panic and nothing else.
    for at in (0..whole.len()).step_by(509) {
        std::fs::write(&path, &whole).unwrap();
        let mut file = File::options().write(true).open(&path).unwrap();
        file.seek(SeekFrom::Start(at as u64)).unwrap();
        file.write_all(&[whole[at] ^ 0x55; 1]).unwrap();
        drop(file);
        if let Ok(found) = Storage::open(folder.path(), &cluster, &node).and_then(|storage| storage.load()) {
            assert_eq!(found, stored, "a changed byte at {at} was believed");
        }
    }
}

#[test]
fn a_folder_remembers_its_founders_and_one_that_joins_has_none() {
    let (folder, joined) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (cluster, node) = names();
    drop(Storage::create(folder.path(), &cluster, &node, &FOUNDERS).unwrap());
    let mut founder = Storage::open(folder.path(), &cluster, &node).unwrap();
    assert_eq!(founder.founders(), FOUNDERS);
    // What the file says now is no founder's business.
    founder.take_over(&[NodeId(8)]).unwrap();
    assert_eq!(founder.founders(), FOUNDERS);
    let joiner = Storage::create(joined.path(), &cluster, &node, &[]).unwrap();
    assert_eq!(joiner.founders(), []);
}

/// Makes the file what the version before wrote.
fn age(storage: &Storage) {
    let transaction = storage.database.begin_write().unwrap();
    {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert("format", 1_u64.to_le_bytes().as_slice()).unwrap();
        meta.remove("founders").unwrap();
        let mut snapshots = transaction.open_table(SNAPSHOT).unwrap();
        let plain = postcard::to_stdvec(&(5_u64, Term(1), vec![1_u8; 5000])).unwrap();
        snapshots.insert((), plain.as_slice()).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn a_folder_of_the_version_before_is_taken_over_whole_and_a_later_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, node) = names();
    let storage = Storage::create(folder.path(), &cluster, &node, &FOUNDERS).unwrap();
    let mut model = Durable::default();
    for mut persist in writes() {
        persist.entries.retain(|entry| entry.change.is_none());
        storage.apply(&persist).unwrap();
        model.apply(&persist);
    }
    age(&storage);
    drop(storage);
    let mut storage = Storage::open(folder.path(), &cluster, &node).unwrap();
    storage.take_over(&FOUNDERS).unwrap();
    model.snapshot.as_mut().unwrap().membership = Membership::founders(&FOUNDERS);
    assert_eq!(storage.load().unwrap(), model);
    drop(storage);
    let storage = Storage::open(folder.path(), &cluster, &node).unwrap();
    assert_eq!((storage.founders(), storage.load().unwrap()), (&FOUNDERS[..], model));

    let transaction = storage.database.begin_write().unwrap();
    let later = (FORMAT + 1).to_le_bytes();
    transaction.open_table(META).unwrap().insert("format", later.as_slice()).unwrap();
    transaction.commit().unwrap();
    drop(storage);
    let refused = Storage::open(folder.path(), &cluster, &node).unwrap_err().to_string();
    assert!(
        refused.contains("has format 3, which this version does not know. Start the version"),
        "{refused}"
    );
}
