//! What a MySQL is told, in the words of 8.0.26 and later, and of 8.4. It has no statements around others outside of stored
//! programs, so an order that looks before it acts is a script of several packets; a packet stops at its first error, and
//! that is what guards in it are for.

use super::super::statements::{Following, quoted};
use super::super::{Account, Settings};
use super::gtids::writer_of;
use super::script::Step;
use backstay_model::{Address, Durability, Fault, ReplId, ReplOffset};
use std::fmt::Write as _;

/// The first words of a session: what a server's settings would change in ours. At most a second for the lock that
/// `read_only` takes: a commit that waits for an acknowledgement, and `LOCK TABLES`, hold it.
pub(in super::super) const SETUP: &str = "SET SESSION sql_mode='', autocommit=1, max_execution_time=0, \
     wait_timeout=28800, lock_wait_timeout=1, group_concat_max_len=65536";

/// Who it is, and whether it is set up so that its transactions can be compared with others'. `Uptime` counts from the start
/// of the same statement that `UNIX_TIMESTAMP()` names.
pub(in super::super) const IDENTITY: &str = "SELECT @@global.server_uuid AS server_uuid, \
     CAST(UNIX_TIMESTAMP() AS SIGNED) - CAST((SELECT VARIABLE_VALUE FROM performance_schema.global_status \
     WHERE VARIABLE_NAME = 'Uptime') AS SIGNED) AS started, \
     VERSION() AS version, @@global.gtid_executed AS gtid_executed, @@global.gtid_mode AS gtid_mode, \
     @@global.enforce_gtid_consistency AS enforce_gtid_consistency, @@global.log_bin AS log_bin, \
     @@global.log_replica_updates AS log_replica_updates, @@global.binlog_format AS binlog_format, \
     @@global.binlog_order_commits AS binlog_order_commits, \
     @@global.replica_preserve_commit_order AS replica_preserve_commit_order, \
     @@global.performance_schema AS performance_schema, \
     (SELECT COUNT(*) FROM performance_schema.replication_group_members \
     WHERE MEMBER_STATE <> 'OFFLINE') AS group_members";

/// Where it stands.
const INFO: &str = "SELECT @@global.server_uuid AS server_uuid, @@global.read_only AS read_only, \
     @@global.super_read_only AS super_read_only, @@global.gtid_executed AS gtid_executed; \
     SHOW REPLICA STATUS; \
     SELECT status.LAST_QUEUED_TRANSACTION AS last_queued, status.COUNT_RECEIVED_HEARTBEATS AS heartbeats, \
     configuration.HEARTBEAT_INTERVAL AS heartbeat_interval \
     FROM performance_schema.replication_connection_status AS status \
     JOIN performance_schema.replication_connection_configuration AS configuration USING (CHANNEL_NAME) \
     WHERE CHANNEL_NAME = ''; ";
/// What semi-synchronous replication is set to and does; nothing without its plugins.
const ACKNOWLEDGEMENTS: &str = "SELECT VARIABLE_NAME AS name, VARIABLE_VALUE AS value \
     FROM performance_schema.global_variables WHERE VARIABLE_NAME LIKE 'rpl_semi_sync_%' \
     UNION ALL SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_status \
     WHERE VARIABLE_NAME LIKE 'Rpl_semi_sync_%'; ";
/// Who wrote last of what is applied here, and what others had written by then. Last: the table may not be there.
const WRITER: &str = "SELECT writer, base FROM backstay.canary WHERE id = 1";

/// Whom to disconnect, at most `LISTED_MAX` at a time. Without the replicas nobody would replicate.
pub(super) const LIST: &str = "SELECT GROUP_CONCAT(ID) AS clients FROM (SELECT ID \
     FROM performance_schema.processlist WHERE ID <> CONNECTION_ID() \
     AND COALESCE(USER, '') NOT IN ('system user', 'event_scheduler') \
     AND COMMAND NOT IN ('Binlog Dump', 'Binlog Dump GTID', 'Daemon') ORDER BY ID LIMIT 512) AS others";
