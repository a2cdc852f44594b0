//! What operators order: checked, put before the quorum, and answered once it is committed.

use crate::effect::{Effect, Refusal, Wish};
use crate::entry::{Cause, Decided, Entry};
use crate::explain::candidates;
use crate::failover::moving::{best_target, unfit as why_not, unmovable};
use crate::rebuild::{donor, meaning, unfit as unfit_to_rebuild};
use crate::scene::Scene;
use crate::state::Phase;
use crate::{Controller, PROPOSAL_PATIENCE};
use backstay_model::{Health, InstanceName, Method, Now, RebuildOutcome, ServiceName};
use std::time::Duration;

/// The longest pause: one that is forgotten ends by itself.
const PAUSE_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// A wish whose entries are not all committed yet.
#[derive(Debug)]
pub(crate) struct Pending {
    request: u64,
    entries: Vec<Entry>,
    /// An entry came too late to change anything.
    void: bool,
    answer: String,
}

impl Controller {
    pub(crate) fn asked(&mut self, now: Now, request: u64, wish: Wish, out: &mut Vec<Effect>) {
        let granted = if self.leads() { self.entries_for(now, wish) } else { Err(Refusal::NotLeader) };
        match granted {
            Ok((entries, answer)) if entries.is_empty() => {
                out.push(Effect::Answer { request, result: Ok(answer) });
            }
            Ok((entries, answer)) => {
                out.extend(entries.iter().cloned().map(Effect::Propose));
                self.requests.push(Pending { request, entries, void: false, answer });
                self.wakeup = self.wakeup.min(now.time + PROPOSAL_PATIENCE);
            }
            Err(refusal) => out.push(Effect::Answer { request, result: Err(refusal) }),
        }
    }

    fn entries_for(&self, now: Now, wish: Wish) -> Result<(Vec<Entry>, String), Refusal> {
        let each = |services: Vec<ServiceName>, decision: Decided| {
            services.into_iter().map(|service| Entry { service, decision: decision.clone() }).collect()
        };
        match wish {
            Wish::Pause { service, duration, by } => {
                if duration.is_zero() || duration > PAUSE_MAX {
                    return Err(Refusal::Unfit("a pause lasts from 1 s to 30 days".into()));
                }
                let until = now.unix + duration;
                let services = self.services(service)?;
                let answer = format!("paused {} until {until} UTC", join(&services));
                Ok((each(services, Decided::Pause { until, by }), answer))
            }
            Wish::Resume { service, by } => {
                let services = self.services(service)?;
                let answer = format!("resumed {}", join(&services));
                Ok((each(services, Decided::Resume { by }), answer))
            }
            Wish::AddController { .. } | Wish::RemoveController { .. } => {
                Err(Refusal::Unfit("who votes is not decided here".into()))
            }
            Wish::Decide { service, instance, by } => {
                let services = self.services(Some(service))?;
                let service = &services[0];
                let spec = self.scenes.get(service).map(|scene| &scene.spec);
                if spec.and_then(|spec| spec.instance(&instance)).is_none() {
                    return Err(Refusal::NoSuch(self.no_such_instance(service, &instance)));
                }
                let state = self.state.service(service);
                if !matches!(state.phase, Phase::Fencing { .. }) {
                    return Err(Refusal::Unfit(format!(
                        "{service} has nothing to decide: it is {}; see `backstay explain {service}`",
                        state.phase.name()
                    )));
                }
                self.has_data(service, &instance)?;
                let answer =
                    format!("{instance} will be the primary of {service} as soon as it stands still");
                Ok((each(services, Decided::Decide { epoch: state.epoch, instance, by }), answer))
            }
            Wish::Rebuild { service, instance, method, dry_run, by } => {
                self.rebuild(now, service, instance, method, dry_run, by)
            }
            Wish::CancelRebuild { service, instance, by } => self.cancel(now, service, &instance, &by),
            Wish::SwitchOver { service, to, dry_run, by } => self.switchover(now, service, to, dry_run, by),
            Wish::FailOver { service, to, by } => {
                let scene = self.replaceable(&service)?;
                let state = self.state.service(&service);
                match &to {
                    Some(to) => self.answers(scene, to)?,
                    None if candidates(state, scene).iter().any(|candidate| candidate.eligible) => {}
                    None => {
                        return Err(Refusal::Unfit(format!(
                            "no instance of {service} can take over; see `backstay explain {service}`"
                        )));
                    }
                }
                let answer = format!("{service}: failing over (epoch {})", state.epoch.next());
                let decision = Decided::Begin {
                    epoch: state.epoch.next(),
                    cause: Cause::Ordered { to, by },
                    suspected: now.unix,
                    verdict: now.unix,
                };
                Ok((vec![Entry { service, decision }], answer))
            }
        }
    }

