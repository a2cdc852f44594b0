//! Who belongs together: the primary is asked who follows it, and each of those is looked at. Nothing but questions.

use super::{AdoptError, MariaDbWish, unfit, unreachable};
use crate::doctor::look::{Seen, column, look};
use crate::link::line::Line;
use crate::secret::Login;
use backstay_model::{Address, InstanceName, InstanceSpec, MariaDbSpec};
use backstay_wire::mariadb::{CANARY_RIGHTS, REPLICATION_RIGHTS, RIGHTS, Row, Table};
use std::collections::BTreeSet;

/// What an administrator needs beside everything that is to be granted.
const ADMIN_RIGHTS: &[&str] = &["BINLOG ADMIN", "CREATE USER", "GRANT OPTION", "SUPER"];

/// The servers of one group, the primary first.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) seen: Vec<Seen>,
    /// Accounts with the names that are to be given.
    pub(super) accounts: Vec<String>,
}

impl Found {
    pub(super) fn primary(&self) -> &Seen {
        &self.seen[0]
    }
}

/// One line of `SHOW SLAVE HOSTS`.
struct Follower {
    server_id: String,
    address: Option<Address>,
}

pub(super) async fn find(wish: &MariaDbWish, admin: &Login) -> Result<Found, AdoptError> {
    let primary = one(1, &wish.primary, admin).await.map_err(unfit)?;
    is_primary(&primary)?;
    let (followers, accounts) = ask_primary(&primary, admin).await?;
    let (mut seen, mut sentences) = (vec![primary], Vec::new());
    for address in &wish.replicas {
        match one(seen.len() + 1, address, admin).await {
            // The same one by another name.
            Ok(found) if is_twin(&seen, &found) => {}
            Ok(found) => seen.push(found),
            Err(sentence) => sentences.push(sentence),
        }
    }
    for follower in &followers {
        let Some(address) = follower.address.as_ref().filter(|_| !is_among(&seen, follower)) else {
            continue;
        };
        match one(seen.len() + 1, address, admin).await {
            Ok(found) if is_twin(&seen, &found) => {}
            Ok(found) => seen.push(found),
            Err(sentence) => sentences.push(format!(
                "{sentence}; if the replica with server_id {} has another address, name it with --replica HOST:PORT",
                follower.server_id
            )),
        }
    }
    sentences.extend(strangers(&seen));
    if sentences.is_empty() {
        sentences.extend(unnamed(&seen, &followers));
    }
    if seen.len() < 2 && sentences.is_empty() {
        sentences.push(format!(
            "  {} has no replica, and one server alone has nobody who could take over\n    next: make a replica of it \
             (mariadb-backup), let it follow, then run this again",
            wish.primary
        ));
    }
    if sentences.is_empty() { Ok(Found { seen, accounts }) } else { Err(AdoptError::Unfit(sentences)) }
}

/// One server, with everything that the administrator lacks there.
async fn one(place: usize, address: &Address, admin: &Login) -> Result<Seen, String> {
    let instance = InstanceSpec {
        name: InstanceName::from(format!("db{place}")),
        address: address.clone(),
        site: String::new(),
        zone: String::new(),
        priority: 100,
        agent: None,
    };
    let user = admin.username().unwrap_or_default();
    let seen = look(&instance, admin, &MariaDbSpec::default()).await;
    let seen = seen.map_err(|error| unreachable(instance.name.as_str(), address, &error, user))?;
    let named = format!("  {} ({address})", instance.name);
    if seen.is_on("wsrep_on") {
        return Err(format!(
            "{named} is a node of a Galera cluster, which has no primary and fails over by itself\n    next: leave it out"
        ));
    }
    let wanted = [RIGHTS, REPLICATION_RIGHTS, CANARY_RIGHTS, ADMIN_RIGHTS].concat();
    let lacks: BTreeSet<_> =
        wanted.into_iter().filter(|right| !seen.grants.has(right, seen.major())).collect();
    if lacks.is_empty() {
        return Ok(seen);
    }
    let list = lacks.into_iter().collect::<Vec<_>>().join(", ");
    let who = crate::doctor::finding::account(&seen.account);
    Err(format!(
        "{named} lets {who} in, who lacks {list} on *.*\n    next: name an administrator with --admin-user, or \
         GRANT ALL ON *.* TO {who} WITH GRANT OPTION"
    ))
}

