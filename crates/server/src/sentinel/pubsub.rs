//! `SUBSCRIBE` and its kin. What is sent to subscribers comes from `news`.

use super::errors::error;
use super::session::Session;
use super::subscriptions::Kind;
use backstay_wire::resp::{Protocol, Value};

/// `SUBSCRIBE` or `PSUBSCRIBE`: one reply for each name.
pub(super) fn subscribe(session: &mut Session, kind: Kind, names: &[Vec<u8>]) -> Vec<Value> {
    let word = match kind {
        Kind::Channel => "subscribe",
        Kind::Pattern => "psubscribe",
    };
    let replies = names.iter().map(|name| match session.subscriptions.add(kind, name) {
        Ok(()) => confirmation(word, Value::bulk(name), session),
        Err(_) => error("ERR too many subscriptions: unsubscribe from some first"),
    });
    let replies = replies.collect();
    session.note_subscriptions();
    replies
}

/// `UNSUBSCRIBE` or `PUNSUBSCRIBE`: one reply for each name, or for each there was if none is given.
pub(super) fn unsubscribe(session: &mut Session, kind: Kind, names: &[Vec<u8>]) -> Vec<Value> {
    let word = match kind {
        Kind::Channel => "unsubscribe",
        Kind::Pattern => "punsubscribe",
    };
    let all = if names.is_empty() { session.subscriptions.all(kind) } else { names.to_vec() };
    let replies = all.iter().map(|name| {
        session.subscriptions.remove(kind, name);
        confirmation(word, Value::bulk(name), session)
    });
    let mut replies: Vec<_> = replies.collect();
    if replies.is_empty() {
        replies.push(confirmation(word, Value::Null, session));
    }
    session.note_subscriptions();
    replies
}

fn confirmation(word: &str, name: Value, session: &Session) -> Value {
    let count = Value::Integer(session.subscriptions.count() as i64);
    Value::Push(vec![Value::bulk(word), name, count])
}

/// `PING [message]`. A subscriber that speaks RESP 2 is answered in the form of a message.
pub(super) fn ping(session: &Session, arguments: &[Vec<u8>]) -> Value {
    let message = arguments.first();
    if session.protocol == Protocol::Resp2 && !session.subscriptions.is_empty() {
        let message = message.map(Vec::as_slice).unwrap_or_default();
        return Value::Array(vec![Value::bulk("pong"), Value::bulk(message)]);
    }
    message.map_or_else(|| Value::Simple("PONG".into()), Value::bulk)
}
