//! Since when the reigning primary is suspected: by anyone, and by a majority.

use crate::effect::Effect;
use crate::scene::{self, Moment, Scene};
use crate::state::ServiceState;
use crate::telling::event;
use crate::verdict::Tally;
use backstay_model::{EventKind, Health, InstanceReport, NodeId, Now};

/// Notes since when the reigning primary is suspected, by anyone and by a majority, and tells changes of the verdict.
pub(crate) fn update_suspicion(
    now: Now,
    scene: &mut Scene,
    state: &ServiceState,
    tally: Option<&Tally>,
    reports: &[(NodeId, InstanceReport)],
    out: &mut Vec<Effect>,
) {
    let moment = Moment { time: now.time, unix: now.unix };
    let suspicious = state.reign.as_ref().is_some_and(|reign| {
        reports.iter().any(|(_, report)| {
            matches!(report.health, Health::Late | Health::Down(_))
                || report.run_id.as_ref().is_some_and(|seen| *seen != reign.run_id)
        })
    });
    if suspicious {
        scene.suspected.get_or_insert(moment);
    } else {
        scene.suspected = None;
    }
    let unanswered =
        reports.iter().filter(|(_, report)| matches!(report.health, Health::Late | Health::Down(_)));
    let doubted = tally.is_some_and(|tally| unanswered.count() as u32 >= tally.majority());
    if scene.doubted != doubted {
        scene.doubted = doubted;
        scene.views.values_mut().for_each(scene::View::acquit);
    }
    let Some((tally, reign)) = tally.zip(state.reign.as_ref()) else {
        return;
    };
    let down = tally.cause().is_some();
    let Some(address) = scene.spec.instance(&reign.instance).map(|spec| spec.address.clone()) else {
        return;
    };
    let instance = reign.instance.clone();
    if down && scene.verdict.is_none() {
        scene.verdict = Some(moment);
        let votes = tally.down() + tally.restarted;
        let controllers = tally.controllers;
        event(
            out,
            now,
            Some(&scene.spec.name),
            EventKind::VerdictDown { instance, address, votes, controllers },
        );
    } else if !down && scene.verdict.take().is_some() {
        scene.notes.stuck = None;
        event(out, now, Some(&scene.spec.name), EventKind::VerdictUp { instance, address });
    }
}
