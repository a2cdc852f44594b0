//! One controller from start to stop: everything that can be wrong is found before anything is done, then all parts run
//! until they are asked to stop or cannot go on.

use crate::admin::{self, AdminError};
use crate::clock;
use crate::driver::{Certificates, Driver, INCOMING_MAX, Inbox, Names, Outlets, REQUESTS_MAX, Stopped};
use crate::gateway::{GatewayError, GatewayOptions, Inside};
use crate::handle::Handle;
use crate::journal::Journal;
use crate::limits;
use crate::link;
use crate::peers::{self, Caller, Mesh};
use crate::secret::{self, Login, LoginError, SecretError};
use crate::sentinel;
use crate::storage::{Storage, StorageError, Writer};
use crate::tls::{self, Files, Identity, Keyring, TlsError};
use backstay_config::{Config, NodeSettings, UnknownNode};
use backstay_consensus::{Settings, VERSION, VERSION_MIN};
use backstay_model::{Address, ControllerSpec, GatewayName, NodeId, NodeName};
use backstay_node::{Effect, Node, NodeError};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

/// Why a controller did not start, or stopped without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file does not know the node.
    #[error(transparent)]
    UnknownNode(#[from] UnknownNode),
    /// A password cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The state folder cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The stored state makes no sense.
    #[error(
        "{0}. If the folder cannot be used any more, move it away, start this controller again and give it its vote back \
         with `backstay controller add NAME`"
    )]
    Node(#[source] NodeError),
    /// A port cannot be opened.
    #[error(
        "{address} cannot be opened for {what}: {source}. Stop who uses it, or choose another address in the file"
    )]
    Listen {
        /// What it is for.
        what: &'static str,
        /// Where.
        address: Address,
        /// The reason.
        source: io::Error,
    },
    /// The admin socket cannot be opened.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// No random numbers.
    #[error("the operating system gives no random numbers, so this controller cannot start")]
    NoEntropy,
    /// No thread for the storage.
    #[error(
        "the operating system gives no thread ({0}), so this controller cannot start. Raise the limits of its user"
    )]
    NoThread(#[source] io::Error),
    /// The limit of open files is too low for the services in the file.
    #[error(transparent)]
    TooFewFiles(#[from] limits::TooFewFiles),
    /// Its gateway cannot start.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// It cannot go on.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A bug.
    #[error(
        "this controller stops, because a part of it failed, which is a bug: {0}. Start it again and report this"
    )]
    Bug(String),
}

impl RunError {
    /// The process's exit code: 78 the file must be corrected, 74 the state folder cannot be read or written or what
    /// it holds may not be used, 69 a port cannot be had, 71 too few open files, 70 a bug or a system without threads or random numbers (as in
    /// `sysexits.h`).
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::UnknownNode(_) | Self::Secret(_) | Self::Tls(_) => 78,
            Self::Storage(_) | Self::Node(_) | Self::Stopped(_) => 74,
            Self::Listen { .. } | Self::Admin(_) => 69,
            Self::Gateway(error) => error.exit_code(),
            Self::TooFewFiles(_) => 71,
            Self::NoEntropy | Self::NoThread(_) | Self::Bug(_) => 70,
        }
    }
}

