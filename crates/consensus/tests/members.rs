//! Who belongs to the cluster: learners, votes given back, controllers removed, versions side by side.

mod network;

use backstay_consensus::{
    Change, ChangeRefusal, Changed, Effect, Input, Kind, MEMBERS_CHANGE, Refusal, StartError, VERSION,
};
use backstay_model::{NodeId, Time};
use network::{CALM, Event, MS, ROUGH, World};

const LIMIT: u64 = 5000 * MS;

fn settled(seed: u64) -> (World, u64) {
    let mut world = World::new(seed, 3, CALM);
    let leader = level_reached(&mut world);
    (world, leader)
}

/// Waits for a leader under whom members can change.
fn level_reached(world: &mut World) -> u64 {
    world.run_until(LIMIT, "the level", |world| {
        let voters = world.hosts.values().filter(|host| host.membership.members.len() == 3);
        world.leader().is_some() && voters.filter(|host| host.membership.level == VERSION).count() == 3
    });
    world.run(300 * MS);
    world.leader().unwrap()
}

fn propose(world: &mut World, count: u32) {
    for number in 0..count {
        if let Some(leader) = world.leader() {
            world.input(NodeId(leader), Input::Propose(number.to_le_bytes().to_vec()));
        }
        world.run(MS);
    }
    world.run(200 * MS);
}

fn ask(world: &mut World, of: u64, change: Change) -> Option<Result<Changed, ChangeRefusal>> {
    let request = 1 + world.hosts.values().map(|host| host.answers.len() as u64).sum::<u64>();
    world.input(NodeId(of), Input::Change { request, change });
    world.run(300 * MS);
    let answers = &world.host(of).answers;
    answers.iter().find(|(to, _)| *to == request).map(|(_, result)| result.clone())
}

/// Asks the leader for the time being until it is done.
fn insist(world: &mut World, change: &Change) -> Changed {
    for _ in 0..40 {
        let answered = world.leader().and_then(|leader| ask(world, leader, change.clone()));
        match answered {
            Some(Ok(changed)) => return changed,
            _ => world.run(200 * MS),
        }
    }
    panic!("{change:?} was never done");
}

fn votes(world: &World, at: u64) -> Vec<u64> {
    let mut voters: Vec<u64> = world.host(at).membership.voters().map(|member| member.node.0).collect();
    voters.sort_unstable();
    voters
}

fn wait_for_votes(world: &mut World, wanted: &[u64]) {
    world.run_until(LIMIT, "the voters", |world| {
        let live = world.hosts.values().filter(|host| host.is_up() && wanted.contains(&host.id.0));
        live.map(|host| votes(world, host.id.0)).all(|voters| voters == wanted)
    });
}

#[test]
fn a_new_controller_is_a_learner_until_it_holds_everything_and_then_votes() {
    for seed in 0..30 {
        let (mut world, leader) = settled(seed);
        world.compact_every = (seed % 2 == 0).then_some(20);
        propose(&mut world, 100);
        world.join(4);
        world.run(600 * MS);
        // What the leader sends is lost: it cannot catch up.
        world.cut.insert((NodeId(leader), NodeId(4)));
        assert_eq!(ask(&mut world, leader, Change::Add(NodeId(4))), Some(Ok(Changed::Added(NodeId(4)))));
        propose(&mut world, 20);
        assert_eq!(votes(&world, leader), [1, 2, 3], "seed {seed}");
        world.cut.clear();
        wait_for_votes(&mut world, &[1, 2, 3, 4]);
        world.run(300 * MS);
        assert_eq!(world.host(4).state, world.host(leader).state);
        // From now on three of four are needed.
        world.crash(leader);
        let next = leader % 3 + 1;
        world.crash(next);
        world.run(3000 * MS);
        assert_eq!(world.leader(), None);
        world.start(NodeId(next));
        world.run_until(LIMIT, "a leader", |world| world.leader().is_some());
    }
}

