//! A lab's servers.

use super::table::{Tone, or_dash};
use crate::output::Paint;
use backstay_lab::LabView;
use backstay_lab::servers::process::Liveness;
use backstay_lab::stack::view::{GatewayView, RoleView};
use comfy_table::Cell;

/// `backstay lab status`.
pub(crate) fn lab(view: &LabView, paint: Paint) -> String {
    let mut text = format!("lab in {}\n", view.dir.display());
    if !view.controllers.is_empty() {
        let rows = view.controllers.iter().map(|controller| {
            vec![
                Tone::Plain.cell(&controller.name),
                Tone::Plain.cell(or_dash(controller.pid)),
                state(controller.state),
                Tone::Plain.cell(controller.peer),
                Tone::Plain.cell(controller.sentinel),
                Tone::Plain.cell(controller.admin.display()),
            ]
        });
        text.push('\n');
        text.push_str(&paint.table(&["controller", "pid", "state", "peers", "sentinel", "admin"], rows));
    }
    for service in &view.services {
        let rows = service.instances.iter().map(|instance| {
            let (tone, role) = match instance.role {
                RoleView::Primary => (Tone::Strong, "primary"),
                RoleView::Replica => (Tone::Plain, "replica"),
                RoleView::Unknown => (Tone::Faint, "-"),
            };
            vec![
                Tone::Plain.cell(&instance.name),
                Tone::Plain.cell(or_dash(instance.pid)),
                state(instance.state),
                Tone::Plain.cell(instance.addr),
                tone.cell(role),
            ]
        });
        let name = paint.text(Tone::Strong, &service.name);
        for part in ["\n", &name, " (", &service.engine, ")\n"] {
            text.push_str(part);
        }
        text.push_str(&paint.table(&["instance", "pid", "state", "address", "role"], rows));
    }
    if !view.gateways.is_empty() {
        text.push('\n');
        text.push_str(&gateways(&view.gateways, paint));
    }
    text
}

fn gateways(gateways: &[GatewayView], paint: Paint) -> String {
    let mut columns = vec!["gateway", "pid", "state", "primary", "reader"];
    if gateways.iter().any(|gateway| gateway.sql.is_some()) {
        columns.extend(["orders", "orders-reader"]);
    }
    let rows = gateways.iter().map(|gateway| {
        let mut row = vec![
            Tone::Plain.cell(&gateway.name),
            Tone::Plain.cell(or_dash(gateway.pid)),
            state(gateway.state),
            Tone::Plain.cell(gateway.primary),
            Tone::Plain.cell(gateway.reader),
        ];
        if let Some(sql) = gateway.sql {
            row.extend([sql.orders, sql.orders_reader].map(|address| Tone::Plain.cell(address)));
        }
        row
    });
    paint.table(&columns, rows)
}

fn state(state: Liveness) -> Cell {
    match state {
        Liveness::Running => Tone::Good.cell("runs"),
        Liveness::Stopped => Tone::Doubtful.cell("hangs"),
        Liveness::Gone => Tone::Bad.cell("dead"),
    }
}
