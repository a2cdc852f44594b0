use super::*;
use crate::direction::{Direction, Source, Target};
use crate::settings::{EndpointKind, EndpointLimits, Otherwise};
use crate::sql::play::{BEGIN, QUERY, World, primary_of, replica};
use std::time::Duration;

const LEASE: Duration = Duration::from_millis(400);
const GRACE: Duration = Duration::from_millis(300);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn shop(limits: EndpointLimits) -> World {
    let mut world = World::new(EndpointKind::Primary, limits);
    world.serve(LEASE);
    world
}

/// So many clients that are signed in.
fn linked(world: &mut World, count: usize) -> Vec<usize> {
    let who: Vec<usize> = (0..count).map(|_| world.come()).collect();
    world.run();
    for client in &who {
        world.ask(*client, QUERY);
    }
    world.run();
    who
}

fn is_here(world: &World, who: usize) -> bool {
    world.players[who].end.is_none()
}

/// What a client was told in place of a greeting: the number, and the text.
fn refusal(world: &World, who: usize) -> (u16, String) {
    let got = &world.players[who].wire.got;
    assert_eq!((got[3], got[4]), (0, 0xff), "{got:?}");
    (u16::from_le_bytes([got[5], got[6]]), String::from_utf8_lossy(&got[7..]).into_owned())
}

fn hears_nothing(world: &World, who: usize) -> bool {
    world.players[who].wire.got.is_empty()
}

#[test]
fn who_comes_without_a_primary_hears_nothing_until_there_is_one() {
    let mut world = World::new(EndpointKind::Primary, EndpointLimits::default());
    let who = world.come();
    world.pass(ms(9_000));
    assert!(hears_nothing(&world, who) && world.remotes.is_empty());
    world.serve(LEASE);
    world.run();
    assert!(is_here(&world, who) && !hears_nothing(&world, who));
    assert_eq!(world.remotes.values().next().map(|remote| remote.address), Some(primary_of(1)));
}

#[test]
fn who_waits_for_too_long_is_told_why_in_place_of_a_greeting() {
    let mut world = World::new(EndpointKind::Primary, EndpointLimits::default());
    let who = world.come();
    world.pass(ms(10_000));
    let (number, text) = refusal(&world, who);
    assert_eq!(number, 1053);
    assert!(text.starts_with("#08S01Waited 10000 ms for a server: there is no primary now"), "{text}");
    // A server that takes connections and says nothing is waited for in the same way.
    world.serve(ms(60_000));
    world.greets = false;
    let who = world.come();
    world.run();
    world.pass(ms(10_000));
    assert!(refusal(&world, who).1.contains("the server took the connection and says nothing"));
}

#[test]
fn only_so_many_wait_and_the_next_one_is_told_so_at_once() {
    let limits = EndpointLimits { held_commands_max: 2, ..EndpointLimits::default() };
    let mut world = World::new(EndpointKind::Primary, limits);
    let who = [0; 3].map(|_| world.come());
    assert_eq!([is_here(&world, who[0]), is_here(&world, who[1])], [true; 2]);
    let (number, text) = refusal(&world, who[2]);
    assert!(number == 1040 && text.contains("held_max"), "{number} {text}");
    // Who is connected does not wait.
    world.serve(LEASE);
    world.run();
    linked(&mut world, 5);
    assert!(world.players.iter().enumerate().all(|(who, _)| who == 2 || is_here(&world, who)));
}

#[test]
fn one_client_too_many_is_told_so() {
    let mut world = shop(EndpointLimits { clients_max: 2, ..EndpointLimits::default() });
    linked(&mut world, 2);
    let who = world.come();
    let (number, text) = refusal(&world, who);
    assert!(number == 1040 && text.contains("clients_max"), "{number} {text}");
}

#[test]
fn a_connection_that_fails_is_tried_again_by_one_client_until_it_is_made() {
    let mut world = shop(EndpointLimits::default());
    let who: Vec<usize> = (0..5).map(|_| world.come()).collect();
    assert_eq!(world.remotes.len(), 5);
    for key in world.remotes.keys().copied().collect::<Vec<_>>() {
        world.exchange.server_failed(key, "refused");
        world.settle();
    }
    assert!(world.remotes.is_empty());
    world.pass(ms(5));
    assert_eq!(world.remotes.len(), 1);
    // The one that waits longest.
    assert_eq!(world.remotes.keys().next().copied(), world.players[who[0]].key);
    world.run();
    assert!(who.iter().all(|who| is_here(&world, *who) && !hears_nothing(&world, *who)));
    let counted = world.exchange.traffic()[0].read();
    assert_eq!(counted.sql.map(|sql| sql.connects_failed), Some(5));
}

