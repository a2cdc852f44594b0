//! What there is: one connection to each server, and nothing but questions. Everything is looked at before anything is
//! decided, and whoever may not be changed is found here.

use super::error::AdoptError;
use super::{Logins, connect, host};
use crate::conversation::{Server, ServerError};
use backstay_model::{Address, InstanceName, InstanceSpec, ServiceSpec};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The settings that are looked at.
pub(super) const PING_PERIOD: &str = "repl-ping-replica-period";
pub(super) const BACKLOG: &str = "repl-backlog-size";
pub(super) const SYNC_DELAY: &str = "repl-diskless-sync-delay";
const SETTINGS: [&str; 6] = [PING_PERIOD, BACKLOG, SYNC_DELAY, "aclfile", "requirepass", "masterauth"];
/// The largest configuration file that is read.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// One server as it was found.
pub(super) struct Seen {
    pub(super) spec: InstanceSpec,
    /// With which of the logins it was looked at.
    pub(super) login: usize,
    pub(super) run_id: String,
    pub(super) version: String,
    /// Whom it follows, if it is a replica.
    pub(super) follows: Option<Address>,
    pub(super) keys: bool,
    pub(super) offset: u64,
    settings: BTreeMap<&'static str, String>,
    /// The lines of `ACL LIST`.
    pub(super) users: Option<String>,
    pub(super) acl_file: Option<TextFile>,
    pub(super) config_file: Option<TextFile>,
    server: Server,
}

/// A file of a server.
pub(super) struct TextFile {
    pub(super) path: PathBuf,
    /// Its text, or why it cannot be had here.
    pub(super) text: Result<String, String>,
}

impl Seen {
    pub(super) fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }
}

/// Looks at all of them. If one cannot be looked at, or may not be changed, says so of every such one.
pub(super) async fn all(
    instances: &[&InstanceSpec],
    logins: &Logins,
    with_users: bool,
) -> Result<Vec<Seen>, AdoptError> {
    let (mut seen, mut unfit) = (Vec::new(), Vec::new());
    for instance in instances {
        match one(instance, logins, with_users).await {
            Ok(found) => seen.push(found),
            Err(error) => unfit.push(sentence(&instance.name, &instance.address, &error)),
        }
    }
    if unfit.is_empty() { Ok(seen) } else { Err(AdoptError::Unfit(unfit)) }
}

fn sentence(name: &InstanceName, address: &Address, error: &ServerError) -> String {
    let next = match error {
        ServerError::Unreachable(_) => {
            "start it, mend its network or the address in the file; to leave it for later, name the others with --instance"
        }
        ServerError::NoTls(_) => {
            "correct tls in the file (ca, certificate, key, server_name) or the server's certificate"
        }
        ServerError::Denied(_) => {
            "name a user that may change the server: --admin-user and --admin-password-file or --admin-password-env"
        }
        ServerError::Refused(_) => "mend that first",
    };
    format!("  {name} ({address}) {error}\n    next: {next}")
}

/// With the first login that is let in and may look at everything.
async fn one(instance: &InstanceSpec, logins: &Logins, with_users: bool) -> Result<Seen, ServerError> {
    let mut first_error = None;
    for (index, login) in logins.admin.iter().enumerate() {
        let found = match connect(instance, login).await {
            Ok(server) => look(server, instance, index, with_users).await,
            Err(error) => Err(error),
        };
        match found {
            Err(error @ ServerError::Denied(_)) => {
                // That nobody may do it without a login says less than why ours was not enough.
                first_error.get_or_insert(error);
            }
            other => return other,
        }
    }
    Err(first_error.unwrap_or_else(|| ServerError::Denied("lets nobody in".to_owned())))
}

async fn look(
    mut server: Server,
    spec: &InstanceSpec,
    login: usize,
    with_users: bool,
) -> Result<Seen, ServerError> {
    let info = Info(server.text(&["INFO"]).await?);
    let mut settings = BTreeMap::new();
    for name in SETTINGS {
        if let Some(value) = server.setting(name).await? {
            settings.insert(name, value);
        }
    }
    fit(&info, &settings)?;
    if let Some(sentinel) = sentinel_of(&server.text(&["CLIENT", "LIST", "TYPE", "pubsub"]).await?) {
        return Err(ServerError::Refused(format!(
            "is managed by a Redis Sentinel ({sentinel}), and two managers would undo each other's work; take it away \
             there (SENTINEL REMOVE) on every Sentinel"
        )));
    }
    let users = if with_users { Some(lines(&server.ask(&["ACL", "LIST"]).await?)) } else { None };
    let here = host::is_here(info.number("process_id").unwrap_or(0) as u32, server.ends);
    let here = here.map_err(|not| not.to_string());
    let file = |path: &str| {
        (!path.is_empty())
            .then(|| TextFile { path: path.into(), text: here.clone().and_then(|()| read(Path::new(path))) })
    };
    Ok(Seen {
        spec: spec.clone(),
        login,
        run_id: info.field("run_id").to_owned(),
        version: info.version(),
        follows: info.follows(),
        keys: info.0.contains("\ndb0:") || info.0.contains(":keys="),
        offset: info.offset(),
        acl_file: file(settings.get("aclfile").map_or("", String::as_str)),
        config_file: file(info.field("config_file")),
        settings,
        users,
        server,
    })
}

