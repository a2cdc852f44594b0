//! The pilot: asks every controller for leases, ten times a second and whenever something changed, and tells the data
//! plane what they allow. What is allowed when, with a lease or without, is `backstay_lease`'s business; nothing is decided
//! here.

use super::alarm::Alarms;
use super::certificates::{Renewed, Shown, shown, watch as watch_certificates};
use super::control::{Asked, Claim, Control, Desk, State, Succession, Way};
use super::sampler::{Aims, Sampler, Samples};
use super::settings::{GatewayError, GatewayOptions, settings};
use super::tower::{Standalone, Tower};
use super::whereabouts::resolve;
use crate::clock;
use crate::peers::{Caller, GatewayLetter, Mesh, consult_all};
use crate::run::version_max;
use crate::tls::Keyring;
use backstay_config::Config;
use backstay_gateway::{Gateway, Heritage};
use backstay_lease::{Leases, Sample, Standing};
use backstay_model::{Epoch, GatewayOrders, LEASE_ASKED_EVERY, ServiceName};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout_at};

/// How long clients may take to finish when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long the controllers may take to hear that it is gone.
const GOODBYE: Duration = Duration::from_millis(200);

/// What tells that this gateway is to take its predecessor's place.
type Turn = Option<oneshot::Receiver<(Way, Claim)>>;

