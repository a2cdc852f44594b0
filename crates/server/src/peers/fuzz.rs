//! What a stranger or a broken peer can send to the peer port.

#[cfg(test)]
mod seeds;

#[cfg(test)]
pub(crate) use seeds::{gateway_seeds, hello_seeds, letter_seeds};

use super::frames::FrameReader;
use super::gateways::GatewayLetter;
use super::hello::{HELLO_BYTES_MAX, Hello};
use crate::driver::Letter;
use crate::fuzzing::pieces;
use backstay_config::Config;
use backstay_consensus::{Durable, Settings, VERSION};
use backstay_lease::{Leases, Standing};
use backstay_model::{GatewayId, GatewayLoad, GatewayOrders, Generation, NodeId, Now, Time, UnixMicros};
use backstay_node::{Effect, Input, Node};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// Three controllers and three instances.
const FILE: &str = include_str!("../../../../examples/backstay.toml");
/// As long as a letter may be here: much less than in earnest.
const LETTER_BYTES_MAX: usize = 64 * 1024;

/// The first words of a caller.
pub(crate) fn hello(bytes: &[u8]) {
    for hello in read::<Hello>(bytes, HELLO_BYTES_MAX) {
        let answer = hello.receive(VERSION, &"shop".into(), &"a".into(), |name| name.as_str() == "b");
        assert!(!answer.to_string().is_empty(), "refused without a reason");
    }
}

/// The letters of a listed controller whose memory or program is broken: they may confuse, and never bring this one
/// down. What it wrote down meanwhile must be something that it can start from.
pub(crate) fn letters(bytes: &[u8]) {
    let config = Config::parse("backstay.toml", FILE).expect("the example is right");
    let (me, peer) = (config.spec.controllers[0].name.clone(), config.spec.controllers[1].id());
    let settings = settings(&config);
    // The third controller was met before: until all were, nobody votes.
    let third = config.spec.controllers[2].id();
    let mut disk = Durable { known: [(third, Generation(3))].into(), ..Durable::default() };
    let mut now = moment(1_000_000);
    let start =
        |disk: &Durable, now| Node::new(&me, config.spec.clone(), settings.clone(), disk.clone(), now);
    let (mut node, first) = start(&disk, now).expect("an empty folder is a beginning");
    keep(&mut disk, first);
    for letter in read::<Letter>(bytes, LETTER_BYTES_MAX) {
        let Letter::Node(message) = letter else {
            continue;
        };
        now = moment(now.time.as_micros() + 60_000);
        let mut stops = keep(&mut disk, node.step(now, Input::Wake));
        stops |= keep(&mut disk, node.step(now, Input::Message { from: peer, message }));
        if stops {
            return;
        }
    }
    now = moment(now.time.as_micros() + 2_000_000);
    keep(&mut disk, node.step(now, Input::Wake));
    if let Err(error) = start(&disk, now) {
        panic!("what was written down is no beginning: {error}");
    }
}

/// What a gateway sends to a controller that leads by itself, and, as far as the same bytes mean that, what a controller
/// sends to a gateway.
pub(crate) fn gateways(bytes: &[u8]) {
    let file = r#"
        cluster = "shop"
        controllers = [ { name = "a", address = "127.0.0.1:7601" } ]
        redis = [ { name = "mymaster", instances = [ { name = "r1", address = "127.0.0.1:6379" } ] } ]
    "#;
    let config = Config::parse("backstay.toml", file).expect("the file is right");
    let me = config.spec.controllers[0].name.clone();
    let mut now = moment(1_000_000);
    let (mut node, _) = Node::new(&me, config.spec.clone(), settings(&config), Durable::default(), now)
        .expect("an empty folder is a beginning");
    let mut leases = Leases::default();
    for GatewayLetter { process, report } in read::<GatewayLetter>(bytes, LETTER_BYTES_MAX) {
        now = moment(now.time.as_micros() + 60_000);
        let gateway = GatewayId { name: "app1".into(), process: process % 3 };
        for input in [Input::Wake, Input::Gateway { gateway, report: Some(report) }] {
            for effect in node.step(now, input) {
                if let Effect::TellGateway { orders, .. } = effect {
                    leases.told(now.time, orders);
                }
            }
        }
    }
    for orders in read::<GatewayOrders>(bytes, LETTER_BYTES_MAX) {
        leases.report(now.time, GatewayLoad::default());
        let services: Vec<_> = orders.services.iter().map(|told| told.service.clone()).collect();
        leases.told(now.time, orders);
        for service in services {
            if let Some(Standing::Hold { epoch } | Standing::Drain { epoch, .. }) =
                leases.standing(&service, now.time)
            {
                leases.held(&service, epoch);
            }
        }
    }
}

/// The settings of the first controller.
pub(crate) fn settings(config: &Config) -> Settings {
    let voters: Vec<NodeId> =
        config.spec.controllers.iter().map(backstay_model::ControllerSpec::id).collect();
    Settings::new(voters[0], config.spec.cluster.clone(), Generation(1), voters, 7)
}

fn moment(micros: u64) -> Now {
    Now { time: Time::from_micros(micros), unix: UnixMicros(1_700_000_000_000_000 + micros) }
}

/// Writes what is to be written. True: the process would stop here.
fn keep(disk: &mut Durable, effects: Vec<Effect>) -> bool {
    let mut stops = false;
    for effect in effects {
        match effect {
            Effect::Persist(persist) if !stops => disk.apply(&persist),
            Effect::Unreadable { .. } => stops = true,
            Effect::Refused(refusal) => stops |= refusal.is_fatal(),
            _ => {}
        }
    }
    stops
}

/// Everything that a connection with these bytes brings, however they arrive.
fn read<T: DeserializeOwned + Serialize + Debug>(bytes: &[u8], payload_bytes_max: usize) -> Vec<T> {
    let (size, bytes) = pieces(bytes);
    let mut stream = Pieces { bytes, size };
    let mut reader = FrameReader::new(payload_bytes_max);
    let mut values = Vec::new();
    // Everything is there: it never has to wait.
    while let Poll::Ready(Ok(value)) =
        pin!(reader.next::<T>(&mut stream)).poll(&mut Context::from_waker(Waker::noop()))
    {
        postcard::to_stdvec(&value).expect("what was read can be written");
        values.push(value);
    }
    values
}

struct Pieces<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl tokio::io::AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let (piece, rest) = self.bytes.split_at(self.size.min(self.bytes.len()).min(into.remaining()));
        into.put_slice(piece);
        self.bytes = rest;
        Poll::Ready(Ok(()))
    }
}
