//! A failover, one phase a file: `fence` drains and freezes, `choose` compares, `promote` promotes and observes,
//! `open` lets writes in and sees one acknowledged. Before it: `begin` decides whether there is one, `form` finds a
//! service's first primary. `moving` is the planned kind. The phase is committed state; each file does, again and again,
//! what its phase calls for until an observation lets it propose the next.

mod begin;
pub(crate) mod choose;
mod fence;
mod form;
pub(crate) mod moving;
mod open;
mod promote;

pub(crate) use begin::{automatic_hindrance, foreign_manager, sentinels};

use crate::scene::Notes;
use crate::state::Phase;
use crate::work::Work;
use crate::{converge, rebuild};

/// Does what the service's phase calls for.
pub(crate) fn lead(work: &mut Work) {
    if work.scene.notes.epoch != work.state.epoch {
        work.scene.notes = Notes { epoch: work.state.epoch, ..Notes::default() };
    }
    match &work.state.phase {
        Phase::Forming => form::form(work),
        Phase::Fencing { cause } => fence::fence(work, &cause.clone()),
        Phase::Promoting { candidate, run_id } => promote::promote(work, &candidate.clone(), &run_id.clone()),
        Phase::Moving { to, run_id, .. } => moving::moving(work, &to.clone(), &run_id.clone()),
        Phase::Opening => {
            if !begin::begin(work) {
                open::open(work);
                converge::converge(work);
            }
        }
        Phase::Stable => {
            if !begin::begin(work) {
                converge::converge(work);
                rebuild::tend(work);
            }
        }
    }
}