pub(super) const LISTED_MAX: usize = 512;

/// Not even administrators write.
const CLOSE: &str = "SET GLOBAL super_read_only=1";
const STOP_RECEIVING: &str = "STOP REPLICA IO_THREAD";
const RECEIVED: &str = "COALESCE((SELECT RECEIVED_TRANSACTION_SET \
     FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME = ''), '')";
/// A value that stops a packet: error 1242.
pub(super) const STOP: &str = "(SELECT 1 UNION SELECT 2)";

pub(in super::super) fn info(settings: &Settings) -> String {
    match settings.spec.durability {
        Durability::Async => format!("{INFO}{WRITER}"),
        Durability::Majority => format!("{INFO}{ACKNOWLEDGEMENTS}{WRITER}"),
    }
}

pub(super) fn close() -> Vec<Step> {
    vec![Step::Say(CLOSE.into())]
}

pub(super) fn stop_receiving() -> Vec<Step> {
    vec![Step::Say(STOP_RECEIVING.into())]
}

/// In `majority`, first what an acknowledgement means, then that it is needed, then that there are writes.
pub(super) fn open(settings: &Settings) -> Vec<Step> {
    let mut text = String::new();
    if settings.spec.durability == Durability::Majority {
        text.push_str(
            "SET GLOBAL rpl_semi_sync_source_wait_point=AFTER_SYNC, GLOBAL rpl_semi_sync_source_timeout=\
             GREATEST(@@global.rpl_semi_sync_source_timeout, 3600000), \
             GLOBAL rpl_semi_sync_source_wait_for_replica_count=1, \
             GLOBAL rpl_semi_sync_source_wait_no_replica=ON; \
             SET GLOBAL rpl_semi_sync_source_enabled=ON; ",
        );
    }
    text.push_str("SET GLOBAL super_read_only=0; SET GLOBAL read_only=0");
    vec![Step::Say(text)]
}

/// Writes one row, unless the instance is closed: who writes, and what of others' it holds. Replicas compare.
pub(super) fn canary() -> Vec<Step> {
    let guard = format!("SELECT IF(@@global.read_only = 0, 1, {STOP})");
    let write = format!(
        "{guard}; REPLACE INTO backstay.canary (id, written, writer, base) \
         SELECT 1, UTC_TIMESTAMP(6), @@global.server_uuid, GTID_SUBTRACT(@@global.gtid_executed, \
         CONCAT(@@global.server_uuid, ':1-9223372036854775806'))"
    );
    let create = format!(
        "{guard}; CREATE DATABASE IF NOT EXISTS backstay; CREATE TABLE IF NOT EXISTS backstay.canary \
         (id TINYINT NOT NULL PRIMARY KEY, written DATETIME(6) NOT NULL, writer CHAR(36) NOT NULL, \
         base TEXT NOT NULL) ENGINE=InnoDB"
    );
    vec![Step::Write { write, create }]
}

/// Why a commit does not come back: the cause before its consequence, as for a MariaDB.
pub(super) fn delay() -> Vec<Step> {
    let look = |states: &str, stopped| Step::Guarded {
        text: format!(
            "SELECT IF(EXISTS (SELECT 1 FROM performance_schema.processlist WHERE {states}), {STOP}, 1)"
        ),
        stopped,
    };
    vec![
        look("STATE = 'Waiting for disk space'", Fault::DiskError),
        look("STATE LIKE 'Waiting for semi-sync%'", Fault::Unacknowledged),
        look("STATE LIKE 'Waiting for % lock'", Fault::Locked),
    ]
}

