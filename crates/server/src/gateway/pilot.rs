//! The pilot: asks every controller for leases, ten times a second and whenever something changed, and tells the data
//! plane what they allow. What is allowed when is `backstay_lease`'s business; nothing is decided here.

use crate::clock;
use crate::peers::GatewayLetter;
use backstay_gateway::Gateway;
use backstay_lease::{Leases, Standing};
use backstay_model::{Epoch, GatewayId, GatewayLoad, GatewayOrders, LEASE_ASKED_EVERY, ServiceName};
use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// How long clients may take to finish when the gateway stops.
const FAREWELL: Duration = Duration::from_secs(10);
/// How long the controllers may take to hear that it is gone.
const GOODBYE: Duration = Duration::from_millis(200);

/// See the module's head.
pub(super) struct Pilot {
    process: u64,
    leases: Leases,
    gateway: Option<Gateway>,
    services: BTreeSet<ServiceName>,
    letters: watch::Sender<GatewayLetter>,
    orders: mpsc::Receiver<GatewayOrders>,
    /// What the data plane has stopped doing.
    held: mpsc::UnboundedReceiver<(ServiceName, Epoch)>,
}

impl Pilot {
    /// `consult` opens the ways to the controllers, on which it writes what the sender is given.
    pub(super) fn new(
        id: &GatewayId,
        gateway: Gateway,
        services: BTreeSet<ServiceName>,
        held: mpsc::UnboundedReceiver<(ServiceName, Epoch)>,
        consult: impl FnOnce(&watch::Sender<GatewayLetter>) -> mpsc::Receiver<GatewayOrders>,
    ) -> Self {
        let mut leases = Leases::default();
        let report = leases.report(clock::time(), gateway.load());
        let letters = watch::Sender::new(GatewayLetter { process: id.process, report });
        let orders = consult(&letters);
        Self { process: id.process, leases, gateway: Some(gateway), services, letters, orders, held }
    }

    /// Keeps the data plane informed until `shutdown`; then it finishes what it has begun, and the controllers are told
    /// that nothing of it is left.
    pub(super) async fn run(&mut self, shutdown: impl Future<Output = ()>) {
        tokio::pin!(shutdown);
        let mut tick = interval(LEASE_ASKED_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                Some((service, epoch)) = self.held.recv() => {
                    self.leases.held(&service, epoch);
                    self.report();
                }
                Some(orders) = self.orders.recv() => self.hear(orders),
                () = &mut shutdown => break,
                _ = tick.tick() => self.report(),
            }
        }
        self.leave(tick).await;
    }

    fn hear(&mut self, orders: GatewayOrders) {
        let changed = self.leases.told(orders);
        let now = clock::time();
        if let Some(gateway) = &self.gateway {
            for service in &self.services {
                let standing = self.leases.standing(service, now);
                let standing = standing.unwrap_or(Standing::Hold { epoch: Epoch(0) });
                gateway.route(service, standing, self.leases.readers(service).to_vec());
            }
        }
        if changed {
            // What changed may have come without a lease.
            self.report();
        }
    }

    fn report(&mut self) {
        let load = self.gateway.as_ref().map(Gateway::load).unwrap_or_default();
        let report = self.leases.report(clock::time(), load);
        self.letters.send_replace(GatewayLetter { process: self.process, report });
    }

    /// Clients finish while leases are still renewed; then the gateway takes its leave.
    async fn leave(&mut self, mut tick: tokio::time::Interval) {
        let Some(gateway) = self.gateway.take() else {
            return;
        };
        let mut stopping = tokio::task::spawn_blocking(move || gateway.stop(FAREWELL));
        loop {
            tokio::select! {
                biased;
                _ = &mut stopping => break,
                Some(orders) = self.orders.recv() => self.hear(orders),
                _ = tick.tick() => self.report(),
            }
        }
        let mut report = self.leases.report(clock::time(), GatewayLoad::default());
        report.leaving = true;
        self.letters.send_replace(GatewayLetter { process: self.process, report });
        // Written by the tasks that hold the connections; an answer is not waited for, but the writing is.
        let until = Instant::now() + GOODBYE;
        while timeout_at(until, self.orders.recv()).await.is_ok_and(|orders| orders.is_some()) {}
    }
}
