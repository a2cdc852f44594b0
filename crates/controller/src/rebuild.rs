//! Rebuilding an instance that holds what the primary does not, or lacks what it no longer has: whose data it gets, when
//! its own may be discarded, and when it is over. What is done on its host is an agent's business; here is decided what
//! may be agreed on next (safety, sections 5 and 9).

use crate::agents::Agents;
use crate::counted::{Counted, another_acknowledges, counts, is_majority};
use crate::entry::Decided;
use crate::rebuilds::{Agreed, THE_FILE};
use crate::scene::{Scene, View};
use crate::state::{Phase, ServiceState};
use crate::surplus::surplus;
use crate::work::{Work, follows};
use backstay_model::{
    Evidence, Health, InstanceName, InstanceSpec, Method, Progress, RebuildOutcome, RebuildPolicy,
    ReplOffset, SavedSurplus, Time,
};
use std::cmp::Reverse;
use std::time::Duration;

/// How long one must have been seen to diverge before it is rebuilt by itself.
const DIVERGED_FOR: Duration = Duration::from_secs(3);
/// How often a rebuild is looked at that waits.
const LOOK: Duration = Duration::from_millis(200);

/// Takes the running one a step further, or begins one where the file says so.
pub(crate) fn tend(work: &mut Work) {
    hear_late_failures(work);
    let Some(running) = work.rebuilds.and_then(|rebuilds| rebuilds.running.clone()) else {
        return begin_by_itself(work);
    };
    work.look_again(LOOK);
    let agent = work.agents.get(&running.instance);
    let Some(progress) = agent.and_then(|agent| agent.progress(running.number)).cloned() else {
        return;
    };
    let (instance, number, at) = (running.instance.clone(), running.number, work.now.unix);
    match progress {
        // Without the word for it: one of the same number, of a cluster of before.
        Progress::Done { .. } if !running.discards => {}
        Progress::Done { method, because } => {
            let outcome = RebuildOutcome::Done { method, because };
            work.propose(Decided::RebuildEnded { instance, number, outcome, at });
        }
        Progress::Failed { why } => {
            let outcome = RebuildOutcome::Failed { why };
            work.propose(Decided::RebuildEnded { instance, number, outcome, at });
        }
        Progress::Saved { file, transactions } if running.saved.is_none() => {
            let saved = SavedSurplus { file, transactions };
            work.propose(Decided::RebuildSaved { instance, number, saved });
        }
        Progress::Saved { .. } if !running.discards => discard(work, &running),
        _ => {}
    }
}

/// What was called off and could not be put back is known to its agent alone, until it is agreed on.
fn hear_late_failures(work: &mut Work) {
    let Some(rebuilds) = work.rebuilds else {
        return;
    };
    let late = rebuilds.ended.iter().find_map(|(instance, ended)| {
        let number = ended.rebuild.number;
        match work.agents.get(instance)?.progress(number)? {
            Progress::Failed { why } if rebuilds.was_called_off(instance, number) => {
                Some((instance.clone(), number, why.clone()))
            }
            _ => None,
        }
    });
    if let Some((instance, number, why)) = late {
        let (outcome, at) = (RebuildOutcome::Failed { why }, work.now.unix);
        work.propose(Decided::RebuildEnded { instance, number, outcome, at });
    }
}

/// Lets the data be discarded as soon as nobody can want it any more.
fn discard(work: &mut Work, running: &Agreed) {
    if work.hindrance.is_some() || (running.is_automatic() && work.state.is_paused(work.now.unix)) {
        return;
    }
    let (epoch, instance) = (work.state.epoch, running.instance.clone());
    if !is_majority(&work.scene.spec) && work.is_acker(&instance) {
        // Nothing waits for its acknowledgements since the file was changed.
        let ackers = work.ackers().into_iter().filter(|one| *one != instance).collect();
        return work.propose(Decided::Ackers { epoch, ackers });
    }
    if withheld(work.state, work.scene, work.counted, running, work.leads_since).is_none() {
        work.propose(Decided::Discard { epoch, instance, number: running.number });
    }
}

