//! What operators do: pauses, resumes and decisions, at good and bad moments.

use super::{Event, Fault, World};
use crate::instance::Instance;
use backstay_controller::Wish;
use backstay_node::Input;
use std::time::Duration;

impl World {
    /// A pause or its end.
    pub(crate) fn wish(&mut self, node: usize, duration: Duration) -> Fault {
        let by = "operator".to_owned();
        let pause = self.random.chance(500);
        let wish = if pause {
            Wish::Pause { service: None, duration, by }
        } else {
            Wish::Resume { service: None, by }
        };
        Fault::Wish { node, wish }
    }

    /// The primary dies, and an operator who cannot wait decides for some instance, whatever it holds.
    pub(crate) fn decide_in_haste(&mut self, at: Duration, server: usize) {
        let kill = Fault::KillServer { server, primary: true };
        self.schedule(at, Event::Fault(kill));
        let delay = self.random.micros(1_000, 600_000);
        for node in 0..self.controllers.len() {
            let wish = self.decision(server);
            self.schedule(at + delay, Event::Fault(Fault::Wish { node, wish }));
        }
    }

    fn decision(&self, server: usize) -> Wish {
        let instance = self.servers[server].name.clone();
        Wish::Decide { service: self.service.clone(), instance, by: "operator".into() }
    }

    pub(crate) fn ask(&mut self, node: usize, wish: Wish) {
        self.coverage.fault(match wish {
            Wish::Pause { .. } => "operator pauses",
            Wish::Resume { .. } => "operator resumes",
            Wish::Decide { .. } => "operator decides",
            Wish::SwitchOver { .. } => "operator wants a switchover",
            Wish::FailOver { .. } => "operator wants a failover",
            Wish::Rebuild { .. } | Wish::CancelRebuild { .. } => "operator wants a rebuild",
            Wish::AddController { .. } => "operator adds a controller",
            Wish::RemoveController { .. } => "operator removes a controller",
        });
        if self.controllers[node].paused_until <= self.now {
            self.step(node, Input::Asked { request: 1, wish });
        }
    }

    /// What an operator does once everything is mended: ends pauses, and decides for whoever holds most where
    /// controllers wait for that.
    pub(crate) fn operator_helps(&mut self) {
        // An operator whose order was refused or lost gives it again, after seconds.
        if self.random.chance(20) && !self.all_vote() {
            self.ask_for_votes();
        }
        if self.random.chance(20) {
            self.rebuild_diverged();
        }
        let Some(leader) =
            self.controllers.iter().position(|it| it.node().is_some_and(|it| it.brain().leads()))
        else {
            return;
        };
        let Some(node) = self.controllers[leader].node() else {
            return;
        };
        let now = self.clock(leader);
        let wish = if node.brain().state().service(&self.service).is_paused(now.unix) {
            Wish::Resume { service: None, by: "operator".into() }
        } else if self.waits_for_operator(leader) {
            let holds =
                |server: &usize| self.servers[*server].process.as_ref().map_or(0, Instance::promotable);
            let Some(fullest) = (0..self.servers.len()).max_by_key(holds) else {
                return;
            };
            self.decision(fullest)
        } else {
            return;
        };
        self.ask(leader, wish);
    }

    fn waits_for_operator(&self, leader: usize) -> bool {
        let Some(node) = self.controllers[leader].node() else {
            return false;
        };
        let services = node.brain().status(self.clock(leader)).services;
        let mut problems = services.into_iter().flat_map(|service| service.problems);
        problems.any(|problem| problem.sentence.contains("backstay decide"))
    }
}
