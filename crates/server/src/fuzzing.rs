//! One function for each decoder that reads a port or a file: any bytes in, a panic if a promise is broken. `./dev fuzz`
//! feeds them for as long as it is told; the tests feed the seeds and a few thousand changes of them.
//!
//! What a private part reads is tried by a `fuzz` module beside it; this is the table, and the targets of the pure
//! crates.

#[cfg(test)]
mod tests;

use backstay_config::Config;
use backstay_controller::link::{Link, LinkInput, LinkOutput, LinkSettings};
use backstay_model::{Command, Durability, Engine, MariaDbSpec, Observation, RedisSpec, Reply, Sql, Time};
use backstay_wire::frame::{FrameDecoder, encode_frame};
use backstay_wire::mariadb::{Conversation, Settings, upgrade};
use backstay_wire::redis::decode_reply;
use backstay_wire::resp::{Decoder, Limits, Protocol, RequestDecoder, Value, encode_request, encode_value};
use std::fmt::Debug;
use std::time::Duration;

/// A target's name and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("resp", resp),
    ("requests", requests),
    ("frames", frames),
    ("replies", replies),
    ("mariadb", mariadb),
    ("mysql", mysql),
    ("config", config),
    ("hello", crate::peers::fuzz::hello),
    ("peers", crate::peers::fuzz::letters),
    ("gateways", crate::peers::fuzz::gateways),
    ("sentinel", crate::sentinel::fuzz::conversation),
    ("state", crate::storage::fuzz::records),
    ("admin", crate::admin::fuzz::conversation),
];

/// Feeds the target called `name`.
///
/// # Panics
/// If the bytes break a promise, or there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(target, _)| *target == name);
    let (_, target) = target.unwrap_or_else(|| panic!("there is no target {name}"));
    target(bytes);
}

/// Limits that small inputs reach.
const TIGHT: Limits = Limits {
    bulk_bytes_max: 64,
    elements_max: 16,
    depth_max: 3,
    line_bytes_max: 32,
    buffered_bytes_max: 512,
};
/// Limits that no input reaches.
const WIDE: Limits = Limits {
    bulk_bytes_max: 1 << 20,
    elements_max: 1 << 20,
    depth_max: 64,
    line_bytes_max: 1 << 20,
    buffered_bytes_max: 1 << 28,
};

/// The first byte says in pieces of which size the rest arrives; zero is all at once.
pub(crate) fn pieces(bytes: &[u8]) -> (usize, &[u8]) {
    match bytes.split_first() {
        Some((0, rest)) => (rest.len().max(1), rest),
        Some((size, rest)) => (usize::from(*size), rest),
        None => (1, bytes),
    }
}

/// What comes out of bytes in such pieces, the error that ended it included.
fn trace<T: Debug, E: Debug>(
    bytes: &[u8],
    size: usize,
    mut take: impl FnMut(&[u8]) -> (Vec<T>, Option<E>),
) -> Vec<String> {
    let mut trace = Vec::new();
    for piece in bytes.chunks(size) {
        let (values, error) = take(piece);
        trace.extend(values.iter().map(|value| format!("{value:?}")));
        if let Some(error) = error {
            trace.push(format!("{error:?}"));
            break;
        }
    }
    trace
}

/// Everything that is complete after one more piece.
fn drain<T, E>(fed: Result<(), E>, mut next: impl FnMut() -> Result<Option<T>, E>) -> (Vec<T>, Option<E>) {
    let mut values = Vec::new();
    if let Err(error) = fed {
        return (values, Some(error));
    }
    loop {
        match next() {
            Ok(Some(value)) => values.push(value),
            Ok(None) => return (values, None),
            Err(error) => return (values, Some(error)),
        }
    }
}

