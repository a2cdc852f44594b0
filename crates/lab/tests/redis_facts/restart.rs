//! A primary that comes back without its data.

use crate::support::{error_code, follow, key_count, ok, until, write_keys};
use backstay_lab::servers::redis::Boot;
use backstay_lab::stack::stock::StockStack;
use nix::sys::signal::Signal;
use std::fs;

#[test]
fn a_protected_primary_restarted_empty_refuses_writes_and_its_replicas_keep_every_key() {
    let mut stack = StockStack::empty().unwrap();
    let primary = stack.start_redis("r1", Boot::Protected).unwrap();
    ok(&primary, &["REPLICAOF", "NO", "ONE"]);
    let replica = stack.start_redis("r2", Boot::Protected).unwrap();
    follow(&replica, primary.port);
    write_keys(&primary, "kept", 100);
    until("the replica has every key", || key_count(&replica) == 100);

    stack.signal("r1", Signal::SIGKILL).unwrap();
    primary.remove_data().unwrap();
    stack.start_again("r1").unwrap();

    assert_eq!(error_code(&primary.ask(&["SET", "key", "value"]).unwrap()), "READONLY");
    until("the replica asked for a resync and was turned away", || {
        fs::read_to_string(replica.log()).unwrap().contains("NOMASTERLINK")
    });
    assert_eq!(key_count(&replica), 100);
}

#[test]
fn an_unprotected_primary_restarted_empty_takes_writes_and_wipes_its_replicas() {
    let mut stack = StockStack::group(2).unwrap();
    let [primary, replica] = &stack.instances()[..] else { panic!() };
    write_keys(primary, "wiped", 100);
    until("the replica has every key", || key_count(replica) == 100);

    stack.signal("r1", Signal::SIGKILL).unwrap();
    primary.remove_data().unwrap();
    stack.start_again("r1").unwrap();

    ok(primary, &["SET", "key", "value"]);
    until("the replica lost its keys", || key_count(replica) <= 1);
}
