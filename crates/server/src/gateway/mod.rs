//! A gateway: the data plane on a thread of its own, and the pilot that asks the controllers for leases and tells it
//! where to send what. It runs alone beside an application, or inside a controller's process.

mod pilot;
mod settings;

pub use settings::{GatewayError, GatewayOptions};

use crate::peers::{Caller, Mesh, consult_all};
use crate::run::{keyring_of, version_max};
use crate::tls::{Identity, Keyring};
use backstay_config::Config;
use backstay_gateway::Gateway;
use backstay_model::{Epoch, GatewayId, GatewayName, ServiceName};
use pilot::Pilot;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Runs a gateway alone until `shutdown`, and then until its clients are served or its patience ends.
pub async fn run_gateway(
    config: Config,
    options: GatewayOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), GatewayError> {
    let me = Identity::Gateway { cluster: config.spec.cluster.clone(), name: options.name.clone() };
    let keyring = keyring_of(&config, options.name.as_str(), me)?;
    let flight = prepare(&config, &options, keyring)?;
    tracing::info!("gateway {} runs", options.name);
    flight.fly(shutdown).await;
    tracing::info!("gateway {} stops, as asked", options.name);
    Ok(())
}

/// A gateway whose endpoints are open.
pub(crate) struct Flight {
    pilot: Pilot,
    tasks: JoinSet<()>,
}

impl Flight {
    /// Serves until `shutdown`.
    pub(crate) async fn fly(mut self, shutdown: impl Future<Output = ()>) {
        self.pilot.run(shutdown).await;
        self.tasks.shutdown().await;
    }
}

/// Opens the endpoints and begins to ask the controllers.
pub(crate) fn prepare(
    config: &Config,
    options: &GatewayOptions,
    keyring: Option<Arc<Keyring>>,
) -> Result<Flight, GatewayError> {
    let settings = settings::settings(config, options)?;
    let services = settings.endpoints.iter().map(|endpoint| endpoint.service.clone()).collect();
    let (held, done) = mpsc::unbounded_channel();
    let gateway = Gateway::start(settings, move |service: ServiceName, epoch: Epoch| {
        // Once the pilot is gone nobody has to know.
        let _ = held.send((service, epoch));
    })?;
    for (endpoint, address) in gateway.addresses() {
        tracing::info!("endpoint {endpoint} listens at {address}");
    }
    let mesh = Mesh {
        version_max: version_max(),
        cluster: config.spec.cluster.clone(),
        me: Caller::Gateway(options.name.clone()),
        others: config.spec.controllers.clone(),
        keyring,
    };
    let id = GatewayId {
        name: GatewayName::clone(&options.name),
        process: getrandom::u64().map_err(|_| GatewayError::NoEntropy)?,
    };
    let mut tasks = JoinSet::new();
    let pilot = Pilot::new(&id, gateway, services, done, |letters| consult_all(&mesh, letters, &mut tasks));
    Ok(Flight { pilot, tasks })
}
