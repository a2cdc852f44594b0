//! Between an agent's desk and the controllers: its reports go to all of them, again and again, and what the one that
//! leads answers becomes its orders.

use super::Desk;
use crate::peers::{AgentLetter, Mesh, consult_all};
use backstay_model::AgentReport;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often it reports, whether there is anything new or not.
const REPORT_EVERY: Duration = Duration::from_millis(500);

/// Carries words until the agent or the process ends.
pub(super) async fn run(mesh: Mesh, process: u64, desk: Desk) {
    let Desk { orders, mut reports } = desk;
    let mut number = 0;
    let mut letter = |report: &AgentReport| {
        number += 1;
        AgentLetter { process, report: AgentReport { number, ..report.clone() } }
    };
    let letters = watch::Sender::new(letter(&reports.borrow_and_update()));
    let mut tasks = JoinSet::new();
    let mut told = consult_all(&mesh, &letters, &mut tasks);
    let mut tick = interval(REPORT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = reports.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some(wanted) = told.recv() => {
                orders.send_if_modified(|orders| {
                    let other = *orders != wanted;
                    *orders = wanted;
                    other
                });
                continue;
            }
            _ = tick.tick() => {}
        }
        letters.send_replace(letter(&reports.borrow_and_update()));
    }
}
