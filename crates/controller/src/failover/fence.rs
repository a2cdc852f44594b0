//! Fencing: the old primary is closed, possible primaries are revoked, and every replica that answers is frozen once
//! its socket is drained (safety, sections 2.2 and 2.3). When all that answer stand still, they are compared.

use super::choose::{Choice, choose};
use crate::Mistake;
use crate::entry::{Cause, Decided};
use crate::scene::{Moment, View};
use crate::work::{Work, follows};
use backstay_model::{Action, Health, InstanceName, NodeId};
use std::collections::BTreeSet;
use std::time::Duration;

/// How often offsets are read while replicas drain.
const DRAIN_POLL: Duration = Duration::from_millis(2);
/// How often one is looked at that cannot apply what it received.
const MENDED_POLL: Duration = Duration::from_millis(100);
/// An offset that did not change for this long stands still.
const STILL: Duration = Duration::from_millis(10);
/// How long the others are waited for once the first one stands still after a blackout.
const BLACKOUT_GRACE: Duration = Duration::from_millis(100);
/// How long one that answers probes but not the freeze is waited for.
const FREEZE_PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn fence(work: &mut Work, cause: &Cause) {
    let moment = work.moment();
    let started = *work.scene.notes.started.get_or_insert(moment);
    let elapsed = work.now.time.since(started.time);
    let epoch = work.state.epoch;
    if work.state.is_paused(work.now.unix) && !work.state.ordered {
        return work
            .stuck(format!("{}: the failover waits: automatic action is paused", work.scene.spec.name));
    }
    let waiting = freeze_all(work, cause, started);
    // Every reply of one that is watched is a look, too.
    work.look_again(work.spread(STILL));
    if let Some(feeder) = still_fed(work, cause, elapsed) {
        let reason = format!("{feeder} still receives writes from the old primary, so that one is alive");
        let at = work.now.unix;
        return work.propose(Decided::Abandon { epoch, reason, at, demotion_sent: false });
    }
    if waiting || others_are_about_to_answer(work, elapsed) {
        return;
    }
    if let Some(better) = better_placed(work) {
        return work.hand_over(better);
    }
    let compared = frozen_instances(work);
    let nobody = crate::Counted::default();
    let counted = if work.mistake == Some(Mistake::PromoteUnread) { Some(&nobody) } else { work.counted };
    match choose(work.state, work.scene, counted, work.rebuilds) {
        Choice::Winner { candidate, run_id, offset, surplus, reason } => {
            if !work.gateways_hold() {
                return;
            }
            let fenced = work.now.unix;
            let reason = match work.scene.notes.waited.take() {
                Some(waited) => format!("{reason}; {waited}"),
                None => reason,
            };
            let committed = started.unix;
            if work.mistake == Some(Mistake::PromoteBeforeCommit) {
                work.order(&candidate, Action::Promote);
            }
            work.propose(Decided::Choose {
                epoch,
                candidate,
                run_id,
                offset,
                surplus,
                compared,
                reason,
                committed,
                fenced,
            });
        }
        Choice::Nobody { reason } => {
            work.stuck(format!("{}: no instance can be promoted: {reason}", work.scene.spec.name));
        }
    }
}

/// Freezes each as soon as it may be. True: the comparison must wait for one of them.
fn freeze_all(work: &mut Work, cause: &Cause, started: Moment) -> bool {
    let elapsed = work.now.time.since(started.time);
    let epoch = work.state.epoch;
    let mut waiting = false;
    for instance in work.instances() {
        let name = &instance.name;
        if !work.is_ours(name) || work.is_discarded(name) {
            continue; // Somebody else's data, or none yet: neither fenced nor compared.
        }
        if work.is_unseen(name) {
            waiting |= is_waited_for(work, name, elapsed);
            continue; // Whose it is, its `INFO` tells in a moment.
        }
        if work.view(name).is_some_and(|view| view.frozen_in(epoch).is_some()) {
            freeze_again_once_mended(work, name);
            continue;
        }
        work.watch(name, DRAIN_POLL);
        if is_or_may_be_primary(work, name) && !is_fed(work, name, started) {
            work.order(name, Action::Fence);
            if work.state.held.as_ref() == Some(name) {
                // Frozen while paused it would need a full copy later (seen).
                work.order(name, Action::Resume);
            }
            work.order(name, Action::Freeze);
        } else if is_drained(work, name, cause, started) {
            work.order(name, Action::Freeze);
        }
        waiting |= is_waited_for(work, name, elapsed);
    }
    waiting
}

/// One whose applier stands is looked at again: somebody may mend it, and then what it holds is no longer what was found.
fn freeze_again_once_mended(work: &mut Work, name: &InstanceName) {
    let Some(view) = work.view(name) else {
        return;
    };
    let found = view.frozen_in(work.state.epoch).filter(|found| found.sql.stalled);
    let Some(found) = found.map(|found| found.sql) else {
        return;
    };
    let now = view.replication().map(|seen| seen.sql);
    if now.is_some_and(|now| now.stalled != found.stalled || now.unapplied != found.unapplied) {
        work.order(name, Action::Freeze);
    }
    work.watch(name, MENDED_POLL);
}

