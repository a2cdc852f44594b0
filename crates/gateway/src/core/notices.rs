//! Tells clients that asked for it what is about to happen, so that they wait longer, or move without an error
//! (`CLIENT MAINT_NOTIFICATIONS`, RESP3). The frames are those of Redis Enterprise as the client libraries read them:
//!
//! - `MIGRATING` or `FAILING_OVER`, number, within how many seconds, shards: commands wait from now on;
//! - `MIGRATED` or `FAILED_OVER`, number, shards: they no longer do;
//! - `MOVING`, number, within how many seconds, `host:port` or null: this connection ends, connect there. Null is the
//!   address that the client knows, after half of the time.
//!
//! A frame stands between two replies and never within one.

use super::client::Client;
use super::intake::Taken;
use super::{Core, Key};
use crate::direction::Direction;
use std::net::SocketAddr;
use std::time::Duration;

/// The protocol counts in seconds.
const DRAIN_MIN: Duration = Duration::from_secs(1);

/// What a client asked to be told, and was.
pub(crate) struct Notices {
    place: Place,
    /// It was told that commands wait, and not that they no longer do.
    waits: bool,
    /// What it could not be told in the middle of a reply.
    late: Vec<u8>,
    /// It was told to go, and may do so when it likes.
    pub(crate) moving: bool,
}

/// How a client can be told where to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// To where it went before.
    Same,
    Ip,
    Name,
}

impl Place {
    /// What a client is told that shall come back here, as a frame. Some libraries fail without the kind of address that
    /// they asked for: `None`, it is told nothing.
    fn of(self, here: Here) -> Option<String> {
        let address = here.address;
        match self {
            Self::Same => Some("_\r\n".to_owned()),
            // What stands before the first colon of an IPv6 address, libraries take for the host.
            Self::Ip => Some(text(&address.filter(SocketAddr::is_ipv4)?.to_string())),
            Self::Name => Some(text(&format!("{}:{}", here.name?, address?.port()))),
        }
    }
}

/// Why commands wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Failover,
    Switchover,
}

impl Event {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Failover => ("FAILING_OVER", "FAILED_OVER"),
            Self::Switchover => ("MIGRATING", "MIGRATED"),
        }
    }
}

/// What an endpoint's clients have to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    /// Commands wait for the first primary, as they did before any client came.
    New,
    /// Commands are sent on, or refused at once.
    Open,
    /// Commands wait because of this.
    Ongoing { event: Event, number: u64 },
}

/// Where a client is connected, and somebody else accepts clients, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Here {
    /// The address, if clients know it by this one.
    pub(crate) address: Option<SocketAddr>,
    /// The name that the client called, which only TLS says.
    pub(crate) name: Option<String>,
}

impl Core {
    /// `CLIENT MAINT_NOTIFICATIONS ON|OFF [moving-endpoint-type TYPE]`.
    pub(super) fn maint_notifications(&mut self, key: Key, options: &[&[u8]]) -> Taken {
        let Some(client) = self.clients.get_mut(key) else {
            return Taken::Ends;
        };
        let lower: Vec<Vec<u8>> = options.iter().take(4).map(|word| word.to_ascii_lowercase()).collect();
        let lower: Vec<&[u8]> = lower.iter().map(Vec::as_slice).collect();
        let place = match lower[..] {
            [b"off"] => {
                client.notices = None;
                return self.answer(key, b"+OK\r\n");
            }
            [b"on"] | [b"on", b"moving-endpoint-type", b"none"] => Place::Same,
            [b"on", b"moving-endpoint-type", b"internal-ip" | b"external-ip"] => Place::Ip,
            [b"on", b"moving-endpoint-type", b"internal-fqdn" | b"external-fqdn"] => Place::Name,
            _ => return self.answer(key, b"-ERR syntax error\r\n"),
        };
        if !client.resp3 {
            return self.answer(key, b"-ERR CLIENT MAINT_NOTIFICATIONS needs RESP3 (HELLO 3)\r\n");
        }
        match &mut client.notices {
            Some(notices) => notices.place = place,
            none => {
                let notices = Notices { place, waits: false, late: Vec::new(), moving: false };
                *none = Some(Box::new(notices));
            }
        }
        let taken = self.answer(key, b"+OK\r\n");
        self.tell_begin(key);
        taken
    }

