//! The file's endpoints as the data plane's settings: secrets read, names resolved, certificates made ready.

use crate::link::TlsDialler;
use crate::secret::{self, LoginError, SecretError};
use crate::tls::{Files, TlsError, accepting_anyone};
use backstay_config::{
    Config, Credentials, Endpoint, EndpointProtocol, EndpointRole, Otherwise, SecretSource, TlsClient,
};
use backstay_gateway as plane;
use backstay_model::{Address, GatewayName};
use std::collections::BTreeMap;
use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::Arc;

/// What one gateway is told beside the file.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Its name, unique in the cluster.
    pub name: GatewayName,
    /// Where it stands: replicas of this zone are asked first.
    pub zone: String,
    /// Other addresses for endpoints of the file, by their names.
    pub listen: BTreeMap<String, Address>,
    /// The folders for its control socket: the first that can be used is. Without any it has none.
    pub control: Vec<PathBuf>,
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The file has no endpoint.
    #[error("the file has no [[endpoints]]: write one with name, service and listen")]
    NoEndpoint,
    /// The command line names an endpoint that is not in the file.
    #[error("the file has no endpoint called '{0}': it has {1}")]
    UnknownEndpoint(String, String),
    /// A password cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A password or a certificate for servers cannot be used.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address means nothing here.
    #[error("{address}, where endpoint {endpoint} shall listen, cannot be resolved: {source}")]
    Resolve {
        /// The endpoint.
        endpoint: String,
        /// Its address.
        address: Address,
        /// The reason.
        source: io::Error,
    },
    /// An endpoint cannot be opened, or there are no threads.
    #[error(transparent)]
    Start(#[from] plane::StartError),
    /// The data plane failed.
    #[error(
        "this gateway stops, because its data plane ended, which is a bug: see the log above, and report it"
    )]
    Ended,
    /// No thread for the pilot.
    #[error("the operating system gives no thread ({0}), so this gateway cannot start")]
    NoThread(#[source] io::Error),
    /// No random numbers.
    #[error("the operating system gives no random numbers, so this gateway cannot start")]
    NoEntropy,
}

impl GatewayError {
    /// The process's exit code, as `RunError::exit_code`.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NoEndpoint
            | Self::UnknownEndpoint(..)
            | Self::Secret(_)
            | Self::Login(_)
            | Self::Tls(_) => 78,
            Self::Resolve { .. } | Self::Start(_) => 69,
            Self::Ended | Self::NoThread(_) | Self::NoEntropy => 70,
        }
    }
}

/// What the data plane needs to know.
pub(super) fn settings(config: &Config, options: &GatewayOptions) -> Result<plane::Settings, GatewayError> {
    if config.endpoints.is_empty() {
        return Err(GatewayError::NoEndpoint);
    }
    let names: Vec<_> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    if let Some(unknown) = options.listen.keys().find(|name| !names.contains(&name.as_str())) {
        return Err(GatewayError::UnknownEndpoint(unknown.clone(), names.join(", ")));
    }
    let endpoints = config.endpoints.iter().map(|endpoint| {
        let credentials = config.credentials(&endpoint.service).cloned().unwrap_or_default();
        let address = options.listen.get(&endpoint.name).or(endpoint.listen.as_ref());
        convert(endpoint, address, &credentials)
    });
    Ok(plane::Settings { zone: options.zone.clone(), endpoints: endpoints.collect::<Result<_, _>>()? })
}

