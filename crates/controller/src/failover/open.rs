//! Opening: the observed and committed primary takes writes, and the canary's acknowledgement ends the failover.

use crate::entry::Decided;
use crate::work::Work;
use backstay_model::{Action, Replication};

pub(super) fn open(work: &mut Work) {
    let Some(reign) = work.state.reign.clone() else {
        return;
    };
    let routed = work
        .scene
        .notes
        .opening
        .get_or_insert(crate::scene::Moment { time: work.now.time, unix: work.now.unix });
    let routed = routed.unix;
    let acknowledged =
        work.view(&reign.instance).is_some_and(|view| view.canary.as_ref() == Some(&reign.run_id));
    let is_primary = work.current(&reign.instance).is_some_and(Replication::is_primary);
    if acknowledged && work.scene.notes.canary_sent && is_primary {
        let decision = Decided::End { epoch: work.state.epoch, routed, first_write: work.now.unix };
        return work.propose(decision);
    }
    if !work.scene.notes.canary_sent {
        // What an earlier canary found says nothing about this reign.
        if let Some(view) = work.scene.views.get_mut(&reign.instance) {
            view.canary = None;
        }
        work.scene.notes.canary_sent = true;
    }
    let min_replicas_to_write = work.scene.spec.min_replicas_to_write;
    work.order(&reign.instance, Action::Open { min_replicas_to_write });
    let key = work.scene.spec.canary_key.clone();
    work.order(&reign.instance, Action::Canary { key });
}
