//! Closing a primary that does not answer.

use crate::support::{CLOSED, accepted, key_count, ok, patient_clients, send_writes};
use backstay_lab::stack::stock::StockStack;
use nix::sys::signal::Signal;
use std::fs;

const CLIENTS: usize = 40;

#[test]
fn a_fence_behind_an_outstanding_ping_lets_no_write_through() {
    let stack = StockStack::group(1).unwrap();
    let server = stack.instance("r1").unwrap();
    let mut clients = patient_clients(server, CLIENTS);
    let mut fence = patient_clients(server, 1).remove(0);

    stack.signal("r1", Signal::SIGSTOP).unwrap();
    fence.send(&[&["PING"]]).unwrap();
    send_writes(&mut clients);
    fence
        .send(&[&["CONFIG", "SET", "min-replicas-to-write", CLOSED], &["CLIENT", "KILL", "TYPE", "normal"]])
        .unwrap();
    stack.signal("r1", Signal::SIGCONT).unwrap();

    assert_eq!(accepted(&mut clients), 0);
    assert_eq!(key_count(server), 0);
}

#[test]
fn a_fence_without_an_outstanding_ping_comes_too_late() {
    let stack = StockStack::group(1).unwrap();
    let server = stack.instance("r1").unwrap();
    // First, and idle since: the connection that was served last keeps its place in the kernel's list of ready ones
    // until the server looks again.
    let mut fence = patient_clients(server, 1).remove(0);
    let mut clients = patient_clients(server, CLIENTS);

    stack.signal("r1", Signal::SIGSTOP).unwrap();
    send_writes(&mut clients);
    fence.send(&[&["CONFIG", "SET", "min-replicas-to-write", CLOSED]]).unwrap();
    stack.signal("r1", Signal::SIGCONT).unwrap();

    assert!(accepted(&mut clients) > 0);
}

#[test]
fn writes_older_than_the_ping_are_executed_but_the_disconnection_takes_their_answers_away() {
    let stack = StockStack::group(1).unwrap();
    let server = stack.instance("r1").unwrap();
    let mut fence = patient_clients(server, 1).remove(0);
    let mut clients = patient_clients(server, CLIENTS);

    stack.signal("r1", Signal::SIGSTOP).unwrap();
    send_writes(&mut clients);
    fence.send(&[&["PING"]]).unwrap();
    fence
        .send(&[&["CONFIG", "SET", "min-replicas-to-write", CLOSED], &["CLIENT", "KILL", "TYPE", "normal"]])
        .unwrap();
    stack.signal("r1", Signal::SIGCONT).unwrap();

    assert_eq!(accepted(&mut clients), 0);
    assert!(key_count(server) > 0);
}

#[test]
fn a_fence_is_written_to_the_file_by_a_config_rewrite() {
    let stack = StockStack::group(1).unwrap();
    let server = stack.instance("r1").unwrap();
    ok(server, &["CONFIG", "SET", "min-replicas-to-write", CLOSED]);
    ok(server, &["CONFIG", "REWRITE"]);
    let file = fs::read_to_string(server.folder.join("redis.conf")).unwrap();
    assert!(file.contains(&format!("min-replicas-to-write {CLOSED}")));
}
