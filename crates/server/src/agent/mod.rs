//! An agent: the hands on a database's own host. It stops and starts the instance there, saves what only that holds, puts
//! a copy of another instance in the place of its data, and gives such copies to other agents. What is to be done the
//! controllers decide; an agent that comes back touches nothing before a leader has said that it is still wanted.
//!
//! `worker` hears orders and reports; `job` goes through one rebuild; `surplus` saves, `flashback` takes back, `receive`
//! and `swap` copy; `donor` gives. `binlog` and `gtid` read what MariaDB writes.

mod access;
mod binlog;
mod dial;
mod disk;
mod donor;
mod errand;
mod flashback;
mod gtid;
mod job;
mod layout;
mod options;
mod private;
mod process;
mod receive;
mod record;
mod surplus;
mod swap;
mod tools;
mod trouble;
mod words;
mod worker;

#[cfg(test)]
mod tests;

pub use options::{AgentError, AgentOptions};

use crate::peers::{Caller, Mesh};
use crate::run::{keyring_of, version_max};
use crate::secret::Login;
use crate::seldom::Seldom;
use crate::tls::{Identity, Keyring};
use access::Access;
use backstay_config::Config;
use backstay_model::{AgentOrders, InstanceSpec, ServiceSpec};
use dial::Dialler;
use donor::Donor;
use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::{Semaphore, watch};
use worker::{Hands, Reports, Standing};

/// An agent that listens, and does nothing yet.
pub(crate) struct Agent {
    hands: Hands,
    donor: Arc<Donor>,
    listener: TcpListener,
}

/// How an agent is told what to do, and says how far it is.
pub(crate) struct Desk {
    pub(crate) orders: watch::Sender<AgentOrders>,
    pub(crate) reports: watch::Receiver<Standing>,
}

impl Agent {
    /// Opens its address and its folders.
    pub(crate) async fn open(
        config: &Config,
        options: AgentOptions,
        keyring: Option<Arc<Keyring>>,
    ) -> Result<Self, AgentError> {
        let (service, instance) = instance(config, &options)?;
        check(&options)?;
        let credentials = config.credentials(&service.name).cloned().unwrap_or_default();
        // What cannot be read is told now, not in the middle of a rebuild.
        Login::new(credentials.clone())?;
        let socket = options.socket.clone();
        let access = Access { credentials, address: instance.address.clone(), socket };
        let listener = listen(&options, keyring.is_some()).await?;
        let (cluster, options) = (config.spec.cluster.clone(), Arc::new(options));
        let me = options.instance.clone();
        let others = service.instances.iter().map(|instance| instance.name.clone());
        let donor = Donor {
            options: Arc::clone(&options),
            access: access.clone(),
            cluster: cluster.clone(),
            others: others.filter(|other| *other != me).collect(),
            keyring: keyring.clone(),
            turn: Semaphore::new(1),
            complaints: Seldom::default(),
        };
        let dialler = Dialler { cluster, me, keyring };
        let hands = Hands { options, service: service.name.clone(), access, dialler };
        Ok(Self { hands, donor: Arc::new(donor), listener })
    }

    /// Where it listens.
    #[cfg(test)]
    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// Works for ever, with whoever has the other end of the desk. Dropped, it leaves everything where it can be taken up.
    pub(crate) fn run(self) -> (Desk, impl Future<Output = ()>) {
        let (orders, told) = watch::channel(AgentOrders::default());
        let (report, reports) = watch::channel(None);
        let work = async move {
            tokio::join!(
                donor::listen(self.listener, self.donor),
                worker::work(self.hands, told, Reports(report)),
            );
        };
        (Desk { orders, reports }, work)
    }
}

/// Runs an agent until `shutdown`.
pub async fn run_agent(
    config: Config,
    options: AgentOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    let name = options.instance.clone();
    let me = Identity::Agent { cluster: config.spec.cluster.clone(), name: name.clone() };
    let keyring = keyring_of(&config, name.as_str(), me)?;
    let process = getrandom::u64().map_err(|_| AgentError::NoEntropy)?;
    let mesh = Mesh {
        version_max: version_max(),
        cluster: config.spec.cluster.clone(),
        me: Caller::Agent(name.clone()),
        others: config.spec.controllers.clone(),
        keyring: keyring.clone(),
    };
    let agent = Agent::open(&config, options, keyring).await?;
    let (desk, work) = agent.run();
    tracing::info!("the agent of {name} runs");
    tokio::select! {
        () = work => {}
        () = errand::run(mesh, process, desk) => {}
        () = shutdown => {}
    }
    tracing::info!("the agent of {name} stops, as asked");
    Ok(())
}

fn instance<'a>(
    config: &'a Config,
    options: &AgentOptions,
) -> Result<(&'a ServiceSpec, &'a InstanceSpec), AgentError> {
    let services = config.spec.services.iter().filter(|service| service.engine.mariadb().is_some());
    let services: Vec<_> = services
        .filter(|service| options.service.as_ref().is_none_or(|name| *name == service.name))
        .collect();
    let named = services.iter().filter_map(|service| Some((*service, service.instance(&options.instance)?)));
    let named: Vec<_> = named.collect();
    let list = |names: Vec<&str>| names.join(", ");
    match named[..] {
        [only] => Ok(only),
        [] => {
            let all =
                services.iter().flat_map(|service| &service.instances).map(|instance| instance.name.as_str());
            let all: Vec<_> = all.collect();
            let all = if all.is_empty() { "none".to_owned() } else { list(all) };
            Err(AgentError::UnknownInstance(options.instance.clone(), all))
        }
        _ => {
            let names = named.iter().map(|(service, _)| service.name.as_str()).collect();
            Err(AgentError::SeveralInstances(options.instance.clone(), list(names)))
        }
    }
}

fn check(options: &AgentOptions) -> Result<(), AgentError> {
    for (what, command) in [("stop", &options.stop), ("start", &options.start), ("server", &options.server)] {
        if command.is_empty() {
            return Err(AgentError::NoCommand(what));
        }
    }
    let data = |reason: &str| AgentError::Data(options.data.clone(), reason.to_owned());
    if !options.data.is_absolute() || options.data.parent().is_none() || options.data.file_name().is_none() {
        return Err(data("write its whole path, from / on"));
    }
    if options.rescue.starts_with(&options.data) {
        return Err(data(
            "the rescue folder lies in it, and would be discarded with it: name another one with --rescue",
        ));
    }
    let rescue = |source| AgentError::Rescue { path: options.rescue.clone(), source };
    std::fs::create_dir_all(&options.rescue).map_err(rescue)?;
    // It holds copies of the shop's rows.
    std::fs::set_permissions(&options.rescue, std::fs::Permissions::from_mode(0o700)).map_err(rescue)
}

async fn listen(options: &AgentOptions, is_proven: bool) -> Result<TcpListener, AgentError> {
    let address = &options.listen;
    let failed = |source| AgentError::Listen { address: address.clone(), source };
    let found: Vec<SocketAddr> = lookup_host((&*address.host, address.port)).await.map_err(failed)?.collect();
    if !is_proven && !found.iter().all(|address| address.ip().is_loopback()) {
        return Err(AgentError::Open(address.clone()));
    }
    TcpListener::bind(&found[..]).await.map_err(failed)
}
