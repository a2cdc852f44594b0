//! What `SHOW GRANTS` says. Its lines also quote the password's hash: none is kept or shown.

use std::collections::BTreeSet;

/// The rights of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    global: BTreeSet<String>,
    /// Rights on whole databases.
    databases: Vec<(String, BTreeSet<String>)>,
}

/// What `SUPER` contains before 11.0, as 10.11 was seen to have it. (11.0.1: nothing of this, MDEV-29668.)
const IN_SUPER: [&str; 6] = [
    "BINLOG ADMIN",
    "CONNECTION ADMIN",
    "REPLICA MONITOR",
    "REPLICATION MASTER ADMIN",
    "REPLICATION SLAVE ADMIN",
    "SET USER",
];

impl Grants {
    pub(crate) fn read<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut grants = Self::default();
        for line in lines {
            // A role that is granted has no ON; what it may stands in lines of its own.
            let Some((rights, rest)) = line.strip_prefix("GRANT ").and_then(|line| line.split_once(" ON "))
            else {
                continue;
            };
            let rights = rights.split(", ").map(|right| match right {
                // As it is shown.
                "SLAVE MONITOR" => "REPLICA MONITOR".to_owned(),
                "REPLICATION REPLICA" => "REPLICATION SLAVE".to_owned(),
                other => other.to_uppercase(),
            });
            let on = rest.split_once(" TO ").map_or(rest, |(on, _)| on);
            if on == "*.*" {
                grants.global.extend(rights);
                if rest.ends_with(" WITH GRANT OPTION") {
                    grants.global.insert("GRANT OPTION".to_owned());
                }
            } else if let Some(database) = on.strip_suffix(".*") {
                let database = database.trim_matches('`').replace("\\_", "_");
                grants.databases.push((database, rights.collect()));
            }
        }
        grants
    }

    /// Whether it has this right everywhere; `major`: of the server's version.
    pub(crate) fn has(&self, right: &str, major: u32) -> bool {
        (self.global.contains("ALL PRIVILEGES") && right != "GRANT OPTION")
            || self.global.contains(right)
            || (major < 11 && self.global.contains("SUPER") && IN_SUPER.contains(&right))
    }

    /// Whether it has this right in a database.
    pub(crate) fn has_in(&self, database: &str, right: &str, major: u32) -> bool {
        let in_it = |(name, rights): &(String, BTreeSet<String>)| {
            name.eq_ignore_ascii_case(database)
                && (rights.contains(right) || rights.contains("ALL PRIVILEGES"))
        };
        self.has(right, major) || self.databases.iter().any(in_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_as_a_server_shows_them_and_no_hash_is_kept() {
        let lines = [
            "GRANT RELOAD, PROCESS, READ_ONLY ADMIN, SLAVE MONITOR ON *.* TO `b`@`10.0.%` IDENTIFIED BY PASSWORD '*B69'",
            "GRANT INSERT, DELETE, CREATE ON `backstay`.* TO `b`@`10.0.%`",
            "GRANT `role` TO `b`@`10.0.%`",
            "GRANT SELECT (`a`, `b`) ON `x`.`y` TO `b`@`10.0.%`",
        ];
        let grants = Grants::read(lines.into_iter());
        assert!(grants.has("REPLICA MONITOR", 10) && grants.has("READ_ONLY ADMIN", 11));
        assert!(!grants.has("CONNECTION ADMIN", 10) && !grants.has("INSERT", 10));
        assert!(grants.has_in("backstay", "INSERT", 10) && !grants.has_in("shop", "INSERT", 10));
        assert!(!format!("{grants:?}").contains("B69"));
    }

    #[test]
    fn super_contains_less_than_it_did() {
        let grants = Grants::read(["GRANT SUPER ON *.* TO `b`@`%`"].into_iter());
        assert!(grants.has("REPLICATION SLAVE ADMIN", 10) && !grants.has("REPLICATION SLAVE ADMIN", 11));
        assert!(!grants.has("READ_ONLY ADMIN", 10) && !grants.has("RELOAD", 10));
        let all = Grants::read(["GRANT ALL PRIVILEGES ON *.* TO `b`@`%` WITH GRANT OPTION"].into_iter());
        assert!(all.has("RELOAD", 11) && all.has_in("backstay", "CREATE", 11));
    }
}
