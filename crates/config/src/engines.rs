//! What only `[[redis]]` has, and what only `[[mariadb]]` and `[[mysql]]` have: a setting in a section of the other kind is
//! refused by name, with what to do instead.

use crate::config::{ReplicationUser, SecretSource};
use crate::finding::Findings;
use crate::section::{At, Section};
use crate::services::{Password, password};
use crate::values;
use backstay_model::{
    Address, Durability, Engine, EngineKind, Failsafe, MariaDbSpec, RebuildPolicy, RedisSpec,
};

/// How a section of one kind is written, for messages.
pub(crate) struct Words {
    pub(crate) service: &'static str,
    pub(crate) service_name: &'static str,
    /// How an instance is written in short.
    pub(crate) instance: &'static str,
    pub(crate) address: &'static str,
    pub(crate) authority: &'static str,
}

/// How a section of this kind is written.
pub(crate) const fn words(kind: EngineKind) -> &'static Words {
    match kind {
        EngineKind::Redis => &Words {
            service: "a Redis service",
            service_name: "mymaster",
            instance: "{ name = \"r1\", address = \"10.0.0.1:6379\" }",
            address: "10.0.0.1:6379",
            authority: "/etc/backstay/redis-ca.pem",
        },
        EngineKind::MariaDb => &Words {
            service: "a MariaDB service",
            service_name: "orders",
            instance: "{ name = \"db1\", address = \"10.0.0.1:3306\" }",
            address: "10.0.0.1:3306",
            authority: "/etc/backstay/mariadb-ca.pem",
        },
        EngineKind::MySql => &Words {
            service: "a MySQL service",
            service_name: "orders",
            instance: "{ name = \"db1\", address = \"10.0.0.1:3306\" }",
            address: "10.0.0.1:3306",
            authority: "/etc/backstay/mysql-ca.pem",
        },
    }
}

/// What only one kind has, as it was read.
pub(crate) enum EngineDraft {
    Redis(RedisDraft),
    MariaDb(MariaDbDraft),
    MySql(MariaDbDraft),
}

/// What only `[[redis]]` has.
pub(crate) struct RedisDraft {
    pub(crate) min_replicas_to_write: At<u64>,
    ignore_sentinels: bool,
    canary_key: String,
}

/// What only `[[mariadb]]` and `[[mysql]]` have.
pub(crate) struct MariaDbDraft {
    pub(crate) durability: At<Durability>,
    pub(crate) events: At<bool>,
    pub(crate) rebuild: At<RebuildPolicy>,
    pub(crate) replication: ReplicationDraft,
}

/// As whom replicas log in at the primary.
pub(crate) struct ReplicationDraft {
    pub(crate) username: Option<At<String>>,
    pub(crate) password: Option<At<SecretSource>>,
    /// Whether the file names a source of the password, right or wrong.
    pub(crate) has_password: bool,
}

impl EngineDraft {
    pub(crate) fn read(kind: EngineKind, section: &mut Section<'_>, findings: &mut Findings) -> Self {
        match kind {
            EngineKind::Redis => Self::Redis(RedisDraft::read(section, findings)),
            EngineKind::MariaDb => Self::MariaDb(MariaDbDraft::read("MariaDB", section, findings)),
            EngineKind::MySql => Self::MySql(MariaDbDraft::read("MySQL", section, findings)),
        }
    }

    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::Redis(redis) => Engine::Redis(RedisSpec {
                canary_key: redis.canary_key.clone(),
                min_replicas_to_write: redis.min_replicas_to_write.value,
                ignore_sentinels: redis.ignore_sentinels,
            }),
            Self::MariaDb(mariadb) => Engine::MariaDb(mariadb.spec()),
            Self::MySql(mysql) => Engine::MySql(mysql.spec()),
        }
    }

    pub(crate) const fn kind(&self) -> EngineKind {
        match self {
            Self::Redis(_) => EngineKind::Redis,
            Self::MariaDb(_) => EngineKind::MariaDb,
            Self::MySql(_) => EngineKind::MySql,
        }
    }

    pub(crate) fn replication(&self) -> Option<ReplicationUser> {
        let (Self::MariaDb(MariaDbDraft { replication, .. }) | Self::MySql(MariaDbDraft { replication, .. })) =
            self
        else {
            return None;
        };
        Some(ReplicationUser {
            username: replication.username.as_ref()?.value.clone(),
            password: replication.password.as_ref()?.value.clone(),
        })
    }
}

