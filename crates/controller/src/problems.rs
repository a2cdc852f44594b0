//! The catalogue of problems: one row each, a name, how bad it is, and a pure matcher that says in one sentence what
//! happened, why, and what to do next. Order matters: the worst first.

use crate::counted::{Counted, is_majority};
use crate::engine::Manners;
use crate::rebuilds::Rebuilds;
use crate::scene::{Scene, View};
use crate::state::{Phase, ServiceState};
use crate::work::{follows, is_of_a_stranger};
use backstay_model::{
    Address, Engine, Evidence, FailsafeRun, Fault, GatewayName, Health, InstanceName, ProblemStatus,
    RebuildOutcome, Replication, Sentinels, Severity, UnixMicros,
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

fn primary_down(s: &Snapshot, evidence: Evidence) -> Option<String> {
    let (name, view) = s.primary()?;
    (view.health == Health::Down(evidence)).then(|| match evidence {
        Evidence::Refused => {
            format!("the primary {name} is gone: its host refuses connections; see why it died and start it")
        }
        Evidence::Silent => format!(
            "the primary {name} has not answered for {} ms: it hangs, or its host or the network is down",
            s.scene.spec.down_after.as_millis()
        ),
    })
}

fn primary_restarted(s: &Snapshot) -> Option<String> {
    let (name, view) = s.primary()?;
    let recorded = &s.state.reign.as_ref()?.run_id;
    let restarted = view.health == Health::Up && view.run_id()? != recorded;
    // Nobody ordered the new process to be a primary, so it was born one.
    let unprotected = view.replication().is_some_and(|it| it.run_id != *recorded && it.is_primary());
    let advice = if unprotected {
        format!(
            "; it came up as a primary, because its file lacks protected boot, and may have wiped its replicas: run \
             `backstay adopt {}`",
            s.scene.spec.name
        )
    } else {
        String::new()
    };
    restarted.then(|| {
        format!("the primary {name} was restarted, so its data may be older than its replicas'{advice}")
    })
}

fn primary_faulty(s: &Snapshot) -> Option<String> {
    let (name, view) = s.primary()?;
    match view.health {
        Health::Useless(fault) => Some(format!("the primary {name} {fault}: {}", remedy(fault))),
        _ => None,
    }
}

const fn remedy(fault: Fault) -> &'static str {
    match fault {
        Fault::Loading => "wait, or fail over to a replica",
        Fault::Busy => "stop the script with SCRIPT KILL",
        Fault::DiskError => {
            "free disk space or mend the disk; if that takes long and another instance has room, `backstay failover` \
             moves the service there"
        }
        Fault::WrongPassword => {
            "correct password_file, password_env or username in the file; no failover is made for this"
        }
        Fault::NoPermission => "grant the user the right it lacks; no failover is made for this",
        Fault::TooManyClients => "raise maxclients (max_connections) or find who holds the connections",
        Fault::NameUnresolved => "mend the name service or write an address",
        Fault::NotTheEngine => "correct the address in the file, or add tls if it speaks that",
        Fault::CertificateOutdated => {
            "renew its certificate, or set the clock that is wrong; no failover is made for this"
        }
        Fault::CertificateUntrusted => {
            "correct ca or server_name in the file, or its certificate; no failover is made for this"
        }
        Fault::TlsFailed => {
            "see this controller's log; it may not speak TLS or want another client certificate; no failover is made for \
             this"
        }
        Fault::Locked => "see who holds it (SHOW PROCESSLIST) and end that",
        Fault::Draining => "wait until it has",
        Fault::Unsuitable => {
            "let it replicate by GTID from one primary, in one domain (docs/guide/configure.md)"
        }
        Fault::HostRefused => {
            "let Backstay's user in from the controllers' hosts; if it blocked one after too many errors, FLUSH HOSTS and \
             raise max_connect_errors; no failover is made for this"
        }
        Fault::Stalled => {
            "see Last_SQL_Error in SHOW ALL SLAVES STATUS; while it receives nothing, START SLAVE throws away what it received: \
             apply its relay log by hand (docs/guide/mariadb.md)"
        }
        Fault::Unacknowledged => {
            "see whether its replicas are connected and acknowledge (SHOW ALL SLAVES STATUS there)"
        }
        Fault::NeedsTls => {
            "add tls to the service in the file, or let the user log in by another plugin; no failover is made for this"
        }
        Fault::PrimaryLost | Fault::OtherError => "look at its log",
    }
}

fn primary_not_in_file(s: &Snapshot) -> Option<String> {
    let name = &s.state.reign.as_ref()?.instance;
    s.scene.spec.instance(name).is_none().then(|| {
        format!("the primary {name} is not in this controller's file, so nothing is done; put it back under this name")
    })
}

