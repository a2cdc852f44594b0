//! Values out of bytes, as they arrive: for the side that asks. A stack of open aggregates instead of recursion, so that
//! a value in a thousand pieces costs what it costs in one.

use super::{Limits, RespError, Value};
use crate::buffer::Buffer;

/// What a value weighs apart from its text.
const VALUE_BYTES: usize = size_of::<Value>();

/// An incremental decoder of replies.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    buffer: Buffer,
    open: Vec<Open>,
    /// The header of a counted string was read, its bytes were not.
    counted: Option<(Counted, usize)>,
    elements: usize,
    weight: usize,
    failed: Option<RespError>,
}

/// An aggregate that still misses elements.
#[derive(Debug)]
struct Open {
    kind: Aggregate,
    missing: usize,
    items: Vec<Value>,
}

#[derive(Clone, Copy, Debug)]
enum Aggregate {
    Array,
    Map,
    Set,
    Push,
    /// Metadata in front of a value: read and dropped.
    Attribute,
}

#[derive(Clone, Copy, Debug)]
enum Counted {
    Bulk,
    Error,
    Verbatim,
}

/// What a header line amounts to.
enum Item {
    Leaf(Value),
    Counted(Counted, usize),
    Open(Aggregate, usize),
}

impl Decoder {
    /// A decoder that trusts the peer this far.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: Buffer::default(),
            open: Vec::new(),
            counted: None,
            elements: 0,
            weight: 0,
            failed: None,
        }
    }

    /// Takes bytes as they arrive. Call `next` until it returns `None` before feeding again: bytes that wait count
    /// against `buffered_bytes_max`.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), RespError> {
        self.failed.map_or(Ok(()), Err)?;
        if self.held_bytes().saturating_add(bytes.len()) > self.limits.buffered_bytes_max {
            return Err(self.fail(RespError::TooMuchBuffered));
        }
        self.buffer.append(bytes);
        Ok(())
    }

    /// The next complete value; `None`: feed more.
    #[expect(clippy::should_implement_trait, reason = "an iterator's `None` is final, this one's is not")]
    pub fn next(&mut self) -> Result<Option<Value>, RespError> {
        self.failed.map_or(Ok(()), Err)?;
        self.advance().map_err(|error| self.fail(error))
    }

    /// How much it holds, by the measure of `Limits::buffered_bytes_max`.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len() + self.weight
    }

    fn fail(&mut self, error: RespError) -> RespError {
        self.buffer.clear();
        self.open = Vec::new();
        self.weight = 0;
        self.failed = Some(error);
        error
    }

    fn advance(&mut self) -> Result<Option<Value>, RespError> {
        while let Some(item) = self.item()? {
            let whole = match item {
                Item::Leaf(value) => self.add(value)?,
                Item::Open(kind, count) => self.open(kind, count)?,
                Item::Counted(kind, count) => {
                    self.counted = Some((kind, count));
                    None
                }
            };
            if whole.is_some() {
                return Ok(whole);
            }
        }
        Ok(None)
    }

    fn item(&mut self) -> Result<Option<Item>, RespError> {
        let Some((kind, count)) = self.counted else {
            let line = self.buffer.crlf_line(self.limits.line_bytes_max)?;
            return line.map(|line| self.header(self.buffer.at(&line))).transpose();
        };
        let Some(run) = self.buffer.counted(count)? else {
            return Ok(None);
        };
        self.counted = None;
        string(kind, self.buffer.at(&run)).map(|value| Some(Item::Leaf(value)))
    }

    fn header(&self, line: &[u8]) -> Result<Item, RespError> {
        let Some((kind, rest)) = line.split_first() else {
            return Err(RespError::BadLine);
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        let leaf = |value| Ok(Item::Leaf(value));
        match kind {
            b'+' => leaf(Value::Simple(text())),
            b'-' => leaf(Value::Error(text())),
            b':' => leaf(Value::Integer(number(rest).ok_or(RespError::BadNumber)?)),
            b'$' if rest == b"-1" => leaf(Value::Null),
            b'*' if rest == b"-1" => leaf(Value::NullArray),
            b'_' if rest.is_empty() => leaf(Value::Null),
            b'#' => match rest {
                b"t" => leaf(Value::Boolean(true)),
                b"f" => leaf(Value::Boolean(false)),
                _ => Err(RespError::BadNumber),
            },
            b',' => leaf(Value::Double(parsed(rest).ok_or(RespError::BadNumber)?)),
            b'(' if is_integer(rest) => leaf(Value::BigNumber(text())),
            b'$' => self.counted_header(Counted::Bulk, rest),
            b'!' => self.counted_header(Counted::Error, rest),
            b'=' => self.counted_header(Counted::Verbatim, rest),
            b'*' => self.aggregate_header(Aggregate::Array, rest),
            b'%' => self.aggregate_header(Aggregate::Map, rest),
            b'~' => self.aggregate_header(Aggregate::Set, rest),
            b'>' => self.aggregate_header(Aggregate::Push, rest),
            b'|' => self.aggregate_header(Aggregate::Attribute, rest),
            b'_' | b'(' => Err(RespError::BadNumber),
            other => Err(RespError::UnknownType(*other)),
        }
    }

    fn counted_header(&self, kind: Counted, rest: &[u8]) -> Result<Item, RespError> {
        match length(rest) {
            Some(count) if count <= self.limits.bulk_bytes_max => Ok(Item::Counted(kind, count)),
            _ => Err(RespError::BulkTooLong),
        }
    }

    fn aggregate_header(&self, kind: Aggregate, rest: &[u8]) -> Result<Item, RespError> {
        let count = length(rest).ok_or(RespError::TooManyElements)?;
        let count = match kind {
            Aggregate::Map | Aggregate::Attribute => count.saturating_mul(2),
            _ => count,
        };
        if self.elements.saturating_add(count) > self.limits.elements_max {
            return Err(RespError::TooManyElements);
        }
        if self.open.len() >= self.limits.depth_max {
            return Err(RespError::TooDeep);
        }
        Ok(Item::Open(kind, count))
    }

    fn open(&mut self, kind: Aggregate, count: usize) -> Result<Option<Value>, RespError> {
        let open = Open { kind, missing: count, items: Vec::new() };
        if count > 0 {
            self.elements += count;
            self.open.push(open);
            return Ok(None);
        }
        match open.close() {
            Some(value) => self.add(value),
            None => Ok(None),
        }
    }

    /// Puts a complete value where it belongs, closing what that completes; returns it if it belongs nowhere.
    fn add(&mut self, mut value: Value) -> Result<Option<Value>, RespError> {
        if !self.open.is_empty() {
            self.weight += weight(&value);
            if self.held_bytes() > self.limits.buffered_bytes_max {
                return Err(RespError::TooMuchBuffered);
            }
        }
        loop {
            let Some(mut innermost) = self.open.pop() else {
                self.elements = 0;
                self.weight = 0;
                return Ok(Some(value));
            };
            innermost.items.push(value);
            innermost.missing -= 1;
            if innermost.missing > 0 {
                self.open.push(innermost);
                return Ok(None);
            }
            match innermost.close() {
                Some(aggregate) => value = aggregate,
                None => return Ok(None),
            }
        }
    }
}

