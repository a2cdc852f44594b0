//! Bytes that arrived and were not used yet. Looks at every byte a bounded number of times, however they trickle in.
//! It knows lines and counted runs, not what they mean.

use crate::resp::RespError;
use std::ops::Range;

/// Capacity that an empty buffer may keep for the next bytes.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// Bytes in the order of their arrival. Ranges that it hands out are valid until the next `append`.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Everything before this was used.
    start: usize,
    /// Everything before this holds no unused line feed.
    scanned: usize,
}

impl Buffer {
    /// How many bytes wait.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Adds bytes behind those that wait.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        // Moving the rest only once the used part is the larger one keeps the cost per byte constant.
        if self.start > self.bytes.len() / 2 || self.start == self.bytes.len() {
            self.bytes.drain(..self.start);
            self.scanned = self.scanned.saturating_sub(self.start);
            self.start = 0;
            if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES_MAX {
                self.bytes = Vec::new();
            }
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The first byte that waits.
    pub(crate) fn first(&self) -> Option<u8> {
        self.bytes.get(self.start).copied()
    }

    /// Uses one line and returns it without its line feed; `None` if it is not whole yet.
    pub(crate) fn line(&mut self, bytes_max: usize) -> Result<Option<Range<usize>>, RespError> {
        let from = self.scanned.max(self.start);
        let Some(found) = self.bytes[from..].iter().position(|byte| *byte == b'\n') else {
            self.scanned = self.bytes.len();
            return if self.len() > bytes_max { Err(RespError::LineTooLong) } else { Ok(None) };
        };
        let line = self.start..from + found;
        if line.len() > bytes_max {
            return Err(RespError::LineTooLong);
        }
        self.start = line.end + 1;
        Ok(Some(line))
    }

    /// Uses one line that must end in CR LF and returns it without them.
    pub(crate) fn crlf_line(&mut self, bytes_max: usize) -> Result<Option<Range<usize>>, RespError> {
        let Some(line) = self.line(bytes_max.saturating_add(1))? else {
            return Ok(None);
        };
        if self.at(&line).last() != Some(&b'\r') {
            return Err(RespError::BadLine);
        }
        Ok(Some(line.start..line.end - 1))
    }

    /// Uses `count` bytes and the CR LF behind them; `None` if they are not all there yet.
    pub(crate) fn counted(&mut self, count: usize) -> Result<Option<Range<usize>>, RespError> {
        if self.len() < count.saturating_add(2) {
            return Ok(None);
        }
        let run = self.start..self.start + count;
        if self.bytes[run.end..run.end + 2] != *b"\r\n" {
            return Err(RespError::Unterminated);
        }
        self.start = run.end + 2;
        Ok(Some(run))
    }

    /// The bytes of a range that was handed out since the last `append`.
    pub(crate) fn at(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// Forgets everything, capacity included.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
