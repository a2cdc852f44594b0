//! Choosing the next primary among frozen instances: data first, then the operator's wishes (safety, section 3).

use crate::counted::{Counted, is_majority, unread};
use crate::engine::Manners;
use crate::entry::Cause;
use crate::rebuilds::Rebuilds;
use crate::scene::{Scene, View};
use crate::state::{Phase, ServiceState};
use crate::work::is_of_a_stranger;
use backstay_model::{
    EngineKind, Health, InstanceName, InstanceSpec, LostWrites, Preference, ReplOffset, Replication, RunId,
};
use std::cmp::Reverse;

/// The outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Promote this one.
    Winner {
        /// Who.
        candidate: InstanceName,
        /// Which process.
        run_id: RunId,
        /// Where it stands.
        offset: ReplOffset,
        /// Others that hold more.
        surplus: Vec<LostWrites>,
        /// Why, as a clause.
        reason: String,
    },
    /// Nobody may be promoted.
    Nobody {
        /// Why, and what would help, as a clause.
        reason: String,
    },
}

/// One frozen instance.
struct Frozen<'a> {
    spec: &'a InstanceSpec,
    replication: &'a Replication,
    keys: u64,
}

/// Compares what was frozen in the state's epoch.
pub(crate) fn choose(
    state: &ServiceState,
    scene: &Scene,
    counted: Option<&Counted>,
    rebuilds: Option<&Rebuilds>,
) -> Choice {
    // One that is being given another's data has none of its own.
    let is_discarded = |name: &InstanceName| rebuilds.is_some_and(|it| it.discarded.contains(name));
    let whole = || scene.spec.instances.iter().filter(|spec| !is_discarded(&spec.name));
    let frozen: Vec<Frozen> = whole().filter_map(|spec| frozen(state, scene, spec)).collect();
    if let Some(decided) = &state.decided {
        return match frozen.iter().find(|one| one.spec.name == *decided) {
            Some(one) if cannot_apply(one) => Choice::Nobody {
                reason: format!(
                    "{decided}, which the operator chose, does not apply what it has received; choose another one with \
                         `backstay decide {} INSTANCE`",
                    scene.spec.name
                ),
            },
            Some(one) => winner(one, Vec::new(), "the operator chose it".into()),
            None => Choice::Nobody {
                reason: format!(
                    "{decided}, which the operator chose, does not answer; start it, or choose another one with \
                         `backstay decide {} INSTANCE`",
                    scene.spec.name
                ),
            },
        };
    }
    let named_by_servers = Manners::of(&scene.spec.engine).named_by_servers;
    let heirs: Vec<&Frozen> = frozen.iter().filter(|one| is_heir(state, one, named_by_servers)).collect();
    // One that was restarted has thrown away what it had not applied. What stands in another history than the reign's, and in
    // no part of the agreed ones before it, cannot be compared with anybody.
    let is_agreed = |one: &Frozen| {
        let seen = one.replication;
        let ended = state.end_of(&seen.replid, seen.offset);
        ended.is_some_and(|end| seen.offset <= end) || is_heir(state, one, named_by_servers)
    };
    let is_read = |name: &InstanceName| {
        let found = frozen.iter().find(|one| one.spec.name == *name);
        let fit = |one: &Frozen| is_trusted(state, one) && !one.replication.sql.diverged && is_agreed(one);
        found.is_some_and(|one| heirs.is_empty() || fit(one))
    };
    if let Some(reason) = unread(state, scene, counted, is_read) {
        return Choice::Nobody { reason };
    }
    if heirs.is_empty() {
        cold_start(state, scene, &frozen, &is_discarded)
    } else {
        // Nothing that was acknowledged is given up for a preference where that was promised.
        let given_up_max = if is_majority(&scene.spec) { 0 } else { scene.spec.preference.max_lag_bytes };
        let preference = Preference { max_lag_bytes: given_up_max, ..scene.spec.preference.clone() };
        inherit(scene.spec.engine.kind(), &preference, &heirs, &OldPrimary::of(state))
    }
}

/// It holds what it will never apply by itself: a promotion would wait for it in vain.
const fn cannot_apply(one: &Frozen) -> bool {
    one.replication.sql.stalled && one.replication.sql.unapplied > 0
}

/// What the plan's cause means for an old primary that answers and was frozen like the others.
struct OldPrimary<'a> {
    name: Option<&'a InstanceName>,
    /// The operator wants another one.
    unwanted: bool,
    /// A planned move away from it failed: among equals it stays.
    preferred: bool,
}

impl<'a> OldPrimary<'a> {
    fn of(state: &'a ServiceState) -> Self {
        let cause = match &state.phase {
            Phase::Fencing { cause } => Some(cause),
            _ => None,
        };
        Self {
            name: state.reign.as_ref().map(|reign| &reign.instance),
            unwanted: matches!(cause, Some(Cause::Ordered { .. })),
            preferred: matches!(cause, Some(Cause::SwitchoverFailed { .. })),
        }
    }

