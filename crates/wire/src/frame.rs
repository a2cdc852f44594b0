//! What controllers exchange on a byte stream: a length of four bytes, big-endian, and that many bytes of payload.
//! It does not know what a payload means, and it carries no version: the first payload of a connection does.

use std::collections::VecDeque;
use thiserror::Error;

/// The bytes of the length.
const HEADER_BYTES: usize = 4;

/// Why a stream of frames cannot be read any further. The decoder keeps nothing and repeats it: close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The announced payload is longer than allowed; none of it was kept.
    #[error("a frame of {announced} bytes was announced, at most {payload_bytes_max} are allowed")]
    TooLarge {
        /// What the peer announced.
        announced: u64,
        /// What is allowed.
        payload_bytes_max: usize,
    },
}

/// Frames out of bytes. Holds at most one unfinished payload, and the frames that the last `feed` completed.
#[derive(Debug)]
pub struct FrameDecoder {
    payload_bytes_max: usize,
    header: [u8; HEADER_BYTES],
    header_bytes: usize,
    payload: Vec<u8>,
    ready: VecDeque<Vec<u8>>,
    failed: Option<FrameError>,
}

impl FrameDecoder {
    /// A decoder that refuses any payload longer than `payload_bytes_max`.
    pub fn new(payload_bytes_max: usize) -> Self {
        Self {
            payload_bytes_max,
            header: [0; HEADER_BYTES],
            header_bytes: 0,
            payload: Vec::new(),
            ready: VecDeque::new(),
            failed: None,
        }
    }

    /// Takes bytes as they arrive. Call `next` until it returns `None` before feeding again, or memory grows by what
    /// is fed. A length that is too large is an error at once; frames that were complete before it are still there.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), FrameError> {
        while !bytes.is_empty() {
            if let Some(error) = self.failed {
                return Err(error);
            }
            bytes = if self.header_bytes < HEADER_BYTES {
                self.take_header(bytes)
            } else {
                self.take_payload(bytes)
            };
        }
        self.failed.map_or(Ok(()), Err)
    }

    /// The next complete payload; `None`: feed more. After a failed `feed` it hands out what was complete, then the
    /// same error for ever.
    #[expect(clippy::should_implement_trait, reason = "an iterator's `None` is final, this one's is not")]
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        match (self.ready.pop_front(), self.failed) {
            (None, Some(error)) => Err(error),
            (payload, _) => Ok(payload),
        }
    }

    /// How many bytes of payload it holds, complete ones included.
    pub fn held_bytes(&self) -> usize {
        self.payload.len() + self.ready.iter().map(Vec::len).sum::<usize>()
    }

    fn take_header<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(bytes.len().min(HEADER_BYTES - self.header_bytes));
        self.header[self.header_bytes..self.header_bytes + taken.len()].copy_from_slice(taken);
        self.header_bytes += taken.len();
        if self.header_bytes == HEADER_BYTES {
            let announced = u64::from(u32::from_be_bytes(self.header));
            if announced > self.payload_bytes_max as u64 {
                self.failed =
                    Some(FrameError::TooLarge { announced, payload_bytes_max: self.payload_bytes_max });
            } else if announced == 0 {
                self.complete();
            }
        }
        rest
    }

    fn take_payload<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = u32::from_be_bytes(self.header) as usize - self.payload.len();
        let (taken, rest) = bytes.split_at(bytes.len().min(missing));
        // Grows with what arrives, never to what was announced.
        self.payload.extend_from_slice(taken);
        if taken.len() == missing {
            self.complete();
        }
        rest
    }

    fn complete(&mut self) {
        self.ready.push_back(std::mem::take(&mut self.payload));
        self.header_bytes = 0;
    }
}

/// Writes one frame behind what `out` holds. A payload of 4 GiB or more, which no decoder accepts, is announced as
/// `u32::MAX` bytes, so that the peer refuses it by its length.
pub fn encode_frame(out: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(payload);
}
