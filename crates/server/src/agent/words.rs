//! What two agents say to each other: the one that needs a copy asks, the donor's greets and, if it was asked to, sends
//! its server's backup in pieces. The end is a word of its own with a digest of everything, so that a stream that was cut
//! is never taken for a whole one.

use super::trouble::Trouble;
use backstay_model::{ClusterName, InstanceName};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Sets agents apart from whatever else may call.
const MAGIC: u64 = 0x6261_636b_6167_656e;
/// What these words are; another version is refused.
pub(super) const VERSION: u32 = 1;
/// The longest piece of a stream.
pub(super) const PIECE_BYTES: usize = 256 * 1024;
/// The longest word that is no piece.
const WORD_BYTES_MAX: usize = 256 * 1024;
/// The longest before the caller is known.
const ASK_BYTES_MAX: usize = 1024;

const PIECE: u8 = 1;
const WORD: u8 = 2;

/// The caller's only word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ask {
    magic: u64,
    pub(super) version: u32,
    pub(super) cluster: ClusterName,
    /// Whose agent calls.
    pub(super) from: InstanceName,
    /// Whose data it wants.
    pub(super) of: InstanceName,
    /// It wants a copy, not only the greeting.
    pub(super) copy: bool,
}

impl Ask {
    pub(super) const fn new(cluster: ClusterName, from: InstanceName, of: InstanceName, copy: bool) -> Self {
        Self { magic: MAGIC, version: VERSION, cluster, from, of, copy }
    }

    pub(super) const fn is_agents(&self) -> bool {
        self.magic == MAGIC
    }
}

/// What the donor's agent says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Word {
    /// Its first.
    Greeting(Greeting),
    /// It is at work and has nothing to send for now.
    Patience,
    /// Everything was sent.
    End(End),
    /// It ends here, for this reason.
    Sorry(String),
}

/// How the donor stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Greeting {
    /// How many bytes its data folder holds.
    pub(super) data_bytes: u64,
    /// Its server's version.
    pub(super) version: String,
    /// Its `gtid_binlog_state`.
    pub(super) binlog_state: String,
    /// Its `gtid_slave_pos`.
    pub(super) slave_position: String,
}

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) bytes: u64,
    /// Of all pieces.
    pub(super) sha256: [u8; 32],
    /// The donor's `gtid_binlog_state` afterwards.
    pub(super) binlog_state: String,
}

/// What arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A piece, in the buffer that was given.
    Piece,
    Word(Word),
}

/// Both directions of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection between agents, whatever is below it.
pub(super) type Stream = Box<dyn Duplex>;

/// Says one thing.
pub(super) async fn say(stream: &mut (impl AsyncWrite + Unpin), word: &impl Serialize) -> io::Result<()> {
    let word = postcard::to_stdvec(word).map_err(io::Error::other)?;
    send(stream, WORD, &word).await
}

/// Sends a piece of the stream.
pub(super) async fn say_piece(stream: &mut (impl AsyncWrite + Unpin), piece: &[u8]) -> io::Result<()> {
    send(stream, PIECE, piece).await
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), kind: u8, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
    let mut head = [kind, 0, 0, 0, 0];
    head[1..].copy_from_slice(&length.to_be_bytes());
    stream.write_all(&head).await?;
    stream.write_all(payload).await?;
    stream.flush().await
}

/// Hears who calls.
pub(super) async fn hear_ask(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Ask> {
    let mut bytes = Vec::new();
    match receive(stream, &mut bytes, ASK_BYTES_MAX).await? {
        WORD => read(&bytes),
        _ => Err(senseless()),
    }
}

/// Hears the donor's next word or piece, which is then in `piece`.
pub(super) async fn hear(stream: &mut (impl AsyncRead + Unpin), piece: &mut Vec<u8>) -> io::Result<Heard> {
    match receive(stream, piece, PIECE_BYTES.max(WORD_BYTES_MAX)).await? {
        PIECE => Ok(Heard::Piece),
        _ => read(piece).map(Heard::Word),
    }
}

async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    payload: &mut Vec<u8>,
    bytes_max: usize,
) -> io::Result<u8> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    if length > bytes_max || ![PIECE, WORD].contains(&kind) {
        return Err(senseless());
    }
    payload.resize(length, 0);
    stream.read_exact(payload).await?;
    Ok(kind)
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    match postcard::take_from_bytes(bytes) {
        Ok((word, [])) => Ok(word),
        _ => Err(senseless()),
    }
}

fn senseless() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "what arrived is not what an agent says: run the same version everywhere",
    )
}

/// In the words of whoever waits for a donor.
pub(super) fn donor_lost(donor: &InstanceName, error: &io::Error) -> Trouble {
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "ended the connection in the middle".to_owned(),
        _ => format!("cannot be heard any more ({error})"),
    };
    Trouble::Donor(format!(
        "the agent of {donor} {what}: see that it runs (`backstay agent` on the host of {donor}), then rebuild again"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn words_and_pieces_arrive_as_they_were_said_and_a_cut_is_an_error() {
        let mut bytes = Vec::new();
        say_piece(&mut bytes, b"abc").await.unwrap();
        let end = Word::End(End { bytes: 3, sha256: [7; 32], binlog_state: "0-1-2".to_owned() });
        say(&mut bytes, &end).await.unwrap();
        let (mut rest, mut piece) = (&bytes[..], Vec::new());
        assert_eq!(hear(&mut rest, &mut piece).await.unwrap(), Heard::Piece);
        assert_eq!(piece, b"abc");
        assert_eq!(hear(&mut rest, &mut piece).await.unwrap(), Heard::Word(end));
        for length in 1..bytes.len() {
            let mut cut = &bytes[..length];
            let mut heard = Ok(Heard::Piece);
            while heard.is_ok() {
                heard = hear(&mut cut, &mut piece).await;
            }
            assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{length}");
        }
    }

    #[tokio::test]
    async fn strangers_cost_little_and_are_not_understood() {
        for bytes in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &[WORD, 0xff, 0xff, 0xff, 0xff, 0], &[WORD, 0, 0, 0, 1, 9]]
        {
            let mut rest = bytes;
            let error = hear_ask(&mut rest).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
        let ask = Ask::new("shop".into(), "db1".into(), "db2".into(), true);
        let mut bytes = Vec::new();
        say(&mut bytes, &ask).await.unwrap();
        assert_eq!(hear_ask(&mut &bytes[..]).await.unwrap(), ask);
    }
}
