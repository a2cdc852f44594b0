//! Promoting: the candidate becomes a primary, closed, and is seen to be one. If that is not seen in time, the next
//! candidate is a new epoch, and this one stays a possible primary (safety, section 4).

use crate::Mistake;
use crate::entry::{Cause, Decided};
use crate::work::{Work, follows};
use backstay_model::{Action, Address, Health, InstanceName, RunId};
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
    let frozen = work.view(candidate).and_then(|view| view.frozen_in(epoch)).map(|frozen| frozen.offset);
    // A Redis that never had a replica counts anew as a primary (seen).
    let behind = |offset| frozen.is_some_and(|frozen| offset < frozen);
    let lost_some =
        work.manners().named_by_servers && work.current(candidate).is_some_and(|seen| behind(seen.offset));
    if let Some(seen) = seen.filter(|_| !lost_some) {
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
    // One that lost what it had when it was chosen is compared anew.
    if gone || lost_some || work.now.time.since(started.time) > work.manners().promotion_patience {
        if work.mistake == Some(Mistake::NextCandidateInSameEpoch) {
            return promote_another(work, candidate);
        }
        let cause = Cause::CandidateLost { candidate: candidate.clone() };
        let unix = work.now.unix;
        return work.propose(Decided::Begin { epoch: epoch.next(), cause, suspected: unix, verdict: unix });
    }
    if frozen.is_some() || work.manners().copies || (fresh && stands(work, candidate)) {
        work.order(candidate, Action::Promote);
    }
    work.watch(candidate, POLL);
    work.look_again(Duration::from_millis(20));
}

/// It was just seen to receive nothing. One that is promoted throws away what it received and did not apply, beyond what
/// was last seen here: for a leader that did not freeze it that may be long ago.
fn stands(work: &Work, candidate: &InstanceName) -> bool {
    let seen = work.current(candidate);
    seen.is_some_and(|seen| {
        follows(seen).is_none_or(|(of, link_up, _)| !link_up && *of == Address::nowhere())
    })
}

/// The planted mistake of that name.
fn promote_another(work: &mut Work, candidate: &InstanceName) {
    let others = work.instances().into_iter().filter(|instance| instance.name != *candidate);
    for instance in others {
        work.order(&instance.name, Action::Promote);
    }
}
