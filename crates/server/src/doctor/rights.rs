//! Who may do what: Backstay's user, the replicas', and applications that may too much.

use super::checks::Patient;
use super::finding::{Found, account, name};
use super::look::{POWERFUL, Seen};
use super::reach;
use backstay_wire::mariadb::{CANARY_RIGHTS, EVENT_RIGHTS, REPLICATION_RIGHTS, RIGHTS};

/// What Backstay's user lacks.
pub(crate) fn own(patient: &Patient<'_>) -> Vec<Found> {
    let mut wanted = vec![(RIGHTS, "*.*")];
    if patient.group.events {
        wanted.push((EVENT_RIGHTS, "*.*"));
    }
    if patient.seen.replicator.is_none() {
        wanted.push((REPLICATION_RIGHTS, "*.*"));
    }
    wanted.push((CANARY_RIGHTS, "backstay.*"));
    let lacks = |seen: &Seen, rights: &[&'static str], on: &str| -> Vec<&'static str> {
        let has = |right: &&&'static str| match on {
            "*.*" => seen.grants.has(right, seen.major()),
            _ => seen.grants.has_in("backstay", right, seen.major()),
        };
        rights.iter().filter(|right| !has(right)).copied().collect()
    };
    let mut found = Vec::new();
    for (rights, on) in wanted {
        let missing = lacks(patient.seen, rights, on);
        let speaker = patient.group.speaker().filter(|_| !patient.speaks());
        // What the primary is granted reaches its replicas.
        let known = speaker.map_or_else(Vec::new, |speaker| lacks(speaker, rights, on));
        let here: Vec<_> = missing.into_iter().filter(|right| !known.contains(right)).collect();
        if here.is_empty() {
            continue;
        }
        let (list, who) = (here.join(", "), account(&patient.seen.account));
        let what = format!("Backstay's user {who} lacks {list} on {on}");
        found.push(alone(patient, Found::error(what)).mend(format!("GRANT {list} ON {on} TO {who}")));
    }
    found
}

/// What is missing at a replica alone is granted there alone.
fn alone(patient: &Patient<'_>, found: Found) -> Found {
    if patient.speaks() { found } else { found.mend("SET SESSION sql_log_bin = 0") }
}

/// What the replicas' user lacks.
pub(crate) fn replicator(patient: &Patient<'_>) -> Vec<Found> {
    let Some(tried) = &patient.seen.replicator else {
        return Vec::new();
    };
    let user = patient.group.replicator;
    let who = account(&format!("{user}@%"));
    match tried {
        Ok(grants) => {
            let has = |right: &&&str| !grants.has(right, patient.seen.major());
            let missing: Vec<_> = REPLICATION_RIGHTS.iter().filter(has).copied().collect();
            if missing.is_empty() {
                return Vec::new();
            }
            let list = missing.join(", ");
            let found = Found::error(format!("the replicas' user {} lacks {list} on *.*", name(user)));
            // Which of its accounts let it in is not known: from another host it may be another one.
            vec![
                alone(patient, found)
                    .mend(format!("GRANT {list} ON *.* TO {who}"))
                    .advice("for an account of another host than '%', put that host in its place"),
            ]
        }
        Err(_) if patient.group.seen.iter().any(|seen| is_let_in(seen, user)) => Vec::new(),
        Err(error) => {
            let why = reach::sentence(error);
            let found = Found::warning(format!(
                "the replicas' user {} cannot log in from here: it {why}",
                name(user)
            ));
            vec![
                alone(patient, found)
                    .mend(format!("CREATE USER IF NOT EXISTS {who} IDENTIFIED BY '...'"))
                    .mend(format!("ALTER USER {who} IDENTIFIED BY '...'"))
                    .mend(format!("GRANT {} ON *.* TO {who}", REPLICATION_RIGHTS.join(", ")))
                    .advice(
                        "put the password that the file names in the place of the dots; nothing is wrong if the user \
                         may log in from the hosts of the replicas alone",
                    ),
            ]
        }
    }
}

/// Whether an instance follows somebody as this user.
fn is_let_in(seen: &Seen, user: &str) -> bool {
    let follows = |link: &std::collections::BTreeMap<String, String>| {
        let is = |column: &str, wanted: &str| link.get(column).is_some_and(|value| value == wanted);
        is("Master_User", user) && is("Slave_IO_Running", "Yes")
    };
    seen.links.iter().flatten().any(follows)
}

/// Applications that write where `read_only` is set.
pub(crate) fn powerful(patient: &Patient<'_>) -> Vec<Found> {
    if !patient.speaks() {
        return Vec::new();
    }
    let Some(accounts) = &patient.seen.powerful else {
        let what = "whether an application has SUPER or READ_ONLY ADMIN cannot be seen as this user";
        return vec![
            Found::note(what).mend(POWERFUL).advice("run it as root; only Backstay's user may be listed"),
        ];
    };
    let others = accounts.iter().filter(|account| **account != patient.seen.account);
    others
        .map(|other| {
            let who = account(other);
            Found::warning(format!("{who} has SUPER or READ_ONLY ADMIN"))
                .mend(format!("REVOKE SUPER, READ_ONLY ADMIN ON *.* FROM {who}"))
                .advice("leave it if no application logs in so")
        })
        .collect()
}
