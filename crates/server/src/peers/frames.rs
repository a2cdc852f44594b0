//! Frames on a socket: each read and decoded within its limit, written in as few pieces as possible.

use crate::tls::explain;
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
    #[error(
        "a frame cannot be read ({0}): if it came from a controller or a gateway of this cluster, run the same version of \
         Backstay on both sides"
    )]
    Senseless(#[from] postcard::Error),
}

impl ReadError {
    /// In the operator's words.
    pub(super) fn sentence(&self) -> String {
        match self {
            Self::Frame(FrameError::TooLarge { announced, .. }) if is_tls(*announced) => {
                "it speaks TLS and this controller does not: if it is a controller, give all nodes the same file, with \
                 or without [tls]"
                    .to_owned()
            }
            Self::Io(error) if error.get_ref().is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some()) => {
                explain(error)
            }
            error => error.to_string(),
        }
    }
}

/// Whether what was read as a length is the head of a TLS record: a handshake's or an alert's, version 3.x (RFC 8446,
/// section 5.1).
const fn is_tls(length: u64) -> bool {
    matches!(length >> 16, 0x1503 | 0x1603)
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
