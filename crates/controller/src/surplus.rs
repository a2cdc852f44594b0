//! What an instance holds that the reign never received (safety, section 5): counted where its history's end is known, and
//! said to be unknown where it stands in a history that nobody agreed on, or came back from a file that names none.

use crate::scene::{Scene, View};
use crate::state::ServiceState;
use backstay_model::{InstanceName, ReplId, ReplOffset, Replication, Unit};

/// Writes of one instance that the reign's primary lacks, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surplus {
    /// So many bytes of replication stream, or transactions; never zero.
    Known(u64),
    /// It may hold some, and nothing tells how many.
    Unknown,
}

impl Surplus {
    /// The number, if it can be told.
    pub(crate) const fn count(self) -> Option<u64> {
        match self {
            Self::Known(count) => Some(count),
            Self::Unknown => None,
        }
    }

    /// As the end of a sentence that begins with the instance.
    pub(crate) fn clause(self, unit: Unit) -> String {
        match self {
            Self::Known(count) => format!("it holds {} that the primary never received", unit.count(count)),
            Self::Unknown => {
                "it holds data of which nothing tells whether the primary ever received all of it".to_owned()
            }
        }
    }
}

/// What the instance, as it was last seen, holds that the present primary never received. `None`: nothing.
pub(crate) fn surplus(state: &ServiceState, scene: &Scene, name: &InstanceName) -> Option<Surplus> {
    let view = scene.views.get(name)?;
    let seen = view.replication()?;
    let reign = state.reign.as_ref().filter(|reign| reign.instance != *name)?;
    let primary = scene.views.get(&reign.instance).and_then(View::replication);
    let primary = primary.filter(|it| it.is_primary() && it.run_id == reign.run_id);
    // What wrote nothing of its own yet stands where another history ended for it.
    let unwritten = seen.previous.as_ref().filter(|(_, at)| *at == seen.offset);
    let replid = unwritten.map_or(&seen.replid, |(before, _)| before);
    let renamed = primary
        .is_some_and(|primary| primary.replid == *replid && state.end_of(replid, seen.offset).is_none());
    if state.is_in_reign(replid, seen.offset) || renamed {
        return None; // The history that the primary writes.
    }
    let beyond = |ended: ReplOffset| {
        let count = seen.offset.ahead_of(ended);
        (count > 0).then_some(Surplus::Known(count))
    };
    if let Some(ended) = end_of(state, primary, replid, seen.offset) {
        return beyond(ended);
    }
    // Promoted itself, observed or not, it began a history of its own behind one that is known.
    if let Some((before, at)) = &seen.previous {
        let branched = (*before == reign.replid).then_some(*at);
        if let Some(ended) = branched.or_else(|| end_of(state, primary, before, *at)) {
            return beyond(ended);
        }
    }
    may_hold_some(state, view, name).then_some(Surplus::Unknown)
}

/// Where the primary's data left this history. The primary itself knows best which one it continued: the one that the
/// reign before was said to write may have been another one, by a rename or an operator's decision that nobody recorded.
fn end_of(
    state: &ServiceState,
    primary: Option<&Replication>,
    replid: &ReplId,
    offset: ReplOffset,
) -> Option<ReplOffset> {
    let continued = primary.and_then(|primary| primary.previous.as_ref());
    if let Some((_, ended)) = continued.filter(|(before, _)| before == replid) {
        return Some(*ended);
    }
    let agreed = state.end_of(replid, offset)?;
    let last = state.endings.back().is_some_and(|(name, ended)| name == replid && *ended == agreed);
    let is_another = last && continued.is_some_and(|(before, ended)| *ended == agreed && before != replid);
    (!is_another).then_some(agreed)
}

/// Whether data in an unknown history could be what nobody else has: not if there is none, and not if a replica's file
/// can only hold what it was seen to copy from the present primary.
fn may_hold_some(state: &ServiceState, view: &View, name: &InstanceName) -> bool {
    let is_empty = view.identity.as_ref().is_some_and(|identity| !identity.loading && identity.keys == 0);
    let reign = state.reign.as_ref().map(|reign| &reign.replid);
    let copied = view.copied.is_some() && view.copied.as_ref() == reign;
    // Without a plan ever, the group was taken over as it was.
    !state.history.is_empty() && !is_empty && (state.possible_primaries.contains(name) || !copied)
}