fn is_or_may_be_primary(work: &Work, name: &InstanceName) -> bool {
    let reigned = work.state.reign.as_ref().is_some_and(|reign| reign.instance == *name);
    let primary =
        work.view(name).and_then(View::replication).is_some_and(backstay_model::Replication::is_primary);
    reigned || primary || work.state.possible_primaries.contains(name)
}

/// It was just seen to be a linked replica, so something may lie in its socket, whatever it may become.
fn is_fed(work: &Work, name: &InstanceName, started: Moment) -> bool {
    let seen = work.view(name).and_then(|view| view.sample.as_ref());
    seen.is_some_and(|(at, seen)| *at >= started.time && follows(seen).is_some_and(|(_, link_up, _)| link_up))
}

/// Whether freezing the replica now drops nothing that it could still have received. After hard evidence: it reported
/// its link down. Otherwise, and at the latest after `drain_wait`: its offset stands still.
fn is_drained(work: &Work, name: &InstanceName, cause: &Cause, started: Moment) -> bool {
    let Some(view) = work.view(name) else {
        return false;
    };
    let Some((at, replication)) = &view.sample else {
        return false;
    };
    if *at < started.time && *cause != Cause::FirstStart {
        return false;
    }
    let link_up = follows(replication).is_some_and(|(_, link_up, _)| link_up);
    if !link_up {
        return true;
    }
    let still = work.now.time.since(view.moved) >= STILL && at.since(started.time) >= DRAIN_POLL;
    let waited = work.now.time.since(started.time) >= work.scene.spec.drain_wait;
    still && (waited || !cause.is_hard())
}

/// Whether the comparison must wait for this one: it is reachable, so it might hold more than the others. One that is
/// late answers or is found to be down by itself.
fn is_waited_for(work: &Work, name: &InstanceName, elapsed: Duration) -> bool {
    match work.view(name).map(|view| &view.health) {
        Some(Health::Up) => elapsed < FREEZE_PATIENCE.max(work.scene.spec.down_after * 2),
        Some(Health::Late | Health::Unknown) => elapsed < FREEZE_PATIENCE + work.scene.spec.down_after * 2,
        // Others can reach it, so it is not gone.
        _ => elapsed < FREEZE_PATIENCE && work.elsewhere.iter().any(|(_, up)| up.contains(name)),
    }
}

/// After a blackout the first one that answers is not the best one: the others are given a moment.
fn others_are_about_to_answer(work: &mut Work, elapsed: Duration) -> bool {
    let now = work.now.time;
    if frozen_instances(work).is_empty() {
        return false;
    }
    let first = *work.scene.notes.first_frozen.get_or_insert(now);
    elapsed > FREEZE_PATIENCE && now.since(first) < BLACKOUT_GRACE
}

fn frozen_instances(work: &Work) -> Vec<InstanceName> {
    let epoch = work.state.epoch;
    let frozen = work.scene.views.iter().filter(|(_, view)| view.frozen_in(epoch).is_some());
    let frozen = frozen.filter(|(name, _)| !work.is_discarded(name));
    frozen.map(|(name, _)| name.clone()).collect()
}

/// A controller that reaches more instances than this one, some of which this one could not compare.
fn better_placed(work: &Work) -> Option<NodeId> {
    let here: BTreeSet<&InstanceName> =
        work.scene.views.iter().filter(|(_, view)| view.health == Health::Up).map(|(name, _)| name).collect();
    let more =
        |up: &BTreeSet<InstanceName>| up.len() > here.len() && here.iter().all(|name| up.contains(*name));
    work.elsewhere.iter().find(|(_, up)| more(up)).map(|(node, _)| *node)
}

/// A replica whose offset still moves long after the primary was held to be gone. Bytes that lay in a socket are
/// drained by then: it is being fed.
fn still_fed(work: &Work, cause: &Cause, elapsed: Duration) -> Option<InstanceName> {
    if elapsed < work.scene.spec.down_after
        || matches!(cause, Cause::FirstStart | Cause::CandidateLost { .. } | Cause::Ordered { .. })
    {
        return None;
    }
    let epoch = work.state.epoch;
    let primary =
        &work.state.reign.as_ref().and_then(|reign| work.scene.spec.instance(&reign.instance))?.address;
    let mut fed = work.scene.views.iter().filter(|(_, view)| {
        let link_up =
            view.replication().and_then(follows).is_some_and(|(of, link_up, _)| link_up && of == primary);
        link_up && view.frozen_in(epoch).is_none() && work.now.time.since(view.moved) < STILL * 5
    });
    fed.next().map(|(name, _)| name.clone())
}