/// Why the instance's data may not be discarded yet, as a clause. It was said to be stopped.
pub(crate) fn withheld(
    state: &ServiceState,
    scene: &Scene,
    counted: Option<&Counted>,
    running: &Agreed,
    leads_since: Time,
) -> Option<String> {
    let (name, donor) = (&running.instance, &running.donor);
    let Some(reign) =
        state.reign.as_ref().filter(|_| state.phase == Phase::Stable && state.epoch == running.epoch)
    else {
        return Some("another primary is being chosen".into());
    };
    if counts(scene, counted, name) || counted.is_some_and(|counted| counted.ackers.contains(name)) {
        return Some(format!(
            "{name} may hold the only copy of commits that were acknowledged, until another replica that acknowledges \
             was seen to hold everything"
        ));
    }
    let view = |name: &InstanceName| scene.views.get(name);
    let health = |name: &InstanceName| view(name).map(|view| view.health.clone()).unwrap_or_default();
    if health(name) != Health::Down(Evidence::Refused) {
        return Some(format!("{name} was not seen to be stopped: {}", health(name)));
    }
    let since = view(name).and_then(|view| view.gone).unwrap_or(leads_since).max(leads_since);
    let reigns = view(&reign.instance).filter(|view| view.health == Health::Up).and_then(|view| {
        let (at, seen) = view.sample.as_ref()?;
        (*at > since && seen.is_primary() && !seen.closed && seen.run_id == reign.run_id).then_some(())
    });
    if reigns.is_none() {
        return Some(format!("the primary {} was not seen to take writes since", reign.instance));
    }
    (health(donor) != Health::Up)
        .then(|| format!("{donor}, whose data it would get, is not there: {}", health(donor)))
}

/// Whose data an instance gets, and why, as a clause; or why nobody's, as a clause. A replica in step before the primary,
/// which has other things to do.
pub(crate) fn donor(
    state: &ServiceState,
    scene: &Scene,
    agents: &Agents,
    now: Time,
    instance: &InstanceName,
) -> Result<(InstanceName, String), String> {
    let Some(reign) = &state.reign else {
        return Err("there is no primary yet".into());
    };
    let primary = scene.spec.instance(&reign.instance).map(|spec| &spec.address);
    let heard = |spec: &&InstanceSpec| {
        spec.agent.is_some() && agents.get(&spec.name).is_some_and(|agent| agent.is_heard(now))
    };
    let view = |spec: &InstanceSpec| scene.views.get(&spec.name).filter(|view| view.health == Health::Up);
    let in_step = |spec: &InstanceSpec| -> Option<ReplOffset> {
        let view = view(spec).filter(|view| state.trusted.get(&spec.name) == view.run_id())?;
        let seen = view.replication().filter(|seen| !seen.sql.stalled && !seen.sql.diverged)?;
        let (of, link_up, _) = follows(seen)?;
        (Some(of) == primary && link_up).then_some(seen.offset)
    };
    let others = || scene.spec.instances.iter().filter(|spec| spec.name != *instance).filter(heard);
    let replicas = others().filter_map(|spec| Some((Reverse(in_step(spec)?), spec.name.clone())));
    if let Some((_, name)) = replicas.min() {
        return Ok((name, "it is a replica in step, so that the primary is left in peace".into()));
    }
    let reigns = |spec: &&InstanceSpec| spec.name == reign.instance && view(spec).is_some();
    if let Some(spec) = others().find(reigns) {
        return Ok((
            spec.name.clone(),
            "no replica in step has an agent that answers, so it is the primary".into(),
        ));
    }
    Err("no other instance with its data has an agent that answers".into())
}

