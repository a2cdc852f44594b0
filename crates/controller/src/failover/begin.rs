//! Whether a failover begins: the verdict, and everything that may stand against it.

use crate::entry::{Cause, Decided};
use crate::scene::Scene;
use crate::state::ServiceState;
use crate::work::{Work, follows};
use backstay_model::{Address, EventKind, Health, InstanceName, Now};
use std::time::Duration;

/// How long the news of a crash may take to reach every controller.
const NEWS_TRAVELS: Duration = Duration::from_millis(100);

/// Proposes a failover if one is due and nothing stands against it. True: the primary is held to be lost, so nothing
/// else should be done to the group.
pub(super) fn begin(work: &mut Work) -> bool {
    watch_closely_if_suspected(work);
    let Some(cause) = due(work) else {
        return false;
    };
    if let Some(hindrance) = work.automatic_hindrance(&cause) {
        tell_once(work, format!("no failover although {cause}: {hindrance}"));
        work.look_again(Duration::from_millis(100));
        return true;
    }
    let moment = work.moment();
    let suspected = work.scene.suspected.unwrap_or(moment).unix;
    let verdict = work.scene.verdict.unwrap_or(moment).unix;
    work.propose(Decided::Begin { epoch: work.state.epoch.next(), cause, suspected, verdict });
    true
}

/// Why a failover is due: the majority's verdict, or that the primary is seen here, too, to be a replica.
fn due(work: &Work) -> Option<Cause> {
    let tally = work.tally?;
    let reign = work.state.reign.as_ref()?;
    let seen = work.current(&reign.instance).filter(|seen| seen.run_id == reign.run_id);
    let demoted = seen.is_some_and(|seen| !seen.is_primary());
    let cause = tally.cause().or_else(|| tally.demotion().filter(|_| demoted))?;
    if !matches!(cause, Cause::Crashed { .. }) || tally.alive == 0 {
        return Some(cause);
    }
    // Somebody still talks to it. Either the news has not reached there yet, or it is only refused by some network.
    let fresh = work.scene.verdict.is_some_and(|verdict| work.now.time.since(verdict.time) < NEWS_TRAVELS);
    (!fresh).then_some(Cause::Silent { votes: tally.down() })
}

impl Work<'_> {
    /// Why nothing automatic may happen for this cause now.
    pub(super) fn automatic_hindrance(&self, cause: &Cause) -> Option<String> {
        automatic_hindrance(self.now, self.state, self.scene, self.hindrance.clone(), cause)
    }
}

/// Why a failover for this cause must not begin by itself now. `outside` is what the files' disagreement says.
pub(crate) fn automatic_hindrance(
    now: Now,
    state: &ServiceState,
    scene: &Scene,
    outside: Option<String>,
    cause: &Cause,
) -> Option<String> {
    if state.is_paused(now.unix) {
        return Some("automatic action is paused; `backstay resume` ends the pause".into());
    }
    if outside.is_some() {
        return outside;
    }
    if let Some(stranger) = foreign_manager(state, scene) {
        return Some(stranger);
    }
    if let Some(wait) = state.backoff(now.unix) {
        return Some(format!(
            "{} plans failed or followed each other closely; {} s to go",
            state.flaps,
            wait.as_secs() + 1
        ));
    }
    if cause.is_hard() {
        return None;
    }
    if let Some(instance) = contradiction(now, state, scene) {
        return Some(format!("{instance} still receives from it, so it is only unreachable for controllers"));
    }
    // A moment that is yet to come was written by a clock that was wrong.
    let ended = state.ended.filter(|ended| *ended <= now.unix)?;
    let wait = scene.spec.cooldown.saturating_sub(now.unix.since(ended));
    (!wait.is_zero()).then(|| {
        format!(
            "the last failover ended a moment ago and silence is soft evidence; {} s to go",
            wait.as_secs() + 1
        )
    })
}

/// A replica whose offset advanced after the first failed probe.
fn contradiction<'a>(now: Now, state: &ServiceState, scene: &'a Scene) -> Option<&'a InstanceName> {
    let reign = state.reign.as_ref()?;
    let address = &scene.spec.instance(&reign.instance)?.address;
    let mut others = scene.views.iter().filter(|(name, _)| **name != reign.instance);
    others
        .find(|(_, view)| {
            let follows_it =
                view.replication().and_then(follows).is_some_and(|(of, link_up, _)| link_up && of == address);
            follows_it && view.fed.is_some_and(|at| now.time.since(at) < scene.spec.down_after)
        })
        .map(|(name, _)| name)
}

/// Somebody else changed a role: the primary was made a replica, or a replica a primary that nobody here promoted.
pub(crate) fn foreign_manager(state: &ServiceState, scene: &Scene) -> Option<String> {
    let reign = state.primary()?;
    let usurper = scene.views.iter().find(|(name, view)| {
        let seen = view.replication().filter(|_| view.health == Health::Up);
        **name != reign.instance && seen.is_some_and(|seen| state.is_usurper(name, seen))
    });
    if let Some((name, _)) = usurper {
        return Some(format!(
            "somebody else made {name} a primary; stop the other manager (a Sentinel?), then make {name} a replica of {} \
             again, or {name} will be left alone",
            reign.instance
        ));
    }
    let view = scene.views.get(&reign.instance).filter(|view| view.health == Health::Up)?;
    let (of, ..) = follows(view.replication().filter(|seen| seen.run_id == reign.run_id)?)?;
    (*of != Address::nowhere()).then(|| {
        format!(
            "somebody else made {} a replica of {of}; stop the other manager (a Sentinel?), then make {} a primary again",
            reign.instance, reign.instance
        )
    })
}

/// From the first missed reply on, the replicas' offsets are read at probe rate: they may contradict.
fn watch_closely_if_suspected(work: &mut Work) {
    if work.scene.suspected.is_none() {
        return;
    }
    let interval = work.scene.spec.probe_interval.min(Duration::from_millis(50));
    for instance in work.instances() {
        work.watch(&instance.name, interval);
    }
    work.look_again(work.spread(interval));
}

fn tell_once(work: &mut Work, reason: String) {
    if work.scene.notes.stuck.is_none() {
        work.scene.notes.stuck = Some(reason.clone());
        work.tell(EventKind::Stuck { reason });
    }
}
