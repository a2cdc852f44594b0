//! Every check in one table: its name, why it matters, and what is looked at. A setting is a row by itself; anything else
//! is a function in `group` or `rights`. Pure.
//!
//! What Backstay sets itself when it opens, closes or points an instance is not in it: see `SET_BY_BACKSTAY`.

use super::finding::{Found, Severity};
use super::look::Seen;
use super::{group, rights};
use backstay_model::ServiceSpec;

/// What Backstay sets at run time, so that nobody else needs to.
pub const SET_BY_BACKSTAY: &[&str] = &[
    "read_only, whenever an instance becomes the primary or is one no longer",
    "whom a replica follows, with MASTER_USE_GTID=slave_pos, MASTER_HEARTBEAT_PERIOD=0.5, MASTER_CONNECT_RETRY=1",
    "rpl_semi_sync_master_enabled and rpl_semi_sync_slave_enabled",
    "rpl_semi_sync_master_wait_point, _timeout and _wait_no_slave of a primary, with durability = \"majority\"",
    "event_scheduler ON or OFF, with events = true",
];

/// One thing to look at.
pub(crate) struct Check {
    pub(crate) name: &'static str,
    pub(crate) why: &'static str,
    pub(crate) judge: Judge,
}

/// How it is looked at.
pub(crate) enum Judge {
    /// A setting has its value.
    Setting(Setting),
    /// Anything else.
    Other(fn(&Patient<'_>) -> Vec<Found>),
}

/// A setting that has a value.
pub(crate) struct Setting {
    wanted: Wanted,
    weight: fn(&Patient<'_>, &str) -> Severity,
    how: How,
}

/// Which values will do.
enum Wanted {
    Is(&'static str),
    OneOf(&'static [&'static str]),
    Within { least: u64, most: u64, set: u64 },
}

/// How it is changed.
#[derive(Clone, Copy)]
enum How {
    /// In the file, and by a restart.
    Restart,
    /// While everything runs.
    Running,
    /// The thread that receives reads it when it starts.
    ReceiverAnew,
    /// The thread that applies must not run meanwhile. The other one goes on: what it received stays.
    ApplierStopped,
}

/// One instance among the others.
pub(crate) struct Patient<'a> {
    pub(crate) seen: &'a Seen,
    pub(crate) group: &'a Group<'a>,
}

/// A service as it was found.
pub(crate) struct Group<'a> {
    pub(crate) service: &'a ServiceSpec,
    pub(crate) majority: bool,
    pub(crate) events: bool,
    /// Those that could be looked at.
    pub(crate) seen: &'a [&'a Seen],
    /// As whom replicas log in.
    pub(crate) replicator: &'a str,
    /// The most clients that one gateway sends to its primary; none: there is no endpoint.
    pub(crate) clients_max: Option<u64>,
}

impl Group<'_> {
    /// Who answers for what replication makes the same everywhere: the primary, or else the first one.
    pub(crate) fn speaker(&self) -> Option<&Seen> {
        let primary = self.seen.iter().find(|seen| seen.role() == "primary");
        primary.or_else(|| self.seen.first()).copied()
    }
}

impl Patient<'_> {
    pub(crate) fn speaks(&self) -> bool {
        self.group.speaker().is_some_and(|speaker| speaker.spec.name == self.seen.spec.name)
    }
}

const fn setting(
    name: &'static str,
    wanted: Wanted,
    weight: fn(&Patient<'_>, &str) -> Severity,
    how: How,
    why: &'static str,
) -> Check {
    Check { name, why, judge: Judge::Setting(Setting { wanted, weight, how }) }
}

const fn other(name: &'static str, look: fn(&Patient<'_>) -> Vec<Found>, why: &'static str) -> Check {
    Check { name, why, judge: Judge::Other(look) }
}

