//! Checks that are no mere value: how instances stand to each other, and how they replicate.

use super::checks::{Patient, stays};
use super::finding::{Found, literal};
use super::look::{Seen, unfit_tables};
use std::collections::{BTreeMap, BTreeSet};

/// By how many seconds clocks may differ.
const CLOCKS_SECONDS: f64 = 1.0;
/// Connections for Backstay, replicas and people, beside those of clients.
const OTHERS: u64 = 20;
/// What looks at a server that hangs do not reach.
const ERRORS_MIN: u64 = 100_000;

/// The settings by which a replica leaves something out.
const FILTERS: [&str; 7] = [
    "replicate_do_db",
    "replicate_ignore_db",
    "replicate_do_table",
    "replicate_ignore_table",
    "replicate_wild_do_table",
    "replicate_wild_ignore_table",
    "replicate_rewrite_db",
];

/// `statement` while a replica does nothing. What it received and did not apply is fetched again from its primary.
fn standing_still(seen: &Seen, statement: &str) -> String {
    if seen.is_replica() { format!("STOP SLAVE; {statement}; START SLAVE") } else { statement.to_owned() }
}

/// The channel with this option changed. Unless it is said again, the period of heartbeats becomes half of
/// `slave_net_timeout` each time (seen).
fn repointed(option: &str) -> String {
    format!("STOP SLAVE; CHANGE MASTER TO {option}, MASTER_HEARTBEAT_PERIOD = 0.5; START SLAVE")
}

pub(crate) fn server_id(patient: &Patient<'_>) -> Vec<Found> {
    let (seen, own) = (patient.seen, patient.seen.value("server_id"));
    let ids = || patient.group.seen.iter().map(|seen| seen.value("server_id"));
    let before = patient.group.seen.iter().take_while(|other| other.spec.name != seen.spec.name);
    let twin = before.clone().find(|other| other.value("server_id") == own);
    let Some(twin) = twin else {
        return stays("server_id", own, seen).into_iter().collect();
    };
    // The next ones in order, for each that comes after another one with its number.
    let highest = ids().filter_map(|id| id.parse::<u64>().ok()).max().unwrap_or(0);
    let free = highest + 1 + before.count() as u64;
    vec![
        Found::error(format!("server_id is {own}, as that of {}", twin.spec.name))
            .mend(standing_still(seen, &format!("SET GLOBAL server_id = {free}")))
            .file(format!("server_id = {free}")),
    ]
}

pub(crate) fn domain(patient: &Patient<'_>) -> Vec<Found> {
    let (seen, own) = (patient.seen, patient.seen.value("gtid_domain_id"));
    let Some(speaker) = patient.group.speaker() else {
        return Vec::new();
    };
    let wanted = speaker.value("gtid_domain_id");
    if own == wanted {
        return stays("gtid_domain_id", own, seen).into_iter().collect();
    }
    vec![
        Found::error(format!("gtid_domain_id is {own}, and that of {} is {wanted}", speaker.spec.name))
            .mend(format!("SET GLOBAL gtid_domain_id = {wanted}"))
            .file(format!("gtid_domain_id = {wanted}")),
    ]
}

pub(crate) fn foreign_domains(patient: &Patient<'_>) -> Vec<Found> {
    let Some(speaker) = patient.group.speaker() else {
        return Vec::new();
    };
    let own = speaker.value("gtid_domain_id");
    let domains = patient.seen.binlog_state.split(',').filter_map(|gtid| gtid.trim().split('-').next());
    let foreign: BTreeSet<&str> = domains.filter(|domain| !domain.is_empty() && *domain != own).collect();
    if foreign.is_empty() {
        return Vec::new();
    }
    let list = foreign.into_iter().collect::<Vec<_>>().join(", ");
    vec![
        Found::warning(format!("its binary log also has transactions of domain {list}"))
            .mend("FLUSH BINARY LOGS")
            .mend(format!("FLUSH BINARY LOGS DELETE_DOMAIN_ID = ({list})"))
            .advice("the second one is refused as long as a log that is kept holds such transactions: PURGE BINARY LOGS first"),
    ]
}

