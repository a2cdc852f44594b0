//! What a gateway is asked to do: its endpoints, who may use them, as whom they speak to servers, and their limits.

use backstay_model::ServiceName;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// All of one gateway.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where this gateway stands: replicas of this zone are preferred. Empty: nowhere in particular.
    pub zone: String,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One address, or several, that never change.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its name in the configuration file and in logs.
    pub name: String,
    /// Whose commands it takes.
    pub service: ServiceName,
    /// To whom they go.
    pub kind: EndpointKind,
    /// Where it listens.
    pub listen: Vec<Listen>,
    /// Who may use it. None: everybody, without `AUTH`.
    pub users: Vec<User>,
    /// How it speaks to servers.
    pub backend: Backend,
    /// What it allows.
    pub limits: EndpointLimits,
    /// TLS towards clients.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Every connection begins with a header of the PROXY protocol, version 2, which says who the client is.
    pub proxy_protocol: bool,
    /// What clients and servers speak.
    pub protocol: Protocol,
    /// Every connection to a server begins with such a header, for the server to know the client's address. SQL alone.
    pub send_proxy: bool,
}

/// What an endpoint's clients and servers speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// Redis: commands of many clients share connections.
    #[default]
    Redis,
    /// MySQL's: each client has a connection of its own. Users and TLS are the server's business; so `users`, `backend`
    /// and `tls` of such an endpoint do not count.
    Sql,
}

impl Endpoint {
    /// One without listeners, users and TLS, with the limits that there are by default.
    pub fn new(name: &str, service: ServiceName, kind: EndpointKind) -> Self {
        Self {
            name: name.to_owned(),
            service,
            kind,
            listen: Vec::new(),
            users: Vec::new(),
            backend: Backend::default(),
            limits: EndpointLimits::default(),
            tls: None,
            proxy_protocol: false,
            protocol: Protocol::Redis,
            send_proxy: false,
        }
    }
}

/// To whom an endpoint's commands go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointKind {
    /// Reads and writes, at the primary.
    Primary,
    /// Reads, at the best replica.
    Reader {
        /// A replica that is further behind does not qualify.
        max_lag_bytes: u64,
        /// When none qualifies.
        otherwise: Otherwise,
    },
}

/// What a reader endpoint does when no replica qualifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// It reads at the primary.
    Primary,
    /// It answers with an error.
    Refuse,
    /// It reads at the replica that is least behind, however far that is.
    Any,
}

/// One address at which an endpoint listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What a gateway takes over from the one before it, on the same machine.
#[derive(Debug, Default)]
pub struct Heritage {
    /// The listening sockets of that gateway, and where they listen. Those that are not needed are closed here.
    pub sockets: Vec<(Listen, OwnedFd)>,
    /// That gateway does not answer: its Unix sockets are replaced.
    pub replaces: bool,
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Somebody who may use an endpoint.
#[derive(Clone, Debug)]
pub struct User {
    /// The name; `default` for clients that send a password alone.
    pub name: String,
    /// The password.
    pub password: Secret,
    /// As whom this user's commands are sent to servers. `None`: as everybody else's.
    pub login: Option<Login>,
}

/// How an endpoint speaks to servers.
#[derive(Clone, Debug, Default)]
pub struct Backend {
    /// As whom. `None`: without `AUTH`.
    pub login: Option<Login>,
    /// TLS, and the name that servers' certificates must carry; without a name, the host of the server's address.
    pub tls: Option<(Arc<rustls::ClientConfig>, Option<String>)>,
}

/// A user of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user; `default` for servers that know a password alone.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// A text that never appears in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `text` is the same; takes equally long wherever they differ.
    pub(crate) fn is(&self, text: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differing = own.iter().zip(text).fold(0, |sum, (one, other)| sum | (one ^ other));
        std::hint::black_box(differing) == 0 && own.len() == text.len()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// What an endpoint allows. Whatever is over a limit is answered with an error that names the limit.
#[derive(Clone, Debug)]
pub struct EndpointLimits {
    /// Connected clients.
    pub clients_max: usize,
    /// One request, in bytes. A longer one ends its client.
    pub request_bytes_max: usize,
    /// Replies that a client has not fetched yet, in bytes. More ends the client.
    pub output_bytes_max: usize,
    /// How long a command waits for a primary.
    pub hold_max: Duration,
    /// Clients whose commands wait at once; of SQL, clients that wait to be connected.
    pub held_commands_max: usize,
    /// The bytes of commands that wait at once.
    pub held_bytes_max: usize,
    /// Connections to servers that belong to one client each.
    pub own_connections_max: usize,
    /// A client that says nothing for so long is let go; subscribers are not. `None`: never.
    pub idle_timeout: Option<Duration>,
    /// How long the rest of a begun request may take.
    pub request_timeout: Duration,
    /// How long a client may take to agree on TLS, and where there are users, to sign in.
    pub sign_in_timeout: Duration,
    /// How many commands are taken per second from all clients together. The others wait, for `hold_max` at most. Zero:
    /// as many as come.
    pub commands_per_second: u64,
    /// What all clients and connections to servers may hold together, in bytes. Above it those who hold most are let go.
    pub memory_max: usize,
    /// Commands that take so long are remembered in the slow log. `None`: none are.
    pub slow: Option<Duration>,
    /// How long connections may go on when the primary is about to move, or the replica is not to be read from any more.
    /// Of SQL alone; never beyond the lease.
    pub drain_grace: Duration,
}

impl Default for EndpointLimits {
    fn default() -> Self {
        Self {
            clients_max: 10_000,
            request_bytes_max: 128 << 20,
            output_bytes_max: 256 << 20,
            hold_max: Duration::from_secs(10),
            held_commands_max: 10_000,
            held_bytes_max: 256 << 20,
            own_connections_max: 4_096,
            idle_timeout: None,
            request_timeout: Duration::from_secs(60),
            sign_in_timeout: Duration::from_secs(10),
            commands_per_second: 0,
            memory_max: 1 << 30,
            slow: Some(Duration::from_millis(10)),
            drain_grace: Duration::from_millis(300),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_never_appears_in_debug_output() {
        let login = Login { user: "app".into(), password: "hunter2".into() };
        let user = User { name: "app".into(), password: "hunter3".into(), login: Some(login) };
        let text = format!("{user:?}");
        assert!(!text.contains("hunter"), "{text}");
    }

    #[test]
    fn a_secret_is_equal_to_itself_alone() {
        let secret = Secret::from("abc");
        assert!(secret.is(b"abc"));
        for other in [&b""[..], b"ab", b"abd", b"abcd", b"ABC"] {
            assert!(!secret.is(other), "{other:?}");
        }
        assert!(!Secret::from("").is(b"a"));
    }
}