fn orders_refused(s: &Snapshot) -> Option<String> {
    s.scene.views.iter().find_map(|(name, view)| {
        let fault = view.refused?;
        Some(format!("{name} refused an order, because it {fault}; {}", remedy(fault)))
    })
}

fn primary_closed(s: &Snapshot) -> Option<String> {
    let (name, view) = s.primary()?;
    let closed = s.state.phase == Phase::Stable && view.replication()?.closed;
    closed.then(|| {
        format!(
            "the primary {name} is closed for writes (min-replicas-to-write, read_only); it is being opened"
        )
    })
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

fn replicas_faulty(s: &Snapshot, kind: fn(Fault) -> bool) -> Option<String> {
    s.others().find_map(|(name, view)| match view.health {
        Health::Useless(fault) if kind(fault) => {
            Some(format!("the replica {name} {fault}: {}", remedy(fault)))
        }
        _ => None,
    })
}

fn replica_of_stranger(s: &Snapshot) -> Option<String> {
    s.others().find_map(|(name, view)| {
        let (of, ..) = follows(view.replication()?)?;
        let member = s.scene.spec.instances.iter().any(|instance| instance.address == *of);
        (!member && *of != Address::nowhere()).then(|| {
            format!("{name} is a replica of {of}, which is not in the file; it is left alone: mend the file or the instance")
        })
    })
}

fn nothing_to_fail_over_to(s: &Snapshot) -> Option<String> {
    s.state.primary()?;
    let usable = s.others().any(|(name, view)| {
        view.health == Health::Up
            && s.state.trusted.get(name) == view.run_id()
            && !is_of_a_stranger(s.state, s.scene, name)
            && s.scene.spec.instance(name).is_some_and(|spec| spec.priority > 0)
    });
    (!usable).then(|| {
        "no replica could take over if the primary failed now; bring one up, or add one to the file".into()
    })
}

fn replica_down(s: &Snapshot) -> Option<String> {
    let down = s.others().filter(|(_, view)| matches!(view.health, Health::Down(_)));
    list(down.map(|(name, _)| name))
        .map(|names| format!("{names} does not answer; start it or mend its network, or if it hangs see why in its log (a full disk?)"))
}

fn replica_diverged(s: &Snapshot) -> Option<String> {
    let is_rebuilt = |name: &InstanceName| s.rebuilds.is_some_and(|rebuilds| rebuilds.runs_for(name));
    let diverged = s
        .others()
        .filter(|(name, view)| !is_rebuilt(name) && view.replication().is_some_and(|seen| seen.sql.diverged));
    let names: Vec<&InstanceName> = diverged.map(|(name, _)| name).collect();
    let service = &s.scene.spec.name;
    let by_hand = names.iter().find(|name| s.scene.spec.instance(name).is_none_or(|it| it.agent.is_none()));
    let next = match (by_hand, names.first()) {
        (Some(_), _) if matches!(s.scene.spec.engine, Engine::MySql(_)) => {
            "save what only it holds (mysqlbinlog --include-gtids), then CLONE INSTANCE FROM a replica (docs/guide/mysql.md)"
                .to_owned()
        }
        (Some(name), _) => format!(
            "{name} has no agent in the file, so save what only it holds and rebuild it by hand (docs/guide/rebuild.md)"
        ),
        (None, Some(name)) => {
            format!("`backstay rebuild {service} {name} --dry-run` shows what would become of it")
        }
        (None, None) => return None,
    };
    list(names.into_iter()).map(|names| {
        format!(
            "{names} holds transactions that the primary does not have, or lacks some that it no longer has; {next}"
        )
    })
}

fn rebuild_running(s: &Snapshot) -> Option<String> {
    let running = s.rebuilds?.running.as_ref()?;
    let (instance, number) = (&running.instance, running.number);
    let saved = running.saved.as_ref().and_then(|saved| Some((saved.file.as_ref()?, saved.transactions)));
    let saved = saved.map_or_else(String::new, |(file, count)| {
        format!("; {} that only it held: {file} on its host", s.scene.spec.engine.kind().unit().count(count))
    });
    let waits =
        s.withheld.as_ref().map_or_else(String::new, |why| format!("; its data stays as long as {why}"));
    Some(format!("{instance} is being rebuilt (rebuild {number}, from {}){saved}{waits}", running.donor))
}

fn rebuild_failed(s: &Snapshot) -> Option<String> {
    let rebuilds = s.rebuilds?;
    let failed = rebuilds.ended.iter().filter(|(name, ended)| !ended.in_step && !rebuilds.runs_for(name));
    let sentences = failed.filter_map(|(name, ended)| match &ended.outcome {
        RebuildOutcome::Failed { why } => Some(format!("{name} was not rebuilt: {why}")),
        _ => None,
    });
    let sentences: Vec<String> = sentences.collect();
    (!sentences.is_empty()).then(|| {
        format!("{}; `backstay rebuild {} INSTANCE` tries again", sentences.join("; "), s.scene.spec.name)
    })
}

fn agent_missing(s: &Snapshot) -> Option<String> {
    let running = s.rebuilds?.running.as_ref()?;
    let needed = [&running.instance, &running.donor].into_iter().filter(|name| !s.agents.contains(*name));
    list(needed).map(|names| {
        format!(
            "{} is to be rebuilt from {}, and nothing is heard of the agent of {names}: start `backstay agent` on its host, \
             or see why it does not reach the controllers",
            running.instance, running.donor
        )
    })
}

fn replica_stalled(s: &Snapshot) -> Option<String> {
    let stalled = s.others().filter(|(_, view)| {
        view.replication().is_some_and(|seen| {
            seen.sql.stalled && !seen.sql.diverged && follows(seen).is_some_and(|(_, link_up, _)| link_up)
        })
    });
    let (see, start) = match s.scene.spec.engine {
        Engine::MySql(_) => ("SHOW REPLICA STATUS", "START REPLICA SQL_THREAD"),
        _ => ("SHOW ALL SLAVES STATUS", "START SLAVE SQL_THREAD"),
    };
    list(stalled.map(|(name, _)| name)).map(|names| {
        format!("{names} receives but applies nothing; see Last_SQL_Error in {see}, then {start}")
    })
}

fn replica_writable(s: &Snapshot) -> Option<String> {
    let writable = s.others().filter(|(_, view)| view.replication().is_some_and(|seen| seen.sql.exposed));
    list(writable.map(|(name, _)| name)).map(|names| {
        format!("{names} replicates and takes clients' writes (read_only=0), which the others never get; it is being closed")
    })
}

/// Somebody switched it off, or gave it a timeout; it is switched on again.
fn commits_unguarded(s: &Snapshot) -> Option<String> {
    let (name, view) = s.primary()?;
    let promised = is_majority(&s.scene.spec) && s.counted.is_some_and(|counted| !counted.ackers.is_empty());
    let seen = view.replication().filter(|seen| promised && seen.is_primary() && !seen.closed)?;
    (s.state.phase == Phase::Stable && !seen.sql.guarded).then(|| {
        format!(
            "the primary {name} does not wait for acknowledgements (rpl_semi_sync_master_enabled, _timeout): what it \
             commits now may be lost with it; it is being told to wait again"
        )
    })
}

/// As far as a switchover would not even begin with it, ten times over.
fn replica_behind(s: &Snapshot) -> Option<String> {
    let (_, primary) = s.primary()?;
    let primary = primary.replication()?;
    let unit = s.scene.spec.engine.kind().unit();
    let near = Manners::of(&s.scene.spec.engine).near;
    let behind = s.others().filter_map(|(name, view)| {
        let seen =
            view.replication().filter(|seen| view.health == Health::Up && seen.replid == primary.replid)?;
        let lag = seen.lag_behind(primary.offset);
        (lag > near * 10).then(|| format!("{name} is {} behind", unit.count(lag)))
    });
    let behind: Vec<String> = behind.collect();
    (!behind.is_empty()).then(|| {
        format!(
            "{}: a failover would wait for it, and its readers see old data; see whether it has the processor, the disk \
             and the network to keep up",
            behind.join("; ")
        )
    })
}

fn acker_missing(s: &Snapshot) -> Option<String> {
    let ackers = &s.counted?.ackers;
    let missing = s.others().filter(|(name, view)| {
        ackers.contains(*name)
            && (view.health != Health::Up || !view.replication().is_some_and(|seen| seen.sql.acks))
    });
    list(missing.map(|(name, _)| name)).map(|names| {
        format!(
            "{names} may hold acknowledged commits and acknowledges none now: if the primary failed, nobody would be \
             promoted before it was read; bring it back"
        )
    })
}

fn replica_not_in_sync(s: &Snapshot) -> Option<String> {
    let primary = s.primary_address()?;
    s.state.primary()?;
    let behind = s.others().filter(|(name, view)| {
        let linked = view
            .replication()
            .and_then(follows)
            .is_some_and(|(of, link_up, syncing)| of == primary && link_up && !syncing);
        view.health == Health::Up && !(linked && s.state.trusted.get(*name) == view.run_id())
    });
    list(behind.map(|(name, _)| name)).map(|names| format!("{names} is not in step with the primary yet"))
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