fn is_primary(seen: &Seen) -> Result<(), AdoptError> {
    let named = format!("  {} ({})", seen.spec.name, seen.spec.address);
    if let Some(link) = seen.links.iter().flatten().next() {
        let field = |name: &str| link.get(name).map_or("", String::as_str);
        return Err(unfit(format!(
            "{named} is no primary: it follows {}:{}\n    next: name the primary",
            field("Master_Host"),
            field("Master_Port")
        )));
    }
    if seen.is_on("read_only") {
        return Err(unfit(format!(
            "{named} is no primary: it follows nobody and takes no writes\n    next: name the primary; if this is it, \
             SET GLOBAL read_only = OFF"
        )));
    }
    Ok(())
}

/// Who follows it, by its own account.
async fn ask_primary(primary: &Seen, admin: &Login) -> Result<(Vec<Follower>, Vec<String>), AdoptError> {
    let failed = |error| unfit(unreachable(primary.spec.name.as_str(), &primary.spec.address, &error, ""));
    let settings = admin.mariadb_settings(MariaDbSpec::default());
    let line = Line::open(&primary.spec.address, admin.tls().cloned(), settings).await;
    let mut line = line.map_err(failed)?;
    let hosts = line.ask("SHOW SLAVE HOSTS").await.map_err(failed)?;
    let accounts = format!(
        "SELECT CONCAT(User, '@', Host) AS account FROM mysql.global_priv WHERE User IN ('{}', '{}')",
        super::OWN_USER,
        super::REPLICATION_USER
    );
    let accounts = column(&line.ask(&accounts).await.map_err(failed)?, "account");
    let follower = |row: Row<'_>| {
        let port = row.get("Port").and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        let host = row.get("Host").filter(|host| !host.is_empty());
        Follower {
            server_id: row.get("Server_id").unwrap_or_default().to_owned(),
            address: host.map(|host| Address { host: host.into(), port: port.unwrap_or(3306) }),
        }
    };
    let mut followers: Vec<_> = hosts.iter().flat_map(Table::rows).map(follower).collect();
    followers.sort_by_key(|follower| follower.server_id.parse::<u64>().unwrap_or(u64::MAX));
    Ok((followers, accounts))
}

/// Whether it is one that was seen already, under another address: the same server can be told by its position alone,
/// so two servers with one `server_id` count as two.
fn is_twin(seen: &[Seen], found: &Seen) -> bool {
    let same = |seen: &Seen| {
        seen.value("server_id") == found.value("server_id")
            && !seen.value("hostname").is_empty()
            && seen.value("hostname") == found.value("hostname")
            && seen.value("port") == found.value("port")
            && seen.value("datadir") == found.value("datadir")
    };
    seen.iter().any(same)
}

/// Those that do not follow the primary.
fn strangers(seen: &[Seen]) -> Vec<String> {
    let Some((primary, replicas)) = seen.split_first() else {
        return Vec::new();
    };
    let mut sentences = Vec::new();
    for replica in replicas {
        let named = format!("  {} ({})", replica.spec.name, replica.spec.address);
        let id = |seen: &Seen| seen.value("server_id").to_owned();
        let link = replica.links.iter().flatten().next();
        let of = link.and_then(|link| link.get("Master_Server_Id")).cloned();
        if id(replica) == id(primary) {
            sentences.push(format!(
                "{named} has the server_id of the primary, {}\n    next: give it another one, in its file and by \
                 SET GLOBAL server_id",
                id(primary)
            ));
        } else if of != Some(id(primary)) {
            let whom = of.map_or_else(|| "nobody".to_owned(), |of| format!("the server with server_id {of}"));
            sentences.push(format!(
                "{named} follows {whom}, and not {}\n    next: let it follow the primary, or leave it out",
                primary.spec.address
            ));
        }
        let twin =
            replicas.iter().find(|other| other.spec.name != replica.spec.name && id(other) == id(replica));
        if let Some(twin) = twin {
            sentences.push(format!(
                "{named} has the server_id of {}, {}\n    next: give it another one, in its file and by SET GLOBAL \
                 server_id",
                twin.spec.name,
                id(replica)
            ));
        }
    }
    sentences
}

fn is_among(seen: &[Seen], follower: &Follower) -> bool {
    seen.iter().any(|seen| seen.value("server_id") == follower.server_id)
}

/// Those that the primary knows and nobody can find.
fn unnamed(seen: &[Seen], followers: &[Follower]) -> Vec<String> {
    let unknown = followers.iter().filter(|follower| !is_among(seen, follower));
    unknown
        .map(|follower| {
            format!(
                "  a replica with server_id {} follows the primary, and its address is not known\n    next: name it with --replica HOST:PORT",
                follower.server_id
            )
        })
        .collect()
}
