//! The catalogue of problems: one row each, a name, how bad it is, and a pure matcher that says in one sentence what
//! happened, why, and what to do next. Order matters: the worst first.

mod primary;
mod rebuilding;
mod replicas;

use primary::{
    commits_unguarded, orders_refused, primary_closed, primary_down, primary_faulty, primary_not_in_file,
    primary_restarted, stranger_acknowledges,
};
use rebuilding::{agent_missing, rebuild_failed, rebuild_running};
use replicas::{
    acker_missing, nothing_to_fail_over_to, replica_behind, replica_diverged, replica_down,
    replica_not_in_sync, replica_of_stranger, replica_stalled, replica_writable, replicas_faulty,
};

use crate::counted::Counted;
use crate::rebuilds::Rebuilds;
use crate::scene::{Scene, View};
use crate::state::{Phase, ServiceState};
use backstay_model::{
    Address, Engine, Evidence, FailsafeRun, Fault, GatewayName, Health, InstanceName, ProblemStatus,
    Replication, Sentinels, Severity, UnixMicros,
};
use std::collections::BTreeSet;

/// What the matchers look at.
pub struct Snapshot<'a> {
    /// The agreed state.
    pub state: &'a ServiceState,
    /// What is seen from here.
    pub scene: &'a Scene,
    /// Wall-clock time.
    pub unix: UnixMicros,
    /// Why nothing automatic may happen, if the files disagree.
    pub disagreement: Option<String>,
    /// This node is in touch with a quorum.
    pub quorum: bool,
    /// Whose acknowledgements count, if that was ever agreed on.
    pub counted: Option<&'a Counted>,
    /// Its rebuilds, if there ever was one.
    pub rebuilds: Option<&'a Rebuilds>,
    /// Instances whose agents were heard of lately.
    pub agents: BTreeSet<InstanceName>,
    /// Why the data of the one that is being rebuilt may not be discarded yet, once that is what is waited for.
    pub withheld: Option<String>,
    /// Gateways that serve it without a lease, or did lately.
    pub failsafe: Vec<(GatewayName, FailsafeRun)>,
}

/// One row.
pub struct Problem {
    /// Its name, for machines.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    matches: fn(&Snapshot) -> Option<String>,
}

/// Every problem there is.
pub const CATALOGUE: &[Problem] = &[
    row("NoQuorum", Severity::Error, no_quorum),
    row("Stuck", Severity::Error, stuck),
    row("PrimaryCrashed", Severity::Error, |s| primary_down(s, Evidence::Refused)),
    row("PrimaryHung", Severity::Error, |s| primary_down(s, Evidence::Silent)),
    row("PrimaryRestarted", Severity::Error, primary_restarted),
    row("PrimaryFaulty", Severity::Error, primary_faulty),
    row("PrimaryNotInFile", Severity::Error, primary_not_in_file),
    row("OrdersRefused", Severity::Error, orders_refused),
    row("PrimaryClosed", Severity::Error, primary_closed),
    row("ForeignManager", Severity::Error, foreign_manager),
    row("StrayPrimary", Severity::Error, stray_primary),
    row("ServedWithoutLease", Severity::Error, served_without_lease),
    row("ConfigurationsDiffer", Severity::Error, |s| s.disagreement.clone()),
    row("PasswordRefused", Severity::Error, |s| replicas_faulty(s, |fault| fault == Fault::WrongPassword)),
    row("CommitsUnguarded", Severity::Error, commits_unguarded),
    row("StrangerAcknowledges", Severity::Error, stranger_acknowledges),
    row("ReplicaDiverged", Severity::Error, replica_diverged),
    row("RebuildFailed", Severity::Error, rebuild_failed),
    row("SentinelsUnseen", Severity::Warning, sentinels_unseen),
    row("ReplicaOfStranger", Severity::Warning, replica_of_stranger),
    row("NothingToFailOverTo", Severity::Warning, nothing_to_fail_over_to),
    row("ReplicaDown", Severity::Warning, replica_down),
    row("ReplicaFaulty", Severity::Warning, |s| replicas_faulty(s, |fault| fault != Fault::WrongPassword)),
    row("ReplicaStalled", Severity::Warning, replica_stalled),
    row("ReplicaWritable", Severity::Warning, replica_writable),
    row("AckerMissing", Severity::Warning, acker_missing),
    row("ReplicaBehind", Severity::Warning, replica_behind),
    row("AgentMissing", Severity::Warning, agent_missing),
    row("RebuildRunning", Severity::Warning, rebuild_running),
    row("ReplicaNotInSync", Severity::Warning, replica_not_in_sync),
    row("EngineUntried", Severity::Warning, engine_untried),
    row("FailoverRunning", Severity::Warning, failover_running),
    row("Paused", Severity::Warning, paused),
];

