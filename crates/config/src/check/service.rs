//! What the settings of one service mean together: numbers that fit each other, places that exist, a login that is whole.

use crate::engines::{EngineDraft, MariaDbDraft, RedisDraft, ReplicationDraft};
use crate::finding::Findings;
use crate::services::ServiceDraft;
use crate::values::spelt;
use backstay_model::{Durability, Failsafe, RebuildPolicy};

/// The primary and exactly two that acknowledge (safety, section 9).
const MAJORITY_INSTANCES: usize = 3;

/// Notes everything that is wrong or doubtful about one service.
pub(super) fn all(service: &ServiceDraft, findings: &mut Findings) {
    timing(service, findings);
    instances(service, findings);
    match &service.engine {
        EngineDraft::Redis(redis) => guard(service, redis, findings),
        EngineDraft::MariaDb(mariadb) => {
            majority(service, mariadb, findings);
            user("MariaDB", service, findings);
            replication(&mariadb.replication, findings);
            rebuild(service, mariadb, findings);
        }
        EngineDraft::MySql(mysql) => {
            unproven(service, mysql, findings);
            user("MySQL", service, findings);
            replication(&mysql.replication, findings);
        }
    }
    preference(service, findings);
    login(service, findings);
    failsafe(service, findings);
}

fn timing(service: &ServiceDraft, findings: &mut Findings) {
    let (down_after, probe) = (&service.down_after, &service.probe_interval);
    if down_after.value < probe.value * 2 {
        let message = format!(
            "down_after is {} with a probe_interval of {}: one late answer would look like a death",
            spelt(down_after.value),
            spelt(probe.value)
        );
        let help = format!("Make down_after at least {}, or probe more often.", spelt(probe.value * 2));
        let place = if down_after.span == service.span { probe } else { down_after };
        findings.error(&place.span, message, help);
    }
}

fn instances(service: &ServiceDraft, findings: &mut Findings) {
    if !service.has_instances {
        return;
    }
    let span = &service.instances_span;
    match service.instances.as_slice() {
        [] => {
            let help = "List the servers that hold its data, the primary and its replicas.";
            findings.error(span, "the service has no instances", help);
        }
        [_] => {
            let help = "Add a replica: watching alone saves nothing.";
            findings.warning(span, "one instance: there is nothing to fail over to", help);
        }
        [_, _, ..] if service.instances.iter().all(|instance| instance.priority.value == 0) => {
            let message = "every instance has priority 0: none is ever promoted";
            findings.warning(
                span,
                message,
                "Give at least two instances a priority above 0; the default is 100.",
            );
        }
        _ => {}
    }
}

fn guard(service: &ServiceDraft, redis: &RedisDraft, findings: &mut Findings) {
    if service.instances.is_empty() {
        return;
    }
    let replicas = service.instances.len() as u64 - 1;
    let (wanted, span) = (redis.min_replicas_to_write.value, &redis.min_replicas_to_write.span);
    if wanted > replicas {
        let message = format!("min_replicas_to_write is {wanted}, but there are only {replicas} replicas");
        findings.error(span, message, "No primary would ever take a write: lower it or add instances.");
    } else if wanted == replicas && wanted > 0 {
        let message = format!("min_replicas_to_write is {wanted}, all the replicas there are");
        findings.warning(
            span,
            message,
            "One lost instance stops all writes: lower it by one or add an instance.",
        );
    }
}

fn majority(service: &ServiceDraft, mariadb: &MariaDbDraft, findings: &mut Findings) {
    let count = service.instances.len();
    if mariadb.durability.value != Durability::Majority
        || !service.has_instances
        || count == MAJORITY_INSTANCES
    {
        return;
    }
    let noun = if count == 1 { "instance" } else { "instances" };
    let message =
        format!("durability = \"majority\" needs exactly three instances, and there are {count} {noun}");
    let message = message.replace("there are 1 ", "there is 1 ");
    let help = "MariaDB lets a commit wait for one acknowledgement: with the primary that is a majority of three. Of two, the \
                loss of either would stop all commits; of four it is none. List three, or write durability = \"async\".";
    findings
        .error(&mariadb.durability.span, message, help)
        .also(service.instances_span.clone(), "listed here");
}

