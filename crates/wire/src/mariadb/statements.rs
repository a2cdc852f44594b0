//! What a MariaDB is told, in its own words: one packet for each command, of several statements if need be, that stops at
//! the first error. Nothing in them depends on the server's settings: see `SETUP`.

use super::{Account, Settings};
use backstay_model::{Address, Durability, ReplId, ReplOffset};
use std::fmt::Write as _;

/// The states with which our own compound statements end.
pub(super) mod signal {
    pub(in super::super) const DRAINING: &str = "45B01";
    pub(in super::super) const STALLED: &str = "45B02";
    pub(in super::super) const WAITING: &str = "45B04";
    pub(in super::super) const FULL: &str = "45B05";
    pub(in super::super) const UNACKNOWLEDGED: &str = "45B06";
}

/// The first words of a session: what a server's settings would change in ours.
pub(super) const SETUP: &str = "SET SESSION sql_mode='', autocommit=1, max_statement_time=0, wait_timeout=28800, \
     default_master_connection=''";

/// Who it is. `Uptime` counts from the start of the same statement that `UNIX_TIMESTAMP()` names, so the difference is
/// the second in which the process started, however the clock is moved meanwhile. `wsrep_on`: Galera has no primary.
pub(super) const IDENTITY: &str = "SELECT @@global.server_id AS server_id, \
     CAST(UNIX_TIMESTAMP() AS SIGNED) - CAST((SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS \
     WHERE VARIABLE_NAME = 'UPTIME') AS SIGNED) AS started, \
     VERSION() AS version, @@global.gtid_binlog_pos AS gtid_binlog_pos, \
     (SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = 'WSREP_ON') AS wsrep_on";

/// Where it stands. Without a table: what is selected beside the rows of an empty one is not what it is (seen).
const INFO: &str = "SELECT @@global.server_id AS server_id, @@global.read_only AS read_only, \
     @@global.gtid_domain_id AS gtid_domain_id, @@global.gtid_binlog_pos AS gtid_binlog_pos, \
     @@global.gtid_binlog_state AS gtid_binlog_state, @@global.gtid_slave_pos AS gtid_slave_pos, \
     @@global.rpl_semi_sync_slave_enabled AS acknowledges, \
     @@global.rpl_semi_sync_master_wait_point AS wait_point, \
     @@global.rpl_semi_sync_master_timeout AS wait_timeout, \
     @@global.rpl_semi_sync_master_wait_no_slave AS waits_for_nobody; \
     SHOW ALL SLAVES STATUS";
/// And whose acknowledgements it has.
const ACKNOWLEDGEMENTS: &str = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_%'";

/// Ends every connection but this one, and those without which nobody replicates. Never only their statements: a commit
/// that waits for an acknowledgement would be answered as if it had it (seen).
pub(super) const DISCONNECT: &str = "BEGIN NOT ATOMIC \
     DECLARE CONTINUE HANDLER FOR 1094 BEGIN END; \
     FOR client IN (SELECT ID FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() \
     AND USER <> 'system user' AND COMMAND NOT IN ('Binlog Dump', 'Daemon')) \
     DO KILL HARD CONNECTION client.ID; END FOR; END";

/// At most a second: a commit that waits for an acknowledgement, and `LOCK TABLES`, hold the lock that it takes.
pub(super) const READ_ONLY: &str = "SET STATEMENT lock_wait_timeout=1 FOR SET GLOBAL read_only=1";
pub(super) const STOP_RECEIVING: &str = "STOP SLAVE IO_THREAD";

/// One that was started with `event_scheduler=DISABLED` runs no events, whatever it is told.
const EVENTS_OFF: &str = "BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR 1290 BEGIN END; \
     SET GLOBAL event_scheduler=OFF; END";
/// What the old primary's events became here is undone, each in its own surroundings, which `ALTER EVENT` would replace.
/// None of it is written to the binary log: elsewhere they stay as they are.
const EVENTS_ON: &str = "BEGIN NOT ATOMIC \
     DECLARE CONTINUE HANDLER FOR 1290, 1539 BEGIN END; \
     SET SESSION sql_log_bin=0; \
     FOR event IN (SELECT EVENT_SCHEMA, EVENT_NAME, DEFINER, SQL_MODE, TIME_ZONE, CHARACTER_SET_CLIENT, \
     COLLATION_CONNECTION FROM information_schema.EVENTS WHERE STATUS = 'SLAVESIDE_DISABLED') DO \
     SET SESSION sql_mode=event.SQL_MODE, time_zone=event.TIME_ZONE, \
     character_set_client=event.CHARACTER_SET_CLIENT, collation_connection=event.COLLATION_CONNECTION; \
     EXECUTE IMMEDIATE CONCAT('ALTER DEFINER=`', \
     REPLACE(LEFT(event.DEFINER, CHAR_LENGTH(event.DEFINER) - CHAR_LENGTH(SUBSTRING_INDEX(event.DEFINER, '@', -1)) - 1), \
     '`', '``'), '`@`', REPLACE(SUBSTRING_INDEX(event.DEFINER, '@', -1), '`', '``'), \
     '` EVENT `', REPLACE(event.EVENT_SCHEMA, '`', '``'), '`.`', REPLACE(event.EVENT_NAME, '`', '``'), '` ENABLE'); \
     END FOR; \
     SET SESSION sql_mode='', time_zone=DEFAULT, character_set_client=utf8mb4, \
     collation_connection=utf8mb4_general_ci, sql_log_bin=1; \
     SET GLOBAL event_scheduler=ON; END";