/// Replies: the same values whatever the pieces, never more held than allowed, and what is written can be read again.
fn resp(bytes: &[u8]) {
    let (size, bytes) = pieces(bytes);
    let read = |limits: Limits, size: usize| {
        let mut decoder = Decoder::new(limits);
        trace(bytes, size, |piece| {
            let fed = decoder.feed(piece);
            let drained = drain(fed, || decoder.next());
            assert!(decoder.held_bytes() <= limits.buffered_bytes_max, "more is held than allowed");
            drained
        })
    };
    assert_eq!(read(WIDE, size), read(WIDE, bytes.len().max(1)), "the pieces change what is read");
    read(TIGHT, size);
    let mut decoder = Decoder::new(WIDE);
    let fed = decoder.feed(bytes);
    for value in drain(fed, || decoder.next()).0 {
        for protocol in [Protocol::Resp2, Protocol::Resp3] {
            let written = encoded(&value, protocol);
            let mut decoder = Decoder::new(WIDE);
            decoder.feed(&written).expect("what is written can be read");
            let again = decoder.next().expect("what is written can be read").expect("all of it");
            assert_eq!(encoded(&again, protocol), written);
            assert_eq!(decoder.held_bytes(), 0);
        }
    }
}

fn encoded(value: &Value, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    encode_value(&mut out, value, protocol);
    out
}

/// Requests: as `resp`.
fn requests(bytes: &[u8]) {
    let (size, bytes) = pieces(bytes);
    let read = |limits: Limits, size: usize| {
        let mut decoder = RequestDecoder::new(limits);
        trace(bytes, size, |piece| {
            let fed = decoder.feed(piece);
            let drained = drain(fed, || decoder.next());
            assert!(decoder.held_bytes() <= limits.buffered_bytes_max, "more is held than allowed");
            assert!(drained.0.iter().all(|request| !request.is_empty()), "an empty request was handed out");
            drained
        })
    };
    assert_eq!(read(WIDE, size), read(WIDE, bytes.len().max(1)), "the pieces change what is read");
    read(TIGHT, size);
    let mut decoder = RequestDecoder::new(WIDE);
    let fed = decoder.feed(bytes);
    for request in drain(fed, || decoder.next()).0 {
        let mut written = Vec::new();
        encode_request(&mut written, &request);
        let mut decoder = RequestDecoder::new(WIDE);
        decoder.feed(&written).expect("what is written can be read");
        assert_eq!(decoder.next(), Ok(Some(request)));
    }
}

/// Frames: as `resp`.
fn frames(bytes: &[u8]) {
    const PAYLOAD_BYTES_MAX: usize = 256;
    let (size, bytes) = pieces(bytes);
    let read = |size: usize| {
        let mut decoder = FrameDecoder::new(PAYLOAD_BYTES_MAX);
        trace(bytes, size, |piece| {
            // What came before a frame that is too long is still handed out.
            let _ = decoder.feed(piece);
            let drained = drain(Ok(()), || decoder.next());
            assert!(decoder.held_bytes() <= PAYLOAD_BYTES_MAX, "more is held than allowed");
            let mut written = Vec::new();
            drained.0.iter().for_each(|payload| encode_frame(&mut written, payload));
            let mut again = FrameDecoder::new(PAYLOAD_BYTES_MAX);
            again.feed(&written).expect("what is written can be read");
            assert_eq!(drain(Ok(()), || again.next()).0, drained.0);
            drained
        })
    };
    assert_eq!(read(size), read(bytes.len().max(1)), "the pieces change what is read");
}

/// What an instance answers a link with: whatever it is, it becomes replies that can be told to other controllers.
fn replies(bytes: &[u8]) {
    let (size, bytes) = pieces(bytes);
    let settings = LinkSettings {
        down_after: Duration::from_millis(500),
        probe_interval: Duration::from_millis(100),
        engine: Engine::Redis(RedisSpec::default()),
    };
    let mut now = Time::from_micros(1_000_000);
    let mut link = Link::new(settings, now);
    let mut decoder = Decoder::new(Limits::default());
    let _ = link.step(now, LinkInput::Wake);
    let _ = link.step(now, LinkInput::Connected);
    for piece in bytes.chunks(size) {
        now = now + Duration::from_millis(50);
        // A long silence now and then: whoever answers, answers something.
        observe(link.step(now, LinkInput::Wake));
        if decoder.feed(piece).is_err() {
            return observe(link.step(now, LinkInput::Closed));
        }
        while let Ok(Some(value)) = decoder.next() {
            let Some(awaited) = link.awaiting().cloned() else {
                return observe(link.step(now, LinkInput::Closed));
            };
            let reply = decode_reply(&awaited, &value);
            let told = postcard::to_stdvec(&reply).expect("a reply can be told");
            assert_eq!(postcard::from_bytes::<Reply>(&told).as_ref(), Ok(&reply), "it changes on the way");
            observe(link.step(now, LinkInput::Reply(reply)));
        }
    }
}