/// What was only ever said to recorded replies promises nothing; and somebody must know that.
fn unproven(service: &ServiceDraft, mysql: &MariaDbDraft, findings: &mut Findings) {
    if mysql.durability.value == Durability::Majority {
        let message = "a MySQL service has no durability = \"majority\" yet";
        let help = "Write durability = \"async\": what is said to MySQL's semi-synchronous replication is not yet tried on a \
                    real server, so Backstay cannot promise that no acknowledged commit is lost.";
        findings.error(&mysql.durability.span, message, help);
    }
    if mysql.events.value {
        let message = "Backstay does not move the events of a MySQL yet";
        let help = "Leave events out. A MySQL runs no events that came to it by replication: after a failover, switch them \
                    on by hand (ALTER EVENT ... ENABLE).";
        findings.error(&mysql.events.span, message, help);
    }
    if mysql.rebuild.value == RebuildPolicy::Auto {
        let help = "Leave rebuild out: agents rebuild a MariaDB only, so far.";
        findings.error(&mysql.rebuild.span, "a MySQL that diverged is not rebuilt yet", help);
    }
    let message = "MySQL is not yet tried on a real server";
    let help = "Backstay's words for it follow its manual, and are tried on recorded replies only. Try every move on a copy \
                before you rely on it; see docs/guide/mysql.md.";
    findings.warning(&service.span, message, help);
}

/// Unlike Redis, MariaDB and MySQL let nobody in without a name.
fn user(engine: &str, service: &ServiceDraft, findings: &mut Findings) {
    if !service.has_username {
        let help = "Add username = \"backstay\" and password_file = \"/path\" or password_env = \"NAME\": without a user \
                    Backstay cannot log in.";
        let message = format!("a {engine} service has no username");
        findings.error(&service.span, message, help).labelled("missing here");
    }
}

fn replication(login: &ReplicationDraft, findings: &mut Findings) {
    match (&login.username, &login.password) {
        (Some(username), _) if !login.has_password => {
            let message = "there is a replication_username but no password for it";
            let help = "Add replication_password_file = \"/path\" or replication_password_env = \"NAME\", or leave it out: \
                        then replicas log in as username.";
            findings.error(&username.span, message, help);
        }
        (None, Some(password)) => {
            let message = "there is a password for replicas but no replication_username";
            let help = "Add replication_username = \"...\", or leave the password out: then replicas log in as username.";
            findings.error(&password.span, message, help);
        }
        _ => {}
    }
}

/// Who is rebuilt and who is copied from need an agent each.
fn rebuild(service: &ServiceDraft, mariadb: &MariaDbDraft, findings: &mut Findings) {
    let agents = service.instances.iter().filter(|instance| instance.agent.is_some()).count();
    if mariadb.rebuild.value == RebuildPolicy::Auto && agents < 2 {
        let message = "nothing is ever rebuilt by itself: that takes an agent on the host of each instance";
        let help = "Add agent = \"HOST:PORT\" to the instances, and start `backstay agent` on their hosts.";
        findings.warning(&mariadb.rebuild.span, message, help);
    }
}

fn preference(service: &ServiceDraft, findings: &mut Findings) {
    let (site, zone) = (&service.preference.site, &service.preference.zone);
    let has_site = |wanted: &str| service.instances.iter().any(|instance| instance.site == wanted);
    let has_zone = |wanted: &str| service.instances.iter().any(|instance| instance.zone == wanted);
    let help = "Write one that an instance has, spelt the same, or leave it out.";
    let mut missing = false;
    for (what, place, found) in [
        ("site", site, site.as_ref().is_none_or(|site| has_site(&site.value))),
        ("zone", zone, zone.as_ref().is_none_or(|zone| has_zone(&zone.value))),
    ] {
        if let Some(place) = place.as_ref().filter(|_| !found) {
            missing = true;
            findings.error(
                &place.span,
                format!("no instance of the service is in {what} '{}'", place.value),
                help,
            );
        }
    }
    if let (Some(site), Some(zone), false) = (site, zone, missing) {
        let both = service
            .instances
            .iter()
            .any(|instance| instance.site == site.value && instance.zone == zone.value);
        if !both {
            let message =
                format!("no instance is in site '{}' and zone '{}' at once", site.value, zone.value);
            findings.error(&zone.span, message, help).also(site.span.clone(), "with this site");
        }
    }
}

fn login(service: &ServiceDraft, findings: &mut Findings) {
    if let Some(username) = service.username.as_ref().filter(|_| !service.has_password) {
        let help = "Add password_file = \"/path\" or password_env = \"NAME\".";
        findings.error(&username.span, "there is a username but no password", help);
    }
}

fn failsafe(service: &ServiceDraft, findings: &mut Findings) {
    if service.failsafe.value != Failsafe::Off && service.instances.len() == 1 {
        let message = "the failsafe never begins: it needs a replica that speaks for the primary";
        findings.warning(&service.failsafe.span, message, "Add a replica, or leave failsafe out.");
    }
}