fn convert(
    endpoint: &Endpoint,
    address: Option<&Address>,
    credentials: &Credentials,
) -> Result<plane::Endpoint, GatewayError> {
    let users = endpoint.users.iter().map(|user| {
        let login = login(user.server_username.as_ref(), user.server_password.as_ref())?;
        Ok(plane::User { name: user.name.clone(), password: read(&user.password)?, login })
    });
    let mut listen = Vec::new();
    if let Some(address) = address {
        listen.extend(resolve(endpoint, address)?);
    }
    listen.extend(endpoint.socket.clone().map(plane::Listen::Unix));
    let login = match (&endpoint.server_username, &endpoint.server_password) {
        // Clients log in at the database itself.
        _ if endpoint.protocol == EndpointProtocol::Sql => None,
        // Backstay's own user has the rights of an operator, which no client should have.
        (None, None) if credentials.username.is_none() => login(None, credentials.password.as_ref())?,
        (user, password) => login(user.as_ref(), password.as_ref())?,
    };
    let tls = credentials.tls.as_ref().filter(|_| endpoint.protocol == EndpointProtocol::Redis);
    let tls = tls.map(TlsDialler::new).transpose()?;
    Ok(plane::Endpoint {
        name: endpoint.name.clone(),
        service: endpoint.service.clone(),
        kind: kind(endpoint.role),
        listen,
        users: users.collect::<Result<_, SecretError>>()?,
        backend: plane::Backend { login, tls: tls.as_ref().map(TlsDialler::parts) },
        limits: limits(endpoint),
        tls: endpoint.tls.as_ref().map(acceptor).transpose()?,
        proxy_protocol: endpoint.proxy_protocol,
        protocol: match endpoint.protocol {
            EndpointProtocol::Redis => plane::Protocol::Redis,
            EndpointProtocol::Sql => plane::Protocol::Sql,
        },
        send_proxy: endpoint.send_proxy_protocol,
    })
}

fn read(source: &SecretSource) -> Result<plane::Secret, SecretError> {
    Ok(plane::Secret::from(secret::read(source)?.reveal()))
}

fn login(
    user: Option<&String>,
    password: Option<&SecretSource>,
) -> Result<Option<plane::Login>, SecretError> {
    let Some(password) = password else {
        return Ok(None);
    };
    let user = user.map_or("default", String::as_str).to_owned();
    Ok(Some(plane::Login { user, password: read(password)? }))
}

fn resolve(endpoint: &Endpoint, address: &Address) -> Result<Vec<plane::Listen>, GatewayError> {
    let found = (&*address.host, address.port).to_socket_addrs();
    let found = found.map_err(|source| GatewayError::Resolve {
        endpoint: endpoint.name.clone(),
        address: address.clone(),
        source,
    })?;
    Ok(found.map(plane::Listen::Tcp).collect())
}

const fn kind(role: EndpointRole) -> plane::EndpointKind {
    match role {
        EndpointRole::Primary => plane::EndpointKind::Primary,
        EndpointRole::Reader { max_lag, otherwise } => plane::EndpointKind::Reader {
            max_lag_bytes: max_lag,
            otherwise: match otherwise {
                Otherwise::Primary => plane::Otherwise::Primary,
                Otherwise::Any => plane::Otherwise::Any,
                Otherwise::Refuse => plane::Otherwise::Refuse,
            },
        },
    }
}

fn limits(endpoint: &Endpoint) -> plane::EndpointLimits {
    let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    plane::EndpointLimits {
        clients_max: count(endpoint.clients_max),
        output_bytes_max: count(endpoint.unread_max),
        hold_max: endpoint.hold,
        held_commands_max: count(endpoint.held_max),
        memory_max: count(endpoint.memory_max),
        commands_per_second: endpoint.commands_per_second,
        idle_timeout: (!endpoint.idle_timeout.is_zero()).then_some(endpoint.idle_timeout),
        slow: (!endpoint.slow.is_zero()).then_some(endpoint.slow),
        ..plane::EndpointLimits::default()
    }
}

fn acceptor(certificate: &TlsClient) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    accepting_anyone(&files(certificate).read()?)
}

/// Where an endpoint's certificate is.
pub(super) fn files(certificate: &TlsClient) -> Files {
    let own = (certificate.certificate.clone(), certificate.key.clone());
    Files { authority: certificate.certificate.clone(), own: Some(own) }
}
