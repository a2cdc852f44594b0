//! Promoting: the candidate becomes a primary, closed, and is seen to be one. If that is not seen in time, the next
//! candidate is a new epoch, and this one stays a possible primary (safety, section 4).

use crate::Mistake;
use crate::entry::{Cause, Decided};
use crate::work::Work;
use backstay_model::{Action, Health, InstanceName, RunId};
use std::time::Duration;

const POLL: Duration = Duration::from_millis(2);

pub(super) fn promote(work: &mut Work, candidate: &InstanceName, run_id: &RunId) {
    let moment = work.moment();
    let started = *work.scene.notes.promoting.get_or_insert(moment);
    let epoch = work.state.epoch;
    let sampled = work.view(candidate).and_then(|view| view.sample.as_ref()).map(|(at, _)| *at);
    let fresh = sampled.is_some_and(|at| at >= started.time);
    let seen =
        work.current(candidate).filter(|seen| fresh && seen.run_id == *run_id && seen.is_primary()).cloned();
    if let Some(seen) = seen {
        // Only what is closed is safe to announce: otherwise close it first.
        if seen.closed {
            let offset = seen.previous.as_ref().map_or(seen.offset, |(_, ended)| *ended);
            let (replid, at) = (seen.replid, work.now.unix);
            return work.propose(Decided::Promoted { epoch, replid, offset, paused: None, fenced: None, at });
        }
    }
    let gone = work.view(candidate).is_none_or(|view| {
        matches!(view.health, Health::Down(_) | Health::Useless(_)) || view.run_id() != Some(run_id)
    });
    if !gone && !work.gateways_hold() {
        // Another leader's choice: its promotion takes as long as it takes from the order on.
        work.scene.notes.promoting = None;
        return work.watch(candidate, POLL);
    }
    if gone || work.now.time.since(started.time) > work.manners().promotion_patience {
        if work.mistake == Some(Mistake::NextCandidateInSameEpoch) {
            return promote_another(work, candidate);
        }
        let cause = Cause::CandidateLost { candidate: candidate.clone() };
        let unix = work.now.unix;
        return work.propose(Decided::Begin { epoch: epoch.next(), cause, suspected: unix, verdict: unix });
    }
    work.order(candidate, Action::Promote);
    work.watch(candidate, POLL);
    work.look_again(Duration::from_millis(20));
}

/// The planted mistake of that name.
fn promote_another(work: &mut Work, candidate: &InstanceName) {
    let others = work.instances().into_iter().filter(|instance| instance.name != *candidate);
    for instance in others {
        work.order(&instance.name, Action::Promote);
    }
}