pub(crate) fn galera(patient: &Patient<'_>) -> Vec<Found> {
    if !patient.seen.is_on("wsrep_on") {
        return Vec::new();
    }
    vec![Found::error("it is a node of a Galera cluster (wsrep_on)").advice("take it out of the file")]
}

pub(crate) fn one_primary(patient: &Patient<'_>) -> Vec<Found> {
    let open = patient.group.seen.iter().filter(|seen| seen.role() == "primary");
    let names: Vec<_> = open.map(|seen| seen.spec.name.as_str()).collect();
    if names.len() < 2 || patient.seen.role() != "primary" {
        return Vec::new();
    }
    vec![
        Found::error(format!("{} all take writes and follow nobody", names.join(" and ")))
            .mend("SET GLOBAL read_only = ON")
            .advice("run it at each but the one whose data shall count"),
    ]
}

pub(crate) fn read_only(patient: &Patient<'_>) -> Vec<Found> {
    if patient.seen.role() != "replica" || patient.seen.is_on("read_only") {
        return Vec::new();
    }
    vec![Found::error("it is a replica, and takes writes").mend("SET GLOBAL read_only = ON")]
}

/// What a restart does stands in its file, of which a statement shows only where a value came from.
pub(crate) fn boot(patient: &Patient<'_>) -> Vec<Found> {
    let Some(variable) = patient.seen.variables.get("read_only") else {
        return Vec::new();
    };
    let unreadable = ["skip_slave_start = ON", "init_rpl_role = SLAVE"];
    let from_file = matches!(&*variable.origin, "CONFIG" | "COMMAND-LINE");
    let found = if from_file && patient.seen.is_on("read_only") {
        Found::note("its file says read_only; that it also says these cannot be seen by any statement")
    } else if variable.origin == "SQL" {
        Found::note(
            "read_only was set by a statement: that its file says these cannot be seen by any statement",
        )
        .file("read_only = ON")
    } else {
        Found::error(
            "its file does not say read_only: after a restart it takes writes, whoever is the primary then",
        )
        .file("read_only = ON")
        .advice("write the lines; no restart is needed")
    };
    vec![unreadable.into_iter().fold(found, Found::file)]
}

type Link = BTreeMap<String, String>;

fn field<'a>(link: &'a Link, name: &str) -> &'a str {
    link.get(name).map_or("", String::as_str)
}

fn links<'a>(patient: &Patient<'a>) -> impl Iterator<Item = &'a Link> {
    patient.seen.links.iter().flatten()
}

/// The channel that Backstay leads.
fn own_link<'a>(patient: &Patient<'a>) -> Option<&'a Link> {
    links(patient).find(|link| field(link, "Connection_name").is_empty())
}

pub(crate) fn channels(patient: &Patient<'_>) -> Vec<Found> {
    let named = links(patient).map(|link| field(link, "Connection_name")).filter(|name| !name.is_empty());
    named
        .map(|name| {
            let text = literal(name);
            Found::error(format!("it has a channel called {text}"))
                .mend(format!("STOP SLAVE {text}; RESET SLAVE {text} ALL"))
                .advice("if that channel is the group's own, let it follow without a name first")
        })
        .collect()
}

pub(crate) fn followed(patient: &Patient<'_>) -> Vec<Found> {
    let Some(link) = own_link(patient) else {
        return Vec::new();
    };
    let id = field(link, "Master_Server_Id");
    let known = patient.group.seen.iter().any(|seen| seen.value("server_id") == id);
    // It never reached its primary, or one of the group that cannot be looked at may be it.
    let unknown = matches!(id, "" | "0") || patient.group.seen.len() < patient.group.service.instances.len();
    if known || unknown {
        return Vec::new();
    }
    let of = format!("{}:{}", field(link, "Master_Host"), field(link, "Master_Port"));
    vec![
        Found::error(format!("it follows {of} (server_id {id}), which is none of this service"))
            .advice("add that one to the file, or take this one out"),
    ]
}

