//! The gateways in `backstay status`.

use super::table::{Tone, or_dash};
use crate::output::Paint;
use backstay_model::{ClusterStatus, GatewayStatus, LeaseStatus, PrimaryOrder};
use comfy_table::Cell;

/// Columns that a narrow terminal does without, the first ones first.
const EXPENDABLE: [&str; 4] = ["commands", "backends", "process", "refused"];

/// A table of every gateway; nothing if there is none.
pub(super) fn gateways(status: &ClusterStatus, paint: Paint, width: usize) -> String {
    if status.gateways.is_empty() {
        return String::new();
    }
    let columns = [
        "gateway", "process", "state", "lease", "clients", "backends", "held", "commands", "refused",
        "unknown",
    ];
    paint.table_within(width, &columns, status.gateways.iter().map(gateway), &EXPENDABLE)
}

fn gateway(gateway: &GatewayStatus) -> Vec<Cell> {
    let (tone, state) = state(gateway);
    let lease = gateway.services.iter().map(|service| service.lease_ms).max().filter(|left| *left > 0);
    let load = &gateway.load;
    let unknown = if load.unknown > 0 { Tone::Doubtful } else { Tone::Plain };
    vec![
        Tone::Plain.cell(&gateway.name),
        Tone::Plain.cell(format!("{:08x}", gateway.process as u32)),
        tone.cell(state),
        Tone::Plain.cell(or_dash(lease.map(|left| format!("{left} ms")))),
        Tone::Plain.cell(load.clients),
        Tone::Plain.cell(load.backends),
        Tone::Plain.cell(load.held),
        Tone::Plain.cell(load.commands),
        Tone::Plain.cell(load.refused),
        unknown.cell(load.unknown),
    ]
}

/// What it does, in a few words.
fn state(gateway: &GatewayStatus) -> (Tone, String) {
    if !gateway.registered {
        return (Tone::Doubtful, "waits to be registered".to_owned());
    }
    if !gateway.connected {
        return (Tone::Bad, "not connected".to_owned());
    }
    let all = gateway.services.len();
    let serves = |it: &&LeaseStatus| matches!(it.told, PrimaryOrder::Serve(_)) && it.lease_ms > 0;
    let drains = |it: &LeaseStatus| it.told == PrimaryOrder::Drain && !it.holds;
    match gateway.services.iter().filter(serves).count() {
        // Who answers does not lead, and knows no leases.
        0 if all == 0 => (Tone::Good, "connected".to_owned()),
        serving if serving == all => (Tone::Good, "serves".to_owned()),
        0 if gateway.services.iter().any(drains) => (Tone::Doubtful, "drains".to_owned()),
        0 => (Tone::Doubtful, "holds".to_owned()),
        serving => (Tone::Doubtful, format!("serves {serving} of {all} services")),
    }
}