    fn switchover(
        &self,
        now: Now,
        service: ServiceName,
        to: Option<InstanceName>,
        dry_run: bool,
        by: String,
    ) -> Result<(Vec<Entry>, String), Refusal> {
        let unfit = |reason: String| Err(Refusal::Unfit(format!("no switchover of {service}: {reason}")));
        let scene = self.quiet(&service)?;
        let state = self.state.service(&service);
        if state.is_paused(now.unix) {
            return unfit("automatic action is paused; `backstay resume` ends the pause".into());
        }
        if let Some(hindrance) = self.hindrance(&service).or_else(|| unmovable(state, scene)) {
            return unfit(hindrance);
        }
        let Some(reign) = &state.reign else {
            return unfit("it has no primary yet".into());
        };
        if let Some(to) = &to
            && scene.spec.instance(to).is_none()
        {
            return Err(Refusal::NoSuch(self.no_such_instance(&service, to)));
        }
        if to.as_ref() == Some(&reign.instance) {
            return unfit(format!("{} is the primary already", reign.instance));
        }
        let Some(to) = to.or_else(|| best_target(state, scene)) else {
            let others = scene.spec.instances.iter().filter(|spec| spec.name != reign.instance);
            let reasons: Vec<String> = others.filter_map(|spec| why_not(state, scene, &spec.name)).collect();
            return unfit(format!("nobody can take over: {}", reasons.join("; ")));
        };
        if let Some(reason) = why_not(state, scene, &to) {
            return unfit(reason);
        }
        let Some(run_id) = state.trusted.get(&to).cloned() else {
            return unfit(format!("{to} has no full copy"));
        };
        let (from, epoch) = (&reign.instance, state.epoch.next());
        if dry_run {
            let answer = format!("{service}: {to} would take over from {from}; nothing was changed");
            return Ok((Vec::new(), answer));
        }
        let answer = format!("{service}: switching over from {from} to {to} (epoch {epoch})");
        let decision = Decided::SwitchOver { epoch, to, run_id, by, at: now.unix, term: self.term };
        Ok((vec![Entry { service, decision }], answer))
    }

    /// The one that an operator names must at least be there; what it holds is the operator's business.
    fn answers(&self, scene: &Scene, name: &InstanceName) -> Result<(), Refusal> {
        let service = &scene.spec.name;
        let Some(view) = scene.views.get(name) else {
            return Err(Refusal::NoSuch(self.no_such_instance(service, name)));
        };
        self.has_data(service, name)?;
        let loading = view.identity.as_ref().is_none_or(|identity| identity.loading);
        let reigns = self.state.service(service).primary().is_some_and(|reign| reign.instance == *name);
        if reigns {
            return Err(Refusal::Unfit(format!("{name} is the primary of {service} already")));
        }
        if view.health != Health::Up || loading {
            return Err(Refusal::Unfit(format!("{name} cannot be the primary now: {}", view.health)));
        }
        Ok(())
    }

    /// One that is being given another's data has none of its own.
    fn has_data(&self, service: &ServiceName, name: &InstanceName) -> Result<(), Refusal> {
        let rebuilds = self.state.rebuilds.get(service);
        if rebuilds.is_some_and(|rebuilds| rebuilds.discarded.contains(name)) {
            return Err(Refusal::Unfit(format!(
                "{name} cannot be the primary now: its data was discarded, and another's was not seen whole in its place"
            )));
        }
        Ok(())
    }