fn observe(outputs: Vec<LinkOutput>) {
    for output in outputs {
        if let LinkOutput::Observe(Observation::Replication(seen)) = output {
            let told = postcard::to_stdvec(&seen).expect("an observation can be told");
            assert_eq!(postcard::from_bytes(&told).as_ref(), Ok(&seen), "it changes on the way");
        }
    }
}

/// What a MariaDB says, from its greeting on: the same replies whatever the pieces, at most one for each command, never
/// more held than allowed, and through a link as `replies`.
fn mariadb(bytes: &[u8]) {
    let spec = MariaDbSpec { durability: Durability::Majority, events: true, ..MariaDbSpec::default() };
    let settings = Settings { spec: spec.clone(), ..Settings::default() };
    sql(bytes, Engine::MariaDb(spec), || Conversation::new(settings.clone()));
}

/// What a MySQL says, likewise.
fn mysql(bytes: &[u8]) {
    let spec = MariaDbSpec { durability: Durability::Majority, ..MariaDbSpec::default() };
    let settings = Settings { spec: spec.clone(), ..Settings::default() };
    sql(bytes, Engine::MySql(spec), || Conversation::with_mysql(settings.clone()));
}

fn sql(bytes: &[u8], engine: Engine, talk: impl Fn() -> Conversation) {
    const HELD_BYTES_MAX: usize = 1 << 20;
    let (size, bytes) = pieces(bytes);
    let commands = [Command::Identify, Command::Info, Command::Ping, Command::Sql(Sql::Open), Command::Info];
    let read = |size: usize| {
        let mut talk = talk();
        for command in &commands {
            talk.send(command);
        }
        let trace = trace(bytes, size, |piece| {
            let fed = talk.feed(piece);
            let drained = drain(fed, || talk.next_reply());
            assert!(talk.held_bytes() <= HELD_BYTES_MAX, "more is held than allowed");
            drained
        });
        assert!(trace.len() <= commands.len() + 1, "there are more replies than commands");
        trace
    };
    assert_eq!(read(size), read(bytes.len().max(1)), "the pieces change what is read");
    let _ = upgrade(bytes);
    let settings = LinkSettings {
        down_after: Duration::from_millis(500),
        probe_interval: Duration::from_millis(100),
        engine,
    };
    let mut now = Time::from_micros(1_000_000);
    let mut link = Link::new(settings, now);
    let mut talk = talk();
    let _ = link.step(now, LinkInput::Wake);
    say(&mut talk, link.step(now, LinkInput::Connected));
    for piece in bytes.chunks(size) {
        now = now + Duration::from_millis(50);
        say(&mut talk, link.step(now, LinkInput::Wake));
        if talk.feed(piece).is_err() {
            return observe(link.step(now, LinkInput::Closed));
        }
        while let Ok(Some(reply)) = talk.next_reply() {
            assert!(link.awaiting().is_some(), "a reply to nothing");
            let told = postcard::to_stdvec(&reply).expect("a reply can be told");
            assert_eq!(postcard::from_bytes::<Reply>(&told).as_ref(), Ok(&reply), "it changes on the way");
            say(&mut talk, link.step(now, LinkInput::Reply(reply)));
        }
    }
}

fn say(talk: &mut Conversation, outputs: Vec<LinkOutput>) {
    for output in &outputs {
        if let LinkOutput::Send(commands) = output {
            for command in commands {
                talk.send(command);
            }
        }
    }
    talk.unsent().clear();
    observe(outputs);
}

/// The configuration: every mistake has a place in the file, and what is accepted is accepted when read again.
fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let lines = text.matches('\n').count() + 1;
    let findings = match Config::parse("fuzz.toml", text) {
        Ok(config) => {
            assert!(!config.spec.controllers.is_empty(), "a file without controllers was accepted");
            config.warnings
        }
        Err(errors) => {
            assert!(!errors.findings().is_empty(), "refused without a reason");
            errors.findings().to_vec()
        }
    };
    for finding in findings {
        let note = finding.note();
        assert!(note.line >= 1 && note.line <= lines, "{note:?} lies outside the file");
        assert!(!note.message.is_empty() && !note.help.is_empty(), "{note:?} says nothing");
    }
}
