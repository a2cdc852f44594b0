//! From what was found to steps, in their order: users first, then settings, then whom replicas follow as, last of all
//! that commits wait for an acknowledgement. Pure.

use super::find::Found;
use super::{MariaDbAdoption, MariaDbWish, OWN_USER, REPLICATION_USER, Work};
use crate::doctor::checks::{Check, Group, Judge, Patient, examine};
use crate::doctor::finding::{Found as Word, account};
use crate::doctor::look::Seen;
use crate::doctor::{Finding, Severity};
use backstay_config::Config;
use backstay_model::{Address, Durability, InstanceName, MariaDbSpec};
use backstay_wire::mariadb::{CANARY_RIGHTS, EVENT_RIGHTS, REPLICATION_RIGHTS, RIGHTS};
use serde::Serialize;
use std::path::PathBuf;

/// Checks about what the steps make new: the users, and how replicas follow.
const MADE_NEW: [&str; 4] = ["rights", "replication user", "heartbeats", "Using_Gtid"];
/// Checks beside those of settings whose statements are run.
const MENDED: [&str; 2] = ["read_only", "host blocking"];

/// One server of the new service.
#[derive(Debug, Serialize)]
pub struct MariaDbMember {
    /// What it will be called.
    pub instance: InstanceName,
    /// Its address.
    pub address: Address,
    /// Its version.
    pub version: String,
    /// `primary` or `replica`.
    pub role: &'static str,
    /// The lines for the section `[mariadbd]` of its file.
    pub lines: Vec<String>,
    /// Where they are written, to be copied to its host.
    pub drop_in: PathBuf,
}

