//! What goes through gateways: `backstay traffic`.

use super::table::{Tone, bytes};
use crate::commands::SlowCommands;
use crate::output::Paint;
use backstay_model::{
    ConnectionsTraffic, EndpointTraffic, FamilyTraffic, GatewayTraffic, SlowOutcome, SqlTraffic,
};
use serde::Serialize;
use std::fmt::Write as _;

/// One gateway, between two readings or since its start.
#[derive(Debug, Serialize)]
pub(crate) struct GatewayReading {
    gateway: String,
    process: u32,
    /// How far the readings are apart. None: since the start.
    seconds: Option<f64>,
    endpoints: Vec<EndpointReading>,
}

/// The counts are since the gateway's start, whatever the readings are; those of families are not.
#[derive(Debug, Serialize)]
struct EndpointReading {
    endpoint: String,
    service: String,
    clients: u64,
    bytes_in: u64,
    bytes_out: u64,
    held: u64,
    held_total: u64,
    held_longest_us: u64,
    replayed: u64,
    refused: u64,
    unknown: u64,
    connections: ConnectionsTraffic,
    families: Vec<FamilyReading>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sql: Option<SqlTraffic>,
}

#[derive(Debug, Serialize)]
struct FamilyReading {
    family: String,
    /// Between the readings.
    commands: u64,
    errors: u64,
    per_second: Option<f64>,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

impl GatewayReading {
    pub(crate) fn of(later: &GatewayTraffic, earlier: Option<&GatewayTraffic>) -> Self {
        // Another process of the same name begins anew.
        let earlier = earlier.filter(|earlier| earlier.process == later.process);
        let seconds = earlier.map(|it| later.at_us.saturating_sub(it.at_us) as f64 / 1e6);
        let before =
            |name: &str| earlier.and_then(|earlier| earlier.endpoints.iter().find(|it| it.endpoint == name));
        let endpoints = later.endpoints.iter();
        let endpoints = endpoints.map(|it| EndpointReading::of(it, before(&it.endpoint), seconds));
        Self {
            gateway: later.gateway.to_string(),
            process: later.process,
            seconds,
            endpoints: endpoints.collect(),
        }
    }
}

impl EndpointReading {
    fn of(later: &EndpointTraffic, earlier: Option<&EndpointTraffic>, seconds: Option<f64>) -> Self {
        let before =
            |name: &str| earlier.and_then(|earlier| earlier.families.iter().find(|it| it.family == name));
        let families = later.families.iter().map(|family| family.since(before(&family.family)));
        let families = families.filter(|family| family.commands > 0);
        Self {
            endpoint: later.endpoint.clone(),
            service: later.service.to_string(),
            clients: later.clients,
            bytes_in: later.bytes_in,
            bytes_out: later.bytes_out,
            held: later.held,
            held_total: later.held_total,
            held_longest_us: later.held_longest_us,
            replayed: later.replayed,
            refused: later.refused,
            unknown: later.unknown,
            connections: later.connections.clone(),
            families: families.map(|family| FamilyReading::of(&family, seconds)).collect(),
            sql: later.sql.clone(),
        }
    }

    /// What is not about families, in two lines.
    fn heading(&self, gateway: &str, paint: Paint) -> String {
        let (mut text, pool) = (String::new(), &self.connections);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "{}  {} clients, {} in, {} out; {} held ({} so far, the longest {}); {} replayed, {} refused, {} unknown\n   \
             connections: {} shared, {} own in use, {} own idle; opened {} shared, {} own; closed {} shared, {} own\n",
            paint.bold(&format!("{gateway} / {}", self.endpoint)),
            self.clients,
            bytes(self.bytes_in),
            bytes(self.bytes_out),
            self.held,
            self.held_total,
            span(self.held_longest_us),
            self.replayed,
            self.refused,
            self.unknown,
            pool.shared,
            pool.own_used,
            pool.own_idle,
            pool.shared_opened,
            pool.own_opened,
            pool.shared_closed,
            pool.own_closed,
        );
        text
    }
}

