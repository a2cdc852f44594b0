//! Agents: what each said last, and what the leader answers. Only what is agreed on is said; the agents' words are what
//! the leader lets be agreed on next (`rebuild`).

use crate::Controller;
use crate::counted::counts;
use crate::effect::Effect;
use crate::entry::{Decided, Entry};
use crate::rebuild::withheld;
use crate::rebuilds::{Agreed, Ended, Rebuilds};
use crate::scene::Scene;
use crate::telling::event;
use backstay_model::{
    AgentOrders, AgentReport, EventKind, InstanceName, Now, Progress, Rebuild, RebuildStatus, ServiceName,
    Time,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One of which nothing was heard for so long is missing.
const SILENCE: Duration = Duration::from_secs(5);

/// All of them, by their instances.
pub(crate) type Agents = BTreeMap<InstanceName, Agent>;

/// One run of an agent.
#[derive(Debug)]
pub(crate) struct Agent {
    process: u64,
    connected: bool,
    heard: Time,
    report: AgentReport,
}

impl Agent {
    /// Whether it was heard of lately.
    pub(crate) fn is_heard(&self, now: Time) -> bool {
        self.connected && now.since(self.heard) < SILENCE
    }

    /// How far it is with this rebuild, as it said last.
    pub(crate) fn progress(&self, number: u64) -> Option<&Progress> {
        self.report.rebuild.as_ref().filter(|(of, _)| *of == number).map(|(_, progress)| progress)
    }
}

impl Controller {
    /// An agent's report, or the loss of its connection.
    pub(crate) fn agent(
        &mut self,
        now: Now,
        instance: &InstanceName,
        process: u64,
        report: Option<AgentReport>,
        out: &mut Vec<Effect>,
    ) {
        let Some(service) = self.service_of(instance) else {
            return; // Another file's.
        };
        let known = self.agents.get_mut(instance).filter(|known| known.process == process);
        let Some(report) = report else {
            if let Some(known) = known {
                known.connected = false;
            }
            return;
        };
        if known.is_some_and(|known| report.number <= known.report.number) {
            return; // From an older connection.
        }
        let agent = Agent { process, connected: true, heard: now.time, report };
        let before = self.agents.insert(instance.clone(), agent);
        if !self.leads() {
            return;
        }
        self.tell_progress(now, &service, instance, before.as_ref(), out);
        let concerns = |rebuilds: &Rebuilds| {
            let said = self.agents.get(instance).and_then(|agent| agent.report.rebuild.as_ref());
            let late = said.is_some_and(|(number, _)| rebuilds.was_called_off(instance, *number));
            late || rebuilds.runs_for(instance)
        };
        if self.state.rebuilds.get(&service).is_some_and(concerns) {
            self.look_at(now, &service, out);
        }
        self.tell_agent(now.time, &service, instance, out);
    }

    /// Says to the agent what is agreed on. Who does not lead, or no longer for certain, says nothing.
    pub(crate) fn tell_agent(
        &self,
        now: Time,
        service: &ServiceName,
        instance: &InstanceName,
        out: &mut Vec<Effect>,
    ) {
        let Some(agent) = self.agents.get(instance).filter(|_| self.leads() && now < self.lease) else {
            return;
        };
        if let Some(orders) = self.agent_orders(service, instance) {
            let (process, answers) = (agent.process, agent.report.number);
            let orders = AgentOrders { term: self.term, process, answers, ..orders };
            out.push(Effect::TellAgent { instance: instance.clone(), orders });
        }
    }

    /// What was agreed on changed, if it did: `before` ran until now.
    pub(crate) fn tell_change(
        &self,
        now: Now,
        service: &ServiceName,
        before: Option<&Agreed>,
        out: &mut Vec<Effect>,
    ) {
        let running = self.running(service);
        if running == before {
            return;
        }
        if let (Some(before), None) = (before, running) {
            let ended = self.state.rebuilds.get(service).and_then(|it| it.ended.get(&before.instance));
            if let Some(Ended { outcome, .. }) = ended {
                let kind =
                    EventKind::RebuildEnded { instance: before.instance.clone(), outcome: outcome.clone() };
                event(out, now, Some(service), kind);
            }
        }
        if let Some(instance) = running.or(before).map(|it| it.instance.clone()) {
            self.tell_agent(now.time, service, &instance, out);
        }
    }

    /// `None`: what is agreed on cannot be said, because the file has changed.
    fn agent_orders(&self, service: &ServiceName, instance: &InstanceName) -> Option<AgentOrders> {
        let Some(running) = self.running(service).filter(|running| running.instance == *instance) else {
            return Some(AgentOrders::default());
        };
        let scene = self.scenes.get(service)?;
        let mistaken = self.mistake == Some(crate::Mistake::DiscardCounted);
        if self.still_counts(scene, running) && !mistaken {
            // Stopped, it would come back as another process, and what it acknowledged would be unread in a failover.
            return Some(AgentOrders::default());
        }
        let donor = scene.spec.instance(&running.donor)?;
        let rebuild = Rebuild {
            number: running.number,
            at: running.at,
            service: service.clone(),
            instance: instance.clone(),
            epoch: running.epoch,
            donor: running.donor.clone(),
            donor_agent: donor.agent.clone()?,
            method: running.method,
        };
        let discard = running.discards || (mistaken && running.saved.is_some());
        Some(AgentOrders { rebuild: Some(rebuild), discard, ..AgentOrders::default() })
    }

    pub(crate) fn running(&self, service: &ServiceName) -> Option<&Agreed> {
        self.state.rebuilds.get(service)?.running.as_ref()
    }

    /// Instances whose agents were heard of lately.
    pub(crate) fn agents_heard(&self, now: Time) -> BTreeSet<InstanceName> {
        let heard = self.agents.iter().filter(|(_, agent)| agent.is_heard(now));
        heard.map(|(name, _)| name.clone()).collect()
    }

    fn service_of(&self, instance: &InstanceName) -> Option<ServiceName> {
        let has = |scene: &&Scene| scene.spec.instance(instance).is_some();
        self.scenes.values().find(has).map(|scene| scene.spec.name.clone())
    }

    /// Lets it be known that the agent began with something else.
    fn tell_progress(
        &self,
        now: Now,
        service: &ServiceName,
        instance: &InstanceName,
        before: Option<&Agent>,
        out: &mut Vec<Effect>,
    ) {
        let Some(running) = self.running(service).filter(|running| running.instance == *instance) else {
            return;
        };
        let said = |agent: &Agent| {
            let progress = agent.progress(running.number)?;
            Some((std::mem::discriminant(progress), clause(progress, running)))
        };
        let is_told = |progress: &Progress| {
            // Of these an entry of the log tells.
            !matches!(progress, Progress::Saved { .. } | Progress::Done { .. } | Progress::Failed { .. })
        };
        let Some(agent) =
            self.agents.get(instance).filter(|it| it.progress(running.number).is_some_and(is_told))
        else {
            return;
        };
        let (before, new) = (before.and_then(said), said(agent));
        if let Some((kind, clause)) = new
            && before.is_none_or(|(before, _)| before != kind)
        {
            let instance = instance.clone();
            event(out, now, Some(service), EventKind::RebuildGoesOn { instance, clause });
        }
    }

    /// The rebuild that runs, and how the last one of each instance ended.
    pub(crate) fn rebuild_statuses(&self, scene: &Scene) -> Vec<RebuildStatus> {
        let Some(rebuilds) = self.state.rebuilds.get(&scene.spec.name) else {
            return Vec::new();
        };
        let running = rebuilds.running.iter().map(|running| {
            let agent = self.agents.get(&running.instance);
            let progress = agent.and_then(|agent| agent.progress(running.number));
            let mut status = status(running);
            status.progress = match progress {
                Some(progress) => clause(progress, running),
                None => format!("waits for the agent of {}", running.instance),
            };
            status.bytes = match progress {
                Some(Progress::Copying { bytes }) => Some(*bytes),
                _ => None,
            };
            let waits = self.still_counts(scene, running);
            if waits && progress.is_none() {
                status.progress = "runs as long as its acknowledgements count".into();
            }
            if (waits || matches!(progress, Some(Progress::Saved { .. }))) && !running.discards {
                status.waits = self.withheld(scene, running);
            }
            status
        });
        let ended = rebuilds.ended.values().map(|Ended { rebuild, outcome, at, .. }| RebuildStatus {
            outcome: Some(outcome.clone()),
            ended: Some(*at),
            ..status(rebuild)
        });
        running.chain(ended).collect()
    }

    /// Whether the instance may hold the only copy of a commit that was acknowledged: it is not stopped before another
    /// one was seen to hold everything.
    pub(crate) fn still_counts(&self, scene: &Scene, running: &Agreed) -> bool {
        counts(scene, self.state.counted.get(&scene.spec.name), &running.instance)
    }

    /// Why the instance's data may not be discarded yet.
    pub(crate) fn withheld(&self, scene: &Scene, running: &Agreed) -> Option<String> {
        let name = &scene.spec.name;
        withheld(self.state.service(name), scene, self.state.counted.get(name), running, self.leads_since)
    }
}

fn status(rebuild: &Agreed) -> RebuildStatus {
    RebuildStatus {
        number: rebuild.number,
        instance: rebuild.instance.clone(),
        donor: rebuild.donor.clone(),
        method: rebuild.method,
        because: rebuild.because.clone(),
        by: rebuild.by.clone(),
        at: rebuild.at,
        saved: rebuild.saved.clone(),
        discards: rebuild.discards,
        progress: String::new(),
        bytes: None,
        waits: None,
        outcome: None,
        ended: None,
    }
}

/// What an agent does, as the end of a sentence that begins with its instance.
fn clause(progress: &Progress, running: &Agreed) -> String {
    let donor = &running.donor;
    match progress {
        Progress::Saving => "is being stopped, and what only it holds saved".into(),
        Progress::Saved { .. } => "is stopped".into(),
        Progress::TakingBack => "takes back what only it holds".into(),
        Progress::Copying { .. } => format!("gets the data of {donor}"),
        Progress::Preparing => format!("has the data of {donor}, which is being made consistent"),
        Progress::Starting => "is being started".into(),
        Progress::Done { .. } => "runs again".into(),
        Progress::Failed { .. } => "could not be rebuilt".into(),
    }
}

/// The end of one that ran no more: it could not be put back as it was.
pub(crate) fn tell_late_end(now: Now, entry: &Entry, before: Option<&Agreed>, out: &mut Vec<Effect>) {
    let Decided::RebuildEnded { instance, number, outcome, .. } = &entry.decision else {
        return;
    };
    if before.is_none_or(|before| before.number != *number) {
        let kind = EventKind::RebuildEnded { instance: instance.clone(), outcome: outcome.clone() };
        event(out, now, Some(&entry.service), kind);
    }
}
