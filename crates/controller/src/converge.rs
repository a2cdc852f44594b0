//! Between failovers: every instance but the primary follows it. Strays are closed, frozen and new ones re-pointed,
//! those in step are trusted. Looks only at what is observed, so it does not matter who changed what.

use crate::counted::is_majority;
use crate::entry::Decided;
use crate::scene::Unlinked;
use crate::state::{Phase, Reign};
use crate::surplus::surplus;
use crate::work::{Work, follows};
use backstay_model::{Action, Address, EventKind, InstanceName, InstanceSpec, Replication};
use std::time::Duration;

/// How long a replica may take to connect before the next one is re-pointed.
const LINK_PATIENCE: Duration = Duration::from_secs(3);
/// How soon, and how late at most, one that is refused by its primary is told to follow it once more.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(20);

pub(crate) fn converge(work: &mut Work) {
    let Some(reign) = work.state.reign.clone() else {
        return;
    };
    let Some(primary) = work.scene.spec.instance(&reign.instance).cloned() else {
        return;
    };
    // Where commits wait for replicas, one that was promoted by order needs them to take writes at all.
    let opening = work.state.phase == Phase::Opening && is_majority(&work.scene.spec);
    if (work.state.is_paused(work.now.unix) && !opening) || work.hindrance.is_some() {
        return;
    }
    keep_primary_open(work, &reign);
    beat(work, &reign);
    follow_rename(work, &reign);
    if crate::failover::sentinels(work.scene).is_some() {
        return; // Whatever it does now, doing something else is a fight.
    }
    // Nobody is pointed at a primary before it was seen to be one in this reign.
    let reigns =
        work.current(&reign.instance).is_some_and(|seen| seen.is_primary() && seen.run_id == reign.run_id);
    crate::counted::keep(work, &reign, &primary.address);
    let mut syncs = count_syncs(work, &primary.address);
    for instance in work.instances() {
        if instance.name == reign.instance {
            continue;
        }
        let Some(seen) = work.current(&instance.name).cloned() else {
            continue;
        };
        if work.is_rebuilt(&instance.name) {
            // Nobody but its agent does anything to it, except that it never takes writes.
            let stray = seen.is_primary() && !seen.closed && work.is_ours(&instance.name);
            if stray && !work.state.is_usurper(&instance.name, &seen) {
                fence(
                    work,
                    EventKind::StrayPrimaryClosed { instance: instance.name.clone() },
                    &instance.name,
                );
            }
        } else if seen.is_primary() {
            demote(work, &instance, &primary, &seen, reigns);
        } else {
            follow(work, &instance, &primary, &seen, &reign, reigns, &mut syncs);
        }
    }
}

/// The epoch's primary, found closed, was closed by an order that came late or by a leader that died before it opened
/// it.
fn keep_primary_open(work: &mut Work, reign: &Reign) {
    let found = work.current(&reign.instance);
    if found.is_some_and(|seen| seen.is_primary() && seen.closed && seen.run_id == reign.run_id) {
        work.order(&reign.instance, Action::Open);
    }
}

/// Where the stream does not move by itself, something is written now and then: only what is received proves that
/// replicas receive.
fn beat(work: &mut Work, reign: &Reign) {
    let open = |seen: &&Replication| seen.is_primary() && !seen.closed && seen.run_id == reign.run_id;
    let (Some(every), Some(_)) = (work.manners().heartbeat, work.current(&reign.instance).filter(open))
    else {
        return;
    };
    let now = work.now.time;
    if work.state.phase == Phase::Stable && work.scene.notes.beat.is_none_or(|at| now.since(at) >= every) {
        work.scene.notes.beat = Some(now);
        work.order(&reign.instance, Action::Canary);
    }
    work.look_again(every);
}

/// A primary makes its backlog when a replica comes to it, and names its history anew when it does (Redis,
/// `syncCommand`). It is the same history in the same process: what replicas copied from it counts. What a leader saw
/// before it led may be older than the name that is agreed on.
fn follow_rename(work: &mut Work, reign: &Reign) {
    let seen_since = work.view(&reign.instance).and_then(|view| view.sample.as_ref()).map(|(at, _)| *at);
    let renamed = work
        .current(&reign.instance)
        .filter(|_| seen_since.is_some_and(|at| at > work.leads_since))
        .filter(|seen| seen.is_primary() && seen.run_id == reign.run_id && seen.replid != reign.replid);
    if let Some(replid) = renamed.map(|seen| seen.replid.clone()) {
        let epoch = work.state.epoch;
        work.propose(Decided::Rename { epoch, replid });
    }
}