    fn is(&self, one: &Frozen) -> bool {
        self.name == Some(&one.spec.name)
    }
}

fn frozen<'a>(state: &ServiceState, scene: &'a Scene, spec: &'a InstanceSpec) -> Option<Frozen<'a>> {
    let view = scene.views.get(&spec.name).filter(|view| view.health == Health::Up)?;
    let replication = view.frozen_in(state.epoch)?;
    let keys = view.identity.as_ref().filter(|identity| !identity.loading)?.keys;
    Some(Frozen { spec, replication, keys })
}

fn is_trusted(state: &ServiceState, one: &Frozen) -> bool {
    state.trusted.get(&one.spec.name) == Some(&one.replication.run_id)
}

/// The same process that was trusted, in the history of the reign. Where histories are named by their servers a name comes
/// again, and one that received nothing in the reign still stands in the history before, where that ended.
fn is_heir(state: &ServiceState, one: &Frozen, named_by_servers: bool) -> bool {
    let Some(reign) = &state.reign else {
        return false;
    };
    let seen = one.replication;
    if named_by_servers {
        let began = state.endings.back();
        let at_begin = began.is_some_and(|(replid, at)| *replid == seen.replid && *at == seen.offset);
        // What another history's transactions stand in the way of was received, and will never be applied.
        let fit = is_trusted(state, one) && !seen.sql.diverged;
        return fit && (at_begin || state.is_in_reign(&seen.replid, seen.offset));
    }
    // Made the candidate's replica by a planned move, the primary took over the name of its history.
    let demoted = reign.instance == one.spec.name && state.demotions().next().is_some();
    // A candidate whose promotion ran but was never observed wrote nothing (it was closed): it still ends where the
    // reign's history ended for it.
    let promoted_unseen = seen.previous.as_ref().is_some_and(|(replid, _)| *replid == reign.replid)
        && (state.possible_primaries.contains(&one.spec.name) || demoted);
    is_trusted(state, one) && (seen.replid == reign.replid || promoted_unseen)
}

fn inherit(engine: EngineKind, preference: &Preference, heirs: &[&Frozen], old: &OldPrimary) -> Choice {
    let another = heirs.iter().any(|one| !old.is(one) && one.spec.priority > 0);
    let wanted: Vec<&Frozen> =
        heirs.iter().copied().filter(|one| !(old.unwanted && old.is(one) && another)).collect();
    let Some(newest) = wanted.iter().map(|one| one.replication.offset).max() else {
        return Choice::Nobody { reason: "none is frozen".into() };
    };
    let near = |one: &&&Frozen| newest.ahead_of(one.replication.offset) <= preference.max_lag_bytes;
    let able = |one: &&&Frozen| one.spec.priority > 0 && !cannot_apply(one);
    let eligible = wanted.iter().filter(near).filter(able);
    let rank = |one: &&&Frozen| {
        let wishes = preference_rank(preference, one.spec);
        let moves = old.preferred && !old.is(one);
        (wishes, Reverse(one.replication.offset), moves, one.spec.priority, one.spec.name.clone())
    };
    let Some(best) = eligible.min_by_key(rank) else {
        let stalled = wanted.iter().find(|one| cannot_apply(one));
        let why = match stalled {
            Some(one) if engine == EngineKind::MySql => format!(
                "{} has received what it does not apply: see Last_SQL_Error there, then START REPLICA SQL_THREAD",
                one.spec.name
            ),
            Some(one) => {
                format!(
                    "{} has received what it does not apply: START SLAVE would throw that away now; apply its relay \
                     log by hand (docs/guide/mariadb.md)",
                    one.spec.name
                )
            }
            None => "the most advanced instances have priority 0; raise a priority".to_owned(),
        };
        return Choice::Nobody {
            reason: format!(
                "{why}, or choose another one with `backstay decide SERVICE INSTANCE`, and what only the most advanced \
                 ones hold is lost"
            ),
        };
    };
    let surplus = heirs.iter().filter_map(|one| {
        let bytes = one.replication.offset.ahead_of(best.replication.offset);
        (bytes > 0).then(|| LostWrites { instance: one.spec.name.clone(), bytes: Some(bytes) })
    });
    let equals = wanted.iter().filter(|one| one.replication.offset == newest).count();
    let reason = match (best.replication.offset == newest, equals) {
        (true, 1) if wanted.len() > 1 => "it received more than any other".to_owned(),
        (true, 1) => "it is the only one with the data that answers".to_owned(),
        (true, _) => format!("{equals} instances received equally much, and it is preferred"),
        (false, _) => format!(
            "it is preferred, and {} behind the most advanced one are allowed",
            engine.unit().count(newest.ahead_of(best.replication.offset))
        ),
    };
    winner(best, surplus.collect(), reason)
}

