//! Packets: three bytes of length, one of sequence, and that many bytes; and the numbers and texts inside of one. No
//! packet of the protocol's longer kind (16 MB and more, in pieces) is within the limit here.

use super::ConversationError;

/// The bytes before a payload.
const HEADER_BYTES: usize = 4;
/// The longest payload that is taken. A row of `SHOW ALL SLAVES STATUS` is a few kilobytes.
const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// What may wait unused. Whoever feeds takes out what is complete each time.
const BUFFERED_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + 64 * 1024;
/// Capacity that an empty buffer may keep for the next bytes.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Bytes that arrived, to packets.
#[derive(Debug, Default)]
pub(super) struct Packets {
    bytes: Vec<u8>,
    /// Everything before this was used.
    start: usize,
}

/// One packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// Its number in the exchange.
    pub(super) sequence: u8,
    /// What it carries.
    pub(super) payload: &'a [u8],
}

impl Packets {
    /// Takes bytes as they arrive.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), ConversationError> {
        // Moving the rest only once the used part is the larger one keeps the cost per byte constant.
        if self.start > self.bytes.len() / 2 || self.start == self.bytes.len() {
            self.bytes.drain(..self.start);
            self.start = 0;
            if self.bytes.is_empty() && self.bytes.capacity() > KEPT_BYTES_MAX {
                self.bytes = Vec::new();
            }
        }
        if self.held_bytes() + bytes.len() > BUFFERED_BYTES_MAX {
            return Err(ConversationError::TooLong);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The next whole packet. A length that is too large is an error before its payload comes.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'_>>, ConversationError> {
        let waiting = self.bytes.get(self.start..).unwrap_or_default();
        let Some((&[low, middle, high, sequence], rest)) = waiting.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([low, middle, high, 0]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(ConversationError::TooLong);
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        self.start += HEADER_BYTES + length;
        Ok(Some(Packet { sequence, payload }))
    }

    /// How many bytes wait.
    pub(super) fn held_bytes(&self) -> usize {
        self.bytes.len() - self.start
    }
}

/// Writes one packet. A payload that is too long to be one is cut: nothing that is written comes near.
pub(super) fn write_packet(out: &mut Vec<u8>, sequence: u8, payload: &[u8]) {
    let payload = payload.get(..0x00ff_fffe).unwrap_or(payload);
    let [low, middle, high, ..] = (payload.len() as u32).to_le_bytes();
    out.extend([low, middle, high, sequence]);
    out.extend_from_slice(payload);
}

/// Reads a payload from its beginning. `None`: it ends too early.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|taken| taken[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        let taken = self.bytes(2)?;
        Some(u16::from_le_bytes([taken[0], taken[1]]))
    }

    /// Up to a zero byte, which is used, too.
    pub(super) fn text(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let text = self.bytes(end);
        self.bytes(1);
        text
    }

    /// A number of the protocol's variable length. `None` for NULL, too.
    pub(super) fn number(&mut self) -> Option<u64> {
        let width = match self.byte()? {
            small @ 0..=0xfa => return Some(u64::from(small)),
            0xfc => 2,
            0xfd => 3,
            0xfe => 8,
            _ => return None,
        };
        let mut number = [0; 8];
        number[..width].copy_from_slice(self.bytes(width)?);
        Some(u64::from_le_bytes(number))
    }

    /// Bytes behind their number.
    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.bytes(count)
    }

    /// The value of a column; nothing for NULL.
    pub(super) fn value(&mut self) -> Result<Option<&'a [u8]>, ConversationError> {
        if self.0.first() == Some(&0xfb) {
            self.bytes(1);
            return Ok(None);
        }
        self.counted().map(Some).ok_or(ConversationError::Garbage)
    }
}
