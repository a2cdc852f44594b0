//! Controllers: the real node and the real links, their effects carried out one by one, so that a crash can fall
//! between any two.

use super::{Controller, Event, LinkState, Place, Process, Sent, World};
use crate::redis::{ConnectionId, Request, Response};
use crate::scenario::Mistake;
use backstay_consensus::Settings;
use backstay_controller::link::{ConnectFailure, Link, LinkInput, LinkOutput, LinkSettings};
use backstay_model::{Address, Command, EventKind, Order, Time};
use backstay_node::{Effect, Input, Node, PeerMessage};
use std::collections::VecDeque;
use std::time::Duration;

impl World {
    /// Starts the process from what the disk holds.
    pub(crate) fn start_controller(&mut self, node: usize) {
        let now = self.clock(node);
        let seed = self.random.next();
        let listed: Vec<_> = self.spec.controllers.iter().map(backstay_model::ControllerSpec::id).collect();
        let controller = &mut self.controllers[node];
        if controller.process.is_some() || controller.halted {
            return;
        }
        controller.starts += 1;
        self.agreement_disturbed = self.now;
        let start = controller.starts;
        let voters = match self.scenario.mistake {
            Some(Mistake::DecideAlone) => vec![controller.id],
            _ if controller.joined => Vec::new(),
            _ => listed.clone(),
        };
        let mut settings =
            Settings::new(controller.id, self.spec.cluster.clone(), controller.generation, voters, seed);
        settings.peers = listed;
        let disk = controller.disk.clone();
        let mut spec = self.spec.clone();
        spec.services[0].digest = controller.digest.clone();
        let (mut created, effects) = match Node::new(&controller.name, spec, settings, disk, now) {
            Ok(created) => created,
            Err(error) => return self.violate("a controller starts from its own disk", error.to_string()),
        };
        if let Some(mistake) = planted_in_brain(self.scenario.mistake) {
            created.brain_mut().plant(mistake);
        }
        let service = &self.spec.services[0];
        let settings = LinkSettings {
            down_after: service.down_after,
            probe_interval: service.probe_interval,
            engine: service.engine.clone(),
        };
        let links = service.instances.iter().map(|_| LinkState {
            link: Link::new(settings.clone(), now.time),
            connection: None,
            wake_at: Time::MAX,
            ordered: VecDeque::new(),
            obeys: None,
        });
        self.controllers[node].process =
            Some(Process { node: created, links: links.collect(), wake_at: Time::MAX });
        self.trace.line(self.now, "start", || self.controllers[node].name.to_string());
        self.run_effects(node, effects);
        self.greet_peers(node);
        self.schedule_wakeup(node);
        for server in 0..self.servers.len() {
            self.schedule_link_wakeup(node, start, server);
        }
    }

    fn greet_peers(&mut self, node: usize) {
        for peer in (0..self.controllers.len()).filter(|peer| *peer != node) {
            let id = self.controllers[peer].id;
            self.step(node, Input::Peer { node: id, connected: true });
        }
    }