/// Nobody waits for an acknowledgement: only then may semi-synchronous replication be switched off (safety, section 9).
const NOBODY_WAITS: &str = "BEGIN NOT ATOMIC \
     IF EXISTS (SELECT 1 FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for semi-sync%') \
     THEN SIGNAL SQLSTATE '45B04' SET MESSAGE_TEXT = 'a commit still waits for an acknowledgement'; END IF; END";

/// Why a commit does not come back. A full disk is waited for inside of the server, and a commit that waits there holds a
/// lock that others then wait for, so the cause is asked for before its consequence.
pub(super) const DELAY: &str = "BEGIN NOT ATOMIC \
     IF EXISTS (SELECT 1 FROM information_schema.PROCESSLIST WHERE STATE = 'Waiting for someone to free space') \
     THEN SIGNAL SQLSTATE '45B05' SET MESSAGE_TEXT = 'its disk is full'; END IF; \
     IF EXISTS (SELECT 1 FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for semi-sync%') \
     THEN SIGNAL SQLSTATE '45B06' SET MESSAGE_TEXT = 'nobody acknowledges'; END IF; \
     IF EXISTS (SELECT 1 FROM information_schema.PROCESSLIST WHERE STATE LIKE 'Waiting for % lock') \
     THEN SIGNAL SQLSTATE '45B04' SET MESSAGE_TEXT = 'a lock is held'; END IF; END";

/// Writes one row, unless the instance is closed. Backstay's user may write all the same, so the statement itself looks:
/// while it does it holds the lock that closing needs. What is missing is created by the first one.
pub(super) const CANARY: &str = "BEGIN NOT ATOMIC \
     DECLARE EXIT HANDLER FOR 1049, 1146 BEGIN \
     IF @@global.read_only = 0 THEN \
     CREATE DATABASE IF NOT EXISTS backstay; \
     CREATE TABLE IF NOT EXISTS backstay.canary (id TINYINT NOT NULL PRIMARY KEY, written DATETIME(6) NOT NULL) \
     ENGINE=InnoDB; END IF; \
     REPLACE INTO backstay.canary SELECT 1, UTC_TIMESTAMP(6) FROM DUAL WHERE @@global.read_only = 0; END; \
     REPLACE INTO backstay.canary SELECT 1, UTC_TIMESTAMP(6) FROM DUAL WHERE @@global.read_only = 0; \
     IF ROW_COUNT() = 0 THEN SIGNAL SQLSTATE '45B03' SET MESSAGE_TEXT = 'it takes no writes'; END IF; END";

/// How an instance is set up to follow whom it was told to, as it said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Following {
    /// Everything but the semi-synchronous half is as Backstay would make it, and there was no trouble with the login.
    pub(super) exactly: bool,
    pub(super) of: Option<Address>,
    pub(super) user: String,
    pub(super) acknowledges: bool,
    /// Who wrote what it received last (MySQL).
    pub(super) writer: Option<String>,
}

pub(super) fn info(settings: &Settings) -> String {
    match settings.spec.durability {
        Durability::Async => INFO.to_owned(),
        Durability::Majority => format!("{INFO}; {ACKNOWLEDGEMENTS}"),
    }
}

pub(super) fn close(settings: &Settings) -> String {
    let mut parts = vec![READ_ONLY];
    if settings.spec.events {
        parts.push(EVENTS_OFF);
    }
    parts.join("; ")
}

/// In `majority`, first what an acknowledgement means, then that it is needed, then that there are writes.
pub(super) fn open(settings: &Settings) -> String {
    let mut parts = Vec::new();
    if settings.spec.durability == Durability::Majority {
        parts.push(
            "SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_SYNC, \
             GLOBAL rpl_semi_sync_master_timeout=GREATEST(@@global.rpl_semi_sync_master_timeout, 3600000), \
             GLOBAL rpl_semi_sync_master_wait_no_slave=ON; \
             SET GLOBAL rpl_semi_sync_master_enabled=ON",
        );
    }
    parts.push("SET GLOBAL read_only=0");
    if settings.spec.events {
        parts.push(EVENTS_ON);
    }
    parts.join("; ")
}