/// A replica follows `primary`, and acknowledges or not. One that does so already only goes on: to point it there anew
/// would throw away what it received and did not apply yet.
pub(super) fn follow(
    settings: &Settings,
    primary: &Address,
    acker: bool,
    following: &Following,
) -> Vec<Step> {
    let majority = settings.spec.durability == Durability::Majority;
    let same = following.exactly
        && following.of.as_ref() == Some(primary)
        && following.user == settings.replication.username;
    let mut text = format!("{CLOSE}; ");
    if majority {
        text.push_str("SET GLOBAL rpl_semi_sync_source_enabled=0; ");
    }
    if same && (!majority || following.acknowledges == acker) {
        text.push_str("START REPLICA");
        return vec![Step::Say(text)];
    }
    text.push_str(if same { "STOP REPLICA IO_THREAD; " } else { "STOP REPLICA; " });
    if majority {
        // It holds from the next start of the thread that receives.
        let _ = write!(text, "SET GLOBAL rpl_semi_sync_replica_enabled={}; ", u8::from(acker));
    }
    if !same {
        change_source(&mut text, settings, primary);
        text.push_str("; ");
    }
    text.push_str("START REPLICA");
    vec![Step::Say(text)]
}

/// A primary becomes a replica. Its clients go first: one that waits for an acknowledgement holds the lock that closing
/// needs, and must not be told that it has one when that is switched off.
pub(super) fn demote(settings: &Settings, primary: &Address, acker: bool) -> Vec<Step> {
    let mut text = String::new();
    if settings.spec.durability == Durability::Majority {
        let _ = write!(
            text,
            "SELECT IF(EXISTS (SELECT 1 FROM performance_schema.processlist \
             WHERE STATE LIKE 'Waiting for semi-sync%'), {STOP}, 1); \
             SET GLOBAL rpl_semi_sync_source_enabled=0; SET GLOBAL rpl_semi_sync_replica_enabled={}; ",
            u8::from(acker)
        );
    }
    change_source(&mut text, settings, primary);
    if *primary != Address::nowhere() {
        text.push_str("; START REPLICA");
    }
    let closed = Step::Say(CLOSE.into());
    vec![Step::Disconnect, closed, Step::Disconnect, Step::Guarded { text, stopped: Fault::Locked }]
}

/// `None`: no such history can exist.
pub(super) fn ascend(settings: &Settings, replid: &ReplId, offset: ReplOffset) -> Option<Vec<Step>> {
    let writer = writer_of(replid)?;
    let look = format!(
        "SELECT WAIT_FOR_EXECUTED_GTID_SET({RECEIVED}, 1) AS waited; \
         SELECT @@global.gtid_executed AS executed, {RECEIVED} AS received, (SELECT SERVICE_STATE \
         FROM performance_schema.replication_applier_status WHERE CHANNEL_NAME = '') AS applies"
    );
    let mut text = format!(
        "{STOP_RECEIVING}; SELECT IF(GTID_SUBTRACT({RECEIVED}, @@global.gtid_executed) = '', 1, {STOP}); \
         STOP REPLICA; RESET REPLICA ALL"
    );
    if settings.spec.durability == Durability::Majority {
        text.push_str("; SET GLOBAL rpl_semi_sync_replica_enabled=0");
    }
    Some(vec![
        Step::Applied { text: look, writer, replid: replid.clone(), offset },
        Step::Say(CLOSE.into()),
        Step::Disconnect,
        Step::Guarded { text, stopped: Fault::Draining },
    ])
}

fn change_source(text: &mut String, settings: &Settings, primary: &Address) {
    let Account { username, password } = &settings.replication;
    // Writing to a string does not fail. 8.4 would try ten times only.
    let _ = write!(
        text,
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST={}, SOURCE_PORT={}, SOURCE_USER={}, SOURCE_PASSWORD={}, \
         SOURCE_AUTO_POSITION=1, SOURCE_HEARTBEAT_PERIOD=0.5, SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=86400",
        quoted(&primary.host),
        primary.port,
        quoted(username),
        quoted(password),
    );
    // Without TLS the primary's key is what keeps the password from whoever listens.
    text.push_str(if settings.encrypted { ", SOURCE_SSL=1" } else { ", GET_SOURCE_PUBLIC_KEY=1" });
}