#[test]
fn nobody_asks_a_learner_for_its_vote_and_nobody_counts_it() {
    let (mut world, leader) = settled(31);
    world.join(4);
    world.run(600 * MS);
    world.lost_kind = Some(Kind::AppendResponse);
    world.input(NodeId(leader), Input::Change { request: 9, change: Change::Add(NodeId(4)) });
    // The learner is heard of by nobody, so it stays one.
    world.run(50 * MS);
    world.lost_kind = None;
    world.cut.insert((NodeId(4), NodeId(1)));
    world.cut.insert((NodeId(4), NodeId(2)));
    world.cut.insert((NodeId(4), NodeId(3)));
    world.run(1500 * MS);
    world.cut.clear();
    world.crash(leader);
    let third = leader % 3 + 1;
    world.crash(third);
    world.run(3000 * MS);
    assert_eq!(world.leader(), None, "a voter and a learner are no majority of three");
    assert_eq!(world.host(4).disk.hard.vote, None);
    world.start(NodeId(third));
    world.run_until(LIMIT, "a leader", |world| world.leader().is_some());
    wait_for_votes(&mut world, &[1, 2, 3, 4]);
}

#[test]
fn a_lost_folder_comes_back_as_a_learner_and_its_old_vote_is_gone_for_good() {
    for seed in 0..60 {
        let (mut world, leader) = settled(seed);
        propose(&mut world, 30);
        let lost = if seed % 3 == 0 { leader } else { leader % 3 + 1 };
        let old = world.host(lost).membership.of(NodeId(lost)).unwrap().id;
        world.crash(lost);
        world.host_mut(lost).lose_folder();
        world.start(NodeId(lost));
        world.run(1500 * MS);
        let leader = world.leader().unwrap();
        let other = 6 - leader - lost;
        assert_eq!(world.host(lost).disk.hard.vote, None, "it asks to be made a member first");
        assert!(world.host(leader).refusals.contains(&Refusal::LostState { peer: NodeId(lost) }));
        let replaced = ask(&mut world, leader, Change::Add(NodeId(lost)));
        assert_eq!(replaced, Some(Ok(Changed::Replaced(NodeId(lost)))), "seed {seed}");
        wait_for_votes(&mut world, &[1, 2, 3]);
        for host in world.hosts.values() {
            assert_eq!(host.membership.member(old), None);
        }
        world.run(300 * MS);
        // Its new vote counts: with it the cluster survives another one.
        world.crash(other);
        world.run_until(LIMIT, "a leader with the new vote", |world| world.leader().is_some());
        propose(&mut world, 5);
        assert_eq!(world.host(lost).applied, world.host(leader).applied);
    }
}

#[test]
fn an_old_folder_of_a_replaced_controller_is_told_and_stops() {
    let (mut world, leader) = settled(61);
    let lost = leader % 3 + 1;
    let (old_disk, old_settings) = (world.host(lost).disk.clone(), world.host(lost).settings.clone());
    world.crash(lost);
    world.host_mut(lost).lose_folder();
    world.start(NodeId(lost));
    world.run(1500 * MS);
    insist(&mut world, &Change::Add(NodeId(lost)));
    wait_for_votes(&mut world, &[1, 2, 3]);
    world.crash(lost);
    let host = world.host_mut(lost);
    (host.disk, host.settings) = (old_disk, old_settings);
    host.refusals.clear();
    world.start(NodeId(lost));
    world.run(2000 * MS);
    assert!(matches!(world.host(lost).refusals[..], [Refusal::IAmStranger { .. }]));
    assert!(world.leader().is_some());
}

#[test]
fn a_removed_controller_stops_says_so_and_disturbs_nobody() {
    for seed in 0..40 {
        let (mut world, leader) = settled(seed);
        let removed = if seed % 2 == 0 { leader } else { leader % 3 + 1 };
        // It learns of it now, or when it comes back.
        if seed % 4 == 1 {
            world.isolate(removed);
        }
        world.run(50 * MS);
        let changed = insist(&mut world, &Change::Remove { node: NodeId(removed), forced: false });
        assert_eq!(changed, Changed::Removed { node: NodeId(removed), voters: 2 });
        let term = world.host(world.leader().unwrap()).disk.hard.term;
        world.cut.clear();
        world.run(2000 * MS);
        assert!(world.host(removed).refusals.contains(&Refusal::Removed), "seed {seed}");
        assert!(!world.host(removed).leading);
        let leader = world.leader().unwrap();
        assert_eq!(world.host(leader).disk.hard.term, term, "seed {seed}: no election for it");
        // Nor after a restart.
        world.crash(removed);
        world.start(NodeId(removed));
        world.run(2000 * MS);
        assert_eq!(world.host(leader).disk.hard.term, term);
    }
}