/// Smaller is better: the preferred site first, then the preferred zone.
pub(super) fn preference_rank(preference: &Preference, spec: &InstanceSpec) -> (bool, bool) {
    let misses = |wish: &Option<String>, is: &str| wish.as_deref().is_some_and(|wish| wish != is);
    (misses(&preference.site, &spec.site), misses(&preference.zone, &spec.zone))
}

/// No process that held the data runs any more: compare what the files held. An empty one never wins against one that
/// is not, and doubt waits for the operator.
fn cold_start(
    state: &ServiceState,
    scene: &Scene,
    frozen: &[Frozen],
    is_discarded: &impl Fn(&InstanceName) -> bool,
) -> Choice {
    let nobody = |reason: String| Choice::Nobody { reason };
    if let Some(reason) = missing(state, scene, frozen, is_discarded) {
        return nobody(reason);
    }
    let able = |one: &&Frozen| one.spec.priority > 0;
    let full: Vec<&Frozen> = frozen.iter().filter(|one| one.keys > 0).collect();
    let preference = &scene.spec.preference;
    let first = |among: &[&Frozen]| {
        let rank =
            |one: &&Frozen| (preference_rank(preference, one.spec), one.spec.priority, one.spec.name.clone());
        among.iter().copied().filter(able).min_by_key(rank).map(|one| one.spec.name.clone())
    };
    let (name, reason) = match full.as_slice() {
        [] => (
            first(&frozen.iter().collect::<Vec<_>>()),
            "all instances are empty, and it is preferred".to_owned(),
        ),
        [one] => (Some(one.spec.name.clone()), format!("it is the only one with data ({} keys)", one.keys)),
        several if is_one_history(several) => {
            let newest = several.iter().map(|one| one.replication.offset).max();
            let best: Vec<&Frozen> =
                several.iter().copied().filter(|one| Some(one.replication.offset) == newest).collect();
            (first(&best), "all were restarted, and its file is the newest of one history".to_owned())
        }
        several => {
            let held: Vec<String> =
                several.iter().map(|one| format!("{} {} keys", one.spec.name, one.keys)).collect();
            return nobody(format!(
                "all instances were restarted and nothing tells whose file is newest ({}); choose one with \
                 `backstay decide SERVICE INSTANCE`",
                held.join(", ")
            ));
        }
    };
    match name.and_then(|name| frozen.iter().find(|one| one.spec.name == name)) {
        Some(one) => winner(one, Vec::new(), reason),
        None => nobody(
            "every instance that could be has priority 0; raise a priority, or choose one with `backstay decide \
             SERVICE INSTANCE`"
                .into(),
        ),
    }
}

/// Why nothing can be compared yet: somebody who might hold more does not answer.
fn missing(
    state: &ServiceState,
    scene: &Scene,
    frozen: &[Frozen],
    is_discarded: &impl Fn(&InstanceName) -> bool,
) -> Option<String> {
    // One that was never part of the group, or no longer is, has nothing to say, if the group ever had a primary.
    let counts = |spec: &InstanceSpec| {
        let ours = state.known.contains(&spec.name) && !is_of_a_stranger(state, scene, &spec.name);
        state.reign.is_none() || ours
    };
    let is_missing = |spec: &&InstanceSpec| {
        let is_frozen = frozen.iter().any(|one| one.spec.name == spec.name);
        counts(spec) && !is_frozen && !is_discarded(&spec.name)
    };
    let missing: Vec<&str> =
        scene.spec.instances.iter().filter(is_missing).map(|spec| spec.name.as_str()).collect();
    let alive = |name: &InstanceName, view: &View| state.trusted.get(name) == view.run_id();
    let why = if scene.views.iter().any(|(name, view)| alive(name, view)) {
        "none of those that answer has the data"
    } else {
        "every instance that answers was restarted, so all of them must be compared"
    };
    (!missing.is_empty()).then(|| format!("{why}; waiting for {}", missing.join(", ")))
}

/// Their offsets can be compared: one history, and none lost its offset (an append-only file keeps none).
fn is_one_history(several: &[&Frozen]) -> bool {
    let replid = several.first().map(|one| &one.replication.replid);
    several
        .iter()
        .all(|one| Some(&one.replication.replid) == replid && one.replication.offset > ReplOffset(1))
}

fn winner(one: &Frozen, surplus: Vec<LostWrites>, reason: String) -> Choice {
    Choice::Winner {
        candidate: one.spec.name.clone(),
        run_id: one.replication.run_id.clone(),
        offset: one.replication.offset,
        surplus,
        reason,
    }
}