pub(crate) fn using_gtid(patient: &Patient<'_>) -> Vec<Found> {
    let without = own_link(patient).filter(|link| field(link, "Using_Gtid").eq_ignore_ascii_case("no"));
    let Some(_) = without else {
        return Vec::new();
    };
    // From no position at all it would begin anew.
    if patient.seen.slave_pos.is_empty() {
        let what = "it follows by file and position, not by GTID, and has no gtid_slave_pos to go on from";
        return vec![Found::error(what).advice(
            "STOP SLAVE; ask its primary SELECT BINLOG_GTID_POS(file, position) with Relay_Master_Log_File and \
             Exec_Master_Log_Pos of SHOW SLAVE STATUS; SET GLOBAL gtid_slave_pos to that; then CHANGE MASTER TO \
             MASTER_USE_GTID = slave_pos, MASTER_HEARTBEAT_PERIOD = 0.5; START SLAVE",
        )];
    }
    let change = repointed("MASTER_USE_GTID = slave_pos");
    vec![Found::error("it follows by file and position, not by GTID").mend(change)]
}

pub(crate) fn heartbeat(patient: &Patient<'_>) -> Vec<Found> {
    let Some(link) = own_link(patient) else {
        return Vec::new();
    };
    let period = field(link, "Slave_heartbeat_period").parse::<f64>().unwrap_or(0.0);
    if period > 0.0 && period <= 0.5 {
        return Vec::new();
    }
    vec![Found::warning(format!("its primary sends a heartbeat every {period} s; it should be 0.5")).mend(
        "STOP SLAVE; CHANGE MASTER TO MASTER_HEARTBEAT_PERIOD = 0.5, MASTER_CONNECT_RETRY = 1; START SLAVE",
    )]
}

pub(crate) fn threads(patient: &Patient<'_>) -> Vec<Found> {
    let Some(link) = own_link(patient) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (thread, column, number, text) in [
        ("receives", "Slave_IO_Running", "Last_IO_Errno", "Last_IO_Error"),
        ("applies", "Slave_SQL_Running", "Last_SQL_Errno", "Last_SQL_Error"),
    ] {
        if field(link, column) != "Yes" {
            let why = match field(link, number) {
                "" | "0" => String::new(),
                number => format!(" (error {number}: {})", field(link, text)),
            };
            found.push(
                Found::warning(format!("it is a replica and {thread} nothing{why}"))
                    .mend("START SLAVE")
                    .advice("mend first what the error names; never while its primary is gone"),
            );
        }
    }
    found
}

pub(crate) fn filters(patient: &Patient<'_>) -> Vec<Found> {
    let seen = patient.seen;
    let set = FILTERS.into_iter().filter(|name| !seen.value(name).is_empty());
    let mut found: Vec<_> = set
        .map(|name| {
            Found::error(format!("{name} is {}", seen.value(name)))
                .mend(standing_still(seen, &format!("SET GLOBAL {name} = ''")))
                .advice("what was left out until now is missing there: make it anew from a copy; take the line out of its file")
        })
        .collect();
    for (column, word) in
        [("Replicate_Do_Domain_Ids", "DO_DOMAIN_IDS"), ("Replicate_Ignore_Domain_Ids", "IGNORE_DOMAIN_IDS")]
    {
        let ids = own_link(patient).map_or("", |link| field(link, column));
        if !ids.is_empty() {
            found.push(
                Found::error(format!("it follows with {word} = ({ids})"))
                    .mend(repointed(&format!("{word} = ()"))),
            );
        }
    }
    found
}

