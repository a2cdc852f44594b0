//! A planned move (safety, section 6): writes wait on the old primary, the candidate catches up, the old primary is
//! made its replica, and the candidate is promoted once it is seen to hold all that the old one ever took. Before the
//! old one is a replica, giving up changes nothing; after it, an ordinary failover compares the two.

use super::begin::{begin, foreign_manager};
use super::choose::preference_rank;
use crate::Mistake;
use crate::counted::is_majority;
use crate::entry::{Cause, Decided};
use crate::scene::{Scene, View};
use crate::state::{Phase, Reign, ServiceState};
use crate::work::{Work, follows, is_of_a_stranger};
use backstay_model::{Action, Address, Health, InstanceName, InstanceSpec, ReplOffset, Replication, RunId};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

const POLL: Duration = Duration::from_micros(500);
/// How long it may take to come near.
const CATCH_UP: Duration = Duration::from_secs(10);
/// How long writes may wait before the move is given up.
const PAUSE_PATIENCE: Duration = Duration::from_millis(250);
/// When a pause that nobody ends would expire: long after every order of it was given up.
const PAUSE_LENGTH: Duration = Duration::from_secs(3);

pub(super) fn moving(work: &mut Work, to: &InstanceName, run_id: &RunId) {
    let (Some(reign), Some(target)) = (work.state.reign.clone(), work.scene.spec.instance(to).cloned())
    else {
        return work.stuck(format!("{}: {to} is not in this controller's file", work.scene.spec.name));
    };
    let moment = work.moment();
    work.scene.notes.started.get_or_insert(moment);
    work.look_again(POLL);
    work.forget_stale_wait();
    if work.scene.proposed.is_some() {
        return; // What were ordered now could run under another plan.
    }
    if let Some(reason) = work.scene.notes.given_up.clone() {
        return give_up(work, reason); // It may be committed any moment.
    }
    let led_here = work.scene.notes.promoting.is_some();
    let is_replica = work
        .view(&reign.instance)
        .and_then(View::replication)
        .is_some_and(|seen| follows(seen).is_some_and(|(of, ..)| *of == target.address));
    if (led_here || is_replica)
        && let Some(promoted) = observed_promotion(work, to, run_id)
    {
        return work.propose(promoted);
    }
    if work.scene.notes.promoting.is_some() {
        return promote(work, to, run_id);
    }
    if begin(work) {
        return;
    }
    for instance in [&reign.instance, to] {
        work.watch(instance, POLL);
    }
    let since = work.scene.notes.started.map(|started| started.time);
    let fresh = work
        .view(&reign.instance)
        .and_then(|view| view.sample.as_ref())
        .is_some_and(|(at, _)| since.is_some_and(|since| *at >= since));
    let Some(old) =
        work.current(&reign.instance).filter(|seen| fresh && seen.run_id == reign.run_id).cloned()
    else {
        let view = work.view(&reign.instance);
        let serves_nobody = view.filter(|view| fresh && matches!(view.health, Health::Useless(_)));
        if let Some(view) =
            serves_nobody.filter(|view| view.replication().is_some_and(Replication::is_primary))
        {
            return give_up(work, format!("{} {}", reign.instance, view.health));
        }
        // Late, or lost: a failover begins by itself. Or lost to this controller alone: one that reaches it goes on.
        let unseen = work.view(&reign.instance).is_some_and(|view| matches!(view.health, Health::Down(_)));
        let reaches = |up: &BTreeSet<InstanceName>| up.contains(&reign.instance) && up.contains(to);
        let better = work.elsewhere.iter().find(|(_, up)| reaches(up)).map(|(node, _)| *node);
        if let Some(better) = better.filter(|_| unseen) {
            work.hand_over(better);
        }
        return;
    };
    match follows(&old) {
        None => hold_and_demote(work, &reign, to, &target.address),
        Some((of, ..)) if *of == target.address => promote_if_complete(work, &old, to, run_id),
        // Not by this plan: whoever it was, the rules for that apply once the plan is given up.
        Some(_) => give_up(work, format!("{} was made a replica of another server", reign.instance)),
    }
}

/// The candidate is a primary, closed: whoever ordered it saw that it holds everything.
fn observed_promotion(work: &Work, to: &InstanceName, run_id: &RunId) -> Option<Decided> {
    let since = work.scene.notes.started?.time;
    let fresh = work.view(to)?.sample.as_ref().is_some_and(|(at, _)| *at >= since);
    let seen = work
        .current(to)
        .filter(|seen| fresh && seen.run_id == *run_id && seen.is_primary() && seen.closed)?;
    Some(Decided::Promoted {
        epoch: work.state.epoch,
        replid: seen.replid.clone(),
        offset: seen.previous.as_ref().map_or(seen.offset, |(_, ended)| *ended),
        paused: work.scene.notes.paused.map(|paused| paused.unix),
        fenced: work.scene.notes.promoting.map(|demoted| demoted.unix),
        at: work.now.unix,
    })
}