/// Runs the controller called `node` until `shutdown`; `bootstrap` is for the cluster's very first start. Needs a tokio
/// runtime with IO and time; one thread is enough.
pub async fn run(
    config: Config,
    node: NodeName,
    bootstrap: bool,
    shutdown: impl Future<Output = ()>,
) -> Result<(), RunError> {
    let settings = config.node(&node)?.clone();
    let logins = logins(&config)?;
    let sentinel_password = config.sentinel_password.as_ref().map(secret::read).transpose()?;
    let me = Identity::Node { cluster: config.spec.cluster.clone(), name: node.clone() };
    let keyring = keyring_of(&config, node.as_str(), me)?;
    let storage = open_storage(&config, &settings, bootstrap)?;
    let (brain, first) = take_up(&config, &node, &storage)?;
    limits::raise_open_files(&config.spec)?;
    let ports = Ports::open(&settings).await?;
    let gateway = gateway_inside(&config, &settings, keyring.as_ref())?;

    let (incoming, peers) = mpsc::channel(INCOMING_MAX);
    let (observed, links_rx) = mpsc::channel(INCOMING_MAX);
    let (requests, requests_rx) = mpsc::channel(REQUESTS_MAX);
    let journal = Journal::new();
    let handle = Handle::new(node.clone(), requests, journal.clone());
    let mut tasks = JoinSet::new();
    let mesh = mesh(&config, &node, keyring.clone());
    let links = link::spawn_all(&config.spec.services, &logins, &observed, &mut tasks);
    let outlets = Outlets {
        storage: Writer::start(storage).map_err(RunError::NoThread)?,
        links,
        peers: peers::dial_all(&mesh, &incoming, &mut tasks),
        gateways: BTreeMap::new(),
        agents: BTreeMap::new(),
        journal: journal.clone(),
        certificates: keyring.clone().map(|keyring| Certificates::new(keyring, node.clone())),
        names: Names::of(&config.spec),
    };
    if let Some(keyring) = keyring {
        tasks.spawn(tls::renew(Arc::clone(&keyring), node.clone(), incoming.clone(), journal));
        if let Some(listener) = ports.remote_admin {
            tasks.spawn(admin::serve_remotely(listener, handle.clone(), keyring));
        }
    }
    tasks.spawn(peers::listen(ports.peer, mesh, node.clone(), incoming));
    tasks.spawn(admin::serve(ports.admin, handle.clone()));
    if let Some(listener) = ports.sentinel {
        let password = sentinel_password.map(|secret| secret.reveal().as_bytes().to_vec());
        let settings = sentinel::Settings::of(&config, &node, password);
        tasks.spawn(serve_sentinel_clients(listener, handle, settings));
    }
    tracing::info!(
        node = %node,
        peer = %settings.peer,
        admin = %settings.admin.display(),
        "controller {node} runs"
    );
    let driver = Driver::new(brain, outlets, Inbox { peers, links: links_rx }, requests_rx);
    let result = tokio::select! {
        stopped = driver.run(first, shutdown) => stopped.map_err(RunError::from),
        ended = tasks.join_next() => Err(bug(ended)),
    };
    if let Some(gateway) = gateway {
        // Other controllers renew its leases meanwhile.
        gateway.stop().await;
    }
    let _ = std::fs::remove_file(&settings.admin);
    if result.is_ok() {
        tracing::info!(node = %node, "controller {node} stops, as asked");
    }
    result
}

/// The gateway of this process, if the file wants one.
fn gateway_inside(
    config: &Config,
    settings: &NodeSettings,
    keyring: Option<&Arc<Keyring>>,
) -> Result<Option<Inside>, GatewayError> {
    if !settings.gateway {
        return Ok(None);
    }
    let me = config.spec.controllers.iter().find(|controller| controller.name == settings.name);
    let options = GatewayOptions {
        name: GatewayName::from(settings.name.as_str()),
        zone: me.map(|me| me.zone.clone()).unwrap_or_default(),
        listen: BTreeMap::new(),
        control: settings.admin.parent().map(Path::to_owned).into_iter().collect(),
    };
    Inside::start(config, &options, keyring.cloned()).map(Some)
}

async fn serve_sentinel_clients(listener: TcpListener, handle: Handle, settings: sentinel::Settings) {
    if let Err(error) = sentinel::serve(listener, handle, settings).await {
        tracing::error!("the Sentinel port failed: {error}");
    }
}

/// Every task runs as long as the process does.
fn bug(ended: Option<Result<(), JoinError>>) -> RunError {
    RunError::Bug(match ended {
        Some(Err(error)) => error.to_string(),
        _ => "a part ended early".to_owned(),
    })
}

impl From<LoginError> for RunError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Secret(error) => Self::Secret(error),
            LoginError::Tls(error) => Self::Tls(error),
        }
    }
}

fn logins(config: &Config) -> Result<BTreeMap<backstay_model::ServiceName, Login>, LoginError> {
    config
        .credentials
        .iter()
        .map(|(service, credentials)| Ok((service.clone(), Login::new(credentials.clone())?)))
        .collect()
}