pub(crate) fn skipped_errors(patient: &Patient<'_>) -> Vec<Found> {
    let value = patient.seen.value("slave_skip_errors");
    if matches!(value, "" | "OFF") {
        return Vec::new();
    }
    let what = format!("slave_skip_errors is {value}");
    vec![Found::warning(what).restart().advice("take the line slave_skip_errors out of its file")]
}

pub(crate) fn blocking(patient: &Patient<'_>) -> Vec<Found> {
    let seen = patient.seen;
    let most: u64 = seen.value("max_connect_errors").parse().unwrap_or(u64::MAX);
    if seen.is_on("skip_name_resolve") || most >= ERRORS_MIN {
        return Vec::new();
    }
    let what = format!("skip_name_resolve is OFF and max_connect_errors is {most}");
    vec![
        Found::warning(what)
            .mend("SET GLOBAL max_connect_errors = 1000000")
            .file("max_connect_errors = 1000000")
            .advice("or skip_name_resolve = ON in its file, if every account's host is an address"),
    ]
}

pub(crate) fn events(patient: &Patient<'_>) -> Vec<Found> {
    let state = patient.seen.value("event_scheduler");
    match (patient.group.events, state) {
        (true, "DISABLED") => {
            vec![Found::error("event_scheduler is DISABLED: no event will run here").file("event_scheduler = OFF").restart()]
        }
        (false, "ON") if patient.speaks() => vec![
            Found::warning("event_scheduler is ON, and the file does not say events = true: after a failover no event runs")
                .advice("write events = true into the service's section if you have events, else SET GLOBAL event_scheduler = OFF"),
        ],
        _ => Vec::new(),
    }
}

pub(crate) fn clock(patient: &Patient<'_>) -> Vec<Found> {
    let Some(speaker) = patient.group.speaker().filter(|_| !patient.speaks()) else {
        return Vec::new();
    };
    let (Some((own, unsure)), Some((other, unsure_too))) = (patient.seen.clock, speaker.clock) else {
        return Vec::new();
    };
    let ahead = own - other;
    if ahead.abs() <= CLOCKS_SECONDS + unsure + unsure_too {
        return Vec::new();
    }
    let way = if ahead > 0.0 { "ahead of" } else { "behind" };
    let what = format!("its clock is {:.1} s {way} that of {}", ahead.abs(), speaker.spec.name);
    vec![Found::warning(what).advice("keep both hosts' clocks with chrony or systemd-timesyncd")]
}

pub(crate) fn tables(patient: &Patient<'_>) -> Vec<Found> {
    if !patient.speaks() {
        return Vec::new();
    }
    let list = unfit_tables();
    match patient.seen.unfit_tables {
        Some(0) => Vec::new(),
        Some(count) => vec![
            Found::warning(format!("{count} tables have no primary key or are not InnoDB"))
                .mend(list)
                .advice(
                    "the statement lists them; give each a primary key, and ALTER TABLE ... ENGINE = InnoDB",
                ),
        ],
        None => {
            let what = "tables without a primary key, or of another engine, cannot be seen as this user";
            vec![Found::note(what).mend(list).advice("run it as root: it lists them")]
        }
    }
}

pub(crate) fn connections(patient: &Patient<'_>) -> Vec<Found> {
    let Some(clients) = patient.group.clients_max else {
        return Vec::new();
    };
    let most: u64 = patient.seen.value("max_connections").parse().unwrap_or(u64::MAX);
    let wanted = clients.saturating_add(OTHERS);
    if most >= wanted {
        return Vec::new();
    }
    let what = format!(
        "max_connections is {most}, and one gateway alone takes up to {clients} clients (clients_max)"
    );
    vec![
        Found::note(what)
            .mend(format!("SET GLOBAL max_connections = {wanted}"))
            .file(format!("max_connections = {wanted}"))
            .advice("or a smaller clients_max in [[endpoints]]; count every gateway"),
    ]
}