fn count_syncs(work: &Work, primary: &Address) -> usize {
    // One that cannot connect must not hold up the others for ever.
    let is_recent = |instance: &InstanceSpec| {
        let since = work.view(&instance.name).map(|view| view.role_since);
        since.is_some_and(|since| work.now.time.since(since) < LINK_PATIENCE)
    };
    let on_the_way = |instance: &&InstanceSpec| {
        work.current(&instance.name).and_then(follows).is_some_and(|(of, link_up, syncing)| {
            of == primary && (syncing || (!link_up && is_recent(instance)))
        })
    };
    work.scene.spec.instances.iter().filter(on_the_way).count()
}

/// A primary that is not the epoch's: closed at once, then made to follow. One that was never part of the group is
/// left alone: its data is somebody's.
fn demote(
    work: &mut Work,
    instance: &InstanceSpec,
    primary: &InstanceSpec,
    seen: &Replication,
    reigns: bool,
) {
    if !work.is_ours(&instance.name) || work.state.is_usurper(&instance.name, seen) {
        return; // `problems` names it.
    }
    if !seen.closed {
        fence(work, EventKind::StrayPrimaryClosed { instance: instance.name.clone() }, &instance.name);
        return; // Its `INFO` comes behind the fence, and with it the next look.
    }
    if reigns && !has_surplus(work, &instance.name) && may_follow(work, &instance.name) {
        work.scene.notes.disconnected.insert(instance.name.clone());
        let follow = follow_order(work, &instance.name, primary, true);
        work.order(&instance.name, follow);
        work.watch(&instance.name, Duration::from_millis(10));
    }
}

fn follow(
    work: &mut Work,
    instance: &InstanceSpec,
    primary: &InstanceSpec,
    seen: &Replication,
    reign: &Reign,
    reigns: bool,
    syncs: &mut usize,
) {
    let Some((of, link_up, syncing)) = follows(seen) else {
        return;
    };
    if seen.sql.exposed && work.is_ours(&instance.name) {
        fence(work, EventKind::ExposedReplicaClosed { instance: instance.name.clone() }, &instance.name);
    }
    if *of == primary.address {
        if work.state.possible_primaries.contains(&instance.name)
            && !work.scene.notes.disconnected.contains(&instance.name)
        {
            // It was a primary, and its clients still take it for one.
            if work.manners().postpones && !let_go(work, &instance.name) {
                return;
            }
            work.scene.notes.disconnected.insert(instance.name.clone());
            let follow = follow_order(work, &instance.name, primary, true);
            work.order(&instance.name, follow);
        }
        if link_up {
            work.scene.notes.unlinked.remove(&instance.name);
        } else if !work.manners().copies && reigns && work.is_ours(&instance.name) {
            point(work, instance, primary);
        }
        let in_step = seen.replid == reign.replid && work.state.is_in_reign(&seen.replid, seen.offset);
        if link_up && !syncing && !seen.sql.stalled && in_step {
            trust(work, &instance.name, seen);
        } else {
            work.watch(&instance.name, Duration::from_millis(10));
            work.look_again(Duration::from_millis(50));
        }
    } else if (*of == Address::nowhere() || work.is_member(of))
        && reigns
        && work.is_ours(&instance.name)
        && (*syncs < work.scene.spec.parallel_syncs || !work.manners().copies)
        && !has_surplus(work, &instance.name)
        && may_follow(work, &instance.name)
    {
        *syncs += 1;
        point(work, instance, primary);
    }
    if seen.closed {
        work.order(&instance.name, Action::Open);
    }
}

/// Tells a replica to follow the primary. One whose thread gave up, because it is refused there, is told again, but not
/// again and again: each time after twice as long.
fn point(work: &mut Work, instance: &InstanceSpec, primary: &InstanceSpec) {
    let now = work.now.time;
    let before = work.scene.notes.unlinked.get(&instance.name).copied();
    if let Some(Unlinked { at, tries }) = before.filter(|_| !work.manners().copies) {
        let wait = (RETRY_MIN * 2u32.pow(tries.min(8))).min(RETRY_MAX).saturating_sub(now.since(at));
        if !wait.is_zero() {
            return work.look_again(wait);
        }
    }
    let follow = follow_order(work, &instance.name, primary, false);
    let again = before.is_some() && !work.manners().copies;
    if !again && !was_ordered(work, &instance.name, &follow) {
        let (instance, primary) = (instance.name.clone(), primary.name.clone());
        work.tell(EventKind::Repointed { instance, primary });
    }
    let tries = before.map_or(0, |before| before.tries + 1);
    work.scene.notes.unlinked.insert(instance.name.clone(), Unlinked { at: now, tries });
    work.order(&instance.name, follow);
    work.watch(&instance.name, Duration::from_millis(10));
}

