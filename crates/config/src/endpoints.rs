//! `[[endpoints]]`: the addresses at which gateways take clients, and on what terms. What endpoints must not share is
//! checked elsewhere.

use crate::config::SecretSource;
use crate::finding::{Findings, Span};
use crate::section::{At, Section};
use crate::service_tls::{self, TlsClient};
use crate::services::{Password, password};
use crate::values::{self, Refusal};
use backstay_model::{Address, EngineKind, ServiceName};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// How `[[endpoints.users]]` is written in short.
const USER_EXAMPLE: &str = "{ name = \"app\", password_file = \"/etc/backstay/app.pass\" }";

/// An address at which gateways take the clients of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Whose clients it takes.
    pub service: ServiceName,
    /// What its clients speak: what the service's instances do.
    pub protocol: EndpointProtocol,
    /// Whom they talk to.
    pub role: EndpointRole,
    /// Where it listens over TCP, if it does.
    pub listen: Option<Address>,
    /// The Unix socket at which it listens, if it does.
    pub socket: Option<PathBuf>,
    /// Who may use it; without any, everybody who reaches it. Redis alone, as all that says so below.
    pub users: Vec<EndpointUser>,
    /// The ACL user that it is to the servers; the default user if there is none. Redis alone.
    pub server_username: Option<String>,
    /// Where that user's password is; no login without one. Redis alone.
    pub server_password: Option<SecretSource>,
    /// The certificate that it shows to clients over TCP; in the clear if there is none. Redis alone.
    pub tls: Option<TlsClient>,
    /// Whether a load balancer says who each client is, in a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Whether servers are told who each client is, in such a header. SQL alone.
    pub send_proxy_protocol: bool,
    /// How long a command, or with SQL a new client, waits for a primary before it is refused.
    pub hold: Duration,
    /// How many commands, or with SQL clients, wait for a primary at most.
    pub held_max: u64,
    /// How many commands each gateway takes per second; zero: as many as come. Redis alone.
    pub commands_per_second: u64,
    /// How many clients each gateway takes.
    pub clients_max: u64,
    /// How many bytes of replies a client may leave unread. Redis alone.
    pub unread_max: u64,
    /// How many bytes all clients of a gateway may hold together.
    pub memory_max: u64,
    /// After how long without a command a client is disconnected; zero: never.
    pub idle_timeout: Duration,
    /// How long a command may take before it is remembered in the slow log; zero: none is remembered. Redis alone.
    pub slow: Duration,
}

/// What the clients of an endpoint speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointProtocol {
    /// Redis: commands of many clients share connections.
    Redis,
    /// MySQL's: each client has a connection of its own, and users and TLS are the server's business.
    Sql,
}

/// Whom the clients of an endpoint talk to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EndpointRole {
    /// The primary.
    Primary,
    /// A replica.
    Reader {
        /// How many bytes, or with SQL transactions, a replica may be behind.
        max_lag: u64,
        /// Whom instead, if no replica qualifies.
        otherwise: Otherwise,
    },
}

/// What a reader does without a replica that is near enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Otherwise {
    /// Ask the primary.
    Primary,
    /// Ask a replica that is further behind.
    Any,
    /// Refuse.
    Refuse,
}

impl Otherwise {
    /// As the file spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Any => "any",
            Self::Refuse => "refuse",
        }
    }
}

/// Somebody who may use an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EndpointUser {
    /// The name; `default` for clients that give a password alone.
    pub name: String,
    /// Where the password is.
    pub password: SecretSource,
    /// The ACL user that it is to the servers; the default user if there is none but a password.
    pub server_username: Option<String>,
    /// Where that user's password is; without one it is to the servers who everybody else is.
    pub server_password: Option<SecretSource>,
}

/// A user as it was read.
struct UserDraft {
    name: Option<At<String>>,
    password: Option<At<SecretSource>>,
    server: ServerLogin,
}

/// Who somebody is to the servers, as it was read.
pub(crate) struct ServerLogin {
    pub(crate) username: Option<At<String>>,
    password: Option<At<SecretSource>>,
    /// Whether the file says where the password is, right or wrong.
    pub(crate) has_password: bool,
}

/// An endpoint as it was read.
pub(crate) struct EndpointDraft {
    pub(crate) span: Span,
    pub(crate) name: Option<At<String>>,
    pub(crate) service: Option<At<ServiceName>>,
    pub(crate) protocol: EndpointProtocol,
    pub(crate) role: Option<At<EndpointRole>>,
    pub(crate) listen: Option<At<Address>>,
    pub(crate) socket: Option<At<PathBuf>>,
    users: Vec<UserDraft>,
    /// Whether the file lists users, right or wrong.
    pub(crate) has_users: bool,
    pub(crate) auth_none: Option<At<()>>,
    server: ServerLogin,
    tls: Option<TlsClient>,
    proxy_protocol: bool,
    send_proxy_protocol: bool,
    hold: Duration,
    held_max: u64,
    commands_per_second: u64,
    clients_max: u64,
    unread_max: u64,
    memory_max: u64,
    idle_timeout: Duration,
    slow: Duration,
}

