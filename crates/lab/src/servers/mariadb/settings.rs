//! What stands in a server's `my.cnf`. `Settings::recipe` is what Backstay asks of a server that it keeps standing, plus
//! what makes a server small; a test departs from it one name at a time.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Names and values of the section `[mariadbd]`. Names are written with underscores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

/// What a service needs to survive the loss of its primary.
const RECIPE: &[(&str, &str)] = &[
    ("log_bin", "binlog"),
    ("relay_log", "relay"),
    ("log_slave_updates", "ON"),
    ("gtid_domain_id", "0"),
    ("gtid_strict_mode", "ON"),
    ("binlog_format", "ROW"),
    ("sync_binlog", "1"),
    ("innodb_flush_log_at_trx_commit", "1"),
    // Whoever comes back is a replica until it is told otherwise.
    ("read_only", "ON"),
    ("init_rpl_role", "SLAVE"),
    ("skip_slave_start", "ON"),
    ("event_scheduler", "OFF"),
    ("slave_net_timeout", "3"),
    ("slave_parallel_mode", "optimistic"),
    ("slave_parallel_threads", "4"),
    // Semi-synchronous replication is prepared, and switched on last: see `stack::mariadb`.
    ("rpl_semi_sync_master_enabled", "OFF"),
    ("rpl_semi_sync_slave_enabled", "OFF"),
    ("rpl_semi_sync_master_wait_point", "AFTER_SYNC"),
    ("rpl_semi_sync_master_timeout", "3600000"),
    ("rpl_semi_sync_master_wait_no_slave", "ON"),
    ("rpl_semi_sync_slave_kill_conn_timeout", "1"),
];

/// What makes it small and deaf to the rest of the machine.
const SMALL: &[(&str, &str)] = &[
    ("bind_address", "127.0.0.1"),
    ("skip_name_resolve", "ON"),
    ("character_set_server", "utf8mb4"),
    ("performance_schema", "OFF"),
    ("innodb_buffer_pool_size", "16M"),
    ("innodb_log_file_size", super::template::REDO_LOG),
    ("innodb_log_buffer_size", "2M"),
    ("innodb_buffer_pool_dump_at_shutdown", "OFF"),
    ("innodb_buffer_pool_load_at_startup", "OFF"),
    // Many servers on one machine exhaust the kernel's asynchronous requests.
    ("innodb_use_native_aio", "OFF"),
    ("key_buffer_size", "1M"),
    ("aria_pagecache_buffer_size", "1M"),
    ("table_open_cache", "200"),
    ("max_connections", "300"),
];

impl Settings {
    /// A closed server that follows nobody yet.
    pub fn recipe() -> Self {
        let settings = RECIPE.iter().chain(SMALL);
        Self(settings.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// The same with another value for `name`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The same without `name`: the server's own default holds.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// As lines of a section.
    pub(super) fn lines(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::recipe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_departure_replaces_the_value_of_the_recipe() {
        let text = Settings::recipe().with("read_only", "OFF").without("skip_slave_start").lines();
        assert!(text.contains("\nread_only=OFF\n") && !text.contains("read_only=ON"), "{text}");
        assert!(!text.contains("skip_slave_start"), "{text}");
    }
}
