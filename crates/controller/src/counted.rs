//! Whose acknowledgements count, where a commit waits for one (`Durability::Majority`). MariaDB waits for a single one,
//! from whomever it may be, so what was acknowledged last may be on any one of them: nobody is promoted before all of
//! them were read. One that may acknowledge is in the replicated state before it does, and leaves that only when it can
//! no more, and another one holds everything (safety, sections 3 and 9; what Vitess calls revocation).

use crate::entry::Decided;
use crate::scene::{Scene, View};
use crate::state::{Phase, Reign, ServiceState};
use crate::surplus::surplus;
use crate::work::{Work, follows};
use backstay_model::{
    Action, Address, Durability, Evidence, Health, InstanceName, ReplOffset, Replication, ServiceSpec, Time,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long more may acknowledge than was agreed on: one that connects anew is counted twice for a moment.
const STRANGERS_MIN: Duration = Duration::from_secs(3);

/// How many acknowledge. With more the promise would cover fewer losses, not more.
pub const ACKERS_MAX: usize = 2;

/// One service's, as all controllers agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Those that may acknowledge to the reigning primary.
    pub ackers: BTreeSet<InstanceName>,
    /// Those that may to the one that is being promoted.
    next: BTreeSet<InstanceName>,
}

impl Counted {
    /// Takes up an entry that `state` is about to take up, too.
    pub(crate) fn apply(&mut self, state: &ServiceState, decision: &Decided) {
        match decision {
            Decided::Ackers { ackers, .. } => self.ackers.clone_from(ackers),
            Decided::SwitchOver { to, .. } => {
                let old = state.reign.iter().map(|reign| reign.instance.clone());
                self.next = self.ackers.iter().filter(|one| *one != to).cloned().chain(old).collect();
            }
            Decided::Choose { candidate, compared, .. } => {
                self.next =
                    compared.iter().filter(|one| *one != candidate).take(ACKERS_MAX).cloned().collect();
            }
            Decided::Promoted { .. } => self.ackers = std::mem::take(&mut self.next),
            _ => {}
        }
    }
}

/// Why nobody may be promoted yet, as a clause: a commit that was acknowledged may be where nobody has looked.
/// `frozen` says who was read.
pub(crate) fn unread(
    state: &ServiceState,
    scene: &Scene,
    counted: Option<&Counted>,
    frozen: impl Fn(&InstanceName) -> bool,
) -> Option<String> {
    if !is_majority(&scene.spec) {
        return None;
    }
    let reigned = &state.reign.as_ref()?.instance;
    // Before anything was agreed on, whoever was part of the group may have been set up to acknowledge.
    let anybody = || state.known.iter().cloned().collect();
    let ackers: BTreeSet<InstanceName> = counted.map_or_else(anybody, |counted| counted.ackers.clone());
    if has_strangers(scene) {
        return Some(format!(
            "somebody who is not one of {} acknowledged to {reigned}, and may hold commits that nobody else does; find it, or \
             choose an instance with `backstay decide {} INSTANCE`, and what only others hold is lost",
            ackers.iter().map(InstanceName::as_str).collect::<Vec<_>>().join(", "),
            scene.spec.name
        ));
    }
    let unread = ackers.iter().filter(|one| *one != reigned && !frozen(one));
    let names: Vec<&str> = unread.map(InstanceName::as_str).collect();
    (!names.is_empty()).then(|| {
        format!(
            "{} may hold commits that were acknowledged, and could not be read; start it, or choose an instance with \
             `backstay decide {} INSTANCE`, and what only the others hold is lost",
            names.join(", "),
            scene.spec.name
        )
    })
}

/// Whether somebody acknowledged to the primary whom nobody agreed on, for longer than it takes to connect anew.
pub(crate) fn has_strangers(scene: &Scene) -> bool {
    scene.strangers.is_some_and(|(since, last)| last.since(since) >= STRANGERS_MIN)
}

/// Takes note of how many the primary says to have.
pub(crate) fn count_strangers(scene: &mut Scene, state: &ServiceState, counted: Option<&Counted>) {
    let Some((reign, counted)) =
        state.reign.as_ref().zip(counted.filter(|counted| !counted.ackers.is_empty()))
    else {
        return;
    };
    let Some((at, seen)) = scene.views.get(&reign.instance).and_then(|view| view.sample.as_ref()) else {
        return;
    };
    if !is_majority(&scene.spec) || !seen.is_primary() || seen.run_id != reign.run_id {
        return;
    }
    let (at, more) = (*at, seen.sql.ackers > counted.ackers.len() as u64);
    // Nothing is known of what was between two looks that are far apart.
    let before = scene.strangers.filter(|(_, last)| at.since(*last) < STRANGERS_MIN);
    scene.strangers = more.then(|| (before.map_or(at, |(since, _)| since), at));
}

/// Whether commits wait for acknowledgements.
pub(crate) fn is_majority(spec: &ServiceSpec) -> bool {
    spec.engine.mariadb().is_some_and(|mariadb| mariadb.durability == Durability::Majority)
}

/// Whether the instance may hold the only copy of a commit that was acknowledged.
pub(crate) fn counts(scene: &Scene, counted: Option<&Counted>, name: &InstanceName) -> bool {
    is_majority(&scene.spec) && counted.is_none_or(|counted| counted.ackers.contains(name))
}