impl EndpointDraft {
    /// `engine` knows what the services of the file run.
    pub(crate) fn read(
        mut section: Section<'_>,
        engine: impl Fn(&ServiceName) -> Option<EngineKind>,
        findings: &mut Findings,
    ) -> Self {
        let s = &mut section;
        let ms = Duration::from_millis;
        let service = s.required("service", findings, "mymaster", values::service_name);
        let service = service.map(|it| At { value: ServiceName::from(it.value), span: it.span });
        let engine = service.as_ref().and_then(|service| engine(&service.value));
        let protocol = match engine {
            Some(EngineKind::MariaDb | EngineKind::MySql) => EndpointProtocol::Sql,
            Some(EngineKind::Redis) | None => EndpointProtocol::Redis,
        };
        refuse(engine, s, findings);
        let users = s.tables("users", findings, "a user of an endpoint", USER_EXAMPLE).unwrap_or_default();
        let draft = Self {
            name: s.required("name", findings, "shop", values::name),
            service,
            protocol,
            role: role(protocol, s, findings),
            listen: s.optional("listen", findings, values::address),
            socket: s.optional("socket", findings, values::socket_path),
            users: users.into_iter().map(|section| user(section, findings)).collect(),
            has_users: s.has("users"),
            auth_none: s.optional("auth", findings, |text| values::no_auth(text, "users")),
            server: ServerLogin::read(s, findings),
            tls: service_tls::read_certificate(s.table("tls", findings, "the TLS of an endpoint"), findings),
            proxy_protocol: s.flag("proxy_protocol", findings),
            send_proxy_protocol: s.flag("send_proxy_protocol", findings),
            hold: s.duration("hold", findings, ms(10_000), ms(0)..=ms(600_000)).value,
            held_max: s.number("held_max", findings, 100_000, 0..=100_000_000).value,
            commands_per_second: s.number("commands_per_second", findings, 0, 0..=100_000_000).value,
            clients_max: s.number("clients_max", findings, 10_000, 1..=1_000_000).value,
            unread_max: s.number("unread_max", findings, 64 << 20, 64 << 10..=1 << 40).value,
            memory_max: s.number("memory_max", findings, 1 << 30, 16 << 20..=1 << 44).value,
            idle_timeout: s.duration("idle_timeout", findings, ms(0), ms(0)..=ms(7 * 24 * 3_600_000)).value,
            slow: s.duration("slow", findings, ms(10), ms(0)..=ms(3_600_000)).value,
            span: s.span.clone(),
        };
        section.finish(findings);
        draft
    }

    /// Every login to the servers that the endpoint uses.
    pub(crate) fn server_logins(&self) -> impl Iterator<Item = &ServerLogin> {
        std::iter::once(&self.server).chain(self.users.iter().map(|user| &user.server))
    }

    /// Nothing is missing if there was no error.
    pub(crate) fn endpoint(&self) -> Option<Endpoint> {
        let users = self.users.iter().map(UserDraft::user);
        Some(Endpoint {
            name: self.name.as_ref()?.value.clone(),
            service: self.service.as_ref()?.value.clone(),
            protocol: self.protocol,
            role: self.role.as_ref()?.value,
            listen: self.listen.as_ref().map(|at| at.value.clone()),
            socket: self.socket.as_ref().map(|at| at.value.clone()),
            users: users.collect::<Option<_>>()?,
            server_username: self.server.username(),
            server_password: self.server.password(),
            tls: self.tls.clone(),
            proxy_protocol: self.proxy_protocol,
            send_proxy_protocol: self.send_proxy_protocol,
            hold: self.hold,
            held_max: self.held_max,
            commands_per_second: self.commands_per_second,
            clients_max: self.clients_max,
            unread_max: self.unread_max,
            memory_max: self.memory_max,
            idle_timeout: self.idle_timeout,
            slow: self.slow,
        })
    }
}

