//! What went through a gateway, as it says itself. For people and records only: nothing is decided by it.

use crate::{GatewayName, ServiceName, UnixMicros};
use serde::{Deserialize, Serialize};

/// What one gateway did since its start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayTraffic {
    /// Its name.
    pub gateway: GatewayName,
    /// The number of its process.
    pub process: u32,
    /// When this was read, in microseconds of the gateway's own clock: to tell how far two readings are apart.
    pub at_us: u64,
    /// Its endpoints.
    pub endpoints: Vec<EndpointTraffic>,
}

/// What one endpoint did since the gateway's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointTraffic {
    /// Its name.
    pub endpoint: String,
    /// Whose commands it takes.
    pub service: ServiceName,
    /// Connected clients.
    pub clients: u64,
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
    /// Clients whose commands wait for a server now.
    pub held: u64,
    /// How often a client's commands have begun to wait for a server.
    pub held_total: u64,
    /// The longest of these waits.
    pub held_longest_us: u64,
    /// Commands that were sent again.
    pub replayed: u64,
    /// Commands and clients that were refused.
    pub refused: u64,
    /// Writes whose outcome could not be told.
    pub unknown: u64,
    /// Its connections to servers.
    pub connections: ConnectionsTraffic,
    /// Its commands, by what they are about; families without any are left out.
    pub families: Vec<FamilyTraffic>,
    /// What it counts besides if it speaks SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlTraffic>,
}

/// What an endpoint counts that speaks SQL. Of what servers refuse only the number of the error is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SqlTraffic {
    /// Commands, of clients whose bytes can be followed: without TLS and compression.
    pub commands: u64,
    /// Connections that were closed between two commands, because their server was to be left.
    pub parted: u64,
    /// Connections to servers that could not be made, or ended before the server had said a word.
    pub connects_failed: u64,
    /// Clients that the server refused because it has too many connections (1040, 1203, 1226).
    pub too_many: u64,
    /// Because too many connections from the gateway's address had failed (1129).
    pub host_blocked: u64,
    /// Because it lets nobody in from the gateway's address (1130).
    pub host_denied: u64,
    /// Because of their user, password or database (1045, 1698, 1044).
    pub login_denied: u64,
    /// Because of anything else.
    pub refused_otherwise: u64,
}

/// Connections to servers, by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionsTraffic {
    /// Open ones that many clients share.
    pub shared: u64,
    /// Open ones that belong to one client each.
    pub own_used: u64,
    /// Open ones that wait for a client to belong to.
    pub own_idle: u64,
    /// How many shared ones were opened.
    pub shared_opened: u64,
    /// How many shared ones were closed.
    pub shared_closed: u64,
    /// How many of the others were opened.
    pub own_opened: u64,
    /// How many of the others were closed.
    pub own_closed: u64,
}

/// The commands of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FamilyTraffic {
    /// As Redis calls the category.
    pub family: String,
    /// Answered commands.
    pub commands: u64,
    /// Those that were answered with an error.
    pub errors: u64,
    /// The longest that one took, from when it was read until its reply was.
    pub max_us: u64,
    /// How many took less than so many microseconds and no less than the number before; without those that are none.
    pub latency: Vec<(u64, u64)>,
}

impl FamilyTraffic {
    /// In how many microseconds this share of the commands was answered, from 0 to 1. No less than that, and at most a
    /// quarter more.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let all: u64 = self.latency.iter().map(|(_, count)| count).sum();
        let wanted = (all as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (below, count) in &self.latency {
            seen += count;
            if seen >= wanted {
                return (*below).min(self.max_us);
            }
        }
        0
    }

    /// What happened after `earlier`. The longest is no longer than that of all.
    #[must_use]
    pub fn since(&self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else {
            return self.clone();
        };
        let before = |below: u64| earlier.latency.iter().find(|it| it.0 == below).map_or(0, |it| it.1);
        let left = self.latency.iter().map(|(below, count)| (*below, count.saturating_sub(before(*below))));
        let latency: Vec<_> = left.filter(|(_, count)| *count > 0).collect();
        Self {
            family: self.family.clone(),
            commands: self.commands.saturating_sub(earlier.commands),
            errors: self.errors.saturating_sub(earlier.errors),
            max_us: latency.last().map_or(0, |(below, _)| (*below).min(self.max_us)),
            latency,
        }
    }
}

/// A command that took long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlowCommand {
    /// When it was answered.
    pub at: UnixMicros,
    /// At which endpoint it came in.
    pub endpoint: String,
    /// How long it took, from when it was read.
    pub took_us: u64,
    /// How long of that it waited for a server to be sent to.
    pub held_us: u64,
    /// Where its client is.
    pub client: String,
    /// What its client calls itself.
    pub name: String,
    /// What it is about.
    pub family: String,
    /// Its name.
    pub command: String,
    /// The beginning of its first key, if it has one.
    pub key: Option<String>,
    /// How many commands were answered together with it, itself included: it is the first of them.
    pub together: u64,
    /// What became of it.
    pub outcome: SlowOutcome,
}

/// What became of a slow command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlowOutcome {
    /// A reply came.
    Answered,
    /// The reply was an error.
    Error,
    /// Nobody can tell whether it was done.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(latency: &[(u64, u64)], max_us: u64) -> FamilyTraffic {
        let commands = latency.iter().map(|it| it.1).sum();
        FamilyTraffic { family: "string".into(), commands, errors: 0, max_us, latency: latency.to_vec() }
    }

    #[test]
    fn quantiles_are_the_ends_of_what_they_fall_into() {
        let some = family(&[(16, 50), (20, 49), (1000, 1)], 900);
        assert_eq!((some.quantile_us(0.5), some.quantile_us(0.99), some.quantile_us(1.0)), (16, 20, 900));
        assert_eq!(family(&[], 0).quantile_us(0.99), 0);
    }

    #[test]
    fn what_happened_between_two_readings_is_their_difference() {
        let (earlier, later) = (family(&[(16, 5), (64, 1)], 60), family(&[(16, 7), (32, 2), (64, 1)], 60));
        let between = later.since(Some(&earlier));
        assert_eq!((between.latency, between.commands, between.max_us), (vec![(16, 2), (32, 2)], 4, 32));
        assert_eq!(later.since(None), later);
    }
}
