//! What operators order: checked, put before the quorum, and answered once it is committed.

use crate::effect::{Effect, Refusal, Wish};
use crate::entry::{Decided, Entry};
use crate::state::Phase;
use crate::{Controller, PROPOSAL_PATIENCE};
use backstay_model::{Now, ServiceName};
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
                    return Err(Refusal::NoSuch(format!("{service} has no instance called {instance}")));
                }
                let state = self.state.service(service);
                if !matches!(state.phase, Phase::Fencing { .. }) {
                    return Err(Refusal::Unfit(format!(
                        "{service} has nothing to decide: it is {}; see `backstay explain {service}`",
                        state.phase.name()
                    )));
                }
                let answer =
                    format!("{instance} will be the primary of {service} as soon as it stands still");
                Ok((each(services, Decided::Decide { epoch: state.epoch, instance, by }), answer))
            }
        }
    }

    fn services(&self, wanted: Option<ServiceName>) -> Result<Vec<ServiceName>, Refusal> {
        match wanted {
            None => Ok(self.scenes.keys().cloned().collect()),
            Some(name) if self.scenes.contains_key(&name) => Ok(vec![name]),
            Some(name) => {
                let known: Vec<&str> = self.scenes.keys().map(ServiceName::as_str).collect();
                Err(Refusal::NoSuch(format!(
                    "there is no service called {name}; there is {}",
                    known.join(", ")
                )))
            }
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
