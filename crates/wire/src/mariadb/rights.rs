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
}
