//! A gateway: the data plane on a thread of its own, and the pilot that asks the controllers for leases and tells it
//! where to send what. It runs alone beside an application, or inside a controller's process.

mod alarm;
mod certificates;
mod control;
mod pilot;
mod sampler;
mod settings;
mod tower;
mod whereabouts;

#[cfg(test)]
mod tests;

pub use control::{CONTROL_SUFFIX, control_folders};
pub use settings::{GatewayError, GatewayOptions};

use crate::run::keyring_of;
use crate::tls::{Identity, Keyring};
use backstay_config::Config;
use pilot::Pilot;
use std::future::Future;
use std::sync::Arc;
use tokio::sync::oneshot;
use tower::Tower;

/// Runs a gateway alone until `shutdown`, and then until its clients are served or its patience ends.
pub async fn run_gateway(
    config: Config,
    options: GatewayOptions,
    shutdown: impl Future<Output = ()>,
) -> Result<(), GatewayError> {
    let me = Identity::Gateway { cluster: config.spec.cluster.clone(), name: options.name.clone() };
    let keyring = keyring_of(&config, options.name.as_str(), me)?;
    tokio::pin!(shutdown);
    let tower = tokio::select! {
        tower = Tower::look_around(&config.spec.cluster, &options) => tower,
        () = &mut shutdown => return Ok(()),
    };
    let pilot = Pilot::open(&config, &options, keyring, tower)?;
    tracing::info!("gateway {} runs", options.name);
    pilot.run(shutdown).await?;
    tracing::info!("gateway {} stops, as asked", options.name);
    Ok(())
}

/// A gateway inside a controller's process, on a thread of its own: neither waits for the other.
pub(crate) struct Inside {
    land: oneshot::Sender<()>,
    landed: oneshot::Receiver<()>,
}

impl Inside {
    /// Opens the endpoints and serves them.
    pub(crate) fn start(
        config: &Config,
        options: &GatewayOptions,
        keyring: Option<Arc<Keyring>>,
    ) -> Result<Self, GatewayError> {
        let tower = Tower::inside(&config.spec.cluster, options);
        let pilot = Pilot::open(config, options, keyring, tower)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(GatewayError::NoThread)?;
        let ((land, landing), (done, landed)) = (oneshot::channel(), oneshot::channel());
        let fly = move || {
            // A sender that is dropped asks for the same.
            if let Err(error) = runtime.block_on(pilot.run(async { drop(landing.await) })) {
                tracing::error!("{error}");
            }
            let _ = done.send(());
        };
        std::thread::Builder::new().name("pilot".to_owned()).spawn(fly).map_err(GatewayError::NoThread)?;
        Ok(Self { land, landed })
    }

    /// Lets its clients finish.
    pub(crate) async fn stop(self) {
        drop(self.land);
        // It can only have panicked, and has said so.
        let _ = self.landed.await;
    }
}
