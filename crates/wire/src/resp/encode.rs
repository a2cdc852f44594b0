//! Values and requests to bytes. What RESP 2 has no type for becomes the type that Redis sends to such clients.

use super::Value;
use std::io::Write as _;

/// The protocol that the peer asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What every client speaks until it says `HELLO 3`.
    #[default]
    Resp2,
    /// Since Redis 6.
    Resp3,
}

/// Writes a request, as an array of bulk strings, behind what `out` holds.
pub fn encode_request(out: &mut Vec<u8>, arguments: &[impl AsRef<[u8]>]) {
    header(out, b'*', arguments.len());
    for argument in arguments {
        counted(out, b'$', argument.as_ref());
    }
}

/// Writes a value behind what `out` holds. In RESP 2 maps become flat arrays, sets and pushes arrays, booleans
/// integers, and all other texts and numbers bulk strings. Line breaks in a simple string or error become spaces.
pub fn encode_value(out: &mut Vec<u8>, value: &Value, protocol: Protocol) {
    let new = protocol == Protocol::Resp3;
    match value {
        Value::Simple(text) => line(out, b'+', text),
        Value::Error(text) => line(out, b'-', text),
        Value::Integer(number) => line(out, b':', &number.to_string()),
        Value::Bulk(bytes) => counted(out, b'$', bytes),
        Value::Null | Value::NullArray if new => out.extend_from_slice(b"_\r\n"),
        Value::Null => out.extend_from_slice(b"$-1\r\n"),
        Value::NullArray => out.extend_from_slice(b"*-1\r\n"),
        Value::Array(items) => aggregate(out, b'*', items, protocol),
        Value::Set(items) => aggregate(out, if new { b'~' } else { b'*' }, items, protocol),
        Value::Push(items) => aggregate(out, if new { b'>' } else { b'*' }, items, protocol),
        Value::Map(pairs) => map(out, pairs, protocol),
        Value::Boolean(value) if new => out.extend_from_slice(if *value { b"#t\r\n" } else { b"#f\r\n" }),
        Value::Boolean(value) => line(out, b':', if *value { "1" } else { "0" }),
        Value::Double(number) if new => line(out, b',', &double(*number)),
        Value::Double(number) => counted(out, b'$', double(*number).as_bytes()),
        Value::BigNumber(digits) if new => line(out, b'(', digits),
        Value::BigNumber(digits) => counted(out, b'$', digits.as_bytes()),
        Value::Verbatim(format, text) if new => {
            counted(out, b'=', &[format.as_slice(), b":", text].concat());
        }
        Value::Verbatim(_, text) => counted(out, b'$', text),
    }
}

fn aggregate(out: &mut Vec<u8>, kind: u8, items: &[Value], protocol: Protocol) {
    header(out, kind, items.len());
    for item in items {
        encode_value(out, item, protocol);
    }
}

fn map(out: &mut Vec<u8>, pairs: &[(Value, Value)], protocol: Protocol) {
    match protocol {
        Protocol::Resp2 => header(out, b'*', pairs.len() * 2),
        Protocol::Resp3 => header(out, b'%', pairs.len()),
    }
    for (key, value) in pairs {
        encode_value(out, key, protocol);
        encode_value(out, value, protocol);
    }
}

fn header(out: &mut Vec<u8>, kind: u8, count: usize) {
    out.push(kind);
    // Writing to a vector cannot fail.
    let _ = write!(out, "{count}\r\n");
}

fn counted(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    header(out, kind, bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    let breaks_to_spaces = |byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte };
    out.extend(text.bytes().map(breaks_to_spaces));
    out.extend_from_slice(b"\r\n");
}

fn double(number: f64) -> String {
    if number.is_nan() { "nan".into() } else { format!("{number:?}") }
}