impl Open {
    fn close(self) -> Option<Value> {
        match self.kind {
            Aggregate::Array => Some(Value::Array(self.items)),
            Aggregate::Set => Some(Value::Set(self.items)),
            Aggregate::Push => Some(Value::Push(self.items)),
            Aggregate::Attribute => None,
            Aggregate::Map => {
                let mut items = self.items.into_iter();
                let pairs = std::iter::from_fn(|| items.next().zip(items.next()));
                Some(Value::Map(pairs.collect()))
            }
        }
    }
}

fn string(kind: Counted, bytes: &[u8]) -> Result<Value, RespError> {
    match (kind, bytes) {
        (Counted::Bulk, _) => Ok(Value::Bulk(bytes.to_vec())),
        (Counted::Error, _) => Ok(Value::Error(String::from_utf8_lossy(bytes).into_owned())),
        (Counted::Verbatim, [a, b, c, b':', text @ ..]) => Ok(Value::Verbatim([*a, *b, *c], text.to_vec())),
        (Counted::Verbatim, _) => Err(RespError::Unterminated),
    }
}

/// What a value that was just read adds; the elements of an aggregate were counted when they were added to it.
fn weight(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::Simple(text) | Value::Error(text) | Value::BigNumber(text) => text.len(),
            Value::Bulk(bytes) | Value::Verbatim(_, bytes) => bytes.len(),
            _ => 0,
        }
}

fn parsed<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

pub(super) fn number(bytes: &[u8]) -> Option<i64> {
    parsed(bytes)
}

pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    parsed(bytes)
}

fn is_integer(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}