    fn rebuild(
        &self,
        now: Now,
        service: ServiceName,
        instance: InstanceName,
        method: Method,
        dry_run: bool,
        by: String,
    ) -> Result<(Vec<Entry>, String), Refusal> {
        let refuse = |reason: String| Err(Refusal::Unfit(format!("{instance} is not rebuilt: {reason}")));
        let scene = self.quiet(&service)?;
        let Some(spec) = scene.spec.instance(&instance) else {
            return Err(Refusal::NoSuch(self.no_such_instance(&service, &instance)));
        };
        let state = self.state.service(&service);
        let rebuilds = self.state.rebuilds.get(&service);
        if let Some(running) = rebuilds.and_then(|rebuilds| rebuilds.running.as_ref()) {
            return refuse(format!("{} is being rebuilt, and only one is at a time", running.instance));
        }
        let hindrance =
            unfit_to_rebuild(state, scene, self.state.counted.get(&service), &self.agents, now.time, spec);
        if let Some(reason) = self.hindrance(&service).or(hindrance) {
            return refuse(reason);
        }
        let (donor, because) = match donor(state, scene, &self.agents, now.time, &instance) {
            Ok(found) => found,
            Err(reason) => return refuse(reason),
        };
        if dry_run {
            let counted = self.state.counted.get(&service);
            let clauses = meaning(state, scene, counted, &instance, method, (&donor, &because));
            return Ok((Vec::new(), clauses.join("\n")));
        }
        let (epoch, number, at) = (state.epoch, rebuilds.map_or(0, |it| it.last) + 1, now.unix);
        let answer = format!("{service}: rebuilding {instance} (rebuild {number})");
        let decision = Decided::Rebuild { epoch, instance, number, donor, method, because, by, at };
        Ok((vec![Entry { service, decision }], answer))
    }

    fn cancel(
        &self,
        now: Now,
        service: ServiceName,
        instance: &InstanceName,
        by: &str,
    ) -> Result<(Vec<Entry>, String), Refusal> {
        self.services(Some(service.clone()))?;
        let Some(running) = self.running(&service).filter(|running| running.instance == *instance) else {
            return Err(Refusal::Unfit(format!("{instance} is not being rebuilt")));
        };
        let heard = self.agents.get(instance).is_some_and(|agent| agent.is_heard(now.time));
        if running.discards && heard {
            return Err(Refusal::Unfit(format!(
                "the rebuild of {instance} goes on: its data is being replaced, so nothing is left to go back to"
            )));
        }
        let why = format!("{by} asked for it");
        let decision = Decided::RebuildEnded {
            instance: instance.clone(),
            number: running.number,
            outcome: RebuildOutcome::CalledOff { why },
            at: now.unix,
        };
        let answer = format!("{service}: the rebuild of {instance} is called off");
        Ok((vec![Entry { service, decision }], answer))
    }

    /// The service, if its primary may be replaced: also by a plan that does not end.
    fn replaceable(&self, service: &ServiceName) -> Result<&Scene, Refusal> {
        self.services(Some(service.clone()))?;
        match self.state.service(service).phase {
            Phase::Opening | Phase::Moving { .. } => self
                .scenes
                .get(service)
                .ok_or_else(|| Refusal::NoSuch(format!("there is no service called {service}"))),
            _ => self.quiet(service),
        }
    }

    /// The service, if no plan is running.
    fn quiet(&self, service: &ServiceName) -> Result<&Scene, Refusal> {
        self.services(Some(service.clone()))?;
        let state = self.state.service(service);
        if state.phase != Phase::Stable {
            return Err(Refusal::Unfit(format!(
                "{service} is {}: wait until that is over; see `backstay explain {service}`",
                state.phase.name()
            )));
        }
        self.scenes
            .get(service)
            .ok_or_else(|| Refusal::NoSuch(format!("there is no service called {service}")))
    }

    fn services(&self, wanted: Option<ServiceName>) -> Result<Vec<ServiceName>, Refusal> {
        match wanted {
            None => Ok(self.scenes.keys().cloned().collect()),
            Some(name) if self.scenes.contains_key(&name) => Ok(vec![name]),
            Some(name) => Err(Refusal::NoSuch(self.no_such_service(&name))),
        }
    }

    /// Answers the wishes whose last entry this was.
    pub(crate) fn answer_pending(&mut self, entry: &Entry, applied: bool, out: &mut Vec<Effect>) {
        for pending in &mut self.requests {
            pending.void |= !applied && pending.entries.contains(entry);
            pending.entries.retain(|waiting| waiting != entry);
        }
        let (done, waiting) =
            std::mem::take(&mut self.requests).into_iter().partition(|it| it.entries.is_empty());
        self.requests = waiting;
        let done: Vec<Pending> = done;
        let void =
            || Refusal::Unfit("things changed before this was committed; look at `backstay status`".into());
        out.extend(done.into_iter().map(|it| {
            let result = if it.void { Err(void()) } else { Ok(it.answer) };
            Effect::Answer { request: it.request, result }
        }));
    }

    /// Tells everyone who still waits that nobody knows.
    pub(crate) fn refuse_pending(&mut self, out: &mut Vec<Effect>) {
        let all = std::mem::take(&mut self.requests);
        out.extend(
            all.into_iter().map(|it| Effect::Answer { request: it.request, result: Err(Refusal::Unknown) }),
        );
    }
}

fn join(services: &[ServiceName]) -> String {
    services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
}