#[test]
fn a_server_is_not_given_more_new_connections_than_its_queue_takes() {
    let mut world = shop(EndpointLimits::default());
    let who: Vec<usize> = (0..200).map(|_| world.come()).collect();
    assert_eq!(world.remotes.len(), 64);
    world.run();
    assert!(who.iter().all(|who| !hears_nothing(&world, *who)));
}

#[test]
fn at_a_hold_everything_to_the_old_primary_is_closed_and_who_waits_goes_on_waiting() {
    let mut world = shop(EndpointLimits::default());
    let who = linked(&mut world, 2);
    world.ask(who[0], QUERY);
    let key = world.players[who[0]].key.unwrap();
    world.pump(key, Side::Client, usize::MAX);
    world.greets = false;
    let late = world.come();
    world.hold();
    assert_eq!((world.held.len(), world.remotes.len()), (1, 0));
    assert_eq!([who[0], who[1], late].map(|who| is_here(&world, who)), [false, false, true]);
    // One of them had asked something.
    assert_eq!(world.exchange.traffic()[0].read().unknown, 1);
    world.greets = true;
    world.serve(LEASE);
    world.run();
    assert!(!hears_nothing(&world, late));
    assert_eq!(world.remotes.values().next().map(|remote| remote.address), Some(primary_of(2)));
}

#[test]
fn what_is_read_after_the_lease_is_not_delivered() {
    let mut world = shop(EndpointLimits::default());
    let who = linked(&mut world, 1)[0];
    let heard = world.players[who].wire.got.len();
    world.ask(who, QUERY);
    let key = world.players[who].key.unwrap();
    world.pump(key, Side::Client, usize::MAX);
    world.answer(key);
    // The process was stopped: nothing was looked at meanwhile.
    world.now = world.now + LEASE;
    world.pump(key, Side::Server, usize::MAX);
    assert!(!is_here(&world, who));
    assert_eq!(world.players[who].wire.got.len(), heard);
}

#[test]
fn a_command_that_comes_shortly_before_the_lease_ends_waits_for_the_next_one() {
    let mut world = shop(EndpointLimits::default());
    let who = linked(&mut world, 1)[0];
    let key = world.players[who].key.unwrap();
    let got = |world: &World| world.remotes[&key].wire.got.len();
    let before = got(&world);
    world.pass(ms(370));
    world.ask(who, QUERY);
    world.pump(key, Side::Client, usize::MAX);
    assert_eq!(got(&world), before);
    world.serve(LEASE);
    world.run();
    assert!(got(&world) > before && is_here(&world, who));
    // Read in time, and written too late: it is kept.
    world.ask(who, QUERY);
    world.now = world.now + ms(370);
    assert!(world.exchange.wants(key, Side::Client));
    let before = got(&world);
    world.pump(key, Side::Client, usize::MAX);
    assert_eq!(got(&world), before);
    world.serve(LEASE);
    assert!(got(&world) > before);
}

