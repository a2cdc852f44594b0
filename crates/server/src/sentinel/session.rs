//! One client's conversation: from a request to the bytes of its reply. It reads no socket and awaits nothing.

use super::client::client;
use super::command::Call;
use super::errors::{error, stopping, unknown_command};
use super::news::{Message, News};
use super::registry::{Card, Registry, Ticket};
use super::settings::Settings;
use super::subscriptions::{Kind, Subscriptions};
use super::{auth, hello, info, introspection, pubsub, query};
use backstay_model::{Address, ClusterStatus, ServiceName};
use backstay_wire::resp::{Protocol, Value, encode_value};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What all clients of one port have in common.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) registry: Arc<Registry>,
    pub(super) news: News,
    /// This process' identity.
    pub(super) run_id: String,
    pub(super) started: Instant,
    pub(super) listener: SocketAddr,
}

/// What a request may look at.
pub(super) struct Facts<'a> {
    /// The whole picture, for the commands that need it; none: the node is stopping.
    pub(super) picture: Option<Arc<ClusterStatus>>,
    /// Where clients of a service are sent.
    pub(super) address: &'a dyn Fn(&ServiceName) -> Option<Address>,
}

/// Whether the conversation goes on after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    GoOn,
    Close,
}

/// One client's state.
pub(super) struct Session {
    shared: Arc<Shared>,
    ticket: Ticket,
    /// It may use commands: it gave the password, or none is wanted.
    pub(super) trusted: bool,
    pub(super) protocol: Protocol,
    pub(super) subscriptions: Subscriptions,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, ticket: Ticket) -> Self {
        Self {
            trusted: shared.settings.password.is_none(),
            shared,
            ticket,
            protocol: Protocol::Resp2,
            subscriptions: Subscriptions::default(),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    pub(super) fn id(&self) -> u64 {
        self.ticket.id
    }

    /// Writes the reply to one request behind what `out` holds.
    pub(super) fn answer(
        &mut self,
        call: Result<Call<'_>, Value>,
        facts: &Facts<'_>,
        out: &mut Vec<u8>,
    ) -> Flow {
        self.shared.registry.requests.fetch_add(1, Ordering::Relaxed);
        let (replies, flow) = match call.and_then(|call| self.admitted(call)) {
            Ok(call) => {
                self.note(|card| {
                    card.command = call.full_name();
                    card.active = Instant::now();
                });
                let flow = match call.command.name {
                    "quit" => Flow::Close,
                    _ => Flow::GoOn,
                };
                (self.run(&call, facts), flow)
            }
            Err(refusal) => (vec![refusal], Flow::GoOn),
        };
        for reply in &replies {
            if matches!(reply, Value::Error(_)) {
                self.shared.registry.errors.fetch_add(1, Ordering::Relaxed);
            }
            encode_value(out, reply, self.protocol);
        }
        flow
    }

    /// Writes what a message means to this client behind what `out` holds.
    pub(super) fn deliver(&self, message: &Message, out: &mut Vec<u8>) {
        for delivery in self.subscriptions.deliveries(message) {
            encode_value(out, &delivery, self.protocol);
        }
    }

    /// Whether this client may call this now.
    fn admitted<'a>(&self, call: Call<'a>) -> Result<Call<'a>, Value> {
        if !self.trusted && !call.command.early {
            return Err(error("NOAUTH Authentication required."));
        }
        let listens = self.protocol == Protocol::Resp2 && !self.subscriptions.is_empty();
        if listens && !call.command.subscriber {
            return Err(error(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                 this context",
                call.full_name()
            )));
        }
        Ok(call)
    }

    fn run(&mut self, call: &Call<'_>, facts: &Facts<'_>) -> Vec<Value> {
        let arguments = call.arguments;
        let subcommand = call.subcommand.map(|subcommand| subcommand.name).unwrap_or_default();
        let reply = match call.command.name {
            "auth" => auth::auth(self, arguments),
            "client" => client(self, subcommand, arguments),
            "command" => introspection::command(subcommand, arguments),
            "hello" => hello::hello(self, arguments),
            "info" => match &facts.picture {
                Some(picture) => info::info(&self.shared, picture, arguments),
                None => stopping(),
            },
            "ping" => pubsub::ping(self, arguments),
            "publish" => error("ERR Only HELLO messages are accepted by Sentinel instances."),
            "quit" => Value::Simple("OK".into()),
            "reset" => self.reset(),
            "role" => query::role(&self.shared),
            "sentinel" => query::sentinel(&self.shared, subcommand, arguments, facts),
            "subscribe" => return pubsub::subscribe(self, Kind::Channel, arguments),
            "psubscribe" => return pubsub::subscribe(self, Kind::Pattern, arguments),
            "unsubscribe" => return pubsub::unsubscribe(self, Kind::Channel, arguments),
            "punsubscribe" => return pubsub::unsubscribe(self, Kind::Pattern, arguments),
            name => unknown_command(&[name.as_bytes().to_vec()]),
        };
        vec![reply]
    }

    /// As if it had just connected.
    fn reset(&mut self) -> Value {
        self.trusted = self.shared.settings.password.is_none();
        self.protocol = Protocol::Resp2;
        self.subscriptions = Subscriptions::default();
        self.set_name(b"");
        self.note_subscriptions();
        Value::Simple("RESET".into())
    }

    pub(super) fn set_name(&mut self, name: &[u8]) {
        let name = String::from_utf8_lossy(name).into_owned();
        self.note(|card| card.name = name);
    }

    pub(super) fn card(&self) -> Option<Card> {
        self.shared.registry.card(self.id())
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Card)) {
        let protocol = self.protocol;
        self.shared.registry.change(self.id(), |card| {
            card.protocol = protocol;
            change(card);
        });
    }

    pub(super) fn note_subscriptions(&self) {
        let (channels, patterns) = (self.subscriptions.channels(), self.subscriptions.patterns());
        self.note(|card| (card.channels, card.patterns) = (channels, patterns));
    }
}