/// Refuses what the service's engine has no use for.
fn refuse(engine: Option<EngineKind>, s: &mut Section<'_>, findings: &mut Findings) {
    let (other, keys): (_, &[(&'static str, &str)]) = match engine {
        Some(EngineKind::MariaDb | EngineKind::MySql) => ("Redis", &REDIS_ALONE),
        Some(EngineKind::Redis) => ("MariaDB", &SQL_ALONE),
        // That was, or will be, noted.
        None => return,
    };
    for (key, help) in keys {
        let message = format!("{key} means something for an endpoint of a {other} service only");
        s.refuse(key, findings, message, *help);
    }
}

const REDIS_ALONE: [(&str, &str); 9] = [
    ("users", SERVERS_USERS),
    ("auth", SERVERS_USERS),
    ("server_username", SERVERS_USERS),
    ("server_password_file", SERVERS_USERS),
    ("server_password_env", SERVERS_USERS),
    (
        "tls",
        "Leave it out: clients agree on TLS with the database itself, through the gateway. Give the certificate to the \
         database (ssl_cert, ssl_key).",
    ),
    (
        "commands_per_second",
        "Leave it out: a gateway counts no statements. MariaDB bounds them per user (MAX_QUERIES_PER_HOUR).",
    ),
    ("unread_max", "Leave it out: what a client does not read stays with the database, which waits for it."),
    ("slow", "Leave it out: a gateway reads no statements. MariaDB has a slow log (slow_query_log)."),
];

const SERVERS_USERS: &str = "Leave it out: clients log in at the database itself, through the gateway.";

const SQL_ALONE: [(&str, &str); 1] = [(
    "send_proxy_protocol",
    "Leave it out: Redis does not understand the PROXY protocol. `CLIENT LIST` at the gateway shows its clients.",
)];

fn role(
    protocol: EndpointProtocol,
    s: &mut Section<'_>,
    findings: &mut Findings,
) -> Option<At<EndpointRole>> {
    let max_lag = match protocol {
        EndpointProtocol::Redis => 1 << 20,
        EndpointProtocol::Sql => 1000,
    };
    let max_lag = s.number("max_lag", findings, max_lag, 0..=1 << 40);
    let otherwise = s.optional("otherwise", findings, |text| match text {
        "primary" => Ok(Otherwise::Primary),
        "any" => Ok(Otherwise::Any),
        "refuse" => Ok(Otherwise::Refuse),
        _ => Err(Refusal {
            message: format!("'{text}' is nothing that a reader could do instead"),
            help: "Write \"primary\", \"any\" (a replica that is further behind) or \"refuse\".".into(),
        }),
    });
    let lone = ["max_lag", "otherwise"].into_iter().find(|key| s.has(key));
    let otherwise = otherwise.map_or(Otherwise::Primary, |at| at.value);
    let reader = EndpointRole::Reader { max_lag: max_lag.value, otherwise };
    if !s.has("role") {
        if let Some(key) = lone {
            let message = format!("{key} means something for a reader only");
            findings.error(&s.key_span(key), message, "Write role = \"reader\", or leave it out.");
        }
        // Said here so that it is known even though it has a default.
        let _ = s.optional("role", findings, |_| Ok(()));
        return Some(s.default(EndpointRole::Primary));
    }
    s.optional("role", findings, |text| match text {
        "primary" => Ok(EndpointRole::Primary),
        "reader" => Ok(reader),
        _ => Err(Refusal {
            message: format!("'{text}' is no role of an endpoint"),
            help: "Write \"primary\" for reads and writes, or \"reader\" for reads from replicas.".into(),
        }),
    })
}

impl UserDraft {
    fn user(&self) -> Option<EndpointUser> {
        Some(EndpointUser {
            name: self.name.as_ref()?.value.clone(),
            password: self.password.as_ref()?.value.clone(),
            server_username: self.server.username(),
            server_password: self.server.password(),
        })
    }
}

impl ServerLogin {
    fn read(s: &mut Section<'_>, findings: &mut Findings) -> Self {
        Self {
            username: s.optional("server_username", findings, values::identifier),
            password: password(s, findings, &Password::ENDPOINT_SERVER),
            has_password: s.has("server_password_file") || s.has("server_password_env"),
        }
    }

    fn username(&self) -> Option<String> {
        self.username.as_ref().map(|at| at.value.clone())
    }

    fn password(&self) -> Option<SecretSource> {
        self.password.as_ref().map(|at| at.value.clone())
    }
}

fn user(mut section: Section<'_>, findings: &mut Findings) -> UserDraft {
    let name = section.required("name", findings, "app", values::identifier);
    let password = password(&mut section, findings, &Password::SERVICE);
    if password.is_none() && !section.has("password_file") && !section.has("password_env") {
        let help = "Add password_file = \"/path\" or password_env = \"NAME\".";
        findings.error(&section.span, "a user of an endpoint has no password", help);
    }
    let server = ServerLogin::read(&mut section, findings);
    section.finish(findings);
    UserDraft { name, password, server }
}
