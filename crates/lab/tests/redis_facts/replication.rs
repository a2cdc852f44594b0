//! What a replica holds, and what it says that it holds.

use crate::support::{SlowNetwork, follow, info, is_linked, key_count, offset, ok, until, write_keys};
use backstay_lab::servers::redis::{Boot, Role};
use backstay_lab::stack::stock::StockStack;
use nix::sys::signal::Signal;
use std::cell::Cell;

#[test]
fn a_replica_frozen_to_nowhere_keeps_its_offset_and_resyncs_partially() {
    let stack = StockStack::group(3).unwrap();
    let [primary, frozen, witness] = &stack.instances()[..] else { panic!() };
    write_keys(primary, "before", 100);
    until("both replicas have everything", || {
        offset(frozen) == offset(primary) && offset(witness) == offset(primary)
    });

    follow(frozen, 1);
    let at = offset(frozen);
    write_keys(primary, "after", 100);
    until("the other replica has everything", || offset(witness) == offset(primary));
    assert_eq!(offset(frozen), at, "the offset moved although the replica was frozen");
    assert!(matches!(frozen.role().unwrap(), Role::Replica { linked: false, .. }));

    let full_before = info(primary, "sync_full");
    follow(frozen, primary.port);
    until("the frozen replica has everything", || {
        key_count(frozen) == 200 && is_linked(frozen, primary.port)
    });
    assert_eq!(info(primary, "sync_full"), full_before, "the resync was not partial");
}

#[test]
fn a_replica_pointed_at_a_lagging_linked_replica_loses_what_only_it_had() {
    let mut stack = StockStack::empty().unwrap();
    let primary = stack.start_redis("r1", Boot::Open).unwrap();
    let network = SlowNetwork::to(primary.address());
    let lagging = stack.start_redis("r2", Boot::ReplicaOf(network.port)).unwrap();
    let advanced = stack.start_redis("r3", Boot::ReplicaOf(primary.port)).unwrap();
    until("both are linked", || is_linked(&lagging, network.port) && is_linked(&advanced, primary.port));

    network.hold();
    ok(&primary, &["SET", "acknowledged", "once"]);
    until("one replica has the write", || key_count(&advanced) == 1);
    stack.signal("r1", Signal::SIGKILL).unwrap();
    assert!(is_linked(&lagging, network.port), "the lagging replica noticed");

    follow(&advanced, lagging.port);
    until("the advanced replica took the older data", || {
        is_linked(&advanced, lagging.port) && key_count(&advanced) == 0
    });
}

#[test]
fn a_replica_restarted_from_an_old_file_shows_the_same_history_and_an_older_offset() {
    let mut stack = StockStack::empty().unwrap();
    let primary = stack.start_redis("r1", Boot::Open).unwrap();
    let replica = stack.start_redis("r2", Boot::Protected).unwrap();
    follow(&replica, primary.port);
    // A primary without replicas counts nothing: what it holds when the first one comes is at offset 0.
    until("the replica is linked", || is_linked(&replica, primary.port));
    write_keys(&primary, "old", 10);
    until("the replica has the old keys", || key_count(&replica) == 10);
    ok(&replica, &["SAVE"]);
    write_keys(&primary, "new", 10);
    until("the replica has the new keys", || key_count(&replica) == 20);
    let (history, run, before) =
        (info(&replica, "master_replid"), info(&replica, "run_id"), offset(&replica));

    stack.signal("r2", Signal::SIGKILL).unwrap();
    stack.start_again("r2").unwrap();

    assert_eq!(info(&replica, "master_replid"), history);
    assert_ne!(info(&replica, "run_id"), run);
    assert_eq!(key_count(&replica), 10);
    let after: i64 = info(&replica, "master_repl_offset").parse().unwrap();
    assert!(0 < after && after < before, "{after} is not older than {before}");
}

#[test]
fn a_fresh_copy_is_linked_up_to_a_second_before_it_receives_what_is_written() {
    let mut stack = StockStack::empty().unwrap();
    let primary = stack.start_redis("r1", Boot::Open).unwrap();
    let replica = stack.start_redis("r2", Boot::Protected).unwrap();
    // The stream begins with the replica's first acknowledgement after the primary has noticed that the copy is done, and
    // it acknowledges once a second: whether there is a gap is chance, so look until there is one.
    let number = Cell::new(0);
    until("a copy shows the gap", || {
        number.set(number.get() + 1);
        ok(&replica, &["REPLICAOF", "NO", "ONE"]);
        follow(&replica, primary.port);
        until("the copy is linked", || is_linked(&replica, primary.port));
        ok(&primary, &["SET", &format!("write:{}", number.get()), "acknowledged"]);
        let missing = key_count(&replica) < key_count(&primary);
        until("the copy has the write", || key_count(&replica) == key_count(&primary));
        missing
    });
}