fn open_storage(config: &Config, settings: &NodeSettings, bootstrap: bool) -> Result<Storage, StorageError> {
    let (cluster, folder): (_, &Path) = (&config.spec.cluster, &settings.state);
    let listed: Vec<NodeId> = config.spec.controllers.iter().map(ControllerSpec::id).collect();
    let name = &settings.name;
    if Storage::exists(folder) {
        let mut storage = Storage::open(folder, cluster, name)?;
        storage.take_over(&listed)?;
        if bootstrap && !storage.found(&listed)? {
            tracing::info!(
                "--bootstrap was not needed: {} holds this controller's state already",
                folder.display()
            );
        }
        return Ok(storage);
    }
    if bootstrap {
        tracing::info!("first start: making the state folder {}", folder.display());
        return Storage::create(folder, cluster, name, &listed);
    }
    tracing::warn!(
        "the state folder {} holds no state, so this controller joins with an empty one and has no vote until it is \
         given one: run `backstay controller add {name}`. If this is the very first start of the cluster, stop it and start \
         every controller once with --bootstrap",
        folder.display()
    );
    Storage::create(folder, cluster, name, &[])
}

/// The node with what its disk holds.
fn take_up(config: &Config, node: &NodeName, storage: &Storage) -> Result<(Node, Vec<Effect>), RunError> {
    let seed = getrandom::u64().map_err(|_| RunError::NoEntropy)?;
    let mut settings = Settings::new(
        NodeId::of(node),
        config.spec.cluster.clone(),
        storage.generation(),
        storage.founders().to_vec(),
        seed,
    );
    settings.peers = config.spec.controllers.iter().map(ControllerSpec::id).collect();
    settings.version = version_max();
    let durable = storage.load()?;
    Node::new(node, config.spec.clone(), settings, durable, clock::now()).map_err(RunError::Node)
}

/// The latest version to speak: this program's, unless it is told to play an older one. For trying upgrades.
pub(crate) fn version_max() -> u32 {
    let told = std::env::var("BACKSTAY_PROTOCOL_MAX").ok().and_then(|text| text.parse().ok());
    told.map_or(VERSION, |version: u32| version.clamp(VERSION_MIN, VERSION))
}

/// The certificates of whoever is called `name` and is `me`; `None`: the file has no `[tls]`.
pub(crate) fn keyring_of(
    config: &Config,
    name: &str,
    me: Identity,
) -> Result<Option<Arc<Keyring>>, TlsError> {
    let Some(tls) = &config.tls else {
        return Ok(None);
    };
    let name = NodeName::from(name);
    let (certificate, key) = (tls.certificate(&name), tls.key(&name));
    warn_of_open_key(&key);
    let files = Files { authority: tls.authority.clone(), own: Some((certificate, key)) };
    Ok(Some(Arc::new(Keyring::open(files, me)?)))
}

fn warn_of_open_key(key: &Path) {
    let mode = std::fs::metadata(key).map_or(0, |found| found.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(
            "the key {} is open to others than its owner: whoever has it can take this one's place; `chmod 600` it",
            key.display()
        );
    }
}

fn mesh(config: &Config, node: &NodeName, keyring: Option<Arc<Keyring>>) -> Mesh {
    let others = config.spec.controllers.iter();
    Mesh {
        version_max: version_max(),
        cluster: config.spec.cluster.clone(),
        me: Caller::Controller(node.clone()),
        others: others.filter(|other| other.name != *node).cloned().collect(),
        keyring,
    }
}

/// The open ports of this process.
struct Ports {
    peer: TcpListener,
    sentinel: Option<TcpListener>,
    admin: tokio::net::UnixListener,
    remote_admin: Option<TcpListener>,
}

impl Ports {
    async fn open(settings: &NodeSettings) -> Result<Self, RunError> {
        let peer = listen("the other controllers", &settings.peer).await?;
        let sentinel = match &settings.sentinel {
            Some(address) => Some(listen("Sentinel clients", address).await?),
            None => None,
        };
        let remote_admin = match &settings.admin_address {
            Some(address) => Some(listen("operators", address).await?),
            None => None,
        };
        let admin = admin::bind(&settings.admin)?;
        Ok(Self { peer, sentinel, admin, remote_admin })
    }
}

async fn listen(what: &'static str, address: &Address) -> Result<TcpListener, RunError> {
    TcpListener::bind((&*address.host, address.port)).await.map_err(|source| RunError::Listen {
        what,
        address: address.clone(),
        source,
    })
}