#[test]
fn in_a_drain_who_is_quiet_goes_at_once_and_the_others_go_on_and_end_between_two_commands() {
    let mut world = shop(EndpointLimits::default());
    let who = linked(&mut world, 4);
    let [quiet, page, open, stuck] = who[..] else { panic!("four") };
    world.pass(ms(150));
    world.serve(ms(10_000));
    for (who, command) in [(page, QUERY), (open, BEGIN), (stuck, QUERY)] {
        world.ask(who, command);
    }
    let keys: Vec<Key> = who.iter().map(|who| world.players[*who].key.unwrap()).collect();
    for key in &keys {
        world.pump(*key, Side::Client, usize::MAX);
    }
    for key in &keys[..3] {
        world.answer(*key);
        world.pump(*key, Side::Server, usize::MAX);
    }
    world.drain();
    let here = |world: &World| [quiet, page, open, stuck].map(|who| is_here(world, who));
    assert_eq!(here(&world), [false, true, true, true]);
    // Who comes now waits.
    let late = world.come();
    // A page goes on.
    for _ in 0..3 {
        world.pass(ms(60));
        world.ask(page, QUERY);
        world.pump(keys[1], Side::Client, usize::MAX);
        world.answer(keys[1]);
        world.pump(keys[1], Side::Server, usize::MAX);
    }
    assert_eq!(here(&world), [false, true, true, true]);
    world.pass(ms(25));
    assert_eq!(here(&world), [false, false, true, true]);
    // A transaction may end.
    world.ask(open, QUERY);
    world.pump(keys[2], Side::Client, usize::MAX);
    world.answer(keys[2]);
    assert_eq!(here(&world), [false, false, true, true]);
    world.pump(keys[2], Side::Server, usize::MAX);
    assert_eq!(here(&world), [false, false, false, true]);
    assert!(world.held.is_empty());
    world.pass(ms(100));
    assert_eq!(here(&world), [false; 4]);
    assert_eq!(world.held.len(), 1);
    let counted = world.exchange.traffic()[0].read();
    assert_eq!((counted.unknown, counted.sql.map(|sql| sql.parted)), (1, Some(3)));
    world.serve(LEASE);
    world.run();
    assert!(!hears_nothing(&world, late));
}

#[test]
fn a_command_that_comes_at_the_end_of_a_drain_is_not_forwarded() {
    let mut world = shop(EndpointLimits::default());
    world.serve(ms(10_000));
    let who = linked(&mut world, 1)[0];
    let key = world.players[who].key.unwrap();
    world.drain();
    world.ask(who, QUERY);
    // Nobody has looked since the last third began.
    world.now = world.now + GRACE * 2 / 3;
    world.pump(key, Side::Client, usize::MAX);
    assert_eq!(world.players[who].end.as_deref(), Some("End"));
    world.pass(Duration::ZERO);
    assert_eq!(world.held.len(), 1);
}

#[test]
fn a_drain_is_over_before_the_lease_is() {
    let mut world = shop(EndpointLimits::default());
    let who = linked(&mut world, 1)[0];
    world.ask(who, BEGIN);
    world.run();
    world.pass(ms(250));
    world.drain();
    assert!(is_here(&world, who));
    world.pass(ms(109));
    assert!(is_here(&world, who));
    world.pass(ms(6));
    assert_eq!((is_here(&world, who), world.held.len()), (false, 1));
}

fn source(number: u16, zone: &str, lag_bytes: u64) -> Source {
    Source { target: Target { address: replica(number), host: "r".into() }, zone: zone.to_owned(), lag_bytes }
}

fn reader(otherwise: Otherwise) -> World {
    World::new(EndpointKind::Reader { max_lag_bytes: 1000, otherwise }, EndpointLimits::default())
}

fn count_at(world: &World, number: u16) -> usize {
    world.remotes.values().filter(|remote| remote.address == replica(number)).count()
}

#[test]
fn readers_are_spread_over_the_replicas_that_are_near_enough() {
    let mut world = reader(Otherwise::Refuse);
    let hold = Direction::Hold { epoch: Epoch(1) };
    world.order(&hold, &[source(1, "a", 0), source(2, "a", 900), source(3, "b", 0), source(4, "a", 1001)]);
    linked(&mut world, 10);
    assert_eq!([1, 2, 3, 4].map(|number| count_at(&world, number)), [5, 5, 0, 0]);
    // Another zone is better than a replica that is too far behind.
    world.order(&hold, &[source(1, "a", 2000), source(2, "a", 2000), source(3, "b", 0)]);
    linked(&mut world, 3);
    assert_eq!(count_at(&world, 3), 3);
}