/// After a planned move, clients whose writes wait at the old primary are told that it takes none, before they are sent
/// away: once the end is committed, when most controllers name the new one. True: nobody waits there any more.
fn let_go(work: &mut Work, name: &InstanceName) -> bool {
    if work.state.phase != Phase::Stable {
        return false;
    }
    if work.state.held.as_ref() != Some(name) {
        return true;
    }
    let Some(since) = work.scene.notes.resumed else {
        work.scene.notes.resumed = Some(work.now.time);
        work.order(name, Action::Resume);
        return false;
    };
    // The look behind it has come: it was done.
    work.view(name).and_then(|view| view.sample.as_ref()).is_some_and(|(at, _)| *at > since)
}

/// Whether it holds what the primary had after it was linked. In `majority` who is trusted counts as read: what it had
/// acknowledged before, and lost with its relay log, it must have again (safety, section 3).
fn has_come_up(work: &mut Work, name: &InstanceName, seen: &Replication) -> bool {
    if !is_majority(&work.scene.spec) {
        return true;
    }
    let reign = work.state.reign.as_ref();
    let primary = reign.and_then(|reign| work.view(&reign.instance)?.sample.as_ref());
    let primary = primary.map(|(at, primary)| (*at, primary.offset));
    let Some(view) = work.scene.views.get_mut(name) else {
        return false;
    };
    let after = primary.filter(|(at, _)| view.linked_since.is_some_and(|since| *at > since));
    view.linked_below = view.linked_below.or(after.map(|(_, offset)| offset));
    view.linked_below.is_some_and(|below| seen.offset >= below)
}

fn trust(work: &mut Work, name: &InstanceName, seen: &Replication) {
    let known = work.state.trusted.get(name) == Some(&seen.run_id);
    let streams = work.view(name).is_some_and(|view| view.streams);
    let is_in_step = known || has_come_up(work, name, seen) && streams;
    if !is_in_step {
        work.watch(name, Duration::from_millis(50));
        return work.look_again(Duration::from_millis(50));
    }
    if !known || work.state.possible_primaries.contains(name) || work.state.given_up.contains(name) {
        let (epoch, run_id) = (work.state.epoch, seen.run_id.clone());
        let full_copy = !known && work.manners().copies;
        work.propose(Decided::Trust { epoch, instance: name.clone(), run_id, full_copy });
    }
}

/// Writes that exist here alone, or may, are given up in the log before the instance is pointed at the primary. True
/// while that is not committed.
fn has_surplus(work: &mut Work, name: &InstanceName) -> bool {
    let Some(surplus) = surplus(work.state, work.scene, name).filter(|_| !work.state.given_up.contains(name))
    else {
        return false;
    };
    let (epoch, bytes) = (work.state.epoch, surplus.count());
    work.propose(Decided::GiveUp { epoch, instance: name.clone(), bytes });
    true
}

fn follow_order(work: &Work, name: &InstanceName, primary: &InstanceSpec, disconnect: bool) -> Action {
    Action::Follow { primary: primary.address.clone(), disconnect, acker: work.is_acker(name) }
}

/// Closes one that takes writes and must not, and lets that be known once.
fn fence(work: &mut Work, told: EventKind, name: &InstanceName) {
    let fresh = !was_ordered(work, name, &Action::Fence);
    work.order(name, Action::Fence);
    if fresh {
        work.tell(told);
    }
}

/// In `majority` whoever follows acknowledges, and that is agreed on before.
fn may_follow(work: &Work, name: &InstanceName) -> bool {
    !is_majority(&work.scene.spec) || work.is_acker(name)
}

fn was_ordered(work: &Work, name: &InstanceName, action: &Action) -> bool {
    work.view(name).is_some_and(|view| view.ordered.iter().any(|(before, ..)| before == action))
}