/// One step.
#[derive(Debug, Serialize)]
pub struct MariaDbStep {
    /// Where; none: here.
    pub instance: Option<InstanceName>,
    /// What is done. No password is in it.
    pub what: String,
    /// How it is taken back.
    pub undo: String,
    /// Whether it was done.
    pub done: bool,
    #[serde(skip)]
    pub(super) action: Action,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(super) enum Action {
    /// A new password, unless its file is there.
    Secret(PathBuf),
    /// Statements in which these words stand for the passwords.
    Statements(Vec<String>),
    /// Until both users are let in there with all their rights.
    AwaitUsers,
    /// Until it receives and applies.
    AwaitFollowing,
    /// Until somebody acknowledges.
    AwaitAcknowledgement,
    /// A new file with this text; `again`: also in the place of one that an earlier run wrote.
    Write { path: PathBuf, text: String, again: bool },
}

/// What stands for a password until the statement is sent.
pub(super) const OWN_HASH: &str = "'(hash of the password of backstay)'";
pub(super) const REPLICATION_HASH: &str = "'(hash of the password of backstay_replica)'";
pub(super) const REPLICATION_PASSWORD: &str = "'(password of backstay_replica)'";

pub(super) fn plan(wish: &MariaDbWish, config: &Config, found: &Found, work: Work) -> MariaDbAdoption {
    let seen: Vec<&Seen> = found.seen.iter().collect();
    let (mut hindrances, mut left, mut mended) = (Vec::new(), Vec::new(), Vec::new());
    let mut lines = vec![Vec::new(); seen.len()];
    if let Some(service) = config.spec.services.first() {
        let group = Group {
            service,
            majority: work.spec.durability == Durability::Majority,
            events: work.spec.events,
            seen: &seen,
            replicator: REPLICATION_USER,
            clients_max: None,
        };
        for (seen, lines) in seen.iter().zip(&mut lines) {
            for (check, found) in examine(&Patient { seen, group: &group }) {
                let finding = found.at(&service.name, &seen.spec.name, check.name, check.why);
                for line in &finding.file {
                    if !lines.contains(line) {
                        lines.push(line.clone());
                    }
                }
                match lot(check, &finding) {
                    Lot::Nobody => {}
                    Lot::Step => mended.push((seen.spec.name.clone(), finding, (*seen).clone())),
                    Lot::Hindrance => hindrances.push(finding),
                    Lot::Left => left.push(finding),
                }
            }
        }
    }
    hindrances.extend(taken(wish, found, &work));
    let members: Vec<_> = seen.iter().zip(lines).map(|(seen, lines)| member(wish, seen, lines)).collect();
    MariaDbAdoption {
        service: wish.service.clone(),
        durability: work.spec.durability.word(),
        file: wish.file.clone(),
        steps: steps(wish, found, &members, mended, &work),
        members,
        hindrances,
        left,
        work,
    }
}

/// Accounts whose passwords are somebody else's.
fn taken(wish: &MariaDbWish, found: &Found, work: &Work) -> Vec<Finding> {
    let of = [(OWN_USER, &work.own_secret), (REPLICATION_USER, &work.replication_secret)];
    let unknown = of.into_iter().filter(|(_, secret)| !secret.exists());
    let named = unknown.flat_map(|(user, _)| {
        let is_named =
            move |account: &&String| account.rsplit_once('@').is_some_and(|(name, _)| name == user);
        found.accounts.iter().filter(is_named)
    });
    let primary = &found.primary().spec.name;
    named
        .map(|other| {
            let who = account(other);
            Word::error(format!("the user {who} exists, and its password would be another one"))
                .mend(format!("DROP USER {who}"))
                .advice(
                    "if nobody else logs in so; or put its password into the file that the first steps name",
                )
                .at(&wish.service, primary, "users", "passwords are new ones that nobody else has")
        })
        .collect()
}

/// What becomes of a finding.
enum Lot {
    Step,
    /// Nothing is done as long as it is so.
    Hindrance,
    /// It is said.
    Left,
    /// A step makes it needless.
    Nobody,
}

fn lot(check: &Check, finding: &Finding) -> Lot {
    let is_setting = matches!(check.judge, Judge::Setting(_));
    if MADE_NEW.contains(&check.name) {
        // One that has no position by GTID cannot go on by it.
        let is_lost = check.name == "Using_Gtid" && finding.mend.is_empty();
        return if is_lost { Lot::Hindrance } else { Lot::Nobody };
    }
    if (is_setting || MENDED.contains(&check.name)) && !finding.mend.is_empty() {
        return Lot::Step;
    }
    match finding.severity {
        // Its lines are written: that they are copied is said anyhow.
        Severity::Error if check.name == "boot" => Lot::Left,
        Severity::Error => Lot::Hindrance,
        Severity::Warning | Severity::Note => Lot::Left,
    }
}

fn member(wish: &MariaDbWish, seen: &Seen, lines: Vec<String>) -> MariaDbMember {
    let name = format!("{}-{}.cnf", wish.service, seen.spec.name);
    MariaDbMember {
        instance: seen.spec.name.clone(),
        address: seen.spec.address.clone(),
        version: seen.version.clone(),
        role: seen.role(),
        lines,
        drop_in: wish.file.with_file_name(name),
    }
}

fn steps(
    wish: &MariaDbWish,
    found: &Found,
    members: &[MariaDbMember],
    mended: Vec<(InstanceName, Finding, Seen)>,
    work: &Work,
) -> Vec<MariaDbStep> {
    let mut steps = Vec::new();
    let mut step = |instance: Option<&InstanceName>, what: String, undo: String, action: Action| {
        steps.push(MariaDbStep { instance: instance.cloned(), what, undo, done: false, action });
    };
    for path in [&work.own_secret, &work.replication_secret] {
        let what = format!("a new password in {} (kept if it is there)", path.display());
        step(None, what, format!("rm {}", path.display()), Action::Secret(path.clone()));
    }
    let primary = &found.primary().spec.name;
    for (who, statements) in users(wish, &work.spec) {
        let what = statements.join("; ");
        step(Some(primary), what, format!("DROP USER {who}"), Action::Statements(statements));
    }
    for seen in &found.seen {
        let what = "see that both users are let in, with all their rights".to_owned();
        step(Some(&seen.spec.name), what, String::new(), Action::AwaitUsers);
    }
    for (instance, finding, seen) in mended {
        let undo = finding.mend.iter().filter_map(|statement| former(statement, &seen)).collect::<Vec<_>>();
        step(Some(&instance), finding.mend.join("; "), undo.join("; "), Action::Statements(finding.mend));
    }
    let acknowledged = work.spec.durability == Durability::Majority;
    for seen in &found.seen[1..] {
        let statements = repointing(acknowledged);
        let what = statements.join("; ");
        step(Some(&seen.spec.name), what, former_user(seen), Action::Statements(statements));
        let what = "see that it receives and applies".to_owned();
        step(Some(&seen.spec.name), what, String::new(), Action::AwaitFollowing);
    }
    if acknowledged {
        let statements = waiting();
        let undo = "SET GLOBAL rpl_semi_sync_master_enabled = OFF".to_owned();
        step(Some(primary), statements.join("; "), undo, Action::Statements(statements));
        let what = "see that somebody acknowledges".to_owned();
        step(Some(primary), what, String::new(), Action::AwaitAcknowledgement);
    }
    for member in members.iter().filter(|member| !member.lines.is_empty()) {
        let path = &member.drop_in;
        let text = format!(
            "# Written by `backstay adopt` for {} ({}): copy it to /etc/mysql/mariadb.conf.d/90-backstay.cnf there.\n\
             [mariadbd]\n{}\n",
            member.instance,
            member.address,
            member.lines.join("\n")
        );
        let what = format!("the lines for {} in {}", member.instance, path.display());
        step(
            None,
            what,
            format!("rm {}", path.display()),
            Action::Write { path: path.clone(), text, again: true },
        );
    }
    let what = format!("the file {}", wish.file.display());
    let undo = format!("rm {}", wish.file.display());
    let (path, text) = (wish.file.clone(), work.text.clone());
    step(None, what, undo, Action::Write { path, text, again: false });
    steps
}

/// Each user, with the statements that make it and give it what it needs. They go into the binary log, and so name a
/// password by its hash.
fn users(wish: &MariaDbWish, spec: &MariaDbSpec) -> [(String, Vec<String>); 2] {
    let [own, replicas] =
        [OWN_USER, REPLICATION_USER].map(|user| account(&format!("{user}@{}", wish.from_hosts)));
    let mut rights = RIGHTS.to_vec();
    if spec.events {
        rights.extend(EVENT_RIGHTS);
    }
    let made = |who: &str, password: &str| {
        vec![
            format!("CREATE USER IF NOT EXISTS {who} IDENTIFIED BY PASSWORD {password}"),
            format!("ALTER USER {who} IDENTIFIED BY PASSWORD {password}"),
        ]
    };
    let mut first = made(&own, OWN_HASH);
    first.push(format!("GRANT {} ON *.* TO {own}", rights.join(", ")));
    first.push(format!("GRANT {} ON backstay.* TO {own}", CANARY_RIGHTS.join(", ")));
    let mut second = made(&replicas, REPLICATION_HASH);
    second.push(format!("GRANT {} ON *.* TO {replicas}", REPLICATION_RIGHTS.join(", ")));
    [(own, first), (replicas, second)]
}

/// A replica goes on by GTID, and as the new user. Its thread reads when it starts whether it acknowledges.
fn repointing(acknowledged: bool) -> Vec<String> {
    let mut statements = vec!["STOP SLAVE".to_owned()];
    if acknowledged {
        statements.push("SET GLOBAL rpl_semi_sync_slave_enabled = ON".to_owned());
    }
    statements.push(format!(
        "CHANGE MASTER TO MASTER_USER='{REPLICATION_USER}', MASTER_PASSWORD={REPLICATION_PASSWORD}, \
         MASTER_USE_GTID=slave_pos, MASTER_HEARTBEAT_PERIOD=0.5, MASTER_CONNECT_RETRY=1"
    ));
    statements.push("START SLAVE".to_owned());
    statements
}

/// Commits wait for an acknowledgement from now on.
fn waiting() -> Vec<String> {
    [
        "SET GLOBAL rpl_semi_sync_master_wait_point = AFTER_SYNC",
        "SET GLOBAL rpl_semi_sync_master_timeout = 3600000",
        "SET GLOBAL rpl_semi_sync_master_wait_no_slave = ON",
        "SET GLOBAL rpl_semi_sync_master_enabled = ON",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The statement that makes a setting what it was.
fn former(statement: &str, seen: &Seen) -> Option<String> {
    let (_, set) = statement.split_once("SET GLOBAL ")?;
    let set = set.split("; ").next()?;
    let name = set.split(' ').next()?;
    let value = seen.value(name);
    let value = if value.parse::<u64>().is_ok() { value.to_owned() } else { format!("'{value}'") };
    Some(statement.replace(set, &format!("{name} = {value}")))
}

fn former_user(seen: &Seen) -> String {
    let link = seen.links.iter().flatten().next();
    let field = |name: &str| link.and_then(|link| link.get(name)).map_or("", String::as_str);
    format!(
        "STOP SLAVE; CHANGE MASTER TO MASTER_USER='{}', MASTER_PASSWORD='...', MASTER_USE_GTID={}; START SLAVE",
        field("Master_User"),
        field("Using_Gtid").to_lowercase()
    )
}
