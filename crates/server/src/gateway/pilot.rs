//! The pilot: asks every controller for leases, ten times a second and whenever something changed, and tells the data
//! plane what they allow. What is allowed when, with a lease or without, is `backstay_lease`'s business; nothing is decided
//! here.

use super::certificates::{Renewed, Shown, shown, watch as watch_certificates};
use super::sampler::{Aims, Sampler, Samples};
use super::settings::{GatewayError, GatewayOptions, settings};
use crate::clock;
use crate::peers::{Caller, GatewayLetter, Mesh, consult_all};
use crate::run::version_max;
use crate::tls::Keyring;
use backstay_config::Config;
use backstay_gateway::Gateway;
use backstay_lease::{Alarm, Ending, Leases, Sample, Standing};
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
    /// Until it runs.
    certificates: Vec<Shown>,
    samplers: Vec<Sampler>,
    /// What the data plane has stopped doing.
    held: mpsc::UnboundedReceiver<(ServiceName, Epoch)>,
}

/// The ways to and from the controllers.
struct Radio {
    letters: watch::Sender<GatewayLetter>,
    orders: mpsc::Receiver<GatewayOrders>,
    certificates: mpsc::Receiver<Renewed>,
    /// For services with a failsafe: whom to look at, and what was seen.
    aims: Aims,
    samples: Samples,
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
        let samplers = Sampler::all(config)?;
        let leases = Leases::with_failsafe(samplers.iter().map(|sampler| sampler.service().clone()));
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
        Ok(Self { process, mesh, leases, gateway: Some(gateway), services, certificates, samplers, held })
    }

    /// Keeps the data plane informed until `shutdown`; then it finishes what it has begun, and the controllers are told
    /// that nothing of it is left.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), GatewayError> {
        tokio::pin!(shutdown);
        let mut tasks = JoinSet::new();
        let letters = watch::Sender::new(self.letter());
        let orders = consult_all(&self.mesh, &letters, &mut tasks);
        let (aims, samples) = Sampler::spawn(std::mem::take(&mut self.samplers), &mut tasks);
        let mut tick = interval(LEASE_ASKED_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (renewed, certificates) = mpsc::channel(1);
        tasks.spawn(watch_certificates(std::mem::take(&mut self.certificates), renewed));
        let mut radio = Radio { letters, orders, certificates, aims, samples, tick };
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
            Some((service, sample)) = radio.samples.recv() => self.see(&service, sample),
            _ = radio.tick.tick() => {
                self.report(radio);
                self.go_on_without();
            }
        }
    }

    fn hear(&mut self, orders: GatewayOrders, radio: &Radio) {
        let changed = self.leases.told(clock::time(), orders);
        for service in &self.services {
            self.steer(service);
        }
        for (service, aim) in &radio.aims {
            let primary = self.leases.sampled(service);
            aim.send_if_modified(|aim| {
                let other = aim.as_ref() != primary;
                *aim = primary.cloned();
                other
            });
        }
        self.tell_alarms();
        if changed {
            // What changed may have come without a lease.
            self.report(radio);
        }
    }

    /// Tells the data plane what may be done for the service now.
    fn steer(&self, service: &ServiceName) {
        let standing = self.leases.standing(service, clock::time());
        let standing = standing.unwrap_or(Standing::Hold { epoch: Epoch(0) });
        if let Some(gateway) = &self.gateway {
            gateway.route(service.clone(), standing, self.leases.readers(service).to_vec());
        }
    }

    fn see(&mut self, service: &ServiceName, sample: Sample) {
        self.leases.sample(clock::time(), service, sample);
        self.go_on_without();
    }

    /// Without a lease, if that is allowed. When it no longer is, the data plane knows by itself.
    fn go_on_without(&mut self) {
        let now = clock::time();
        for service in self.services.iter().filter(|service| self.leases.is_failsafe(service, now)) {
            self.steer(service);
        }
        self.tell_alarms();
    }

    fn tell_alarms(&mut self) {
        for alarm in self.leases.alarms(clock::now()) {
            tell(&alarm);
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
        self.leases.forgo_failsafe();
        self.tell_alarms();
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

/// Says aloud what an operator should hear of.
fn tell(alarm: &Alarm) {
    match alarm {
        Alarm::Begins { service, primary, epoch } => tracing::warn!(
            "ALARM: {service} is served without a lease from now on, because no controller that leads tells this gateway \
             anything and the file says failsafe = \"risk-two-primaries\": commands go on to {primary}, the primary of epoch \
             {epoch}. If controllers that cannot be heard here open another primary, what is written here meanwhile is \
             lost. Start controllers, or mend the network to them, until a majority runs and is reached from here"
        ),
        Alarm::Ends { service, lasted, because } => {
            let because = match because {
                Ending::Told => "a controller spoke, and leases rule again; see `backstay status`",
                Ending::Unsupported => {
                    "no replica acknowledges what its primary writes any more, so commands wait until a controller \
                     speaks or a replica does; start controllers, or mend the network to them"
                }
                Ending::Leaving => "this gateway stops",
            };
            tracing::warn!(
                "ALARM: {service} was served without a lease for {lasted:.1?}; that is over: {because}"
            );
        }
    }
}