/// How far it is by now.
pub(super) async fn offset_now(seen: &mut Seen) -> Result<u64, AdoptError> {
    let info = seen.server.text(&["INFO", "replication"]).await;
    let unfit = |error| AdoptError::Unfit(vec![sentence(&seen.spec.name, &seen.spec.address, &error)]);
    Ok(Info(info.map_err(unfit)?).offset())
}

/// What kinds of server are never touched.
fn fit(info: &Info, settings: &BTreeMap<&str, String>) -> Result<(), ServerError> {
    let refused = |text: &str| Err(ServerError::Refused(text.to_owned()));
    match info.field("redis_mode") {
        "sentinel" => {
            return refused("is a Redis Sentinel, not a server with data: correct the address in the file");
        }
        "cluster" => {
            return refused(
                "is a node of a Redis Cluster, which fails over by itself: leave it out of the file",
            );
        }
        _ => {}
    }
    if !settings.contains_key(PING_PERIOD) {
        return refused("is older than Redis 5, which is not supported: upgrade it");
    }
    Ok(())
}

/// A Sentinel names its subscription so (`sentinel-<id>-pubsub`).
fn sentinel_of(clients: &str) -> Option<&str> {
    clients.lines().find_map(|client| {
        let of = |key: &str| client.split(' ').find_map(|field| field.strip_prefix(key));
        let name = of("name=")?;
        (name.starts_with("sentinel-") && name.ends_with("-pubsub")).then(|| of("addr=").unwrap_or(name))
    })
}

/// Whoever follows somebody else belongs to somebody else, and two sets of data are not one service.
pub(super) fn strangers(service: &ServiceSpec, seen: &[Seen]) -> Result<(), AdoptError> {
    let member = |of: &Address| service.instances.iter().any(|instance| same(&instance.address, of));
    let mut unfit = Vec::new();
    for seen in seen {
        if let Some(of) = seen.follows.as_ref().filter(|of| **of != Address::nowhere() && !member(of)) {
            unfit.push(format!(
                "  {} ({}) is a replica of {of}, which is not in the file: it is somebody else's\n    next: add that \
                 instance to the file, or take this one out",
                seen.spec.name, seen.spec.address
            ));
        }
    }
    let primaries: Vec<_> = seen.iter().filter(|seen| seen.follows.is_none() && seen.keys).collect();
    if primaries.len() > 1 {
        let names: Vec<_> = primaries.iter().map(|seen| seen.spec.name.as_str()).collect();
        unfit.push(format!(
            "  {} are primaries, each with data of its own: one service has one primary\n    next: empty those that are \
             not part of it, or take them out of the file",
            names.join(" and ")
        ));
    }
    if unfit.is_empty() { Ok(()) } else { Err(AdoptError::Unfit(unfit)) }
}

/// Two spellings of one host cannot be told from two hosts here, except those of loopback.
fn same(one: &Address, other: &Address) -> bool {
    let host = |address: &Address| match &*address.host {
        "localhost" | "::1" => "127.0.0.1".to_owned(),
        host => host.to_ascii_lowercase(),
    };
    one.port == other.port && (host(one) == host(other) || is_name(one) != is_name(other))
}

/// Redis may have been told a name where the file has an address, or the other way round.
fn is_name(address: &Address) -> bool {
    address.host.parse::<std::net::IpAddr>().is_err()
}

fn read(path: &Path) -> Result<String, String> {
    let attempt = || {
        let length = std::fs::metadata(path)?.len();
        if length > FILE_BYTES_MAX {
            return Err(std::io::Error::other(format!(
                "it has {length} bytes, more than such a file can need"
            )));
        }
        std::fs::read_to_string(path)
    };
    attempt().map_err(|error| format!("it cannot be read here: {error}"))
}

fn lines(value: &backstay_wire::resp::Value) -> String {
    match value {
        backstay_wire::resp::Value::Array(items) => {
            items.iter().filter_map(backstay_wire::resp::Value::as_text).collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// The text of `INFO`.
struct Info(String);

impl Info {
    fn field(&self, name: &str) -> &str {
        let mut lines = self.0.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.field(name).parse().ok()
    }

    fn version(&self) -> String {
        match self.field("valkey_version") {
            "" => format!("Redis {}", self.field("redis_version")),
            version => format!("Valkey {version}"),
        }
    }

    fn follows(&self) -> Option<Address> {
        let port = self.number("master_port")?;
        format!("{}:{}", bracketed(self.field("master_host")), port.max(1)).parse().ok()
    }

    fn offset(&self) -> u64 {
        self.number("slave_repl_offset").or_else(|| self.number("master_repl_offset")).unwrap_or(0)
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}
