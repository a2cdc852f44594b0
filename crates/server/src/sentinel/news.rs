//! What this node's events mean to Sentinel's subscribers, and the little that must be remembered for it: where each
//! primary is, and since when what is down. Clients that ask for an address are answered from here, so that ten
//! thousand of them do not keep the node from its work.

use backstay_model::{
    Address, ClusterStatus, Epoch, Event, EventKind, InstanceName, InstanceStatus, ServiceName, ServiceStatus,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, broadcast};
use tokio::time::timeout_at;

/// How far a subscriber may fall behind before it is dropped.
const BEHIND_MAX: usize = 1024;

/// One message to subscribers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) channel: &'static str,
    pub(super) payload: String,
}

/// The memory, and the way to subscribers.
pub(super) struct News {
    messages: broadcast::Sender<Arc<Message>>,
    memory: Mutex<Memory>,
    /// Something was heard.
    heard: Notify,
}

impl Default for News {
    fn default() -> Self {
        let messages = broadcast::Sender::new(BEHIND_MAX);
        Self { messages, memory: Mutex::default(), heard: Notify::new() }
    }
}

impl News {
    /// Every message from now on.
    pub(super) fn listen(&self) -> broadcast::Receiver<Arc<Message>> {
        self.messages.subscribe()
    }

    /// Where clients of the service are sent.
    pub(super) fn address(&self, service: &ServiceName) -> Option<Address> {
        self.memory().primaries.get(service).map(|known| known.address.clone())
    }

    /// Waits while a planned move of the service, or of any without a name, is under way, until `patience` after
    /// its beginning at most. The old primary may have been demoted already: a client that it sent here with a READONLY
    /// would be sent back to it.
    pub(super) async fn settled(&self, service: Option<&[u8]>, patience: Duration) {
        loop {
            let heard = self.heard.notified();
            let Some(begun) = self.memory().moving_since(service) else {
                return;
            };
            if timeout_at((begun + patience).into(), heard).await.is_err() {
                return;
            }
        }
    }

    /// For how many milliseconds this node has held the instance to be down.
    pub(super) fn suspected_ms(&self, service: &ServiceName, instance: &InstanceName) -> Option<u64> {
        let memory = self.memory();
        let suspected = memory.suspected.get(&(service.clone(), instance.clone()))?;
        Some(elapsed_ms(suspected.since))
    }

    /// For how many milliseconds the quorum has held the service's primary to be down.
    pub(super) fn doubted_ms(&self, service: &ServiceName) -> Option<u64> {
        self.memory().doubted.get(service).copied().map(elapsed_ms)
    }

    /// Takes up an event and tells subscribers what it means.
    pub(super) fn hear(&self, event: &Event) {
        let messages = self.memory().hear(event);
        self.publish(messages);
    }

    /// Takes up the whole picture, newer than everything heard, and tells subscribers what was missed.
    pub(super) fn reconcile(&self, picture: &ClusterStatus) {
        let messages = self.memory().reconcile(picture);
        self.publish(messages);
    }

    /// Some events were not heard: nobody knows whether a verdict still stands.
    pub(super) fn forget_verdicts(&self) {
        let messages = self.memory().forget_verdicts();
        self.publish(messages);
    }

