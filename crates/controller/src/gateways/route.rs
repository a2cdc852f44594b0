//! What gateways are told of one service: what to do with commands for its primary, and who may answer reads.

use crate::scene::{Scene, View};
use crate::state::{Phase, ServiceState};
use crate::work::follows;
use backstay_model::{Epoch, Health, InstanceSpec, PrimaryOrder, Reader, Replication, ServiceOrders};

pub(super) fn service_orders(state: &ServiceState, scene: &Scene) -> ServiceOrders {
    let (epoch, primary) = primary_order(state, scene);
    ServiceOrders { service: scene.spec.name.clone(), epoch, primary, readers: readers(state, scene) }
}

/// What to do with commands for the primary, and the epoch that this is said in. In one epoch `Serve` is said of one
/// primary only, and only once nothing can be promoted in it any more: whoever confirmed to hold in it need not be
/// asked again.
pub(crate) fn primary_order(state: &ServiceState, scene: &Scene) -> (Epoch, PrimaryOrder) {
    let serve = || {
        let reign = state.reign.as_ref()?;
        Some(PrimaryOrder::Serve(scene.spec.instance(&reign.instance)?.address.clone()))
    };
    let order = match &state.phase {
        Phase::Stable => serve(),
        Phase::Opening if is_route_open(state, scene) => serve(),
        // Until writes are about to be paused the primary serves on, in the epoch of before.
        Phase::Moving { .. } if !(scene.notes.epoch == state.epoch && scene.notes.drains) => {
            let before = Epoch(state.epoch.0.saturating_sub(1));
            return (before, serve().unwrap_or(PrimaryOrder::Hold));
        }
        Phase::Moving { .. } => Some(PrimaryOrder::Drain),
        _ => None,
    };
    (state.epoch, order.unwrap_or(PrimaryOrder::Hold))
}

/// The primary was seen open since this leader opens it: before, it would refuse writes.
fn is_route_open(state: &ServiceState, scene: &Scene) -> bool {
    let opening = scene.notes.opening.filter(|_| scene.notes.epoch == state.epoch);
    let view = state.reign.as_ref().and_then(|reign| scene.views.get(&reign.instance));
    let sample = view.filter(|view| view.health == Health::Up).and_then(|view| view.sample.as_ref());
    let Some(((opening, reign), (at, seen))) = opening.zip(state.reign.as_ref()).zip(sample) else {
        return false;
    };
    *at >= opening.time && seen.run_id == reign.run_id && seen.is_primary() && !seen.closed
}

/// The replicas that hold the primary's data and are being fed.
fn readers(state: &ServiceState, scene: &Scene) -> Vec<Reader> {
    let Some((reign, primary)) =
        state.reign.as_ref().and_then(|reign| Some((reign, scene.spec.instance(&reign.instance)?)))
    else {
        return Vec::new();
    };
    let seen = scene.views.values().filter_map(View::replication);
    let newest = seen.filter(|seen| seen.replid == reign.replid).map(|seen| seen.offset).max();
    let reads = |spec: &InstanceSpec, seen: &Replication| {
        let fed =
            follows(seen).is_some_and(|(of, link_up, syncing)| *of == primary.address && link_up && !syncing);
        fed && !seen.sql.stalled
            && seen.replid == reign.replid
            && state.trusted.get(&spec.name) == Some(&seen.run_id)
    };
    let others = scene.spec.instances.iter().filter(|spec| spec.name != reign.instance);
    let readers = others.filter_map(|spec| {
        let view = scene.views.get(&spec.name).filter(|view| view.health == Health::Up)?;
        let seen = view.replication().filter(|seen| reads(spec, seen))?;
        Some(Reader {
            instance: spec.name.clone(),
            address: spec.address.clone(),
            zone: spec.zone.clone(),
            lag_bytes: seen.lag_behind(newest?),
        })
    });
    readers.collect()
}