#[test]
fn what_would_leave_too_few_is_refused_unless_forced() {
    let (mut world, leader) = settled(71);
    let (second, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let remove = |node, forced| Change::Remove { node: NodeId(node), forced };
    assert_eq!(ask(&mut world, second, remove(third, false)), Some(Err(ChangeRefusal::NotLeader)));
    assert_eq!(ask(&mut world, leader, remove(9, false)), Some(Err(ChangeRefusal::NotMember)));
    assert_eq!(ask(&mut world, leader, Change::Add(NodeId(9))), Some(Err(ChangeRefusal::Unheard)));
    let member = Err(ChangeRefusal::AlreadyMember { voter: true });
    assert_eq!(ask(&mut world, leader, Change::Add(NodeId(second))), Some(member));
    world.crash(second);
    world.run(1500 * MS);
    let refused = Err(ChangeRefusal::NoQuorum { live: 1, needed: 2 });
    assert_eq!(ask(&mut world, leader, remove(third, false)), Some(refused));
    // The dead one may go: two live ones are left.
    assert!(matches!(
        ask(&mut world, leader, remove(second, false)),
        Some(Ok(Changed::Removed { voters: 2, .. }))
    ));
    assert_eq!(ask(&mut world, leader, remove(third, false)), Some(Err(ChangeRefusal::Single)));
    assert!(matches!(
        ask(&mut world, leader, remove(third, true)),
        Some(Ok(Changed::Removed { voters: 1, .. }))
    ));
    assert_eq!(ask(&mut world, leader, remove(leader, true)), Some(Err(ChangeRefusal::Last)));
    let host = world.host(leader);
    assert_eq!(host.lease, Time::MAX, "alone");
    // And back to two: the lease is one again as soon as there is somebody else.
    world.join(4);
    world.run(600 * MS);
    assert_eq!(ask(&mut world, leader, Change::Add(NodeId(4))), Some(Ok(Changed::Added(NodeId(4)))));
    wait_for_votes(&mut world, &{
        let mut both = [leader, 4];
        both.sort_unstable();
        both
    });
    world.run(200 * MS);
    let host = world.host(leader);
    assert!(host.lease > host.clock(world.now) && host.lease != Time::MAX);
}

#[test]
fn a_lone_first_start_takes_nobodys_word_and_joins_nobody() {
    let mut world = World::new(81, 3, CALM);
    for host in world.hosts.values_mut() {
        host.settings.voters.clear();
    }
    world.run(3000 * MS);
    assert_eq!(world.leader(), None, "controllers that only join never make a cluster");
    assert!(world.hosts.values().all(|host| host.disk.hard.term.0 == 0));
}

#[test]
fn no_two_lists_of_members_ever_lead_to_two_leaders_or_two_leases() {
    // The checks of the network run at every event: one leader per term, one lease, one history.
    let (mut leased, mut changed) = (0, 0);
    for seed in 0..150 {
        let mut world = World::with_skew(seed, 3, ROUGH, 50_000);
        world.faults.crash = seed % 3;
        world.compact_every = (seed % 2 == 0).then_some(10);
        for next in 4..=5 {
            world.join(next);
        }
        world.run(1000 * MS);
        for round in 0..24 {
            let node = 1 + world.rng.below(5);
            let target = world.leader().unwrap_or(1);
            match world.rng.below(8) {
                0 | 1 => world.input(
                    NodeId(target),
                    Input::Change { request: round, change: Change::Add(NodeId(node)) },
                ),
                2 => {
                    let change = Change::Remove { node: NodeId(node), forced: false };
                    world.input(NodeId(target), Input::Change { request: round, change });
                }
                3 => world.isolate(target),
                4 => {
                    world.crash(node);
                    let lost = world.rng.below(3) == 0 && may_lose(&world, node);
                    if lost || world.host(node).refusals.iter().any(Refusal::is_fatal) {
                        world.host_mut(node).lose_folder();
                        world.host_mut(node).refusals.clear();
                    }
                    world.schedule(50 * MS, Event::Start(NodeId(node)));
                }
                5 => world.pause(target, 300 * MS),
                _ => world.cut.clear(),
            }
            propose(&mut world, 3);
            world.run(200 * MS);
        }
        leased += world.checks.leased;
        changed += world.hosts.values().map(|host| host.membership.index).max().unwrap_or(0).min(1);
        let answers = world.hosts.values().flat_map(|host| &host.answers);
        changed += answers.filter(|(_, result)| result.is_ok()).count() as u64;
    }
    assert!(leased > 50_000, "leases were hardly ever held: {leased}");
    assert!(changed > 300, "members hardly ever changed: {changed}");
}

/// A folder may be lost if, without it, the newest list still has a majority with theirs: more is not survivable.
fn may_lose(world: &World, node: u64) -> bool {
    let newest = world.hosts.values().map(|host| &host.membership).max_by_key(|it| it.index).unwrap();
    let holds = |host: &network::Host| {
        let member = newest.of(host.id);
        let own = member.is_some_and(|member| member.id == host.settings.member_id());
        own && host.id.0 != node && newest.of(host.id).is_some_and(|member| member.voter)
    };
    let founded = newest.index > 0;
    founded && world.hosts.values().filter(|host| holds(host)).count() >= newest.majority()
}

#[test]
fn members_do_not_change_while_one_of_them_would_not_understand() {
    let mut world = World::new(91, 3, CALM);
    world.host_mut(3).settings.version = MEMBERS_CHANGE - 1;
    world.join(4);
    world.run_until(LIMIT, "a leader", |world| world.leader().is_some_and(|leader| leader != 3));
    world.run(600 * MS);
    let leader = world.leader().unwrap();
    let refused = Err(ChangeRefusal::Outdated(vec![NodeId(3)]));
    assert_eq!(ask(&mut world, leader, Change::Add(NodeId(4))), Some(refused));
    // The older one leads, too, and nothing that it does not know is ever in its log.
    world.input(NodeId(leader), Input::TransferTo(NodeId(3)));
    world.run_until(LIMIT, "the older one leads", |world| world.leader() == Some(3));
    propose(&mut world, 10);
    assert!(world.host(1).disk.entries.iter().all(|entry| entry.change.is_none()));
    // It is upgraded, and at once everything can be done.
    world.crash(3);
    world.host_mut(3).settings.version = VERSION;
    world.start(NodeId(3));
    level_reached(&mut world);
    assert!(matches!(insist(&mut world, &Change::Add(NodeId(4))), Changed::Added(_)));
}

#[test]
fn a_folder_that_is_lost_before_the_newest_version_was_agreed_on_does_not_hold_that_up_for_ever() {
    let mut world = World::new(92, 3, CALM);
    world.host_mut(3).settings.version = MEMBERS_CHANGE - 1;
    world.run_until(LIMIT, "a leader", |world| world.leader().is_some_and(|leader| leader != 3));
    world.run(600 * MS);
    world.crash(3);
    world.host_mut(3).lose_folder();
    world.host_mut(3).settings.version = VERSION;
    world.start(NodeId(3));
    assert_eq!(insist(&mut world, &Change::Add(NodeId(3))), Changed::Replaced(NodeId(3)));
    wait_for_votes(&mut world, &[1, 2, 3]);
}

#[test]
fn who_goes_back_to_an_older_version_is_refused_and_stops() {
    let (mut world, leader) = settled(92);
    let older = leader % 3 + 1;
    world.crash(older);
    world.host_mut(older).settings.version = MEMBERS_CHANGE - 1;
    world.start(NodeId(older));
    world.run(1000 * MS);
    let level = VERSION;
    assert_eq!(world.host(older).refusals, [Refusal::TooNew { level }]);
    assert_eq!(world.leader(), Some(leader));
    // With the level in its snapshot it does not even start.
    world.compact_every = Some(5);
    propose(&mut world, 20);
    let host = world.host(leader);
    let settings = backstay_consensus::Settings { version: level - 1, ..host.settings.clone() };
    let refused = backstay_consensus::Consensus::new(settings, host.disk.clone(), Time::ZERO).err();
    assert_eq!(refused, Some(StartError::Newer { level, version: level - 1 }));
}

#[test]
fn what_the_leader_says_of_members_reaches_everybody_as_an_effect() {
    let (mut world, leader) = settled(93);
    let local = world.host(leader).clock(world.now);
    let node = world.host_mut(leader).node.as_mut().unwrap();
    let alone = Change::Remove { node: NodeId(77), forced: true };
    let effects = node.step(local, Input::Change { request: 5, change: alone });
    assert!(effects.contains(&Effect::ChangeAnswer { request: 5, result: Err(ChangeRefusal::NotMember) }));
    assert!(world.hosts.values().all(|host| host.membership == world.host(1).membership));
}
