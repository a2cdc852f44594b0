//! What each effect does to the world. One after the other; what must be durable is, before anything behind it runs.

use super::waiting::Waiter;
use super::{Driver, Letter, Outlets, Stopped};
use crate::question::{Answer, Sealed};
use backstay_controller::link::LinkInput;
use backstay_model::{
    AgentOrders, Event, GatewayId, GatewayOrders, InstanceName, NodeId, ServiceName, Severity,
};
use backstay_node::{Effect, PeerMessage};
use tokio::sync::mpsc::Sender;

impl Driver {
    /// Carries out what was gathered. After an error none of the rest was.
    pub(super) async fn carry_out(&mut self) -> Result<(), Stopped> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::take(&mut self.batch);
        for (to, report) in batch.reports {
            self.outlets.post(to, Letter::Node(PeerMessage::Report(report)));
        }
        self.run_all(batch.before)?;
        if !batch.writes.is_empty() {
            // Letters that were posted before leave meanwhile.
            self.outlets.storage.apply(batch.writes).await.map_err(Stopped::DurabilityLost)?;
        }
        self.run_all(batch.behind)
    }

    fn run_all(&mut self, effects: Vec<Effect>) -> Result<(), Stopped> {
        for effect in effects {
            match effect {
                // Gathered apart.
                Effect::Persist(_) => {}
                Effect::Send { to, message } => {
                    self.outlets.post(to, Letter::Node(message));
                }
                Effect::Order(order) => {
                    tracing::debug!(?order, "order");
                    let target = (order.service.clone(), order.instance.clone());
                    self.outlets.tell(&target, LinkInput::Order(order));
                }
                Effect::Watch { service, instance, interval, until } => {
                    self.outlets.tell(&(service, instance), LinkInput::Watch { interval, until });
                }
                // Clients of the Sentinel port hear of it as an event, gateways by their orders.
                Effect::Route(route) => tracing::debug!(?route, "route"),
                Effect::TellGateway { gateway, orders } => self.outlets.tell_gateway(&gateway, orders),
                Effect::TellAgent { instance, orders } => self.outlets.tell_agent(&instance, orders),
                Effect::Event(event) => self.outlets.announce(event),
                Effect::Answer { request, result } => {
                    if let Some(waiter) = self.waiting.take(request) {
                        self.outlets.reply(waiter, Answer::Wish(result));
                    }
                }
                Effect::Unreadable { index } => {
                    return Err(Stopped::StateLost(format!(
                        "entry {index} of the log cannot be understood: a newer version wrote it; run that version here, too"
                    )));
                }
                Effect::Refused(refusal) => {
                    let sentence = self.outlets.names.sentence(&refusal);
                    if refusal.is_fatal() {
                        return Err(Stopped::StateLost(sentence));
                    }
                    tracing::warn!("{sentence}");
                }
            }
        }
        Ok(())
    }
}

impl Outlets {
    /// Sends, or drops if the peer does not keep up. Whether it was sent.
    pub(super) fn post(&self, to: NodeId, letter: Letter) -> bool {
        self.peers.get(&to).is_some_and(|peer| peer.connected && peer.letters.try_send(letter).is_ok())
    }

    pub(super) fn set_connected(&mut self, node: NodeId, connected: bool) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.connected = connected;
        }
    }

    fn tell(&self, target: &(ServiceName, InstanceName), input: LinkInput) {
        if let Some(link) = self.links.get(target)
            && link.try_send(input).is_err()
        {
            tracing::debug!(service = %target.0, instance = %target.1, "its link is overrun; an order was dropped");
        }
    }

    /// What cannot be sent now is said anew when the gateway asks again.
    fn tell_gateway(&self, gateway: &GatewayId, orders: GatewayOrders) {
        if let Some(outlet) = self.gateways.get(gateway)
            && outlet.try_send(orders).is_err()
        {
            tracing::debug!("gateway {gateway} does not read what it is told");
        }
    }

    /// As to a gateway.
    fn tell_agent(&self, instance: &InstanceName, orders: AgentOrders) {
        if let Some(outlet) = self.agents.get(instance)
            && outlet.try_send(orders).is_err()
        {
            tracing::debug!("the agent of {instance} does not read what it is told");
        }
    }

    /// As of a gateway.
    pub(super) fn forget_agent(&mut self, instance: &InstanceName, outlet: &Sender<AgentOrders>) -> bool {
        let current = self.agents.get(instance).is_some_and(|current| current.same_channel(outlet));
        if current {
            self.agents.remove(instance);
        }
        current
    }

    /// Whether `outlet` was the way to the gateway, and not one that was replaced since.
    pub(super) fn forget_gateway(&mut self, gateway: &GatewayId, outlet: &Sender<GatewayOrders>) -> bool {
        let current = self.gateways.get(gateway).is_some_and(|current| current.same_channel(outlet));
        if current {
            self.gateways.remove(gateway);
        }
        current
    }

    /// Hands an answer to whoever waits for it. Nobody may wait any more.
    pub(super) fn reply(&self, waiter: Waiter, answer: Answer) {
        match waiter {
            Waiter::Here(reply) => drop(reply.send(answer)),
            Waiter::Peer { node, id } => {
                self.post(node, Letter::Answer { id, answer: Sealed::of(&answer) });
            }
        }
    }

    fn announce(&self, event: Event) {
        let service = event.service.as_ref().map(ServiceName::as_str);
        match event.kind.severity() {
            Severity::Info => tracing::info!(service, "{}", event.kind),
            Severity::Warning => tracing::warn!(service, "{}", event.kind),
            Severity::Error => tracing::error!(service, "{}", event.kind),
        }
        self.journal.note(event);
    }
}