impl RedisDraft {
    fn read(s: &mut Section<'_>, findings: &mut Findings) -> Self {
        for (key, help) in [
            ("durability", "Leave it out: here Redis is \"async\". See min_replicas_to_write."),
            ("events", "Leave it out: Redis has no scheduler of events."),
            ("rebuild", "Leave it out: a Redis replica takes a full copy by itself."),
            ("replication_username", IN_REDIS_ITSELF),
            ("replication_password_file", IN_REDIS_ITSELF),
            ("replication_password_env", IN_REDIS_ITSELF),
        ] {
            s.refuse(key, findings, format!("{key} is a setting of [[mariadb]]"), help);
        }
        Self {
            min_replicas_to_write: s.number("min_replicas_to_write", findings, 0, 0..=1000),
            ignore_sentinels: s.flag("ignore_sentinels", findings),
            canary_key: s
                .optional("canary_key", findings, values::key)
                .map_or_else(|| "backstay:canary".into(), |key| key.value),
        }
    }
}

const IN_REDIS_ITSELF: &str =
    "Leave it out: Redis' own file says whom replicas log in as, with masteruser and masterauth.";

impl MariaDbDraft {
    const fn spec(&self) -> MariaDbSpec {
        MariaDbSpec {
            durability: self.durability.value,
            events: self.events.value,
            rebuild: self.rebuild.value,
        }
    }

    fn read(engine: &str, s: &mut Section<'_>, findings: &mut Findings) -> Self {
        let no_keys = format!("Leave it out: {engine} has no keys.");
        let no_sentinel = format!("Leave it out: no Sentinel manages a {engine}.");
        for (key, help) in [
            ("canary_key", no_keys.as_str()),
            (
                "min_replicas_to_write",
                "Leave it out. With durability = \"majority\" every commit waits for a replica.",
            ),
            ("ignore_sentinels", no_sentinel.as_str()),
        ] {
            s.refuse(key, findings, format!("{key} is a setting of [[redis]]"), help);
        }
        Self {
            durability: s
                .optional("durability", findings, values::durability)
                .unwrap_or_else(|| s.default(Durability::Async)),
            events: s.placed_flag("events", findings),
            rebuild: s
                .optional("rebuild", findings, values::rebuild)
                .unwrap_or_else(|| s.default(RebuildPolicy::Ask)),
            replication: ReplicationDraft {
                username: s.optional("replication_username", findings, values::identifier),
                password: password(s, findings, &Password::REPLICATION),
                has_password: s.has("replication_password_file") || s.has("replication_password_env"),
            },
        }
    }
}

/// Where the agent on the instance's host listens. Redis needs none: its replicas copy by themselves. MySQL has none yet.
pub(crate) fn agent(kind: EngineKind, s: &mut Section<'_>, findings: &mut Findings) -> Option<At<Address>> {
    if kind != EngineKind::MariaDb {
        let help = if kind == EngineKind::Redis {
            "Leave it out: a Redis replica takes a full copy by itself."
        } else {
            "Leave it out: agents rebuild a MariaDB only, so far."
        };
        s.refuse("agent", findings, "agent is a setting of instances of [[mariadb]]".to_owned(), help);
        return None;
    }
    s.optional("agent", findings, values::address)
}

/// What gateways do when no controller tells them anything: known for Redis alone, so far.
pub(crate) fn failsafe(kind: EngineKind, s: &mut Section<'_>, findings: &mut Findings) -> At<Failsafe> {
    let parse = match kind {
        EngineKind::Redis => values::failsafe,
        EngineKind::MariaDb => values::no_failsafe,
        EngineKind::MySql => values::no_failsafe_of_mysql,
    };
    s.optional("failsafe", findings, parse).unwrap_or_else(|| s.default(Failsafe::Off))
}