#[test]
fn a_replica_that_is_not_listed_any_more_is_left_after_the_grace_if_there_is_another() {
    let mut world = reader(Otherwise::Refuse);
    let hold = Direction::Hold { epoch: Epoch(1) };
    world.order(&hold, &[source(1, "a", 0)]);
    let who = linked(&mut world, 1)[0];
    world.order(&hold, &[]);
    world.pass(ms(1_000));
    assert!(is_here(&world, who));
    world.ask(who, BEGIN);
    world.run();
    world.order(&hold, &[source(2, "a", 0)]);
    assert!(is_here(&world, who));
    // It is back.
    world.order(&hold, &[source(1, "a", 0), source(2, "a", 0)]);
    world.pass(GRACE);
    assert!(is_here(&world, who));
    world.order(&hold, &[source(2, "a", 0)]);
    world.pass(GRACE);
    assert!(!is_here(&world, who));
}

#[test]
fn without_a_replica_a_reader_is_refused_or_reads_at_the_primary_under_its_lease() {
    let mut world = reader(Otherwise::Refuse);
    // Before anything was said of the service nobody knows.
    let early = world.come();
    assert!(is_here(&world, early));
    world.order(&Direction::Hold { epoch: Epoch(1) }, &[]);
    assert_eq!(refusal(&world, early).0, 1053);
    let mut world = reader(Otherwise::Primary);
    world.serve(LEASE);
    let who = linked(&mut world, 1)[0];
    assert_eq!(world.remotes.values().next().map(|remote| remote.address), Some(primary_of(1)));
    world.pass(LEASE);
    assert!(!is_here(&world, who));
}

#[test]
fn a_side_that_ends_its_sending_is_still_heard_by_the_other() {
    let mut world = shop(EndpointLimits::default());
    let who = linked(&mut world, 1)[0];
    let key = world.players[who].key.unwrap();
    world.ask(who, QUERY);
    world.end(who);
    world.pump(key, Side::Client, usize::MAX);
    assert!(world.remotes[&key].wire.shut && is_here(&world, who));
    let heard = world.players[who].wire.got.len();
    world.answer(key);
    world.pump(key, Side::Server, usize::MAX);
    assert!(world.players[who].wire.got.len() > heard);
    world.remotes.get_mut(&key).unwrap().wire.ended = true;
    world.pump(key, Side::Server, usize::MAX);
    assert_eq!((world.players[who].end.as_deref(), world.remotes.len()), (Some("End"), 0));
}

#[test]
fn a_server_that_ended_is_not_waited_for_but_what_it_said_last_is_not_cut_off() {
    let mut world = shop(EndpointLimits::default());
    world.serve(ms(60_000));
    let who = linked(&mut world, 2);
    let keys = [0, 1].map(|at| world.players[who[at]].key.unwrap());
    world.players[who[1]].wire.fill();
    for at in [0, 1] {
        world.ask(who[at], QUERY);
        world.pump(keys[at], Side::Client, usize::MAX);
        world.answer(keys[at]);
        world.remotes.get_mut(&keys[at]).unwrap().wire.ended = true;
        world.pump(keys[at], Side::Server, usize::MAX);
    }
    assert!(world.players[who[0]].wire.shut && !world.players[who[1]].wire.shut);
    world.pass(ms(10_000));
    assert_eq!([0, 1].map(|at| is_here(&world, who[at])), [false, true]);
    world.players[who[1]].wire.empty();
    world.flush(keys[1], Side::Client);
    world.pump(keys[1], Side::Server, usize::MAX);
    assert!(world.players[who[1]].wire.shut && is_here(&world, who[1]));
    world.pass(ms(2_000));
    assert!(!is_here(&world, who[1]));
}

#[test]
fn a_connection_that_breaks_breaks_the_other_one_once_that_has_everything() {
    let mut world = shop(EndpointLimits::default());
    let who = linked(&mut world, 2);
    let keys = [0, 1].map(|at| world.players[who[at]].key.unwrap());
    world.exchange.broke(keys[0], Side::Server, "reset");
    world.settle();
    assert_eq!(world.players[who[0]].end.as_deref(), Some("Reset"));
    // The client does not take its answer now.
    world.players[who[1]].wire.fill();
    world.ask(who[1], QUERY);
    world.run();
    world.exchange.broke(keys[1], Side::Server, "reset");
    world.settle();
    assert!(is_here(&world, who[1]));
    world.players[who[1]].wire.empty();
    world.flush(keys[1], Side::Client);
    world.settle();
    assert_eq!(world.players[who[1]].end.as_deref(), Some("End"));
}