impl FamilyReading {
    fn of(family: &FamilyTraffic, seconds: Option<f64>) -> Self {
        Self {
            family: family.family.clone(),
            commands: family.commands,
            errors: family.errors,
            per_second: seconds.filter(|it| *it > 0.0).map(|it| family.commands as f64 / it),
            p50_us: family.quantile_us(0.5),
            p99_us: family.quantile_us(0.99),
            max_us: family.max_us,
        }
    }
}

/// A table per endpoint.
pub(crate) fn traffic(readings: &[GatewayReading], paint: Paint) -> String {
    let mut text = String::new();
    for reading in readings {
        for endpoint in &reading.endpoints {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(&endpoint.heading(&reading.gateway, paint));
            if let Some(sql) = &endpoint.sql {
                text.push_str(&since_start(sql));
                continue;
            }
            if endpoint.families.is_empty() {
                text.push_str(if reading.seconds.is_some() {
                    "   no command in the last second\n"
                } else {
                    "   no command so far\n"
                });
                continue;
            }
            let count = if reading.seconds.is_some() { "per second" } else { "commands" };
            let columns = ["family", count, "errors", "p50", "p99", "longest"];
            text.push_str(&paint.table(&columns, endpoint.families.iter().map(family)));
        }
    }
    text
}

/// What an endpoint counts that speaks SQL.
fn since_start(sql: &SqlTraffic) -> String {
    format!(
        "   sql: {} commands; {} connections closed between two of them; {} to servers failed\n   \
         refused by servers: {} too many connections, {} host blocked, {} host denied, {} login denied, {} otherwise\n",
        sql.commands,
        sql.parted,
        sql.connects_failed,
        sql.too_many,
        sql.host_blocked,
        sql.host_denied,
        sql.login_denied,
        sql.refused_otherwise,
    )
}

fn family(family: &FamilyReading) -> Vec<comfy_table::Cell> {
    let count = family.per_second.map_or(family.commands.to_string(), |rate| format!("{rate:.0}"));
    let errors = if family.errors > 0 { Tone::Doubtful } else { Tone::Plain };
    vec![
        Tone::Strong.cell(&family.family),
        Tone::Plain.cell(count),
        errors.cell(family.errors),
        Tone::Plain.cell(span(family.p50_us)),
        Tone::Plain.cell(span(family.p99_us)),
        Tone::Plain.cell(span(family.max_us)),
    ]
}

/// The last commands that took long, the oldest first.
pub(crate) fn slow_commands(all: &[SlowCommands], paint: Paint) -> String {
    let columns = [
        "when", "gateway", "endpoint", "took", "held", "command", "key", "together", "outcome", "client",
        "name",
    ];
    let rows: Vec<_> = all
        .iter()
        .flat_map(|of| of.commands.iter().map(|slow| (&of.gateway, slow)))
        .map(|(gateway, slow)| {
            let (tone, outcome) = match slow.outcome {
                SlowOutcome::Answered => (Tone::Plain, "answered"),
                SlowOutcome::Error => (Tone::Doubtful, "error"),
                SlowOutcome::Unknown => (Tone::Bad, "unknown"),
            };
            vec![
                Tone::Faint.cell(slow.at),
                Tone::Plain.cell(gateway),
                Tone::Plain.cell(&slow.endpoint),
                Tone::Strong.cell(span(slow.took_us)),
                Tone::Plain.cell(span(slow.held_us)),
                Tone::Plain.cell(&slow.command),
                Tone::Plain.cell(slow.key.as_deref().unwrap_or("-")),
                Tone::Plain.cell(slow.together),
                tone.cell(outcome),
                Tone::Plain.cell(&slow.client),
                Tone::Plain.cell(&slow.name),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no command took long\n".to_owned();
    }
    paint.table(&columns, rows)
}

/// A short time for people.
fn span(us: u64) -> String {
    match us {
        0 => "0".to_owned(),
        1..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.1} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{} ms", us / 1000),
        _ => format!("{:.1} s", us as f64 / 1e6),
    }
}
