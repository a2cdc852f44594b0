//! Frames on a socket: each read and decoded within its limit, written in as few pieces as possible.

use backstay_wire::frame::{FrameDecoder, FrameError, encode_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// How much is read at a time.
const READ_BYTES: usize = 16 * 1024;

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("the connection was closed")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("a frame holds what no controller sends: {0}")]
    Senseless(#[from] postcard::Error),
}

/// The frames that arrive on a connection.
pub(super) struct FrameReader {
    decoder: FrameDecoder,
    bytes: Vec<u8>,
}

impl FrameReader {
    /// A reader that refuses longer frames.
    pub(super) fn new(payload_bytes_max: usize) -> Self {
        Self {
            decoder: FrameDecoder::new(payload_bytes_max),
            bytes: vec![0; READ_BYTES.min(payload_bytes_max + 4)],
        }
    }

    /// The next frame's content. Cancel-safe.
    pub(super) async fn next<T: DeserializeOwned>(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Result<T, ReadError> {
        loop {
            if let Some(payload) = self.decoder.next()? {
                let (value, rest) = postcard::take_from_bytes(&payload)?;
                if rest.is_empty() {
                    return Ok(value);
                }
                return Err(ReadError::Senseless(postcard::Error::DeserializeBadEncoding));
            }
            match stream.read(&mut self.bytes).await? {
                0 => return Err(ReadError::Closed),
                count => {
                    // What came before a frame that is too long is still handed out.
                    let _ = self.decoder.feed(&self.bytes[..count]);
                }
            }
        }
    }

    /// Whether bytes arrived that were not asked for yet.
    pub(super) fn is_ahead(&self) -> bool {
        self.decoder.held_bytes() > 0
    }
}

/// Writes a value as one frame behind what `out` holds.
pub(super) fn append<T: Serialize>(out: &mut Vec<u8>, value: &T) -> Result<(), postcard::Error> {
    encode_frame(out, &postcard::to_stdvec(value)?);
    Ok(())
}