#[test]
fn while_a_client_takes_nothing_its_server_is_not_read_and_what_is_kept_is_bounded() {
    let mut world = shop(EndpointLimits { memory_max: 60, ..EndpointLimits::default() });
    let who = linked(&mut world, 4);
    let keys: Vec<Key> = who.iter().map(|who| world.players[*who].key.unwrap()).collect();
    for client in &who {
        world.players[*client].wire.fill();
        world.ask(*client, QUERY);
        world.ask(*client, QUERY);
    }
    for key in &keys[..3] {
        world.pump(*key, Side::Client, usize::MAX);
        world.answer(*key);
        world.pump(*key, Side::Server, 20);
        assert!(!world.exchange.wants(*key, Side::Server));
    }
    assert_eq!(world.exchange.endpoints[0].kept, 60);
    world.pump(keys[3], Side::Client, usize::MAX);
    world.answer(keys[3]);
    world.pump(keys[3], Side::Server, 20);
    assert_eq!([0, 1, 2, 3].map(|at| is_here(&world, who[at])), [true, true, true, false]);
    assert_eq!(world.exchange.endpoints[0].kept, 60);
}

#[test]
fn who_says_nothing_for_too_long_is_let_go_unless_something_of_theirs_is_under_way() {
    let limits = EndpointLimits { idle_timeout: Some(ms(5_000)), ..EndpointLimits::default() };
    let mut world = shop(limits);
    world.serve(ms(60_000));
    let who = linked(&mut world, 2);
    world.ask(who[1], QUERY);
    let key = world.players[who[1]].key.unwrap();
    world.pump(key, Side::Client, usize::MAX);
    world.pass(ms(5_000));
    assert_eq!([is_here(&world, who[0]), is_here(&world, who[1])], [false, true]);
}

#[test]
fn who_hangs_up_while_waiting_makes_room_for_others() {
    let limits = EndpointLimits { held_commands_max: 1, ..EndpointLimits::default() };
    let mut world = World::new(EndpointKind::Primary, limits);
    for _ in 0..1000 {
        let who = world.come();
        assert!(is_here(&world, who));
        world.players[who].wire.ended = true;
        world.exchange.hung_up(world.players[who].key.unwrap());
        world.settle();
        world.pass(ms(1));
    }
    assert!(world.exchange.endpoints[0].queue.len() < 200);
}

/// A client that was greeted as MariaDB does it, and has said so many words since; its server wants two.
fn signing_in(words: usize) -> (World, usize) {
    let mut world = World::new(EndpointKind::Primary, EndpointLimits::default());
    (world.real, world.switches) = (true, true);
    world.serve(ms(60_000));
    let who = world.come();
    world.run();
    for _ in 0..words {
        world.ask(who, QUERY);
        world.run();
    }
    (world, who)
}

#[test]
fn who_is_signing_in_when_the_primary_goes_is_let_in_by_the_next_one() {
    for (words, drains) in [(0, false), (0, true), (1, false), (1, true)] {
        let (mut world, who) = signing_in(words);
        if drains {
            world.drain();
        } else {
            world.hold();
        }
        assert!(is_here(&world, who) && world.remotes.is_empty());
        assert_eq!(world.held, [Epoch(2)]);
        world.serve(ms(60_000));
        for _ in 0..5 {
            world.run();
            world.ask(who, QUERY);
        }
        world.run();
        let remote = world.remotes.values().next().unwrap();
        assert_eq!(remote.address, primary_of(2));
        assert!(remote.wire.got.windows(5).any(|five| five == [9, 0, 0, 0, QUERY]), "{:?}", remote.wire.got);
    }
}

#[test]
fn who_was_let_in_ends_with_its_server() {
    let (mut world, who) = signing_in(2);
    world.hold();
    assert!(!is_here(&world, who));
}

#[test]
fn who_says_nothing_after_the_greeting_ends_with_its_server() {
    for (millis, stays) in [(1_000, true), (3_000, false)] {
        let (mut world, who) = signing_in(0);
        world.pass(ms(millis));
        let key = world.players[who].key.unwrap();
        world.remotes.get_mut(&key).unwrap().wire.ended = true;
        world.pump(key, Side::Server, usize::MAX);
        assert_eq!(!world.players[who].wire.shut, stays, "after {millis} ms");
    }
}
