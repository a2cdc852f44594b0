//! What the demo says in the end.

use crate::demo::act::Act;
use crate::demo::orders::OrdersResult;
use crate::demo::timeline::Timeline;
use crate::error::Result;
use crate::stack::lab::Lab;
use backstay_model::UnixMicros;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use std::fmt;
use std::time::Duration;

/// All acts.
#[derive(Clone, Debug)]
pub struct DemoReport {
    /// One per act.
    pub results: Vec<ActResult>,
    /// One per act of the second part.
    pub orders: Vec<OrdersResult>,
    /// How long it took.
    pub duration: Duration,
    /// What to type next, if the lab was kept.
    pub next: Option<String>,
}

/// One act. All moments are milliseconds since the fault.
#[derive(Clone, Debug)]
pub struct ActResult {
    /// What happened.
    pub act: Act,
    /// The first controller suspected the primary.
    pub suspected_ms: Option<f64>,
    /// The failover was committed.
    pub decided_ms: Option<f64>,
    /// The new primary was seen to be one.
    pub promoted_ms: Option<f64>,
    /// The client's first write was acknowledged by it.
    pub rto_ms: Option<f64>,
    /// Writes acknowledged during the act.
    pub acked: u64,
    /// Acknowledged writes that are gone after it.
    pub lost: u64,
    /// Errors that the client saw.
    pub errors: u64,
    /// Writes that an old primary accepted after it woke.
    pub zombie_accepted: Option<u64>,
    /// The longest that a client of a gateway waited for an acknowledgement.
    pub gateway_ms: f64,
    /// Errors that clients of gateways saw.
    pub gateway_errors: u64,
    /// Promises that were not kept, one sentence each.
    pub broken: Vec<String>,
    /// Why the lab did not become whole again: no act can follow.
    pub stuck: Option<String>,
}

impl ActResult {
    /// What is known when the client's write went through.
    pub(crate) fn new(act: Act, timeline: &Timeline, rto_ms: Option<f64>) -> Self {
        let moments = timeline.record.as_ref().map(|record| record.moments.clone()).unwrap_or_default();
        let ms = |at: Option<UnixMicros>| at.map(|at| timeline.ms(at));
        Self {
            act,
            suspected_ms: ms(moments.suspected),
            decided_ms: ms(moments.committed),
            promoted_ms: ms(moments.promoted),
            rto_ms,
            acked: 0,
            lost: 0,
            errors: 0,
            zombie_accepted: None,
            gateway_ms: 0.0,
            gateway_errors: 0,
            broken: Vec::new(),
            stuck: None,
        }
    }
}

impl DemoReport {
    /// Every promise that was not kept.
    pub fn broken(&self) -> Vec<String> {
        let sentences = self.results.iter().flat_map(|result| {
            let name = result.act.name();
            result.broken.iter().map(move |sentence| format!("{name}: {sentence}"))
        });
        let orders = self.orders.iter().flat_map(|result| {
            let name = result.act.name();
            result.broken.iter().map(move |sentence| format!("MariaDB, {name}: {sentence}"))
        });
        sentences.chain(orders).collect()
    }

    fn orders_table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::ASCII_MARKDOWN)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header([
                "fault (MariaDB)",
                "decided ms",
                "promoted ms",
                "without a commit ms (RTO)",
                "acknowledged",
                "lost (RPO)",
                "connections cut",
                "same rows on",
                "all in step s",
            ]);
        for result in &self.orders {
            let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
            table.add_row([
                result.act.name().to_owned(),
                ms(result.decided_ms),
                ms(result.promoted_ms),
                format!("{:.1}", result.rto_ms),
                result.acked.to_string(),
                result.lost.to_string(),
                result.cut.to_string(),
                format!("{} of 3", result.alike),
                ms(result.back_s),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::ASCII_MARKDOWN)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header([
                "fault",
                "suspected ms",
                "decided ms",
                "promoted ms",
                "first write ms (RTO)",
                "acknowledged",
                "lost",
                "errors",
                "zombie writes",
                "gateway ms",
                "gateway errors",
            ]);
        for result in &self.results {
            let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
            table.add_row([
                result.act.name().to_owned(),
                ms(result.suspected_ms),
                ms(result.decided_ms),
                ms(result.promoted_ms),
                ms(result.rto_ms),
                result.acked.to_string(),
                result.lost.to_string(),
                result.errors.to_string(),
                result.zombie_accepted.map_or_else(|| "-".to_owned(), |count| count.to_string()),
                format!("{:.0}", result.gateway_ms),
                result.gateway_errors.to_string(),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }
}

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.table())?;
        if !self.orders.is_empty() {
            writeln!(f, "{}\n", self.orders_table())?;
        }
        let broken = self.broken();
        for sentence in &broken {
            writeln!(f, "BROKEN: {sentence}")?;
        }
        if broken.is_empty() {
            write!(f, "Every promise was kept")?;
        } else {
            write!(f, "{} promises were broken", broken.len())?;
        }
        writeln!(f, ", in {:.0} s.", self.duration.as_secs_f64())?;
        self.next.as_ref().map_or(Ok(()), |next| f.write_str(next))
    }
}

/// For whoever keeps the lab.
pub(crate) fn what_to_type_next(lab: &Lab) -> Result<String> {
    let dir = lab.dir().display();
    let primary = lab.primary()?;
    let sentinel = lab.sentinels()?.first().map_or(0, std::net::SocketAddr::port);
    let service = lab.state()?.service;
    Ok(format!(
        "\nThe lab goes on. Try:\n  \
         backstay lab status --dir {dir}\n  \
         backstay lab fault kill {} --dir {dir}\n  \
         redis-cli -p {sentinel} SENTINEL get-master-addr-by-name {service}\n  \
         backstay lab down --dir {dir}\n",
        primary.name
    ))
}
