//! Leaders come, go and are replaced; at most one per term.

mod network;

use backstay_consensus::Input;
use backstay_model::NodeId;
use network::{CALM, Event, MS, ROUGH, World};

fn proposals(world: &mut World, count: u64, every: u64) {
    let nodes = world.hosts.len() as u64;
    for number in 0..count {
        let to = NodeId(1 + world.rng.below(nodes));
        world.schedule(number * every, Event::Propose(to, number.to_le_bytes().to_vec()));
    }
}

#[test]
fn in_every_term_there_is_one_leader_and_all_apply_the_same() {
    for seed in 0..500 {
        let count = [3, 5, 3, 2][seed as usize % 4];
        let mut world = World::new(seed, count, ROUGH);
        world.compact_every = (seed % 3 == 0).then_some(100);
        proposals(&mut world, 200, 20 * MS);
        world.run(2000 * MS);
        if count > 2 {
            let victim = 1 + world.rng.below(count);
            world.isolate(victim);
            world.run(1000 * MS);
            world.cut.clear();
        }
        world.run(1500 * MS);
        world.faults = CALM;
        world.run_until(5000 * MS, "they agree", |world| {
            let applied = world.host(1).applied;
            applied > 0 && world.hosts.values().all(|host| host.applied == applied)
        });
        assert!(world.checks.history.len() > 10, "seed {seed} committed too little");
    }
}

#[test]
fn crashes_between_any_two_effects_lose_nothing_that_was_committed() {
    for seed in 0..300 {
        let mut world = World::new(seed, 3, ROUGH);
        world.compact_every = (seed % 2 == 0).then_some(40);
        world.run_until(5000 * MS, "a leader", |world| world.leader().is_some());
        world.faults.crash = 3;
        proposals(&mut world, 300, 20 * MS);
        world.run(6000 * MS);
        world.faults = CALM;
        world.run(1500 * MS);
        let leader = world.run_until(5000 * MS, "a leader at last", |world| world.leader().is_some());
        let _ = leader;
        let leader = NodeId(world.leader().unwrap());
        world.input(leader, Input::Propose(b"last".to_vec()));
        world.run(1000 * MS);
        let last = world.checks.history.last_key_value().unwrap().1.1;
        for host in world.hosts.values() {
            assert!(host.is_up(), "seed {seed}");
            assert_eq!(host.state, last, "seed {seed}: {} is not where the others are", host.id);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut world = World::with_skew(seed, 3, ROUGH, 20_000);
        world.checks.tracing = true;
        world.faults.crash = 2;
        proposals(&mut world, 100, 20 * MS);
        world.run(3000 * MS);
        world.checks.fingerprint
    };
    for seed in 0..50 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2));
}

/// Writes nothing of the measured times into an assertion but a generous bound: speed belongs to benchmarks.
#[test]
fn a_crashed_leader_is_replaced_soon() {
    for count in [3, 5] {
        let mut times: Vec<u64> = (0..1000)
            .map(|seed| {
                let mut world = World::new(seed, count, CALM);
                world.faults.loss = 10;
                world.run_until(5000 * MS, "a first leader", |world| world.leader().is_some());
                // The order of the candidates is another one in every term.
                for _ in 0..world.rng.below(6) {
                    let leader = world.leader().unwrap_or(1);
                    world.input(NodeId(leader), Input::TransferTo(NodeId(leader % count + 1)));
                    world.run(1000 * MS);
                }
                let settled = 500 * MS + world.rng.below(100 * MS);
                world.run(settled);
                let leader = world.leader().unwrap();
                world.crash(leader);
                world.run_until(5000 * MS, "a new leader", |world| world.leader().is_some())
            })
            .collect();
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100] as f64 / 1000.0;
        println!(
            "{count} voters, leader crash to a leader with its first entry committed, ms: p50 {} p99 {} max {}",
            at(50),
            at(99),
            at(100)
        );
        assert!(at(100) < 2000.0);
    }
}

#[test]
fn two_nodes_work_and_stop_when_one_dies() {
    let mut world = World::new(7, 2, CALM);
    world.run_until(3000 * MS, "a leader", |world| world.leader().is_some());
    let leader = world.leader().unwrap();
    world.input(NodeId(leader), Input::Propose(b"one".to_vec()));
    world.run(200 * MS);
    assert_eq!(world.checks.history.len(), 1);
    world.crash(3 - leader);
    world.run(1000 * MS);
    assert_eq!(world.leader(), None, "half of two is no majority");
    world.input(NodeId(leader), Input::Propose(b"two".to_vec()));
    assert_eq!(world.host(leader).proposals_refused, 1);
    world.start(NodeId(3 - leader));
    world.run_until(3000 * MS, "a leader again", |world| world.leader().is_some());
}

#[test]
fn a_single_node_leads_at_once_and_again_after_a_crash() {
    let mut world = World::new(3, 1, CALM);
    world.run(50 * MS);
    assert_eq!(world.leader(), Some(1));
    world.input(NodeId(1), Input::Propose(b"one".to_vec()));
    let state = world.host(1).state;
    assert_ne!(state, 0);
    world.crash(1);
    world.start(NodeId(1));
    assert_eq!(world.leader(), Some(1));
    assert_eq!(world.host(1).state, state);
}

#[test]
fn a_follower_that_was_cut_off_or_stopped_comes_back_without_an_election() {
    for seed in 0..100 {
        let mut world = World::new(seed, 3, CALM);
        world.run_until(3000 * MS, "a leader", |world| world.leader().is_some());
        world.run(300 * MS);
        let leader = world.leader().unwrap();
        let term = world.host(leader).disk.hard.term;
        let follower = leader % 3 + 1;
        if seed % 2 == 0 {
            world.isolate(follower);
            world.run(3000 * MS);
            world.cut.clear();
        } else {
            world.pause(follower, 10_000 * MS);
            world.run(10_000 * MS);
        }
        world.run(2000 * MS);
        assert_eq!(world.leader(), Some(leader), "seed {seed}");
        assert_eq!(world.host(leader).disk.hard.term, term, "seed {seed}");
    }
}

#[test]
fn a_leader_that_was_stopped_finds_its_successor_and_follows() {
    for seed in 0..100 {
        let mut world = World::new(seed, 3, CALM);
        world.run_until(3000 * MS, "a leader", |world| world.leader().is_some());
        world.run(300 * MS);
        let old = world.leader().unwrap();
        world.pause(old, 3000 * MS);
        world.run(2900 * MS);
        world.run(1000 * MS);
        let new = world.leader().expect("one leader");
        assert_ne!(new, old);
        let status = world.host(old).node.as_ref().unwrap().status();
        assert_eq!(status.leader, Some(NodeId(new)));
    }
}
