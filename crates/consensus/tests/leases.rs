//! Two nodes never hold a lease at once. The check runs at every event of every test; here the world tries hard.

mod network;

use backstay_consensus::{Effect, Input};
use backstay_model::{NodeId, Time};
use network::{CALM, Event, MS, ROUGH, World};

/// One bad thing after the other happens to whoever leads, while clocks run up to 5 % too fast or too slow.
fn torment(seed: u64, count: u64) -> World {
    let mut world = World::with_skew(seed, count, ROUGH, 50_000);
    world.faults.crash = seed % 3;
    for _ in 0..12 {
        world.run(300 * MS);
        let wait = world.rng.below(200 * MS);
        world.run(wait);
        let target = world.leader().unwrap_or(1 + world.rng.below(count));
        let other = NodeId(1 + world.rng.below(count));
        match world.rng.below(6) {
            0 => world.isolate(target),
            1 => world.cut.clear(),
            2 => {
                let stop = 50 * MS + world.rng.below(600 * MS);
                world.pause(target, stop);
            }
            3 => {
                world.crash(target);
                let down = world.rng.below(100 * MS);
                world.schedule(down, Event::Start(NodeId(target)));
            }
            4 => world.input(NodeId(target), Input::TransferTo(other)),
            _ => {
                world.cut.insert((other, NodeId(target)));
            }
        }
    }
    world
}

#[test]
fn no_two_nodes_hold_a_lease_at_once_whatever_happens_to_the_leader() {
    let mut leased = 0;
    for seed in 0..600 {
        leased += torment(seed, [3, 5, 3, 2][seed as usize % 4]).checks.leased;
    }
    assert!(leased > 100_000, "leases were hardly ever held: {leased}");
}

#[test]
fn a_leader_with_a_quorum_always_holds_a_lease() {
    let mut world = World::new(11, 3, CALM);
    world.run_until(3000 * MS, "a leader", |world| world.leader().is_some());
    world.run(200 * MS);
    let leader = world.leader().unwrap();
    for _ in 0..1000 {
        world.run(MS);
        let host = world.host(leader);
        assert!(host.lease.since(host.clock(world.now)).as_millis() > 90);
    }
}

#[test]
fn an_isolated_leaders_lease_ends_before_anyone_else_leads() {
    let mut world = World::new(12, 3, CALM);
    world.run_until(3000 * MS, "a leader", |world| world.leader().is_some());
    world.run(200 * MS);
    let old = world.leader().unwrap();
    world.isolate(old);
    let length = world.host(old).settings.lease_max().as_micros() as u64;
    world.run(length);
    assert!(world.host(old).lease <= world.host(old).clock(world.now));
    world.run(1000 * MS);
    let new = world.leader().expect("one leader");
    assert_ne!(new, old);
    assert_eq!(world.host(old).lease, Time::ZERO, "a deposed leader's lease is taken back");
}

#[test]
fn a_handover_takes_the_lease_back_before_the_successor_is_told() {
    let mut world = World::new(13, 3, CALM);
    world.run_until(3000 * MS, "a leader", |world| world.leader().is_some());
    world.run(300 * MS);
    let old = world.leader().unwrap();
    let new = NodeId(old % 3 + 1);
    let local = world.host(old).clock(world.now);
    let node = world.host_mut(old).node.as_mut().unwrap();
    let effects = node.step(local, Input::TransferTo(new));
    assert_eq!(effects[0], Effect::LeaseUntil(Time::ZERO));
    for effect in effects {
        if let Effect::Send { message, .. } = effect {
            world.schedule(MS, Event::Deliver(message));
        } else {
            world.host_mut(old).carry_out(effect);
        }
    }
    let took = world.run_until(100 * MS, "the successor leads", |world| world.leader() == Some(new.0));
    assert!(took < 100 * MS);
}

#[test]
fn a_handover_to_a_dead_node_ends_in_an_election_not_in_a_reign_without_a_lease() {
    let mut world = World::new(14, 3, CALM);
    world.run_until(3000 * MS, "a leader", |world| world.leader().is_some());
    world.run(300 * MS);
    let old = world.leader().unwrap();
    let dead = old % 3 + 1;
    world.crash(dead);
    world.input(NodeId(old), Input::TransferTo(NodeId(dead)));
    world.run(1500 * MS);
    let leader = world.leader().expect("one leader");
    let host = world.host(leader);
    assert!(host.lease > host.clock(world.now));
}

#[test]
fn a_started_node_votes_for_nobody_during_the_longest_lease() {
    let mut world = World::new(15, 3, CALM);
    world.run_until(3000 * MS, "a leader", |world| world.leader().is_some());
    world.run(300 * MS);
    let leader = world.leader().unwrap();
    let (follower, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    world.isolate(leader);
    world.run(150 * MS);
    world.crash(follower);
    world.start(NodeId(follower));
    let term = world.host(follower).disk.hard.term;
    world.run(200 * MS - 1);
    assert_eq!(world.host(follower).disk.hard.term, term, "muted, whatever {third} asks");
    world.run_until(2000 * MS, "a successor", |world| {
        world.host(follower).leading || world.host(third).leading
    });
}