/// See the module's head.
pub(super) struct Pilot {
    process: u64,
    mesh: Mesh,
    leases: Leases,
    alarms: Alarms,
    gateway: Option<Gateway>,
    services: BTreeSet<ServiceName>,
    /// Until it runs.
    certificates: Vec<Shown>,
    samplers: Vec<Sampler>,
    /// What the data plane has stopped doing.
    held: mpsc::UnboundedReceiver<(ServiceName, Epoch)>,
    tower: Tower,
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
        (tower, heritage): (Tower, Heritage),
    ) -> Result<Self, GatewayError> {
        let process = getrandom::u64().map_err(|_| GatewayError::NoEntropy)?;
        let settings = settings(config, options)?;
        let samplers = Sampler::all(config)?;
        let leases = Leases::with_failsafe(samplers.iter().map(|sampler| sampler.service().clone()));
        let services = settings.endpoints.iter().map(|endpoint| endpoint.service.clone()).collect();
        let (done, held) = mpsc::unbounded_channel();
        let gateway = Gateway::succeed(settings, heritage, move |service: ServiceName, epoch: Epoch| {
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
        let gateway = Some(gateway);
        let alarms = Alarms::default();
        Ok(Self { process, mesh, leases, alarms, gateway, services, certificates, samplers, held, tower })
    }

    /// Keeps the data plane informed until `shutdown`; then it finishes what it has begun, and the controllers are told
    /// that nothing of it is left.
    pub(super) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), GatewayError> {
        tokio::pin!(shutdown);
        let mut tasks = JoinSet::new();
        let letters = watch::Sender::new(self.letter());
        let orders = consult_all(&self.mesh, &letters, &mut tasks);
        let (aims, samples) = Sampler::spawn(std::mem::take(&mut self.samplers), resolve, &mut tasks);
        let mut tick = interval(LEASE_ASKED_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (renewed, certificates) = mpsc::channel(1);
        tasks.spawn(watch_certificates(std::mem::take(&mut self.certificates), renewed));
        let mut radio = Radio { letters, orders, certificates, aims, samples, tick };
        let mut turn = self.follow(&mut tasks);
        loop {
            self.tell_whether_it_serves();
            tokio::select! {
                biased;
                (way, claim) = its_turn(&mut turn) => {
                    turn = None;
                    self.tower.claim = claim;
                    self.take_over(way, &mut tasks);
                }
                () = self.attend(&mut radio) => {}
                () = &mut shutdown => break,
            }
            if self.tower.handed.is_some() {
                tracing::info!("another gateway of this name serves: this one leaves");
                break;
            }
            // There is a tick when there is nothing else.
            if self.gateway.as_ref().is_some_and(Gateway::has_left) {
                return Err(GatewayError::Ended);
            }
        }
        drop(turn);
        self.leave(&mut radio, shutdown).await;
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
            Some(asked) = self.tower.asked.recv() => self.answer(asked),
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

    /// Without a lease, if that is allowed.
    fn go_on_without(&mut self) {
        let now = clock::time();
        for service in self.services.iter().filter(|service| self.leases.is_failsafe(service, now)) {
            self.steer(service);
        }
        self.tell_alarms();
    }

    fn tell_alarms(&mut self) {
        let now = clock::now();
        let alarms = self.leases.alarms(now);
        for alarm in &alarms {
            // What was allowed may have been allowed for longer than it is.
            self.steer(alarm.service());
        }
        self.alarms.tell(now.time, &alarms);
    }

    fn report(&mut self, radio: &Radio) {
        radio.letters.send_replace(self.letter());
    }

    fn letter(&mut self) -> GatewayLetter {
        let load = self.gateway.as_ref().map(Gateway::load).unwrap_or_default();
        GatewayLetter { process: self.process, report: self.leases.report(clock::time(), load) }
    }

    /// Clients finish while leases are still renewed; then the gateway takes its leave.
    async fn leave(&mut self, radio: &mut Radio, mut shutdown: Pin<&mut impl Future<Output = ()>>) {
        self.leases.forgo_failsafe();
        self.tell_alarms();
        self.tower.leaves = true;
        let handed = self.tower.handed.take();
        // Who is asked a second time is in no hurry any more than to end properly.
        let mut hurries = handed.is_none();
        if let Some(gateway) = &self.gateway {
            // A successor that does not serve yet needs the sockets' files, and hears that this one leaves.
            let followed =
                || self.tower.is_followed().then(|| gateway.addresses().iter().map(|it| it.1.clone()));
            let handed = handed.unwrap_or_else(|| followed().into_iter().flatten().collect());
            gateway.hand_over(FAREWELL, handed);
        }
        while self.gateway.as_ref().is_some_and(|gateway| !gateway.has_left()) {
            tokio::select! {
                biased;
                () = self.attend(radio) => {}
                () = &mut shutdown, if !hurries => {
                    hurries = true;
                    if let Some(gateway) = &self.gateway {
                        gateway.leave(FAREWELL);
                    }
                }
            }
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

/// The control socket.
impl Pilot {
    /// Answers at the control socket from now on, unless the gateway before this one still does: then that is followed.
    fn follow(&mut self, tasks: &mut JoinSet<()>) -> Turn {
        let Some(predecessor) = self.tower.predecessor.take() else {
            self.open_control(tasks);
            return None;
        };
        let succession = Succession {
            cluster: self.tower.cluster.clone(),
            name: self.tower.name.clone(),
            folders: self.tower.folders.clone(),
            inherited: self.gateway.iter().flat_map(Gateway::inherited).cloned().collect(),
            serves: self.tower.serves.subscribe(),
            since: Instant::now(),
        };
        let (mut go, turn) = oneshot::channel();
        tasks.spawn(async move {
            let way = tokio::select! {
                way = succession.run(predecessor) => way,
                // This gateway leaves, and nobody is to leave because of it.
                () = go.closed() => return,
            };
            let _ = go.send(way);
        });
        Some(turn)
    }

    fn open_control(&mut self, tasks: &mut JoinSet<()>) {
        let tower = &mut self.tower;
        // From the end of this on this gateway is found.
        let _claim = tower.claim.take();
        tower.control = match tower.standalone {
            Standalone::Yes => Control::open(&tower.folders, &tower.name),
            Standalone::No => Control::open_beside(&tower.folders, &tower.name),
        };
        let listener = tower.control.as_mut().and_then(Control::listener);
        let (Some(listener), Some(gateway)) = (listener, &self.gateway) else {
            return;
        };
        let pilot = (tower.standalone == Standalone::Yes).then(|| tower.ask.clone());
        let desk = Desk {
            cluster: tower.cluster.clone(),
            name: tower.name.clone(),
            look: gateway.look(),
            pilot,
            turn: Arc::clone(&tower.turn),
        };
        tasks.spawn(desk.serve(listener));
    }

    /// Every service has a primary, and the lease to forward to it.
    fn serves_all(&self) -> bool {
        let now = clock::time();
        let serves = |service| matches!(self.leases.standing(service, now), Some(Standing::Serve { .. }));
        self.services.iter().all(serves)
    }

    fn tell_whether_it_serves(&self) {
        let serves = self.serves_all();
        self.tower.serves.send_if_modified(|told| std::mem::replace(told, serves) != serves);
    }

    /// Takes the place of the gateway before this one.
    fn take_over(&mut self, way: Way, tasks: &mut JoinSet<()>) {
        if way == Way::WithoutControl {
            self.tower.folders.clear();
        }
        if let Some(gateway) = &self.gateway {
            gateway.take_over();
            let sockets = gateway.inherited().len();
            tracing::info!("takes the place of the gateway before it at {sockets} sockets");
        }
        self.open_control(tasks);
    }

    fn answer(&mut self, asked: Asked) {
        // Who does not wait for an answer any more needs none.
        match asked {
            Asked::Leave(sockets) => self.tower.handed = Some(sockets),
            Asked::State(give) => drop(give.send(self.state())),
            Asked::Sockets(give) => {
                if let Some(gateway) = &self.gateway {
                    gateway.share(move |sockets| drop(give.send(sockets)));
                }
            }
        }
    }

    fn state(&self) -> State {
        match self.serves_all() {
            _ if self.tower.leaves => State::Leaves,
            true => State::Serves,
            false => State::Waits,
        }
    }
}

/// Ready once this gateway is to take its predecessor's place; never if there is none.
async fn its_turn(turn: &mut Turn) -> (Way, Option<Claim>) {
    match turn {
        // Who should have told has panicked, and said so.
        Some(turn) => turn.await.map_or((Way::Free, None), |(way, claim)| (way, Some(claim))),
        None => std::future::pending().await,
    }
}