/// The old one is still a primary: let writes wait, and once the candidate holds all that it took, make it a replica.
fn hold_and_demote(work: &mut Work, reign: &Reign, to: &InstanceName, target: &Address) {
    let now = work.now.time;
    let waited =
        |since: Option<crate::scene::Moment>| since.map_or(Duration::ZERO, |since| now.since(since.time));
    let refused = work.view(&reign.instance).and_then(|view| view.refused);
    let reason = if let Some(fault) = refused.filter(|_| work.scene.notes.paused.is_some()) {
        Some(format!("{} {fault} that a switchover needs", reign.instance))
    } else if waited(work.scene.notes.paused) > PAUSE_PATIENCE {
        Some(match work.view(&reign.instance).and_then(|view| view.paused_in(work.state.epoch)) {
            None => {
                let old = &reign.instance;
                let lock = "; LOCK TABLES or a commit may stand in the way (SHOW PROCESSLIST): end that session, then ask again";
                let hint = if work.manners().closes_under_lock { lock } else { "" };
                format!("{old} did not confirm that writes wait{hint}")
            }
            Some(_) => format!("{to} did not catch up while writes waited"),
        })
    } else if waited(work.scene.notes.started) > CATCH_UP {
        let behind = lag(work, &reign.instance, to);
        Some(behind.map_or_else(
            || format!("{to} was not seen in step"),
            |much| format!("{to} stays {} behind", work.scene.spec.engine.kind().unit().count(much)),
        ))
    } else if work.scene.notes.paused.is_none() {
        unfit(work.state, work.scene, to)
    } else {
        None
    };
    if let Some(reason) = reason {
        return give_up(work, reason);
    }
    let stands = work.view(&reign.instance).and_then(|view| view.paused_in(work.state.epoch));
    let Some(stands) = stands.filter(|_| work.scene.notes.paused.is_some()).map(|it| it.offset) else {
        let near = lag(work, &reign.instance, to).is_some_and(|lag| lag <= work.manners().near);
        if work.scene.notes.paused.is_some() || (near && work.gateways_awake() && work.gateways_hold()) {
            if work.scene.notes.paused.is_none() {
                work.scene.notes.paused = Some(work.moment());
                if let Some(view) = work.scene.views.get_mut(&reign.instance) {
                    view.paused = None; // What an earlier pause found is over.
                }
            }
            work.order(&reign.instance, Action::Pause { duration: PAUSE_LENGTH });
        }
        return;
    };
    // It must have applied it, too: before that it has nothing that the old one could follow, and refuses it.
    let applied = work.current(to).is_some_and(|seen| seen.sql.unapplied == 0);
    if (has(work, to, stands) && applied) || work.mistake == Some(Mistake::PromoteUncompared) {
        work.scene.notes.demotion_ordered = true;
        let acker = is_majority(&work.scene.spec);
        work.order(&reign.instance, Action::Follow { primary: target.clone(), disconnect: false, acker });
    }
}

/// The old one is a replica of the candidate, so what it took is final.
fn promote_if_complete(work: &mut Work, old: &Replication, to: &InstanceName, run_id: &RunId) {
    let demoted = work.moment();
    let since = *work.scene.notes.demoted.get_or_insert(demoted);
    let same = work.current(to).is_some_and(|seen| seen.run_id == *run_id && seen.replid == old.replid);
    let mistaken = work.mistake == Some(Mistake::PromoteUncompared);
    if mistaken || (same && has(work, to, old.offset)) {
        if !work.gateways_hold() {
            return; // Another leader made it a replica.
        }
        work.scene.notes.promoting = Some(demoted);
        return promote(work, to, run_id);
    }
    // Its link is cut: once it reports that, or answers no more, nothing will come.
    let cut = work
        .view(to)
        .and_then(|view| view.sample.as_ref())
        .is_some_and(|(at, seen)| *at > since.time && follows(seen).is_none_or(|(_, link_up, _)| !link_up));
    if cut || work.now.time.since(since.time) > PAUSE_PATIENCE {
        fail(work, format!("{to} lacks writes that the old primary took"));
    }
}

fn promote(work: &mut Work, to: &InstanceName, run_id: &RunId) {
    let since = work.scene.notes.promoting.map_or(work.now.time, |moment| moment.time);
    let gone = work.view(to).is_none_or(|view| {
        matches!(view.health, Health::Down(_) | Health::Useless(_)) || view.run_id() != Some(run_id)
    });
    if gone || work.now.time.since(since) > work.manners().promotion_patience {
        return begin_anew(work, Cause::CandidateLost { candidate: to.clone() });
    }
    work.order(to, Action::Promote);
    work.watch(to, POLL);
}

