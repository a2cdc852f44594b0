//! Whether a failover begins: the verdict, and everything that may stand against it.

use crate::entry::{Cause, Decided};
use crate::scene::{Scene, View};
use crate::state::{Phase, ServiceState};
use crate::work::{Work, follows};
use backstay_model::{Address, EventKind, Evidence, Health, InstanceName, Now, Sentinels};
use std::time::Duration;

/// How long the news of a crash may take to reach every controller, once it has tried again to reach the instance.
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
    let moving = matches!(work.state.phase, Phase::Moving { .. });
    let demoted = seen.is_some_and(|seen| !seen.is_primary()) && !moving;
    let cause = tally.cause().or_else(|| tally.demotion().filter(|_| demoted))?;
    if !matches!(cause, Cause::Crashed { .. }) || tally.alive == 0 {
        return Some(cause);
    }
    // Somebody still talks to it. Either the news has not reached there yet, or it is only refused by some network.
    let patience = NEWS_TRAVELS + work.scene.spec.probe_interval;
    let fresh = work.scene.verdict.is_some_and(|verdict| work.now.time.since(verdict.time) < patience);
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
    let last = state.history.back().filter(|record| record.from.is_some() && !record.planned);
    let promoted = last.and_then(|record| record.moments.promoted);
    let moments = [state.ended, promoted].into_iter().flatten();
    let ended = moments.filter(|ended| *ended <= now.unix).max()?;
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

/// Somebody else manages the group: a role was changed, or a Sentinel is there that may do so at any moment.
pub(crate) fn foreign_manager(state: &ServiceState, scene: &Scene) -> Option<String> {
    changed_role(state, scene).or_else(|| sentinels(scene))
}

/// Sentinels manage instances. One that is down cannot say whether they still do, unless it is as good a witness as any.
pub(crate) fn sentinels(scene: &Scene) -> Option<String> {
    let is_down = |view: &View| matches!(view.health, Health::Down(_));
    let nobody_answers = scene.views.values().all(is_down);
    let managed = scene.views.iter().filter(|(_, view)| {
        let said = matches!(view.sentinels, Sentinels::Seen(1..));
        said && (!is_down(view) || nobody_answers && !is_gone(view))
    });
    let names: Vec<&str> = managed.map(|(name, _)| name.as_str()).collect();
    let ignored = scene.spec.engine.redis().is_none_or(|redis| redis.ignore_sentinels);
    (!names.is_empty() && !ignored).then(|| {
        format!(
            "a Sentinel manages {} (somebody listens to __sentinel__:hello there), and two managers would fight; \
             `redis-cli CLIENT LIST TYPE pubsub` there shows who: stop it, or write ignore_sentinels = true if you \
             know of it",
            names.join(", ")
        )
    })
}

/// Nobody listens there. One that is only late or silent is as it was last seen: a moment without an answer must not
/// make somebody else's primary look like a replica of ours.
fn is_gone(view: &View) -> bool {
    view.health == Health::Down(Evidence::Refused)
}

/// The primary was made a replica, or a replica a primary that nobody here promoted.
fn changed_role(state: &ServiceState, scene: &Scene) -> Option<String> {
    let reign = state.primary()?;
    let usurper = scene.views.iter().find(|(name, view)| {
        let seen = view.replication().filter(|_| !is_gone(view));
        **name != reign.instance && seen.is_some_and(|seen| state.is_usurper(name, seen))
    });
    if let Some((name, _)) = usurper {
        return Some(format!(
            "somebody else made {name} a primary, which may hold writes that nobody else has, so it is left alone; stop \
             the other manager (a Sentinel?), then accept it with `backstay failover {} --to {name}`, or once {} has \
             everything, make {name} a replica of it again",
            scene.spec.name, reign.instance
        ));
    }
    let view = scene.views.get(&reign.instance).filter(|view| !is_gone(view))?;
    let (of, ..) = follows(view.replication().filter(|seen| seen.run_id == reign.run_id)?)?;
    // By a planned move, perhaps late.
    let ours = state.demotions().any(|to| scene.spec.instance(to).is_some_and(|to| to.address == *of));
    (*of != Address::nowhere() && !ours).then(|| {
        format!(
            "somebody else made {} a replica of {of}; stop the other manager (a Sentinel?), then make {} a primary \
             again, or accept another one with `backstay failover {} --to INSTANCE`",
            reign.instance, reign.instance, scene.spec.name
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