/// See the module's head.
pub(crate) const CHECKS: &[Check] = &[
    other("rights", rights::own, "what Backstay may not do it cannot do in a failover either"),
    other(
        "replication user",
        rights::replicator,
        "after a failover replicas must be let in by whoever is the primary then",
    ),
    other("applications", rights::powerful, "they write where read_only is set: a fence does not stop them"),
    setting(
        "log_bin",
        Wanted::Is("ON"),
        error,
        How::Restart,
        "without a binary log nobody can follow it once it is the primary",
    ),
    setting(
        "log_slave_updates",
        Wanted::Is("ON"),
        error,
        How::Restart,
        "a replica that becomes the primary must be able to give others what it received",
    ),
    setting(
        "gtid_strict_mode",
        Wanted::Is("ON"),
        error,
        How::Running,
        "without it an instance that went its own way is followed in silence",
    ),
    setting(
        "binlog_format",
        Wanted::Is("ROW"),
        error,
        How::Running,
        "a statement that is run again elsewhere can give something else there",
    ),
    setting(
        "binlog_row_image",
        Wanted::Is("FULL"),
        warning,
        How::Running,
        "only whole rows can be taken back (flashback) or looked up when something was lost",
    ),
    setting(
        "sync_binlog",
        Wanted::Is("1"),
        by_durability,
        How::Running,
        "after a crash of the host an instance may lack what it acknowledged, or have what nobody else has",
    ),
    setting(
        "innodb_flush_log_at_trx_commit",
        Wanted::OneOf(&["1", "3"]),
        by_durability,
        How::Running,
        "after a crash of the host an instance may lack what it acknowledged",
    ),
    setting(
        "slave_net_timeout",
        Wanted::Within { least: 1, most: 10, set: 3 },
        warning,
        How::ReceiverAnew,
        "a replica notices no sooner that its primary is silent",
    ),
    setting(
        "rpl_semi_sync_slave_kill_conn_timeout",
        Wanted::Within { least: 1, most: 2, set: 1 },
        zero_is_worse,
        How::Running,
        "so many seconds a failover from a primary that hangs waits; 0 means 24 of them",
    ),
    setting(
        "slave_parallel_mode",
        Wanted::OneOf(&["optimistic", "aggressive"]),
        warning,
        How::ApplierStopped,
        "a failover waits until what was received is applied",
    ),
    setting(
        "slave_parallel_threads",
        Wanted::Within { least: 2, most: u64::MAX, set: 4 },
        warning,
        How::ApplierStopped,
        "a failover waits until what was received is applied; one thread falls behind many writers",
    ),
    other(
        "server_id",
        group::server_id,
        "a replica takes a transaction of its own server_id for its own, and does not apply it",
    ),
    other("gtid_domain_id", group::domain, "positions of different domains cannot be compared"),
    other(
        "GTID domains",
        group::foreign_domains,
        "a replica that never had those transactions is refused by a primary that did",
    ),
    other("galera", group::galera, "Galera has no primary, and fails over by itself"),
    other("one primary", group::one_primary, "two that take writes part for ever"),
    other("read_only", group::read_only, "a replica that takes writes goes its own way"),
    other(
        "boot",
        group::boot,
        "protected boot: an instance that restarts takes no write, and follows nobody, before Backstay says so",
    ),
    other("channels", group::channels, "Backstay leads one channel, the one without a name"),
    other("whom it follows", group::followed, "it is part of somebody else's group"),
    other("Using_Gtid", group::using_gtid, "without GTIDs nobody knows where to go on at another primary"),
    other(
        "heartbeats",
        group::heartbeat,
        "by them Backstay sees that an idle primary lives, and that one that hangs does not",
    ),
    other("replication", group::threads, "a replica that does not follow cannot take over"),
    other("filters", group::filters, "a replica that leaves something out is none that can take over"),
    other(
        "slave_skip_errors",
        group::skipped_errors,
        "a replica that passes over errors becomes another one than its primary",
    ),
    other(
        "host blocking",
        group::blocking,
        "looks at a server that hangs come to nothing; after so many it lets this host in no longer",
    ),
    other("events", group::events, "events run on the primary alone, and must begin where it moves to"),
    other("clock", group::clock, "after a failover the time that applications are told jumps by this much"),
    other(
        "tables",
        group::tables,
        "without a primary key each changed row is looked for in the whole table on a \
         replica, and other engines than InnoDB take back nothing after a crash",
    ),
    other(
        "max_connections",
        group::connections,
        "who does not fit is turned away by the server with error 1040",
    ),
];