const fn row(code: &'static str, severity: Severity, matches: fn(&Snapshot) -> Option<String>) -> Problem {
    Problem { code, severity, matches }
}

/// The problems that the snapshot shows, worst first.
pub fn problems(snapshot: &Snapshot) -> Vec<ProblemStatus> {
    let found = CATALOGUE.iter().filter_map(|problem| {
        let sentence = (problem.matches)(snapshot)?;
        Some(ProblemStatus { code: problem.code.to_owned(), severity: problem.severity, sentence })
    });
    found.collect()
}

impl<'a> Snapshot<'a> {
    fn primary(&self) -> Option<(&'a InstanceName, &'a View)> {
        let reign = self.state.reign.as_ref()?;
        self.scene.views.get_key_value(&reign.instance)
    }

    fn others(&self) -> impl Iterator<Item = (&'a InstanceName, &'a View)> {
        let primary = self.state.reign.as_ref().map(|reign| &reign.instance);
        self.scene.views.iter().filter(move |(name, _)| Some(*name) != primary)
    }

    fn primary_address(&self) -> Option<&'a Address> {
        let reign = self.state.reign.as_ref()?;
        self.scene.spec.instance(&reign.instance).map(|spec| &spec.address)
    }
}

fn list<'a>(names: impl Iterator<Item = &'a InstanceName>) -> Option<String> {
    let names: Vec<&str> = names.map(InstanceName::as_str).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

fn no_quorum(s: &Snapshot) -> Option<String> {
    (!s.quorum).then(|| {
        "this controller is not in touch with a majority of controllers, so it decides nothing and shows what it last \
         knew; start the others or mend the network between them"
            .into()
    })
}

fn stuck(s: &Snapshot) -> Option<String> {
    s.scene.notes.stuck.clone().filter(|_| matches!(s.state.phase, Phase::Fencing { .. } | Phase::Forming))
}

fn foreign_manager(s: &Snapshot) -> Option<String> {
    crate::failover::foreign_manager(s.state, s.scene)
}

fn sentinels_unseen(s: &Snapshot) -> Option<String> {
    let silent = s.scene.views.iter().filter(|(_, view)| view.sentinels == Sentinels::Hidden);
    let ignored = s.scene.spec.engine.redis().is_none_or(|redis| redis.ignore_sentinels);
    let names = list(silent.map(|(name, _)| name)).filter(|_| !ignored);
    names.map(|names| {
        format!("{names} does not say whether a Sentinel manages it, too: grant the user +pubsub|numsub")
    })
}

fn stray_primary(s: &Snapshot) -> Option<String> {
    s.state.primary()?;
    let strays = s.others().filter(|(_, view)| {
        view.health == Health::Up && view.replication().is_some_and(Replication::is_primary)
    });
    list(strays.map(|(name, _)| name)).map(|names| {
        format!("{names} takes itself for a primary; if it was never part of this group, empty it or remove it from the file")
    })
}

fn served_without_lease(s: &Snapshot) -> Option<String> {
    let goes_on = s.failsafe.iter().any(|(_, run)| run.lasted_ms.is_none());
    let runs: Vec<String> =
        s.failsafe.iter().map(|(gateway, run)| format!("gateway {gateway} {run}")).collect();
    let next = if goes_on {
        "start controllers until a majority runs and reaches it"
    } else {
        "if another primary was opened meanwhile, `backstay history` shows what was written to the old one only"
    };
    (!runs.is_empty()).then(|| format!("{}; {next}", runs.join("; ")))
}

fn engine_untried(s: &Snapshot) -> Option<String> {
    let untried = matches!(s.scene.spec.engine, Engine::MySql(_));
    untried.then(|| {
        "this is MySQL, and Backstay's words for MySQL are not yet tried on a real server, but only on replies as its \
         manual gives them: try every move on a copy before you rely on it (docs/guide/mysql.md)"
            .to_owned()
    })
}

fn failover_running(s: &Snapshot) -> Option<String> {
    let running = !matches!(s.state.phase, Phase::Stable | Phase::Forming);
    let what = if matches!(s.state.phase, Phase::Moving { .. }) { "switchover" } else { "failover" };
    running.then(|| format!("a {what} is running (epoch {}, {})", s.state.epoch, s.state.phase.name()))
}

fn paused(s: &Snapshot) -> Option<String> {
    let pause = s.state.pause.as_ref().filter(|pause| s.unix < pause.until)?;
    Some(format!("{} paused automatic action until {} UTC; `backstay resume` ends it", pause.by, pause.until))
}
