//! Opening: the observed and committed primary takes writes, and the canary's acknowledgement ends the failover.

use crate::entry::Decided;
use crate::scene::View;
use crate::work::Work;
use backstay_model::{Action, Replication};

pub(super) fn open(work: &mut Work) {
    let Some(reign) = work.state.reign.clone() else {
        return;
    };
    // Whoever else answers there was not chosen.
    if work.view(&reign.instance).and_then(View::run_id) != Some(&reign.run_id) {
        return;
    }
    let routed = work
        .scene
        .notes
        .opening
        .get_or_insert(crate::scene::Moment { time: work.now.time, unix: work.now.unix });
    let routed = routed.unix;
    let acknowledged =
        work.view(&reign.instance).is_some_and(|view| view.canary.as_ref() == Some(&reign.run_id));
    let is_primary = work.current(&reign.instance).is_some_and(Replication::is_primary);
    // A primary that stays must be let go before the canary, which would wait with the others.
    if work.state.held.as_ref() == Some(&reign.instance) {
        work.order(&reign.instance, Action::Resume);
    }
    if acknowledged && work.scene.notes.canary_sent && is_primary {
        let quick = follows_closely(work);
        let (epoch, first_write) = (work.state.epoch, work.now.unix);
        return work.propose(Decided::End { epoch, routed, first_write, quick });
    }
    if !work.scene.notes.canary_sent {
        // What an earlier canary found says nothing about this reign.
        if let Some(view) = work.scene.views.get_mut(&reign.instance) {
            view.canary = None;
        }
        work.scene.notes.canary_sent = true;
    }
    work.order(&reign.instance, Action::Open);
    // Written on a connection of its own it would be refused before it is open, and tried again late.
    if !work.manners().writes_apart || work.current(&reign.instance).is_some_and(|seen| !seen.closed) {
        work.order(&reign.instance, Action::Canary);
    }
}

/// This failover began within the cooldown of the one before.
fn follows_closely(work: &Work) -> bool {
    let began = work.state.history.back().and_then(|record| record.moments.verdict);
    began.zip(work.state.ended).is_some_and(|(began, before)| began.since(before) < work.scene.spec.cooldown)
}
