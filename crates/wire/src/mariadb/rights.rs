//! What accounts may do at least, on 10.6 and later. Tests on real servers go through every order with exactly these
//! (crates/lab/tests/mariadb_link).

/// `GRANT … ON *.*` to the user that controllers log in with.
pub const RIGHTS: &[&str] = &[
    // KILL.
    "CONNECTION ADMIN",
    // Whom to disconnect.
    "PROCESS",
    // SET GLOBAL read_only, and to be let through where it is set.
    "READ_ONLY ADMIN",
    // RESET SLAVE.
    "RELOAD",
    // SHOW ALL SLAVES STATUS.
    "REPLICA MONITOR",
    // SET GLOBAL rpl_semi_sync_master_enabled and its like.
    "REPLICATION MASTER ADMIN",
    // STOP SLAVE, CHANGE MASTER, START SLAVE; SET GLOBAL gtid_slave_pos, rpl_semi_sync_slave_enabled.
    "REPLICATION SLAVE ADMIN",
];

/// In addition, where `events` is on.
pub const EVENT_RIGHTS: &[&str] = &[
    // SET SESSION sql_log_bin.
    "BINLOG ADMIN",
    // To see and to alter them.
    "EVENT",
    // As somebody else's, which they stay.
    "SET USER",
    // SET GLOBAL event_scheduler: no lesser right grants it.
    "SUPER",
];

/// `GRANT … ON backstay.*` to the same user, for canaries.
pub const CANARY_RIGHTS: &[&str] = &["CREATE", "DELETE", "INSERT"];

/// `GRANT … ON *.*` to the user that replicas log in with at their primary.
pub const REPLICATION_RIGHTS: &[&str] = &["REPLICATION SLAVE"];

/// `GRANT … ON *.*` to the user that controllers log in to a MySQL with. From its manual: not yet tried.
pub const MYSQL_RIGHTS: &[&str] = &[
    // KILL; to be let through where read_only is set.
    "CONNECTION_ADMIN",
    // Whom to disconnect.
    "PROCESS",
    // RESET REPLICA.
    "RELOAD",
    // SHOW REPLICA STATUS.
    "REPLICATION CLIENT",
    // STOP REPLICA, CHANGE REPLICATION SOURCE, START REPLICA.
    "REPLICATION_SLAVE_ADMIN",
    // SET GLOBAL.
    "SYSTEM_VARIABLES_ADMIN",
];

/// `GRANT … ON performance_schema.*` to the same user.
pub const MYSQL_TABLE_RIGHTS: &[&str] = &["SELECT"];

/// `GRANT … ON backstay.*` to the same user, for canaries, which are read, too.
pub const MYSQL_CANARY_RIGHTS: &[&str] = &["CREATE", "DELETE", "INSERT", "SELECT"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_grants_exactly_these() {
        let guide = include_str!("../../../../docs/guide/mariadb-users.md");
        for (rights, on) in [
            (RIGHTS, "*.*"),
            (EVENT_RIGHTS, "*.*"),
            (CANARY_RIGHTS, "backstay.*"),
            (REPLICATION_RIGHTS, "*.*"),
        ] {
            let grant = format!("\nGRANT {} ON {on} TO ", rights.join(", "));
            assert!(guide.contains(&grant), "{grant}");
        }
    }

    #[test]
    fn the_guide_grants_exactly_these_on_a_mysql() {
        let guide = include_str!("../../../../docs/guide/mysql.md");
        for (rights, on) in [
            (MYSQL_RIGHTS, "*.*"),
            (MYSQL_TABLE_RIGHTS, "performance_schema.*"),
            (MYSQL_CANARY_RIGHTS, "backstay.*"),
            (REPLICATION_RIGHTS, "*.*"),
        ] {
            let grant = format!("\nGRANT {} ON {on} TO ", rights.join(", "));
            assert!(guide.contains(&grant), "{grant}");
        }
    }
}