/// Everything that is to be said about one instance.
pub(crate) fn examine(patient: &Patient<'_>) -> Vec<(&'static Check, Found)> {
    let all = CHECKS.iter().flat_map(|check| {
        let found = match &check.judge {
            Judge::Setting(setting) => setting.judge(check.name, patient).into_iter().collect(),
            Judge::Other(look) => look(patient),
        };
        found.into_iter().map(move |found| (check, found))
    });
    // Nothing else matters there.
    if patient.seen.is_on("wsrep_on") {
        return all.filter(|(check, _)| check.name == "galera").collect();
    }
    all.collect()
}

impl Setting {
    fn judge(&self, name: &str, patient: &Patient<'_>) -> Option<Found> {
        // An older version may not have it.
        let variable = patient.seen.variables.get(name)?;
        let (value, set) = (&variable.value, self.set());
        if !self.will_do(value) {
            let what = format!("{name} is {value}; {}", self.wish());
            let found = Found::new((self.weight)(patient, value), what).file(format!("{name} = {set}"));
            return Some(match self.how {
                How::Restart => found.restart(),
                how => found.mend(how.statement(name, &set, patient.seen)),
            });
        }
        stays(name, value, patient.seen)
    }

    fn will_do(&self, value: &str) -> bool {
        match self.wanted {
            Wanted::Is(wanted) => is_same(value, wanted),
            Wanted::OneOf(wanted) => wanted.iter().any(|wanted| is_same(value, wanted)),
            Wanted::Within { least, most, .. } => {
                value.parse().is_ok_and(|value: u64| (least..=most).contains(&value))
            }
        }
    }

    fn set(&self) -> String {
        match self.wanted {
            Wanted::Is(wanted) => wanted.to_owned(),
            Wanted::OneOf(wanted) => wanted[0].to_owned(),
            Wanted::Within { set, .. } => set.to_string(),
        }
    }

    fn wish(&self) -> String {
        match self.wanted {
            Wanted::Is(wanted) => format!("it should be {wanted}"),
            Wanted::OneOf(wanted) => format!("it should be {}", wanted.join(" or ")),
            Wanted::Within { least, most: u64::MAX, .. } => format!("it should be at least {least}"),
            Wanted::Within { least, most, .. } => format!("it should be between {least} and {most}"),
        }
    }
}

/// What is right by a statement alone does not outlive the process.
pub(crate) fn stays(name: &str, line: &str, seen: &Seen) -> Option<Found> {
    let variable = seen.variables.get(name).filter(|variable| variable.origin == "SQL")?;
    let what = format!(
        "{name} is {}, but by a statement: that its file says so, too, cannot be seen before a restart",
        variable.value
    );
    Some(Found::note(what).file(format!("{name} = {line}")))
}

impl How {
    fn statement(self, name: &str, value: &str, seen: &Seen) -> String {
        let value = if value.parse::<u64>().is_ok() { value.to_owned() } else { format!("'{value}'") };
        let set = format!("SET GLOBAL {name} = {value}");
        let thread = match self {
            Self::ReceiverAnew => "IO_THREAD",
            Self::ApplierStopped => "SQL_THREAD",
            Self::Restart | Self::Running => return set,
        };
        if seen.is_replica() { format!("STOP SLAVE {thread}; {set}; START SLAVE {thread}") } else { set }
    }
}

fn is_same(value: &str, wanted: &str) -> bool {
    let on = |text: &str| if text == "ON" { "1".to_owned() } else { text.to_lowercase() };
    on(value) == on(wanted)
}

fn error(_: &Patient<'_>, _: &str) -> Severity {
    Severity::Error
}

fn warning(_: &Patient<'_>, _: &str) -> Severity {
    Severity::Warning
}

/// Nothing may be lost in `majority`.
fn by_durability(patient: &Patient<'_>, _: &str) -> Severity {
    if patient.group.majority { Severity::Error } else { Severity::Warning }
}

fn zero_is_worse(_: &Patient<'_>, value: &str) -> Severity {
    if value == "0" { Severity::Error } else { Severity::Warning }
}
