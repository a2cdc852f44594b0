//! Requests out of bytes, as they arrive: for the side that is asked. Accepts what a Redis server accepts: arrays of
//! bulk strings, and lines typed by hand. It does not know any command.

use super::decode::{length, number};
use super::{Limits, RespError};
use crate::buffer::Buffer;

/// What an argument weighs apart from its bytes.
const ARGUMENT_BYTES: usize = size_of::<Vec<u8>>();

/// An incremental decoder of requests.
#[derive(Debug)]
pub struct RequestDecoder {
    limits: Limits,
    buffer: Buffer,
    arguments: Vec<Vec<u8>>,
    /// Arguments that an array announced and that did not come yet.
    missing: usize,
    /// The length of the argument that comes now, if its header was read.
    counted: Option<usize>,
    weight: usize,
    failed: Option<RespError>,
}

impl RequestDecoder {
    /// A decoder that trusts the peer this far. `depth_max` has no meaning here.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: Buffer::default(),
            arguments: Vec::new(),
            missing: 0,
            counted: None,
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

    /// The next complete request, never empty; `None`: feed more. Empty lines and arrays are skipped, as Redis does.
    #[expect(clippy::should_implement_trait, reason = "an iterator's `None` is final, this one's is not")]
    pub fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, RespError> {
        self.failed.map_or(Ok(()), Err)?;
        self.advance().map_err(|error| self.fail(error))
    }

    /// How much it holds, by the measure of `Limits::buffered_bytes_max`.
    pub fn held_bytes(&self) -> usize {
        self.buffer.len() + self.weight
    }

    fn fail(&mut self, error: RespError) -> RespError {
        self.buffer.clear();
        self.arguments = Vec::new();
        self.weight = 0;
        self.failed = Some(error);
        error
    }

    fn advance(&mut self) -> Result<Option<Vec<Vec<u8>>>, RespError> {
        loop {
            let progressed = match (self.missing, self.buffer.first()) {
                (0, Some(b'*')) => self.array_header()?,
                (0, Some(_)) => match self.inline()? {
                    Some(request) if request.is_empty() => true,
                    other => return Ok(other),
                },
                (0, None) => false,
                _ => self.argument()?,
            };
            if !progressed {
                return Ok(None);
            }
            if self.missing == 0 && !self.arguments.is_empty() {
                self.weight = 0;
                return Ok(Some(std::mem::take(&mut self.arguments)));
            }
        }
    }

    fn array_header(&mut self) -> Result<bool, RespError> {
        let Some(line) = self.buffer.crlf_line(self.limits.line_bytes_max)? else {
            return Ok(false);
        };
        let count = number(self.buffer.at(&line).get(1..).unwrap_or_default());
        // A count of zero or less is an empty request (networking.c, processMultibulkBuffer).
        let count = count.and_then(|count| usize::try_from(count.max(0)).ok());
        self.missing =
            count.filter(|count| *count <= self.limits.elements_max).ok_or(RespError::TooManyElements)?;
        Ok(true)
    }

    fn argument(&mut self) -> Result<bool, RespError> {
        let Some(count) = self.counted else {
            return self.argument_header();
        };
        let Some(run) = self.buffer.counted(count)? else {
            return Ok(false);
        };
        let argument = self.buffer.at(&run).to_vec();
        self.counted = None;
        self.missing -= 1;
        self.weight += ARGUMENT_BYTES + argument.len();
        self.arguments.push(argument);
        if self.missing > 0 && self.held_bytes() > self.limits.buffered_bytes_max {
            return Err(RespError::TooMuchBuffered);
        }
        Ok(true)
    }

    fn argument_header(&mut self) -> Result<bool, RespError> {
        if let Some(first) = self.buffer.first().filter(|first| *first != b'$') {
            return Err(RespError::ExpectedBulk(first));
        }
        let Some(line) = self.buffer.crlf_line(self.limits.line_bytes_max)? else {
            return Ok(false);
        };
        let count = length(self.buffer.at(&line).get(1..).unwrap_or_default());
        let count =
            count.filter(|count| *count <= self.limits.bulk_bytes_max).ok_or(RespError::BulkTooLong)?;
        self.counted = Some(count);
        Ok(true)
    }

    fn inline(&mut self) -> Result<Option<Vec<Vec<u8>>>, RespError> {
        let Some(line) = self.buffer.line(self.limits.line_bytes_max)? else {
            return Ok(None);
        };
        let line = self.buffer.at(&line);
        let arguments = split_line(line.strip_suffix(b"\r").unwrap_or(line))?;
        if arguments.len() > self.limits.elements_max {
            return Err(RespError::TooManyElements);
        }
        Ok(Some(arguments))
    }
}

/// Splits a typed line into arguments by the rules of `sdssplitargs`: spaces separate, single and double quotes hold
/// together, escapes work in double quotes, and a closing quote must be followed by a space or the end.
fn split_line(line: &[u8]) -> Result<Vec<Vec<u8>>, RespError> {
    let mut arguments = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some(first) = rest.first().filter(|first| **first != 0) {
        let mut argument = Vec::new();
        rest = match first {
            b'"' | b'\'' => rest,
            _ => {
                let plain = rest
                    .iter()
                    .position(|byte| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | 0));
                let (word, after) = rest.split_at(plain.unwrap_or(rest.len()));
                argument.extend_from_slice(word);
                after
            }
        };
        rest = match rest {
            [b'"', quoted @ ..] => double_quoted(quoted, &mut argument)?,
            [b'\'', quoted @ ..] => single_quoted(quoted, &mut argument)?,
            [0, ..] => &[],
            _ => rest,
        };
        arguments.push(argument);
        rest = rest.trim_ascii_start();
    }
    Ok(arguments)
}

fn double_quoted<'a>(mut rest: &'a [u8], argument: &mut Vec<u8>) -> Result<&'a [u8], RespError> {
    loop {
        rest = match rest {
            [b'"', after @ ..] => return closed(after),
            [b'\\', b'x', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or(0) as u8;
                argument.push(digit(high) << 4 | digit(low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                argument.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                after
            }
            [byte, after @ ..] => {
                argument.push(*byte);
                after
            }
            [] => return Err(RespError::UnbalancedQuotes),
        };
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], argument: &mut Vec<u8>) -> Result<&'a [u8], RespError> {
    loop {
        rest = match rest {
            [b'\'', after @ ..] => return closed(after),
            [b'\\', b'\'', after @ ..] => {
                argument.push(b'\'');
                after
            }
            [byte, after @ ..] => {
                argument.push(*byte);
                after
            }
            [] => return Err(RespError::UnbalancedQuotes),
        };
    }
}

fn closed(after: &[u8]) -> Result<&[u8], RespError> {
    match after.first() {
        Some(byte) if !byte.is_ascii_whitespace() => Err(RespError::UnbalancedQuotes),
        _ => Ok(after),
    }
}
