//! The text of `INFO`: one `name:value` per line, sections between them. Fields are looked up by name, so that new ones
//! and other orders do not matter; a missing one that is needed makes the whole reply senseless.

use backstay_model::{Address, Identity, Info, ReplId, ReplOffset, Role, RunId, SqlState};

/// Whom `INFO` (all default sections) describes. While data are loaded, keys say nothing.
pub(super) fn identity(text: &[u8]) -> Option<Identity> {
    let fields = Fields::of(text);
    let version = match fields.get("valkey_version") {
        // Valkey gives the Redis version that it is compatible with as `redis_version`.
        Some(valkey) => format!("valkey {valkey}"),
        None => fields.get("redis_version")?.to_owned(),
    };
    let is_set = |name| fields.get(name).is_some_and(|value| value != "0");
    Some(Identity {
        run_id: fields.get("run_id")?.into(),
        version,
        keys: fields.keys(),
        loading: is_set("loading") || is_set("async_loading"),
    })
}

/// What `INFO replication` says.
pub(super) fn replication(text: &[u8]) -> Option<Info> {
    let fields = Fields::of(text);
    let (role, offset) = match fields.get("role")? {
        "master" => (
            Role::Primary { replicas: fields.parsed("connected_slaves")? },
            fields.offset("master_repl_offset")?,
        ),
        "slave" => (fields.replica()?, fields.offset("slave_repl_offset")?),
        _ => return None,
    };
    Some(Info {
        role,
        replid: fields.get("master_replid")?.into(),
        previous: fields.previous(),
        offset,
        closed: false,
        sql: SqlState::default(),
    })
}

/// Which process an `INFO server` describes.
pub fn run_id(text: &[u8]) -> Option<RunId> {
    Fields::of(text).get("run_id").map(RunId::from)
}

/// How far each replica that is linked to a primary has acknowledged, by where it listens, as `INFO replication` says.
/// `None`: it is no primary, or the text makes no sense.
pub fn acknowledged(text: &[u8]) -> Option<Vec<(Address, ReplOffset)>> {
    let fields = Fields::of(text);
    (fields.get("role")? == "master").then(|| fields.acknowledged().collect())
}

/// Names and values in the order of the text, taken apart once: a dozen of them are asked for.
struct Fields<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Fields<'a> {
    fn of(text: &'a [u8]) -> Self {
        let lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let pairs = lines.filter_map(|line| {
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((&line[..colon], &line[colon + 1..]))
        });
        Self(pairs.collect())
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().find(|(key, _)| *key == name.as_bytes())?;
        std::str::from_utf8(found.1).ok()
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// An offset that is not known is -1 in some versions.
    fn offset(&self, name: &str) -> Option<ReplOffset> {
        let offset = self.parsed::<i64>(name)?;
        Some(ReplOffset(u64::try_from(offset).unwrap_or(0)))
    }

    fn replica(&self) -> Option<Role> {
        let host = self.get("master_host")?;
        let port = self.parsed::<u16>("master_port")?;
        // Port 0 leads nowhere, and so does port 1; an `Address` has no port 0.
        let of = Address { host: host.into(), port: port.max(1) };
        Some(Role::Replica {
            // It goes through the text form between controllers, so it has to survive that.
            of: of.to_string().parse().ok()?,
            link_up: self.get("master_link_status")? == "up",
            syncing: self.get("master_sync_in_progress")? == "1",
        })
    }

    /// A history that never was is forty zeros, with an offset of -1. Redis tells the first offset that is not in it.
    fn previous(&self) -> Option<(ReplId, ReplOffset)> {
        let replid = self.get("master_replid2")?;
        let offset = self.parsed::<u64>("second_repl_offset")?.saturating_sub(1);
        let real = replid.bytes().any(|byte| byte != b'0');
        real.then(|| (replid.into(), ReplOffset(offset)))
    }

    /// Replicas: `slave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=0`.
    fn acknowledged(&self) -> impl Iterator<Item = (Address, ReplOffset)> {
        let numbered = |name: &[u8]| {
            name.strip_prefix(b"slave")
                .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
        };
        let replicas = self.0.iter().filter(move |(name, _)| numbered(name));
        replicas.filter_map(|(_, value)| std::str::from_utf8(value).ok()).filter_map(|value| {
            let part =
                |name: &str| value.split(',').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
            let port = part("port")?.parse().ok().filter(|port| *port > 0)?;
            let address = Address { host: part("ip")?.into(), port };
            Some((address, ReplOffset(part("offset")?.parse().ok()?)))
        })
    }

    /// Keys of all databases: `db0:keys=1,expires=0,avg_ttl=0`.
    fn keys(&self) -> u64 {
        let is_database = |name: &[u8]| {
            name.strip_prefix(b"db")
                .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
        };
        self.0
            .iter()
            .filter(|(name, _)| is_database(name))
            .filter_map(|(_, value)| std::str::from_utf8(value).ok())
            .filter_map(|value| value.split(',').find_map(|part| part.strip_prefix("keys=")))
            .filter_map(|keys| keys.parse::<u64>().ok())
            .fold(0, u64::saturating_add)
    }
}
