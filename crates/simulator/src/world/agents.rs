//! Agents beside MariaDB instances: they report to whichever controller they reach, and do what they are told. A told thing
//! is done at once; a copy takes a while.

use super::{Event, Place, World};
use crate::instance::Instance;
use backstay_model::{AgentOrders, AgentReport, InstanceName, Method, Progress, Term};
use backstay_node::Input;
use std::time::Duration;

const REPORT_EVERY: Duration = Duration::from_millis(500);
/// How long a copy takes.
const COPY: Duration = Duration::from_millis(300);

/// One agent. It survives whatever happens to its instance.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    reports: u64,
    /// The latest that it heard of.
    term: Term,
    job: Option<Job>,
}

/// The rebuild that it was last told of.
#[derive(Clone, Copy, Debug)]
struct Job {
    number: u64,
    donor: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The instance is stopped, its data whole.
    Stopped,
    /// It has none.
    Copying,
    Done,
    Failed,
}

impl Job {
    fn progress(&self) -> Progress {
        match self.stage {
            Stage::Stopped => Progress::Saved { file: None, transactions: 0 },
            Stage::Copying => Progress::Copying { bytes: 1 },
            Stage::Done => Progress::Done { method: Method::Copy, because: "it is simulated".into() },
            Stage::Failed => Progress::Failed { why: "the donor was not there".into() },
        }
    }
}

impl World {
    pub(crate) fn start_agents(&mut self) {
        for server in 0..self.servers.len() {
            self.agents.push(Agent::default());
            self.schedule(REPORT_EVERY, Event::AgentReports { server });
        }
    }

    pub(crate) fn agent_reports(&mut self, server: usize) {
        self.schedule(REPORT_EVERY, Event::AgentReports { server });
        let agent = &mut self.agents[server];
        agent.reports += 1;
        let rebuild = agent.job.as_ref().map(|job| (job.number, job.progress()));
        let report = AgentReport { number: agent.reports, rebuild };
        for node in 0..self.controllers.len() {
            let passes = self.network.passes(Place::Server(server), Place::Controller(node));
            if passes && self.controllers[node].paused_until <= self.now {
                let (instance, report) = (self.servers[server].name.clone(), Some(report.clone()));
                self.step(node, Input::Agent { instance, process: 1, report });
            }
        }
    }

    pub(crate) fn tell_agent(&mut self, node: usize, instance: &InstanceName, orders: &AgentOrders) {
        let Some(server) = self.servers.iter().position(|server| server.name == *instance) else {
            return;
        };
        if self.agents.is_empty() || !self.network.passes(Place::Controller(node), Place::Server(server)) {
            return;
        }
        if orders.term < self.agents[server].term {
            return; // Of one that leads no more.
        }
        self.agents[server].term = orders.term;
        match (self.agents[server].job, &orders.rebuild) {
            (Some(job), Some(wanted)) if job.number >= wanted.number => {
                if orders.discard && job.stage == Stage::Stopped && job.number == wanted.number {
                    self.check_discard(node, server);
                    self.discard(server, job);
                }
            }
            (Some(Job { stage: Stage::Stopped, .. }), None) => {
                self.agents[server].job = None;
                self.coverage.mariadb("rebuild withdrawn");
                self.start_server(server, false);
            }
            (Some(Job { stage: Stage::Copying, .. }), _) | (_, None) => {}
            (_, Some(wanted)) => {
                let donor = self.servers.iter().position(|server| server.name == wanted.donor);
                self.trace.line(self.now, "rebuild", || format!("{instance} {}", wanted.number));
                self.kill_server(server);
                let stage = Stage::Stopped;
                self.agents[server].job = donor.map(|donor| Job { number: wanted.number, donor, stage });
            }
        }
    }

    /// Whoever says so has it from the log, and nobody's last commit is there alone.
    fn check_discard(&mut self, node: usize, server: usize) {
        let name = self.servers[server].name.clone();
        let Some(told) = self.controllers[node].node() else {
            return;
        };
        let state = told.brain().state();
        let running = state.rebuilds.get(&self.service).and_then(|rebuilds| rebuilds.running.as_ref());
        let agreed = running.is_some_and(|running| running.instance == name && running.discards);
        let counts = state.counted.get(&self.service).is_some_and(|counted| counted.ackers.contains(&name));
        if !agreed || counts {
            let what = format!("{name} loses its data: agreed {agreed}, its acknowledgements count {counts}");
            self.violate("data is discarded by agreement, and never what counts", what);
        }
    }

    /// From now on it has no data.
    fn discard(&mut self, server: usize, job: Job) {
        self.trace.line(self.now, "discard", || self.servers[server].name.to_string());
        self.coverage.mariadb("data discarded for a rebuild");
        self.servers[server].file = None;
        self.agents[server].job = Some(Job { stage: Stage::Copying, ..job });
        self.schedule(COPY, Event::AgentCopied { server });
    }

    pub(crate) fn agent_copied(&mut self, server: usize) {
        let Some(job) = self.agents[server].job else {
            return;
        };
        let empty = self.new_mariadb(server, true);
        let copy = self.servers[job.donor].mariadb().filter(|donor| !donor.stopped);
        let copy = copy.map(|donor| donor.copied_to(empty));
        let stage = if copy.is_some() { Stage::Done } else { Stage::Failed };
        self.servers[server].file = copy.map(Instance::MariaDb);
        self.agents[server].job = Some(Job { stage, ..job });
        self.start_server(server, false);
    }

    /// Whether only its agent may start it.
    pub(crate) fn is_held_by_agent(&self, server: usize) -> bool {
        let job = self.agents.get(server).and_then(|agent| agent.job);
        job.is_some_and(|job| matches!(job.stage, Stage::Stopped | Stage::Copying))
    }
}
