//! What may be wrong with replicas.

use super::primary::remedy;
use super::{Snapshot, list};
use crate::engine::Manners;
use crate::work::{follows, is_of_a_stranger};
use backstay_model::{Address, Engine, Fault, Health, InstanceName};

pub(super) fn replicas_faulty(s: &Snapshot, kind: fn(Fault) -> bool) -> Option<String> {
    s.others().find_map(|(name, view)| match view.health {
        Health::Useless(fault) if kind(fault) => {
            Some(format!("the replica {name} {fault}: {}", remedy(fault)))
        }
        _ => None,
    })
}

pub(super) fn replica_of_stranger(s: &Snapshot) -> Option<String> {
    s.others().find_map(|(name, view)| {
        let (of, ..) = follows(view.replication()?)?;
        let member = s.scene.spec.instances.iter().any(|instance| instance.address == *of);
        (!member && *of != Address::nowhere()).then(|| {
            format!("{name} is a replica of {of}, which is not in the file; it is left alone: mend the file or the instance")
        })
    })
}

pub(super) fn nothing_to_fail_over_to(s: &Snapshot) -> Option<String> {
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

pub(super) fn replica_down(s: &Snapshot) -> Option<String> {
    let down = s.others().filter(|(_, view)| matches!(view.health, Health::Down(_)));
    list(down.map(|(name, _)| name))
        .map(|names| format!("{names} does not answer; start it or mend its network, or if it hangs see why in its log (a full disk?)"))
}

pub(super) fn replica_diverged(s: &Snapshot) -> Option<String> {
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

pub(super) fn replica_stalled(s: &Snapshot) -> Option<String> {
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

pub(super) fn replica_writable(s: &Snapshot) -> Option<String> {
    let writable = s.others().filter(|(_, view)| view.replication().is_some_and(|seen| seen.sql.exposed));
    list(writable.map(|(name, _)| name)).map(|names| {
        format!("{names} replicates and takes clients' writes (read_only=0), which the others never get; it is being closed")
    })
}

/// As far as a switchover would not even begin with it, ten times over.
pub(super) fn replica_behind(s: &Snapshot) -> Option<String> {
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

pub(super) fn acker_missing(s: &Snapshot) -> Option<String> {
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

pub(super) fn replica_not_in_sync(s: &Snapshot) -> Option<String> {
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