    /// Looks whether commands of an endpoint have begun to wait, or ceased to.
    pub(super) fn herald(&mut self, number: usize) {
        let state = &mut self.endpoints[number];
        let open = state.open || state.refuses;
        match state.outlook {
            Outlook::New if open => state.outlook = Outlook::Open,
            Outlook::Open if !open => {
                let event = match state.direction {
                    Direction::Drain { .. } => Event::Switchover,
                    Direction::Serve { .. } | Direction::Hold { .. } => Event::Failover,
                };
                self.notice += 1;
                state.outlook = Outlook::Ongoing { event, number: self.notice };
                for key in self.clients_of(number) {
                    self.tell_begin(key);
                }
            }
            Outlook::Ongoing { event, .. } if open => {
                self.notice += 1;
                state.outlook = Outlook::Open;
                let frame = ended(event, self.notice, &state.settings.service.to_string());
                for key in self.clients_of(number) {
                    self.tell_end(key, &frame);
                }
            }
            Outlook::New | Outlook::Open | Outlook::Ongoing { .. } => {}
        }
    }

    fn clients_of(&self, number: usize) -> Vec<Key> {
        let told = self.clients.iter().filter(|(_, it)| it.endpoint == number && it.notices.is_some());
        told.map(|(key, _)| key).collect()
    }

    fn tell_begin(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let state = &self.endpoints[client.endpoint];
        let Outlook::Ongoing { event, number } = state.outlook else {
            return;
        };
        if let Some(notices) = client.notices.as_mut().filter(|it| !it.waits) {
            notices.waits = true;
            let service = state.settings.service.to_string();
            let frame = begun(event, number, state.settings.limits.hold_max, &service);
            self.tell(key, &frame);
        }
    }

    fn tell_end(&mut self, key: Key, frame: &[u8]) {
        let notices = self.clients.get_mut(key).and_then(|client| client.notices.as_mut());
        if notices.is_some_and(|notices| std::mem::take(&mut notices.waits)) {
            self.tell(key, frame);
        }
    }

    /// The gateway stops, after `drain` at the latest: if that leaves clients any time, tells those to whom `here` gives a
    /// place to go to. Who cannot be told is let go as soon as nothing of it is under way.
    pub(crate) fn leave(&mut self, drain: Duration, here: impl Fn(Key) -> Option<Here>) {
        if drain < DRAIN_MIN {
            return;
        }
        self.notice += 1;
        for key in self.clients.keys() {
            let notices = self.clients.get_mut(key).and_then(|client| client.notices.as_mut());
            let (Some(notices), Some(here)) = (notices, here(key)) else {
                continue;
            };
            if let Some(place) = notices.place.of(here) {
                notices.moving = true;
                let frame = moving(self.notice, drain, &place);
                self.tell(key, &frame);
            }
        }
    }

    /// Hands a client a frame now, or after the reply that it has a part of.
    fn tell(&mut self, key: Key, frame: &[u8]) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let lane = self.links.get(client.lane).and_then(|lane| lane.runs.front());
        let within_reply = lane.is_some_and(|run| run.client == key && run.begun);
        let late = client.notices.as_mut().map(|notices| &mut notices.late);
        let waiting = match late {
            Some(late) if within_reply => {
                late.extend_from_slice(frame);
                late.len()
            }
            _ => {
                client.output.extend_from_slice(frame);
                Self::soil_client(&mut self.dirty_clients, client, key);
                0
            }
        };
        if client.unsent() + waiting > self.endpoints[client.endpoint].settings.limits.output_bytes_max {
            self.end_client(key);
        }
    }

    /// The reply that the client had a part of is whole.
    pub(super) fn tell_late(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let Some(late) = client.notices.as_mut().map(|notices| std::mem::take(&mut notices.late)) else {
            return;
        };
        client.output.extend_from_slice(&late);
        Self::soil_client(&mut self.dirty_clients, client, key);
    }
}

impl Client {
    /// It was told to go, and goes by itself.
    pub(super) fn is_moving(&self) -> bool {
        self.notices.as_ref().is_some_and(|notices| notices.moving)
    }
}

fn begun(event: Event, number: u64, within: Duration, shards: &str) -> Vec<u8> {
    let (name, seconds) = (event.names().0, within.as_millis().div_ceil(1000));
    format!(">4\r\n{}:{number}\r\n:{seconds}\r\n{}", text(name), text(shards)).into_bytes()
}

fn ended(event: Event, number: u64, shards: &str) -> Vec<u8> {
    format!(">3\r\n{}:{number}\r\n{}", text(event.names().1), text(shards)).into_bytes()
}

fn moving(number: u64, within: Duration, place: &str) -> Vec<u8> {
    // Rounded down: who believes it is gone in time.
    format!(">4\r\n{}:{number}\r\n:{}\r\n{place}", text("MOVING"), within.as_secs()).into_bytes()
}

fn text(value: &str) -> String {
    format!("${}\r\n{value}\r\n", value.len())
}

#[cfg(test)]
mod tests;