    fn publish(&self, messages: Vec<Message>) {
        self.heard.notify_waiters();
        for message in messages {
            // Without a subscriber nobody misses it.
            let _ = self.messages.send(Arc::new(message));
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // No code that holds it can leave it half changed.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn elapsed_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[derive(Default)]
struct Memory {
    primaries: BTreeMap<ServiceName, Known>,
    suspected: BTreeMap<(ServiceName, InstanceName), Suspected>,
    doubted: BTreeMap<ServiceName, Instant>,
    /// Since when a planned move is under way.
    moving: BTreeMap<ServiceName, Instant>,
    /// How many controllers must agree.
    majority: usize,
}

struct Known {
    epoch: Epoch,
    address: Address,
}

struct Suspected {
    since: Instant,
    address: Address,
}

impl Memory {
    fn hear(&mut self, event: &Event) -> Vec<Message> {
        let Some(service) = &event.service else {
            return Vec::new();
        };
        match &event.kind {
            EventKind::SuspectedHere { instance, address, .. } => self.suspect(service, instance, address),
            EventKind::AnsweringHere { instance, .. } | EventKind::Faulty { instance, .. } => {
                self.acquit(service, instance)
            }
            EventKind::VerdictDown { address, votes, .. } => {
                self.doubted.entry(service.clone()).or_insert_with(Instant::now);
                let majority = self.majority;
                let payload = format!("{} #quorum {votes}/{majority}", primary_text(service, address));
                vec![message("+odown", payload)]
            }
            EventKind::VerdictUp { address, .. } => match self.doubted.remove(service) {
                Some(_) => vec![message("-odown", primary_text(service, address))],
                None => Vec::new(),
            },
            EventKind::SwitchoverBegun { .. } => {
                self.moving.insert(service.clone(), Instant::now());
                Vec::new()
            }
            EventKind::FailoverBegun { .. } | EventKind::FailoverAbandoned { .. } => {
                self.moving.remove(service);
                Vec::new()
            }
            EventKind::Promoted { epoch, to_address, .. } => {
                self.moving.remove(service);
                self.switch(service, *epoch, to_address)
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, picture: &ClusterStatus) -> Vec<Message> {
        self.majority = picture.controllers.len() / 2 + 1;
        picture.services.iter().flat_map(|service| self.reconcile_service(service)).collect()
    }

    fn reconcile_service(&mut self, service: &ServiceStatus) -> Vec<Message> {
        let mut messages = match &service.address {
            Some(address) => self.switch(&service.name, service.epoch, address),
            None => Vec::new(),
        };
        for InstanceStatus { name, address, suspected, .. } in &service.instances {
            messages.extend(if *suspected {
                self.suspect(&service.name, name, address)
            } else {
                self.acquit(&service.name, name)
            });
        }
        messages
    }

    /// Since when the last planned move of the service, or of any, is under way.
    fn moving_since(&self, service: Option<&[u8]>) -> Option<Instant> {
        let named = |name: &ServiceName| service.is_none_or(|wanted| wanted == name.as_str().as_bytes());
        self.moving.iter().filter(|(name, _)| named(name)).map(|(_, since)| *since).max()
    }

    fn forget_verdicts(&mut self) -> Vec<Message> {
        self.moving.clear();
        let services: Vec<_> = std::mem::take(&mut self.doubted).into_keys().collect();
        let primaries =
            services.iter().filter_map(|service| Some((service, &self.primaries.get(service)?.address)));
        primaries.map(|(service, address)| message("-odown", primary_text(service, address))).collect()
    }

    fn suspect(&mut self, service: &ServiceName, instance: &InstanceName, address: &Address) -> Vec<Message> {
        let key = (service.clone(), instance.clone());
        if self.suspected.contains_key(&key) {
            return Vec::new();
        }
        let suspected = Suspected { since: Instant::now(), address: address.clone() };
        self.suspected.insert(key, suspected);
        vec![message("+sdown", self.instance_text(service, address))]
    }

    fn acquit(&mut self, service: &ServiceName, instance: &InstanceName) -> Vec<Message> {
        match self.suspected.remove(&(service.clone(), instance.clone())) {
            Some(suspected) => vec![message("-sdown", self.instance_text(service, &suspected.address))],
            None => Vec::new(),
        }
    }

    /// Takes up where the primary is, unless something newer is known.
    fn switch(&mut self, service: &ServiceName, epoch: Epoch, to: &Address) -> Vec<Message> {
        let known = Known { epoch, address: to.clone() };
        if self.primaries.get(service).is_some_and(|before| before.epoch > epoch) {
            return Vec::new();
        }
        let before = self.primaries.insert(service.clone(), known);
        let Some(before) = before.filter(|before| before.address != *to) else {
            return Vec::new();
        };
        self.doubted.remove(service);
        let old = before.address;
        let payload = format!("{service} {} {} {} {}", old.host, old.port, to.host, to.port);
        let mut messages = vec![message("+switch-master", payload)];
        // Sentinel suspects the old primary anew, as a replica; subscribers then hear when that ends.
        let down =
            self.suspected.iter().any(|((of, _), suspected)| of == service && suspected.address == old);
        if down {
            messages.push(message("+sdown", self.instance_text(service, &old)));
        }
        messages
    }

    /// An instance as Sentinel's events name it.
    fn instance_text(&self, service: &ServiceName, address: &Address) -> String {
        let primary = self.primaries.get(service).map(|known| &known.address);
        if primary == Some(address) {
            return primary_text(service, address);
        }
        let (host, port) = primary.map_or(("?", 0), |primary| (&*primary.host, primary.port));
        format!("slave {address} {} {} @ {service} {host} {port}", address.host, address.port)
    }
}

fn primary_text(service: &ServiceName, address: &Address) -> String {
    format!("master {service} {} {}", address.host, address.port)
}

fn message(channel: &'static str, payload: String) -> Message {
    Message { channel, payload }
}
