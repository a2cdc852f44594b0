//! No act without a commit: every order fits the committed state of the one who gives it, and nobody gives one that
//! could still be sent after a later leader gave one.

use crate::world::Sent;
use backstay_controller::{Phase, ServiceState};
use backstay_model::{Action, InstanceSpec, Order, ServiceSpec, Term, Time};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Memory {
    newest_term: Term,
    newest_sent: Term,
    nodes: BTreeMap<usize, Seen>,
}

/// A controller's committed state.
#[derive(Debug)]
struct Seen {
    applied: u64,
    state: ServiceState,
    /// The states that the last step may have passed through, if it applied several entries: orders stand between them.
    passed: Vec<ServiceState>,
}

impl Memory {
    /// After every step of a node.
    pub(super) fn note_step(&mut self, node: usize, applied: u64, state: &ServiceState) {
        let new = || Seen { applied, state: state.clone(), passed: Vec::new() };
        let seen = self.nodes.entry(node).or_insert_with(new);
        seen.passed.clear();
        if applied != seen.applied {
            let last = std::mem::replace(&mut seen.state, state.clone());
            if applied > seen.applied + 1 {
                seen.passed.extend(promoted(&last));
                seen.passed.push(last);
            }
            seen.applied = applied;
        }
    }

    /// At the moment in which it is sent.
    pub(super) fn check_sent(&mut self, now: Time, sent: &Sent) -> Option<(&'static str, String)> {
        let (order, term) = (&sent.order, sent.term);
        if now >= order.deadline {
            return Some(("nothing is sent past its deadline", format!("at {now:?}: {order:?}")));
        }
        if term < self.newest_sent {
            let newest = self.newest_sent;
            return Some((
                "one leader acts",
                format!("{order:?} of term {term} is sent after one of term {newest}"),
            ));
        }
        self.newest_sent = term;
        None
    }

    pub(super) fn check(
        &mut self,
        spec: &ServiceSpec,
        node: usize,
        term: Term,
        order: &Order,
        late: bool,
    ) -> Option<(&'static str, String)> {
        if late {
            return None; // It will not be sent.
        }
        if term < self.newest_term {
            let newest = self.newest_term;
            return Some((
                "one leader acts",
                format!("term {term} orders {order:?} after term {newest} acted"),
            ));
        }
        self.newest_term = term;
        let Seen { state, passed, .. } = self.nodes.get(&node)?;
        let allowed = passed.iter().chain([state]).any(|state| fits(spec, state, order));
        (!allowed).then(|| {
            let (epoch, phase) = (state.epoch, &state.phase);
            ("no act without a commit", format!("{order:?} while committed is epoch {epoch}, {phase:?}"))
        })
    }
}

/// The state in which what this one waits for has happened: the chosen one reigns.
fn promoted(state: &ServiceState) -> Option<ServiceState> {
    let (Phase::Promoting { candidate: chosen, .. } | Phase::Moving { to: chosen, .. }) = &state.phase else {
        return None;
    };
    let mut next = ServiceState { phase: Phase::Opening, ..state.clone() };
    next.reign.as_mut()?.instance = chosen.clone();
    Some(next)
}

fn fits(spec: &ServiceSpec, state: &ServiceState, order: &Order) -> bool {
    let primary = state.primary().map(|reign| &reign.instance);
    let at = |name| spec.instance(name).map(|instance: &InstanceSpec| &instance.address);
    let moving = match &state.phase {
        Phase::Moving { to, .. } => Some(to),
        _ => None,
    };
    let other = primary.is_some_and(|primary| *primary != order.instance);
    order.epoch == state.epoch
        && match &order.action {
            Action::Promote => {
                let chosen = matches!(&state.phase, Phase::Promoting { candidate, .. } if *candidate == order.instance);
                chosen || moving == Some(&order.instance)
            }
            Action::Freeze => matches!(state.phase, Phase::Fencing { .. }),
            Action::Fence => other || matches!(state.phase, Phase::Fencing { .. }),
            Action::Open => primary.is_some(),
            Action::Canary => primary == Some(&order.instance),
            Action::Pause { .. } => moving.is_some() && !other,
            Action::Resume => state.held.as_ref() == Some(&order.instance),
            Action::Follow { primary: address, .. } if moving.is_some() => {
                !other && moving.and_then(at) == Some(address)
            }
            Action::Follow { primary: address, .. } => other && primary.and_then(at) == Some(address),
        }
}
