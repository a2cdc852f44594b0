//! What a client of the Sentinel port can say.

use super::command::resolve;
use super::connection::limits;
use super::news::{Message, News};
use super::registry::Registry;
use super::session::{Facts, Flow, Session, Shared};
use super::settings::Settings;
use crate::fuzzing::pieces;
use backstay_config::Config;
use backstay_controller::{Controller, Decided, Entry, State};
use backstay_model::{ClusterStatus, Now, ServiceName, Time, UnixMicros};
use backstay_wire::resp::{Decoder, Limits, RequestDecoder};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

const FILE: &str = include_str!("../../../../examples/backstay.toml");

/// A conversation, with a password or without one, while messages arrive: whatever is asked, every reply is one that a
/// client can read.
pub(crate) fn conversation(bytes: &[u8]) {
    let (size, bytes) = pieces(bytes);
    let config = Config::parse("backstay.toml", FILE).expect("the example is right");
    let password = size.is_multiple_of(2).then(|| b"secret".to_vec());
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 26379));
    let shared = Arc::new(Shared {
        settings: Settings::of(&config, &"a".into(), password),
        registry: Arc::new(Registry::default()),
        news: News::default(),
        run_id: "0".repeat(40),
        started: Instant::now(),
        listener: local,
    });
    let picture = Arc::new(picture(&config));
    shared.news.reconcile(&picture);
    let ticket = shared.registry.admit(1, local, local).expect("it is the first");
    let mut session = Session::new(Arc::clone(&shared), ticket);
    let mut decoder = RequestDecoder::new(limits(shared.settings.bounds));
    let mut out = Vec::new();
    'conversation: for piece in bytes.chunks(size) {
        if decoder.feed(piece).is_err() {
            break;
        }
        while let Ok(Some(request)) = decoder.next() {
            let call = resolve(&request);
            let facts = Facts {
                picture: Some(Arc::clone(&picture)),
                address: &|service| shared.news.address(service),
            };
            if session.answer(call, &facts, &mut out) == Flow::Close {
                break 'conversation;
            }
            let message =
                Message { channel: "+switch-master", payload: "shop 127.0.0.1 6379 127.0.0.1 6380".into() };
            session.deliver(&message, &mut out);
        }
    }
    let mut client = Decoder::new(Limits { buffered_bytes_max: usize::MAX, ..Limits::default() });
    client.feed(&out).expect("what is answered can be read");
    while client.next().expect("what is answered can be read").is_some() {}
    assert_eq!(client.held_bytes(), 0, "half a reply was left behind");
}

/// What a controller shows that took a group over.
fn picture(config: &Config) -> ClusterStatus {
    let spec = config.spec.clone();
    let mut state = State::default();
    for service in &spec.services {
        let mut names = service.instances.iter().map(|instance| instance.name.clone());
        let decision = Decided::Adopt {
            primary: names.next().expect("the example has a primary"),
            run_id: "1".repeat(40).as_str().into(),
            replid: "2".repeat(40).as_str().into(),
            replicas: names.map(|name| (name, "3".repeat(40).as_str().into())).collect::<BTreeMap<_, _>>(),
        };
        state.apply(&Entry { service: ServiceName::clone(&service.name), decision });
    }
    let now = Now { time: Time::from_micros(1), unix: UnixMicros(1_700_000_000_000_000) };
    Controller::new(&"a".into(), spec, state, now).status(now)
}