/// Why an instance cannot be rebuilt at all, as a sentence's end.
pub(crate) fn unfit(
    state: &ServiceState,
    scene: &Scene,
    counted: Option<&Counted>,
    agents: &Agents,
    now: Time,
    spec: &InstanceSpec,
) -> Option<String> {
    let name = &spec.name;
    if scene.spec.engine.mariadb().is_none() {
        return Some("only a MariaDB is rebuilt: a Redis replica takes a full copy by itself".into());
    }
    if state.reign.as_ref().is_some_and(|reign| reign.instance == *name) {
        return Some(format!("{name} is the primary"));
    }
    if counts(scene, counted, name) && !another_acknowledges(state, scene, counted, name) {
        return Some(format!(
            "{name} acknowledges commits, and no other replica that does is up and in step, so {name} may hold the only \
             copy of the last ones: bring another one up first"
        ));
    }
    if spec.agent.is_none() {
        return Some(format!(
            "{name} has no agent in the file: add agent = \"HOST:PORT\" to it and start `backstay agent --instance {name}` \
             on its host"
        ));
    }
    let heard = agents.get(name).is_some_and(|agent| agent.is_heard(now));
    (!heard).then(|| {
        format!("nothing is heard of its agent: start `backstay agent --instance {name}` on its host")
    })
}

/// What a rebuild would do, the deed first, each a clause.
pub(crate) fn meaning(
    state: &ServiceState,
    scene: &Scene,
    counted: Option<&Counted>,
    instance: &InstanceName,
    method: Method,
    donor: (&InstanceName, &str),
) -> Vec<String> {
    let (donor, because) = donor;
    let unit = scene.spec.engine.kind().unit();
    let deed = match method {
        Method::Auto => {
            format!("rebuild {instance}: take back what only it holds, or copy the data of {donor}")
        }
        Method::Flashback => format!("rebuild {instance}: take back what only it holds (flashback)"),
        Method::Copy => {
            format!("rebuild {instance}: put a copy of the data of {donor} in the place of its own")
        }
    };
    let diverged =
        scene.views.get(instance).and_then(View::replication).is_some_and(|seen| seen.sql.diverged);
    let held = match surplus(state, scene, instance) {
        None if diverged => {
            format!(
                "{instance} holds transactions that the primary does not have; how many, its agent finds out"
            )
        }
        Some(surplus) => format!("{instance}: {}", surplus.clause(unit)),
        None => format!("{instance} was not seen to hold anything that the primary lacks"),
    };
    let mut clauses = vec![
        deed,
        format!("{donor} gives its data: {because}"),
        held,
        format!(
            "{instance} is stopped, and what only it holds is saved to a file on its host before anything is discarded"
        ),
    ];
    if counted.is_some_and(|counted| counted.ackers.contains(instance)) {
        clauses.push(format!("{instance} acknowledges commits: it is not stopped before another one was seen to hold everything"));
    }
    clauses
}

/// Where the file says so, one that has diverged for a while. Not again, if that failed or somebody
/// called it off: then somebody must look.
fn begin_by_itself(work: &mut Work) {
    let policy = work.scene.spec.engine.mariadb().map(|mariadb| mariadb.rebuild);
    if policy != Some(RebuildPolicy::Auto) || work.state.is_paused(work.now.unix) || work.hindrance.is_some()
    {
        return;
    }
    let diverged =
        |view: &View| view.health == Health::Up && view.replication().is_some_and(|seen| seen.sql.diverged);
    let now = work.now.time;
    let names: Vec<InstanceName> =
        work.scene.views.iter().filter(|(_, view)| diverged(view)).map(|(name, _)| name.clone()).collect();
    work.scene.notes.diverged.retain(|name, _| names.contains(name));
    for name in names {
        let since = *work.scene.notes.diverged.entry(name.clone()).or_insert(now);
        if now.since(since) < DIVERGED_FOR {
            work.look_again(LOOK);
            continue;
        }
        let Some(spec) = work.scene.spec.instance(&name) else {
            continue;
        };
        let failed = work.rebuilds.and_then(|rebuilds| rebuilds.ended.get(&name));
        let failed = failed.is_some_and(|ended| !ended.in_step && !ended.again);
        let unfit = unfit(work.state, work.scene, work.counted, work.agents, now, spec).is_some();
        if failed || unfit || !work.is_ours(&name) {
            continue;
        }
        let Ok((donor, because)) = donor(work.state, work.scene, work.agents, now, &name) else {
            continue;
        };
        return work.propose(Decided::Rebuild {
            epoch: work.state.epoch,
            instance: name,
            number: work.rebuilds.map_or(0, |rebuilds| rebuilds.last) + 1,
            donor,
            method: Method::Auto,
            because,
            by: THE_FILE.into(),
            at: work.now.unix,
        });
    }
}
