//! The pilot: asks every controller for leases, ten times a second and whenever something changed, and tells the data
//! plane what they allow. What is allowed when is `backstay_lease`'s business; nothing is decided here.

use super::certificates::{Renewed, Shown, shown, watch as watch_certificates};
use super::settings::{GatewayError, GatewayOptions, settings};
use crate::clock;
use crate::peers::{Caller, GatewayLetter, Mesh, consult_all};
use crate::run::version_max;
use crate::tls::Keyring;
use backstay_config::Config;
use backstay_gateway::Gateway;
use backstay_lease::{Leases, Standing};
use backstay_model::{Epoch, GatewayOrders, LEASE_ASKED_EVERY, ServiceName};
use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout_at};

/// How long clients may take to finish when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long the controllers may take to hear that it is gone.
const GOODBYE: Duration = Duration::from_millis(200);

/// See the module's head.
pub(super) struct Pilot {
    process: u64,
    mesh: Mesh,
    leases: Leases,
    gateway: Option<Gateway>,
    services: BTreeSet<ServiceName>,
    certificates: Vec<Shown>,
    /// What the data plane has stopped doing.
    held: mpsc::UnboundedReceiver<(ServiceName, Epoch)>,
}

/// The ways to and from the controllers.
struct Radio {
    letters: watch::Sender<GatewayLetter>,
    orders: mpsc::Receiver<GatewayOrders>,
    certificates: mpsc::Receiver<Renewed>,
    tick: Interval,
}

impl Pilot {
    /// Opens the endpoints of the file.
    pub(super) fn open(
        config: &Config,
        options: &GatewayOptions,
        keyring: Option<Arc<Keyring>>,
    ) -> Result<Self, GatewayError> {
        let process = getrandom::u64().map_err(|_| GatewayError::NoEntropy)?;
        let settings = settings(config, options)?;
        let services = settings.endpoints.iter().map(|endpoint| endpoint.service.clone()).collect();
        let (done, held) = mpsc::unbounded_channel();
        let gateway = Gateway::start(settings, move |service: ServiceName, epoch: Epoch| {
            // Once the pilot is gone nobody has to know.
            let _ = done.send((service, epoch));
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
        let certificates = shown(config);
        let (leases, gateway) = (Leases::default(), Some(gateway));
        Ok(Self { process, mesh, leases, gateway, services, certificates, held })
    }

    /// Keeps the data plane informed until `shutdown`; then it finishes what it has begun, and the controllers are told
    /// that nothing of it is left.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), GatewayError> {
        tokio::pin!(shutdown);
        let mut tasks = JoinSet::new();
        let letters = watch::Sender::new(self.letter());
        let orders = consult_all(&self.mesh, &letters, &mut tasks);
        let mut tick = interval(LEASE_ASKED_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (renewed, certificates) = mpsc::channel(1);
        tasks.spawn(watch_certificates(std::mem::take(&mut self.certificates), renewed));
        let mut radio = Radio { letters, orders, certificates, tick };
        loop {
            tokio::select! {
                biased;
                () = self.attend(&mut radio) => {}
                () = &mut shutdown => break,
            }
            // There is a tick when there is nothing else.
            if self.gateway.as_ref().is_some_and(Gateway::has_left) {
                return Err(GatewayError::Ended);
            }
        }
        self.leave(&mut radio).await;
        tasks.shutdown().await;
        Ok(())
    }

    /// Takes what comes next. Cancel-safe.
    async fn attend(&mut self, radio: &mut Radio) {
        tokio::select! {
            biased;
            Some((service, epoch)) = self.held.recv() => {
                self.leases.held(&service, epoch);
                self.report(radio);
            }
            Some(orders) = radio.orders.recv() => self.hear(orders, radio),
            Some((endpoint, tls)) = radio.certificates.recv() => {
                if let Some(gateway) = &self.gateway {
                    gateway.show(endpoint, tls);
                }
            }
            _ = radio.tick.tick() => self.report(radio),
        }
    }

    fn hear(&mut self, orders: GatewayOrders, radio: &Radio) {
        let changed = self.leases.told(orders);
        let now = clock::time();
        if let Some(gateway) = &self.gateway {
            for service in &self.services {
                let standing = self.leases.standing(service, now);
                let standing = standing.unwrap_or(Standing::Hold { epoch: Epoch(0) });
                gateway.route(service.clone(), standing, self.leases.readers(service).to_vec());
            }
        }
        if changed {
            // What changed may have come without a lease.
            self.report(radio);
        }
    }

    fn report(&mut self, radio: &Radio) {
        radio.letters.send_replace(self.letter());
    }

    fn letter(&mut self) -> GatewayLetter {
        let load = self.gateway.as_ref().map(Gateway::load).unwrap_or_default();
        GatewayLetter { process: self.process, report: self.leases.report(clock::time(), load) }
    }

    /// Clients finish while leases are still renewed; then the gateway takes its leave.
    async fn leave(&mut self, radio: &mut Radio) {
        if let Some(gateway) = &self.gateway {
            gateway.leave(FAREWELL);
        }
        while self.gateway.as_ref().is_some_and(|gateway| !gateway.has_left()) {
            self.attend(radio).await;
        }
        self.gateway = None;
        let mut letter = self.letter();
        letter.report.leaving = true;
        radio.letters.send_replace(letter);
        // Written by the tasks that hold the connections; an answer is not waited for, but the writing is.
        let until = Instant::now() + GOODBYE;
        while timeout_at(until, radio.orders.recv()).await.is_ok_and(|orders| orders.is_some()) {}
    }
}
