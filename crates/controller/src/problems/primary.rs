//! What may be wrong with the primary.

use super::Snapshot;
use crate::counted::{has_strangers, is_majority};
use crate::state::Phase;
use backstay_model::{Evidence, Fault, Health};

pub(super) fn primary_down(s: &Snapshot, evidence: Evidence) -> Option<String> {
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

pub(super) fn primary_restarted(s: &Snapshot) -> Option<String> {
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

pub(super) fn primary_faulty(s: &Snapshot) -> Option<String> {
    let (name, view) = s.primary()?;
    match view.health {
        Health::Useless(fault) => Some(format!("the primary {name} {fault}: {}", remedy(fault))),
        _ => None,
    }
}

pub(super) const fn remedy(fault: Fault) -> &'static str {
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

pub(super) fn primary_not_in_file(s: &Snapshot) -> Option<String> {
    let name = &s.state.reign.as_ref()?.instance;
    s.scene.spec.instance(name).is_none().then(|| {
        format!("the primary {name} is not in this controller's file, so nothing is done; put it back under this name")
    })
}

pub(super) fn orders_refused(s: &Snapshot) -> Option<String> {
    s.scene.views.iter().find_map(|(name, view)| {
        let fault = view.refused?;
        Some(format!("{name} refused an order, because it {fault}; {}", remedy(fault)))
    })
}

pub(super) fn primary_closed(s: &Snapshot) -> Option<String> {
    let (name, view) = s.primary()?;
    let closed = s.state.phase == Phase::Stable && view.replication()?.closed;
    closed.then(|| {
        format!(
            "the primary {name} is closed for writes (min-replicas-to-write, read_only); it is being opened"
        )
    })
}

/// Somebody switched it off, or gave it a timeout; it is switched on again.
pub(super) fn commits_unguarded(s: &Snapshot) -> Option<String> {
    let (name, view) = s.primary()?;
    let promised = is_majority(&s.scene.spec) && s.counted.is_some_and(|counted| !counted.ackers.is_empty());
    let seen = view.replication().filter(|seen| promised && seen.is_primary() && !seen.closed)?;
    (s.state.phase == Phase::Stable && !seen.sql.guarded).then(|| {
        format!(
            "the primary {name} does not wait for acknowledgements (rpl_semi_sync_master_enabled, _timeout, _wait_no_slave): what it \
             commits now may be lost with it; it is being told to wait again"
        )
    })
}

/// A commit may be where nobody looks.
pub(super) fn stranger_acknowledges(s: &Snapshot) -> Option<String> {
    let (name, _) = s.primary()?;
    let agreed = s.counted.map_or(0, |counted| counted.ackers.len());
    has_strangers(s.scene).then(|| {
        format!(
            "more than the {agreed} agreed replicas acknowledge to {name}: a commit may be held by one that is not watched, and \
             nobody is promoted without your word; see SHOW SLAVE HOSTS there, and SET GLOBAL rpl_semi_sync_slave_enabled=OFF, \
             then STOP SLAVE and START SLAVE, at the one that does not belong"
        )
    })
}