    /// The process ends, wherever it is. Its kernel closes its connections; what it sent stays sent.
    pub(crate) fn crash_controller(&mut self, node: usize) {
        if self.controllers[node].process.take().is_none() {
            return;
        }
        self.trace.line(self.now, "crash", || self.controllers[node].name.to_string());
        let mine = self.connections.iter().filter(|(_, one)| one.from == Place::Controller(node));
        for id in mine.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close_from_client(id);
        }
    }

    fn is_current(&self, node: usize, start: u64) -> bool {
        self.controllers[node].starts == start && self.controllers[node].process.is_some()
    }

    /// Until when the process is stopped, if it is: it reads and does nothing, and what comes for it waits.
    fn pause(&self, node: usize) -> Option<Time> {
        Some(self.controllers[node].paused_until).filter(|until| *until > self.now)
    }

    pub(crate) fn wake_controller(&mut self, node: usize, start: u64) {
        let current =
            self.controllers[node].process.as_ref().is_some_and(|process| process.wake_at == self.now);
        if !self.is_current(node, start) || !current || self.postponed_wake(node, start) {
            return;
        }
        if let Some(process) = &mut self.controllers[node].process {
            process.wake_at = Time::MAX;
        }
        let now = self.clock(node).time;
        let due = self.controllers[node].node().is_some_and(|it| it.next_wakeup() <= now);
        if due {
            self.step(node, Input::Wake);
        } else {
            self.schedule_wakeup(node);
        }
    }

    fn postponed_wake(&mut self, node: usize, start: u64) -> bool {
        let Some(until) = self.pause(node) else {
            return false;
        };
        if let Some(process) = &mut self.controllers[node].process {
            process.wake_at = until;
        }
        self.schedule_at(until, Event::Wake { node, start });
        true
    }

    /// Sees to it that the node is woken in time. Of several wakeups only the one last planned counts.
    fn schedule_wakeup(&mut self, node: usize) {
        let Some(next) = self.controllers[node].node().map(Node::next_wakeup) else {
            return;
        };
        let at = self.moment(node, next);
        let start = self.controllers[node].starts;
        if let Some(process) = &mut self.controllers[node].process
            && at < process.wake_at
        {
            process.wake_at = at;
            self.schedule_at(at, Event::Wake { node, start });
        }
    }

    pub(crate) fn deliver(&mut self, from: usize, to: usize, message: Box<PeerMessage>) {
        if let Some(until) = self.pause(to) {
            return self.schedule_at(until, Event::Deliver { from, to, message });
        }
        let from = self.controllers[from].id;
        self.step(to, Input::Message { from, message: *message });
    }

    /// Something from a gateway, once the process goes on.
    pub(crate) fn controller_hears(&mut self, node: usize, input: Box<Input>) {
        match self.pause(node) {
            Some(until) => self.schedule_at(until, Event::FromGateway { node, input }),
            None => self.step(node, *input),
        }
    }

    /// One step of a node, and its effects.
    pub(crate) fn step(&mut self, node: usize, input: Input) {
        let now = self.clock(node);
        let Some(process) = &mut self.controllers[node].process else {
            return;
        };
        let effects = process.node.step(now, input);
        // What several agree on is durable before any of them knows; what one decides alone, only once it is written.
        let alone = self.controllers.len() == 1;
        if !alone {
            self.check_state(node);
        }
        self.run_effects(node, effects);
        if alone {
            self.check_state(node);
        }
        self.schedule_wakeup(node);
    }

    pub(crate) fn run_effects(&mut self, node: usize, effects: Vec<Effect>) {
        let start = self.controllers[node].starts;
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            if self.controllers[node].process.is_none() {
                return;
            }
            if self.scenario.crash_per_100k > 0
                && !self.healed
                && self.random.range(0, 99_999) < self.scenario.crash_per_100k
            {
                let written = !matches!(effect, Effect::Persist(_))
                    && !effects.iter().any(|effect| matches!(effect, Effect::Persist(_)));
                if self.controllers.len() == 1 && written {
                    // What it decided alone holds, and may be known to others already.
                    self.check_state(node);
                }
                self.crash_controller(node);
                let start = self.random.micros(1_000, 3_000_000);
                self.schedule(start, Event::Fault(super::Fault::StartControllers));
                return;
            }
            if matches!(effect, Effect::Order(_))
                && !self.healed
                && self.random.chance(self.scenario.stall_per_mille)
            {
                // Stopped between two effects: the rest runs when it goes on.
                effects.push_front(effect);
                let pause = self.random.micros(10_000, 1_500_000);
                self.controllers[node].paused_until = self.now + pause;
                self.trace
                    .line(self.now, "stall", || format!("{} for {pause:?}", self.controllers[node].name));
                return self.schedule(pause, Event::Effects { node, start, effects: effects.into() });
            }
            self.run_effect(node, effect);
        }
    }

    fn run_effect(&mut self, node: usize, effect: Effect) {
        let start = self.controllers[node].starts;
        match effect {
            Effect::Persist(persist) => self.controllers[node].disk.apply(&persist),
            Effect::Send { to, message } => self.send_to_peer(node, to, &message),
            Effect::Order(order) => {
                self.stir();
                self.check_order(node, &order);
                if let Some(server) = self.servers.iter().position(|server| server.name == order.instance) {
                    self.trace.line(self.now, "order", || {
                        let from = &self.controllers[node].name;
                        format!("{from}: {} epoch {} {:?}", order.instance, order.epoch, order.action)
                    });
                    self.note_ordered(node, server, &order);
                    self.tell_link(node, start, server, LinkInput::Order(order));
                }
            }
            Effect::Watch { instance, interval, until, .. } => {
                if let Some(server) = self.servers.iter().position(|server| server.name == instance) {
                    self.tell_link(node, start, server, LinkInput::Watch { interval, until });
                }
            }
            Effect::TellAgent { instance, orders } => self.tell_agent(node, &instance, &orders),
            Effect::TellGateway { gateway, orders } => self.tell_gateway(node, &gateway, &orders),
            Effect::Event(event) => {
                if let EventKind::GatewaysHeld { how, .. } = &event.kind {
                    let silent = how.contains("did not answer");
                    self.coverage.gateway(if silent { "lease waited out" } else { "gateway waited for" });
                }
                self.trace
                    .line(self.now, "event", || format!("{}: {}", self.controllers[node].name, event.kind));
            }
            Effect::Route(route) => self.check_route(&route),
            Effect::Answer { .. } => {}
            Effect::Unreadable { index } => {
                self.violate("what is committed is understood", format!("entry {index}"));
            }
            Effect::Refused(refusal) => {
                self.trace
                    .line(self.now, "refused", || format!("{}: {refusal:?}", self.controllers[node].name));
                if refusal.is_fatal() {
                    self.crash_controller(node);
                    self.controllers[node].halted = true;
                }
            }
        }
    }

    fn send_to_peer(&mut self, from: usize, to: backstay_model::NodeId, message: &PeerMessage) {
        let Some(to) = self.controllers.iter().position(|controller| controller.id == to) else {
            return;
        };
        let (here, there) = (Place::Controller(from), Place::Controller(to));
        for delay in self.network.datagram(&mut self.random, here, there) {
            self.schedule(delay, Event::Deliver { from, to, message: Box::new(message.clone()) });
        }
    }

    fn note_ordered(&mut self, node: usize, server: usize, order: &Order) {
        if let Some(process) = &mut self.controllers[node].process {
            let term = process.node.consensus().status().term;
            process.links[server].ordered.push_back(Sent { order: order.clone(), term });
        }
    }

    /// The driver and its links are tasks of their own: what one tells the other is queued.
    fn tell_link(&mut self, node: usize, start: u64, server: usize, input: LinkInput) {
        let input = Box::new(input);
        self.schedule(Duration::ZERO, Event::Link { node, start, server, connection: None, input });
    }

    /// Something happens to a link. Input of a connection that it no longer has is void.
    pub(crate) fn link_input(
        &mut self,
        node: usize,
        start: u64,
        server: usize,
        connection: Option<ConnectionId>,
        input: LinkInput,
    ) {
        if !self.is_current(node, start) {
            return;
        }
        if let Some(until) = self.pause(node) {
            let input = Box::new(input);
            return self.schedule_at(until, Event::Link { node, start, server, connection, input });
        }
        let now = self.clock(node).time;
        let Some(process) = &mut self.controllers[node].process else {
            return;
        };
        let state = &mut process.links[server];
        match (&input, connection) {
            (LinkInput::Connected, id) => state.connection = id,
            (LinkInput::Closed, id) if id != state.connection => return,
            (LinkInput::Closed, _) if state.connection.take().is_none() => return,
            (LinkInput::Reply(_), id) if id != state.connection => return,
            _ => {}
        }
        if matches!(input, LinkInput::Order(_)) {
            state.obeys = state.ordered.pop_front();
        }
        let outputs = state.link.step(now, input);
        for output in outputs {
            self.link_output(node, start, server, output);
        }
        if let Some(id) = connection.filter(|id| !self.connections.contains_key(id)) {
            // The server closed it before we learnt that it was open.
            let input = Box::new(LinkInput::Closed);
            self.schedule(Duration::ZERO, Event::Link { node, start, server, connection: Some(id), input });
        }
        if self.is_current(node, start) {
            self.schedule_link_wakeup(node, start, server);
        }
    }

    fn schedule_link_wakeup(&mut self, node: usize, start: u64, server: usize) {
        let Some(next) =
            self.controllers[node].process.as_ref().map(|it| it.links[server].link.next_wakeup())
        else {
            return;
        };
        let at = self.moment(node, next);
        if let Some(process) = &mut self.controllers[node].process
            && next != Time::MAX
            && at < process.links[server].wake_at
        {
            process.links[server].wake_at = at;
            self.schedule_at(at, Event::LinkWake { node, start, server });
        }
    }

    pub(crate) fn wake_link(&mut self, node: usize, start: u64, server: usize) {
        if !self.is_current(node, start) {
            return; // It was planned by the process before, for the same moment.
        }
        let now = self.now;
        let state = self.controllers[node].process.as_mut().map(|process| &mut process.links[server]);
        if let Some(state) = state.filter(|state| state.wake_at == now) {
            state.wake_at = Time::MAX;
            self.link_input(node, start, server, None, LinkInput::Wake);
        }
    }

    fn link_output(&mut self, node: usize, start: u64, server: usize, output: LinkOutput) {
        if !self.is_current(node, start) {
            return;
        }
        match output {
            LinkOutput::Connect | LinkOutput::Check => {
                let check = output == LinkOutput::Check;
                let delay = self.network.one_way(&mut self.random);
                self.schedule(delay, Event::Dial { node, start, server, check });
            }
            LinkOutput::Send(commands) => {
                let link = self.controllers[node].process.as_ref().map(|it| &it.links[server]);
                let (connection, by) = link.map_or((None, None), |it| (it.connection, it.obeys.clone()));
                self.check_sent(node, &commands, by.as_ref());
                if let Some(id) = connection {
                    let requests =
                        self.corrupted(server, commands).into_iter().map(Request::Command).collect();
                    self.send_request(id, requests);
                }
            }
            LinkOutput::Write => self.write_canary(node, start, server),
            LinkOutput::Observe(observation) => {
                let instance = self.servers[server].name.clone();
                let service = self.service.clone();
                self.step(node, Input::Observed { service, instance, observation });
            }
        }
    }

    /// The commands as a planted mistake would send them.
    fn corrupted(&self, server: usize, commands: Vec<Command>) -> Vec<Command> {
        match self.scenario.mistake {
            Some(Mistake::PromoteOpen) if commands.contains(&Command::ReplicateNoOne) => commands
                .into_iter()
                .filter(|one| *one != Command::SetWriteGuard(backstay_model::CLOSED))
                .collect(),
            Some(Mistake::FreezeOntoReplica) => {
                let other = (server + 1) % self.servers.len();
                let other = self.spec.services[0].instances[other].address.clone();
                let nowhere = Command::Replicate(Address::nowhere());
                commands
                    .into_iter()
                    .map(|one| if one == nowhere { Command::Replicate(other.clone()) } else { one })
                    .collect()
            }
            _ => commands,
        }
    }

    /// A SYN reaches the server's host, or does not.
    pub(crate) fn dial(&mut self, node: usize, start: u64, server: usize, check: bool) {
        let (here, there) = (Place::Controller(node), Place::Server(server));
        let (delay, result) = if !self.network.passes(here, there) || !self.network.passes(there, here) {
            (Duration::from_millis(500), Err(ConnectFailure::Unreachable))
        } else if self.servers[server].process.is_none() {
            (self.network.one_way(&mut self.random), Err(ConnectFailure::Refused))
        } else {
            (self.network.one_way(&mut self.random), Ok(()))
        };
        let (connection, input) = match result {
            _ if check => (None, LinkInput::Checked(result)),
            Err(failure) => (None, LinkInput::ConnectFailed(failure)),
            Ok(()) => (Some(self.open_connection(here, start, server)), LinkInput::Connected),
        };
        let input = Box::new(input);
        self.schedule(delay, Event::Link { node, start, server, connection, input });
    }

    pub(crate) fn link_hears(
        &mut self,
        node: usize,
        start: u64,
        server: usize,
        id: ConnectionId,
        response: Option<Response>,
    ) {
        if self.canaries.contains_key(&id) {
            return self.canary_answered(id, response.as_ref());
        }
        let input = match response {
            Some(Response::Reply(reply)) => LinkInput::Reply(reply),
            Some(Response::Written(_) | Response::Value(_) | Response::Rejected(_)) => return,
            None => LinkInput::Closed,
        };
        self.link_input(node, start, server, Some(id), input);
    }
}

const fn planted_in_brain(mistake: Option<Mistake>) -> Option<backstay_controller::Mistake> {
    match mistake {
        Some(Mistake::PromoteUncompared) => Some(backstay_controller::Mistake::PromoteUncompared),
        Some(Mistake::PromoteUnread) => Some(backstay_controller::Mistake::PromoteUnread),
        Some(Mistake::DiscardCounted) => Some(backstay_controller::Mistake::DiscardCounted),
        Some(Mistake::NoInheritedLeases) => Some(backstay_controller::Mistake::NoInheritedLeases),
        Some(Mistake::PromoteBeforeCommit) => Some(backstay_controller::Mistake::PromoteBeforeCommit),
        Some(Mistake::NextCandidateInSameEpoch) => {
            Some(backstay_controller::Mistake::NextCandidateInSameEpoch)
        }
        _ => None,
    }
}

impl Controller {
    /// Its node, while it runs.
    pub(crate) fn node(&self) -> Option<&Node> {
        self.process.as_ref().map(|process| &process.node)
    }
}