/// Whether a replica is one that acknowledges. Where nobody waits for that it changes nothing, but for this: what a server
/// wrote itself and lost in a crash comes back to it under its own name, and in strict mode only one that acknowledges
/// takes that; any other one passes over it and is silently without it (seen; MDEV-21117, `do_accept_own_server_id`).
fn acknowledges(settings: &Settings, acker: bool) -> bool {
    acker || settings.spec.durability == Durability::Async
}

/// A replica follows `primary`, and acknowledges or not. One that does so already only goes on: to point it there anew
/// would throw away what it received and did not apply yet.
pub(super) fn follow(settings: &Settings, primary: &Address, acker: bool, following: &Following) -> String {
    let same = following.exactly
        && following.of.as_ref() == Some(primary)
        && following.user == settings.replication.username;
    let mut text = format!("{READ_ONLY}; SET GLOBAL rpl_semi_sync_master_enabled=OFF; ");
    let acker = acknowledges(settings, acker);
    if same && following.acknowledges == acker {
        text.push_str("START SLAVE");
        return text;
    }
    text.push_str(if same { "STOP SLAVE IO_THREAD; " } else { "STOP SLAVE; " });
    // It holds from the next start of the thread that receives.
    let _ = write!(text, "SET GLOBAL rpl_semi_sync_slave_enabled={}; ", u8::from(acker));
    if !same {
        change_master(&mut text, settings, primary);
        text.push_str("; ");
    }
    text.push_str("START SLAVE");
    text
}

/// A primary becomes a replica. Its clients go first: one that waits for an acknowledgement holds the lock that closing
/// needs, and must not be told that it has one when that is switched off.
pub(super) fn demote(settings: &Settings, primary: &Address, acker: bool) -> String {
    let mut text = format!(
        "{DISCONNECT}; {READ_ONLY}; {DISCONNECT}; {NOBODY_WAITS}; \
         SET GLOBAL gtid_slave_pos=@@global.gtid_binlog_pos; \
         SET GLOBAL rpl_semi_sync_master_enabled=OFF; SET GLOBAL rpl_semi_sync_slave_enabled={}; ",
        u8::from(acknowledges(settings, acker))
    );
    change_master(&mut text, settings, primary);
    if *primary != Address::nowhere() {
        text.push_str("; START SLAVE");
    }
    if settings.spec.events {
        text.push_str("; ");
        text.push_str(EVENTS_OFF);
    }
    text
}

/// `None`: no such position can exist.
pub(super) fn ascend(replid: &ReplId, offset: ReplOffset) -> Option<String> {
    let (domain, server) = replid.as_str().split_once('-')?;
    let (domain, server): (u32, u32) = (domain.parse().ok()?, server.parse().ok()?);
    let position = if offset.0 == 0 { String::new() } else { format!("{domain}-{server}-{offset}") };
    Some(format!(
        "BEGIN NOT ATOMIC IF NOT (MASTER_GTID_WAIT('{position}', 0.2) <=> 0) THEN \
         IF EXISTS (SELECT 1 FROM information_schema.PROCESSLIST WHERE COMMAND = 'Slave_SQL') \
         THEN SIGNAL SQLSTATE '45B01' SET MESSAGE_TEXT = 'not applied yet'; \
         ELSE SIGNAL SQLSTATE '45B02' SET MESSAGE_TEXT = 'not applied, and nothing applies it'; END IF; \
         END IF; END; \
         {READ_ONLY}; {DISCONNECT}; STOP ALL SLAVES; RESET SLAVE ALL; SET GLOBAL rpl_semi_sync_slave_enabled=OFF"
    ))
}

fn change_master(text: &mut String, settings: &Settings, primary: &Address) {
    let Account { username, password } = &settings.replication;
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "CHANGE MASTER TO MASTER_HOST={}, MASTER_PORT={}, MASTER_USER={}, MASTER_PASSWORD={}, \
         MASTER_USE_GTID=slave_pos, MASTER_HEARTBEAT_PERIOD=0.5, MASTER_CONNECT_RETRY=1",
        quoted(&primary.host),
        primary.port,
        quoted(username),
        quoted(password),
    );
    if settings.encrypted {
        text.push_str(", MASTER_SSL=1");
    }
}

/// A text as a literal. `SETUP` makes the backslash an escape.
pub(super) fn quoted(text: &str) -> String {
    let mut literal = String::from("'");
    for character in text.chars() {
        match character {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\\\"),
            '\0' => literal.push_str("\\0"),
            other => literal.push(other),
        }
    }
    literal.push('\'');
    literal
}