/// Nothing irreversible was seen done. What another leader ordered, this one does not know.
fn give_up(work: &mut Work, reason: String) {
    let epoch = work.state.epoch;
    let led_throughout = matches!(&work.state.phase, Phase::Moving { term, .. } if *term == work.term);
    let demotion_sent = !led_throughout || work.scene.notes.demotion_ordered;
    work.scene.notes.given_up = Some(reason.clone());
    work.propose(Decided::Abandon { epoch, reason, at: work.now.unix, demotion_sent });
}

fn fail(work: &mut Work, reason: String) {
    begin_anew(work, Cause::SwitchoverFailed { reason });
}

fn begin_anew(work: &mut Work, cause: Cause) {
    let unix = work.now.unix;
    let epoch = work.state.epoch.next();
    work.propose(Decided::Begin { epoch, cause, suspected: unix, verdict: unix });
}

fn has(work: &Work, to: &InstanceName, offset: ReplOffset) -> bool {
    work.current(to).is_some_and(|seen| seen.offset >= offset)
}

/// How far the candidate was seen behind since the move began, in receiving and applying.
fn lag(work: &Work, from: &InstanceName, to: &InstanceName) -> Option<u64> {
    let started = work.scene.notes.started?.time;
    let fresh = |view: &View| view.sample.as_ref().is_some_and(|(at, _)| *at >= started);
    let offset = |name| work.view(name).filter(|view| fresh(view)).and_then(View::replication);
    let candidate = offset(to)?;
    Some(candidate.lag_behind(offset(from)?.offset))
}

/// Why the service cannot be moved at all now, as a sentence's end.
pub(crate) fn unmovable(state: &ServiceState, scene: &Scene) -> Option<String> {
    let reign = state.reign.as_ref()?;
    let Some(view) = scene.views.get(&reign.instance) else {
        return Some(format!("the primary {} is not in this controller's file", reign.instance));
    };
    if let Some(stranger) = foreign_manager(state, scene) {
        return Some(stranger);
    }
    let reigns = view.replication().is_some_and(|seen| seen.is_primary() && seen.run_id == reign.run_id);
    let fault = match &view.health {
        Health::Up if reigns => return None,
        Health::Up => "is not seen to be the primary".to_owned(),
        health => health.to_string(),
    };
    Some(format!(
        "the primary {} {fault}; a planned move needs it; `backstay failover` does without it",
        reign.instance
    ))
}

/// The best next primary for a planned move: where the operator wants it, then the nearest.
pub(crate) fn best_target(state: &ServiceState, scene: &Scene) -> Option<InstanceName> {
    let reign = state.reign.as_ref()?;
    let others = scene.spec.instances.iter().filter(|spec| spec.name != reign.instance);
    let fit = others.filter(|spec| unfit(state, scene, &spec.name).is_none());
    let offset = |spec: &InstanceSpec| scene.views.get(&spec.name)?.replication().map(|seen| seen.offset);
    let rank = |spec: &&InstanceSpec| {
        let wishes = preference_rank(&scene.spec.preference, spec);
        (wishes, Reverse(offset(spec)), spec.priority, spec.name.clone())
    };
    fit.min_by_key(rank).map(|spec| spec.name.clone())
}

/// Why this one cannot be the next primary by a planned move, as a sentence.
pub(crate) fn unfit(state: &ServiceState, scene: &Scene, to: &InstanceName) -> Option<String> {
    let (reign, spec) = (state.reign.as_ref()?, scene.spec.instance(to)?);
    let (primary, view) = (scene.spec.instance(&reign.instance)?, scene.views.get(to)?);
    if view.health != Health::Up {
        return Some(format!("{to} cannot take over: {}", view.health));
    }
    if spec.priority == 0 {
        return Some(format!("{to} is never promoted: its priority is 0"));
    }
    if is_of_a_stranger(state, scene, to) {
        return Some(format!("{to} holds the data of a server that is not in the file"));
    }
    let Some(seen) = view.replication().filter(|_| state.trusted.get(to) == view.run_id()) else {
        return Some(format!("{to} has no full copy since it was started"));
    };
    if seen.closed || state.possible_primaries.contains(to) {
        return Some(format!("{to} is fenced, and was not seen to follow the primary since"));
    }
    let Some((of, link_up, syncing)) = follows(seen) else {
        return Some(format!("{to} takes itself for a primary"));
    };
    if *of != primary.address {
        return Some(format!("{to} follows {of}, not the primary"));
    }
    if !link_up || syncing || seen.replid != reign.replid {
        return Some(format!("{to} is not linked to the primary"));
    }
    if seen.sql.stalled {
        return Some(format!("{to} does not apply what it receives"));
    }
    (!view.streams).then(|| {
        format!("{to} has received nothing since it was linked to the primary; try again in a moment")
    })
}
