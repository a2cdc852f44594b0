//! Replies: every value survives the wire however it is cut, and no peer gets more than its limit.

use backstay_wire::resp::{Decoder, Limits, Protocol, RespError, Value, encode_value};
use proptest::prelude::*;

fn encoded(value: &Value, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    encode_value(&mut out, value, protocol);
    out
}

fn decoded(bytes: &[u8], limits: Limits) -> Result<Vec<Value>, RespError> {
    let mut decoder = Decoder::new(limits);
    let mut values = Vec::new();
    for byte in bytes {
        decoder.feed(&[*byte])?;
        while let Some(value) = decoder.next()? {
            values.push(value);
        }
        assert!(decoder.held_bytes() <= limits.buffered_bytes_max);
    }
    Ok(values)
}

fn small() -> Limits {
    Limits {
        bulk_bytes_max: 64,
        elements_max: 16,
        depth_max: 3,
        line_bytes_max: 32,
        buffered_bytes_max: 1024,
    }
}

fn value() -> impl Strategy<Value = Value> {
    let text = "[^\r\n]{0,12}";
    let leaf = prop_oneof![
        text.prop_map(Value::Simple),
        text.prop_map(Value::Error),
        any::<i64>().prop_map(Value::Integer),
        any::<Vec<u8>>().prop_map(Value::Bulk),
        Just(Value::Null),
        any::<bool>().prop_map(Value::Boolean),
        any::<f64>()
            .prop_filter("NaN differs from itself", |number| !number.is_nan())
            .prop_map(Value::Double),
        "-?[0-9]{1,30}".prop_map(Value::BigNumber),
        (any::<[u8; 3]>(), any::<Vec<u8>>()).prop_map(|(format, text)| Value::Verbatim(format, text)),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let items = prop::collection::vec(inner.clone(), 0..6);
        prop_oneof![
            items.clone().prop_map(Value::Array),
            items.clone().prop_map(Value::Set),
            items.prop_map(Value::Push),
            prop::collection::vec((inner.clone(), inner), 0..3).prop_map(Value::Map),
        ]
    })
}

/// What a RESP 2 client sees of a value.
fn as_resp2(value: &Value) -> Value {
    let all = |items: &[Value]| items.iter().map(as_resp2).collect();
    match value {
        Value::Array(items) | Value::Set(items) | Value::Push(items) => Value::Array(all(items)),
        Value::Map(pairs) => {
            Value::Array(pairs.iter().flat_map(|(k, v)| [as_resp2(k), as_resp2(v)]).collect())
        }
        Value::Boolean(value) => Value::Integer(i64::from(*value)),
        Value::Double(number) => Value::Bulk(format!("{number:?}").into_bytes()),
        Value::BigNumber(digits) => Value::Bulk(digits.clone().into_bytes()),
        Value::Verbatim(_, text) => Value::Bulk(text.clone()),
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn a_value_survives_every_split(value in value()) {
        let bytes = encoded(&value, Protocol::Resp3);
        for split in 0..=bytes.len() {
            let mut decoder = Decoder::new(Limits::default());
            decoder.feed(&bytes[..split]).unwrap();
            let early = decoder.next().unwrap();
            prop_assert_eq!(early.is_some(), split == bytes.len());
            decoder.feed(&bytes[split..]).unwrap();
            let whole = early.or(decoder.next().unwrap());
            prop_assert_eq!(whole.as_ref(), Some(&value));
            prop_assert_eq!(decoder.next(), Ok(None));
            prop_assert_eq!(decoder.held_bytes(), 0);
        }
        prop_assert_eq!(decoded(&bytes, Limits::default()), Ok(vec![value]));
    }

    #[test]
    fn in_resp_2_a_value_arrives_as_old_clients_know_it(value in value()) {
        let bytes = encoded(&value, Protocol::Resp2);
        prop_assert_eq!(decoded(&bytes, Limits::default()), Ok(vec![as_resp2(&value)]));
    }

    #[test]
    fn garbage_neither_panics_nor_takes_more_than_the_limit(bytes: Vec<u8>) {
        let _ = decoded(&bytes, small());
    }

    #[test]
    fn garbage_that_looks_like_resp_neither_panics_nor_takes_more(text in "([-+:$*_#,(!=%~>|][-0-9a-f]{0,3}\r\n){0,40}") {
        let _ = decoded(text.as_bytes(), small());
    }
}

#[test]
fn the_two_nothings_of_resp_2_are_told_apart() {
    assert_eq!(encoded(&Value::Null, Protocol::Resp2), b"$-1\r\n");
    assert_eq!(encoded(&Value::NullArray, Protocol::Resp2), b"*-1\r\n");
    assert_eq!(encoded(&Value::NullArray, Protocol::Resp3), b"_\r\n");
    let both = decoded(b"$-1\r\n*-1\r\n_\r\n", Limits::default());
    assert_eq!(both, Ok(vec![Value::Null, Value::NullArray, Value::Null]));
}

#[test]
fn line_breaks_cannot_be_smuggled_into_an_error() {
    let value = Value::Error("ERR a\r\n+OK".into());
    assert_eq!(encoded(&value, Protocol::Resp2), b"-ERR a  +OK\r\n");
}

#[test]
fn attributes_are_skipped() {
    let bytes = b"|1\r\n+ttl\r\n:3600\r\n*2\r\n|1\r\n+k\r\n*1\r\n:1\r\n:1\r\n:2\r\n";
    let array = Value::Array(vec![Value::Integer(1), Value::Integer(2)]);
    assert_eq!(decoded(bytes, Limits::default()), Ok(vec![array]));
}

#[test]
fn what_a_peer_may_not_do_has_a_name() {
    for (bytes, error) in [
        (&b"$65\r\n"[..], RespError::BulkTooLong),
        (b"$99999999999999999999\r\n", RespError::BulkTooLong),
        (b"*17\r\n", RespError::TooManyElements),
        (b"*15\r\n*2\r\n", RespError::TooManyElements),
        (b"%9\r\n", RespError::TooManyElements),
        (b"*1\r\n*1\r\n*1\r\n*1\r\n", RespError::TooDeep),
        (b"+aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", RespError::LineTooLong),
        (b"$1\r\nab\r\n", RespError::Unterminated),
        (b"+OK\n", RespError::BadLine),
        (b":x\r\n", RespError::BadNumber),
        (b"#x\r\n", RespError::BadNumber),
        (b"HTTP/1.1 400\r\n", RespError::UnknownType(b'H')),
        (b"\r\n", RespError::BadLine),
        (b"$?\r\n", RespError::BulkTooLong),
    ] {
        assert_eq!(decoded(bytes, small()), Err(error), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_value_within_every_other_limit_is_refused_when_it_outgrows_memory() {
    let limits = Limits { elements_max: 1000, ..small() };
    let mut bytes = b"*900\r\n".to_vec();
    bytes.extend(b"_\r\n".repeat(900));
    assert_eq!(decoded(&bytes, limits), Err(RespError::TooMuchBuffered));
}

#[test]
fn bytes_that_nobody_takes_are_bounded_and_an_error_stays() {
    let mut decoder = Decoder::new(small());
    assert_eq!(decoder.feed(&[b'+'; 1025]), Err(RespError::TooMuchBuffered));
    assert_eq!(decoder.feed(b"+OK\r\n"), Err(RespError::TooMuchBuffered));
    assert_eq!(decoder.next(), Err(RespError::TooMuchBuffered));
    assert_eq!(decoder.held_bytes(), 0);
}