/// Whether another one whose acknowledgements count receives what the primary writes.
pub(crate) fn another_acknowledges(
    state: &ServiceState,
    scene: &Scene,
    counted: Option<&Counted>,
    name: &InstanceName,
) -> bool {
    let primary = state.reign.as_ref().and_then(|reign| scene.spec.instance(&reign.instance));
    let acknowledges = |one: &InstanceName| {
        let view = scene.views.get(one).filter(|view| view.health == Health::Up)?;
        let seen = view.replication().filter(|seen| seen.sql.acks && !seen.sql.diverged)?;
        let (of, link_up, _) = follows(seen)?;
        (link_up && *of == primary?.address && state.trusted.get(one) == view.run_id()).then_some(())
    };
    counted.is_some_and(|it| it.ackers.iter().any(|one| one != name && acknowledges(one).is_some()))
}

/// Keeps the agreed ones acknowledging and nobody else, and agrees on others when that is safe.
pub(crate) fn keep(work: &mut Work, reign: &Reign, primary: &Address) {
    if !is_majority(&work.scene.spec) {
        return;
    }
    let agreed = work.ackers();
    // While the first write is waited for, too: without anybody who acknowledges it never comes.
    if matches!(work.state.phase, Phase::Stable | Phase::Opening) {
        let wanted = wanted(work, reign, &agreed);
        if wanted != agreed {
            return work.propose(Decided::Ackers { epoch: work.state.epoch, ackers: wanted });
        }
    }
    for instance in work.instances() {
        let Some(seen) = work.current(&instance.name) else {
            continue;
        };
        // One that is to be stopped for a rebuild lets go first, so that it can be dropped, while another one is there.
        let goes = work.is_rebuilt(&instance.name)
            && another_acknowledges(work.state, work.scene, work.counted, &instance.name);
        let acker = agreed.contains(&instance.name) && !goes;
        let is_fed = follows(seen).is_some_and(|(of, link_up, _)| of == primary && link_up);
        if is_fed && seen.sql.acks != acker {
            let follow = Action::Follow { primary: primary.clone(), disconnect: false, acker };
            work.order(&instance.name, follow);
        }
    }
    let unguarded = |seen: &Replication| seen.is_primary() && !seen.closed && !seen.sql.guarded;
    if !agreed.is_empty() && work.current(&reign.instance).is_some_and(unguarded) {
        work.order(&reign.instance, Action::Open);
    }
}

/// Those of the agreed ones that must stay, and those that may join them.
fn wanted(work: &Work, reign: &Reign, agreed: &BTreeSet<InstanceName>) -> BTreeSet<InstanceName> {
    let mut wanted = agreed.clone();
    wanted.remove(&reign.instance);
    let lost: Vec<InstanceName> =
        wanted.iter().filter(|one| may_be_dropped(work, reign, agreed, one)).cloned().collect();
    // One at a time: another one must hold everything.
    if let Some(lost) = lost.first().filter(|_| wanted.len() > 1) {
        wanted.remove(lost);
    }
    for instance in work.instances() {
        if wanted.len() < ACKERS_MAX && instance.name != reign.instance && may_join(work, &instance.name) {
            wanted.insert(instance.name);
        }
    }
    wanted
}

/// It is about to follow, or does. It acknowledges from the first moment on, for only one that does takes back what it
/// wrote itself and lost.
fn may_join(work: &Work, name: &InstanceName) -> bool {
    let seen = work.current(name).filter(|seen| !seen.is_primary() || seen.closed);
    seen.is_some_and(|seen| !seen.sql.diverged)
        && !work.is_rebuilt(name)
        && work.is_ours(name)
        && (surplus(work.state, work.scene, name).is_none() || work.state.given_up.contains(name))
}

/// It acknowledges nothing any more, and will not before it is told to; and another one holds all that the primary had
/// after that.
fn may_be_dropped(work: &Work, reign: &Reign, agreed: &BTreeSet<InstanceName>, name: &InstanceName) -> bool {
    let Some(gone) = work.view(name).and_then(|view| gone_since(work, name, view)) else {
        return false;
    };
    let Some((at, primary)) = work.view(&reign.instance).and_then(|view| view.sample.as_ref()) else {
        return false;
    };
    // Its own server sees it no more, either: one that shuts down acknowledges for a while behind a closed port.
    let others = agreed.len().saturating_sub(1) as u64;
    let held = |offset: ReplOffset, since: Time| {
        agreed.iter().filter(|one| *one != name).filter_map(|one| work.view(one)?.sample.as_ref()).any(
            |(at, seen)| *at > since && seen.sql.acks && seen.replid == reign.replid && seen.offset >= offset,
        )
    };
    let unheard = primary.run_id == reign.run_id && *at > gone && primary.sql.ackers <= others;
    unheard && held(primary.offset, *at)
}

/// Since when the instance cannot acknowledge: nobody listens there, or another process does than the one that did, which
/// does not replicate, or it replicates without acknowledging because it is to be rebuilt.
fn gone_since(work: &Work, name: &InstanceName, view: &View) -> Option<Time> {
    match &view.health {
        Health::Down(Evidence::Refused) => view.gone,
        Health::Up => {
            let (at, seen) = view.sample.as_ref()?;
            let idle = follows(seen).is_none_or(|(of, link_up, _)| !link_up && *of == Address::nowhere());
            let goes = work.is_rebuilt(name) && !seen.sql.acks;
            // Not since the last look: looks at one and the other may come in the same order for ever.
            let since = view.mute_since.filter(|_| (idle || goes) && *at > work.leads_since);
            since.map(|since| since.max(work.leads_since))
        }
        _ => None,
    }
}
