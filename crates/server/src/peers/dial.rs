//! The outgoing half: one task per peer keeps a connection up and writes what is posted.

use super::frames::{FrameReader, ReadError, append};
use super::hello::{HELLO_BYTES_MAX, HELLO_PATIENCE, Hello, Reception};
use super::stream::{self, Stream};
use super::{FRAME_BYTES_MAX, GIVE_UP, Mesh};
use crate::driver::{Incoming, Letter, PeerOutlet};
use crate::link::notice_dead_hosts;
use crate::tls::HandshakeError;
use backstay_model::{ControllerSpec, NodeId};
use socket2::SockRef;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How many letters may wait for a peer.
const LETTERS_MAX: usize = 1024;
/// How many bytes are gathered for one write.
const BATCH_BYTES: usize = 64 * 1024;
/// The pause after a connection that failed; doubles up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Why a connection ended or was never made.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it did not answer in time")]
    Silent,
    #[error("{}", .0.sentence())]
    Read(#[from] ReadError),
    #[error("{0}")]
    Handshake(#[from] HandshakeError),
    #[error("{0}")]
    Refused(Reception),
    #[error("it was closed")]
    Closed,
    /// The driver is gone, so nobody needs it any more.
    #[error("this controller stops")]
    Over,
}

/// Starts a task for every peer. What is put into the outlets is sent there.
pub(crate) fn dial_all(
    mesh: &Mesh,
    incoming: &mpsc::Sender<Incoming>,
    tasks: &mut JoinSet<()>,
) -> BTreeMap<NodeId, PeerOutlet> {
    let mut outlets = BTreeMap::new();
    for peer in &mesh.others {
        let (letters, posted) = mpsc::channel(LETTERS_MAX);
        let dialler = Dialler { mesh: mesh.clone(), peer: peer.clone(), incoming: incoming.clone(), posted };
        tasks.spawn(dialler.run());
        let connected = false;
        outlets.insert(peer.id(), PeerOutlet { letters, connected });
    }
    outlets
}

struct Dialler {
    mesh: Mesh,
    peer: ControllerSpec,
    incoming: mpsc::Sender<Incoming>,
    posted: mpsc::Receiver<Letter>,
}

impl Dialler {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        let mut told = String::new();
        loop {
            let lost = match self.connect().await {
                Ok(stream) => {
                    pause = PAUSE_MIN;
                    told.clear();
                    tracing::info!(peer = %self.peer.name, "connected to controller {}", self.peer.name);
                    let lost = self.keep(stream).await;
                    if self.tell(false).await.is_err() {
                        return;
                    }
                    lost
                }
                Err(lost) => lost,
            };
            if matches!(lost, Lost::Over) {
                return;
            }
            self.complain(&lost, &mut told);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Says why there is no connection, once per reason.
    fn complain(&self, lost: &Lost, told: &mut String) {
        let reason = lost.to_string();
        if *told != reason {
            tracing::warn!(
                peer = %self.peer.name,
                "no connection to controller {} ({}): {reason}",
                self.peer.name,
                self.peer.address
            );
            *told = reason;
        }
    }

    async fn connect(&self) -> Result<Stream, Lost> {
        timeout(HELLO_PATIENCE, introduce(&self.mesh, &self.peer)).await.unwrap_or(Err(Lost::Silent))
    }

    /// Writes what is posted until the connection ends.
    async fn keep(&mut self, stream: Stream) -> Lost {
        // What was posted for an earlier connection is older than what the peer will be told now.
        while self.posted.try_recv().is_ok() {}
        if self.tell(true).await.is_err() {
            return Lost::Over;
        }
        let (mut reading, mut writing) = tokio::io::split(stream);
        // The peer says nothing here, so whatever can be read is the end.
        let mut byte = [0];
        tokio::select! {
            lost = write(&mut self.posted, &mut writing) => lost,
            _ = reading.read(&mut byte) => Lost::Closed,
        }
    }

    async fn tell(&self, connected: bool) -> Result<(), mpsc::error::SendError<Incoming>> {
        let node = self.peer.id();
        self.incoming.send(Incoming::Peer { node, connected }).await
    }
}

/// Connects, proves each end to the other, and says who calls.
pub(super) async fn introduce(mesh: &Mesh, peer: &ControllerSpec) -> Result<Stream, Lost> {
    let address = (&*peer.address.host, peer.address.port);
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    notice_dead_hosts(&SockRef::from(&stream), GIVE_UP)?;
    let mut stream = stream::dial(mesh, stream, &peer.name).await?;
    let hello = Hello::new(mesh.version_max, &mesh.cluster, &mesh.me, &peer.name);
    let mut bytes = Vec::new();
    append(&mut bytes, &hello).map_err(ReadError::from)?;
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    match FrameReader::new(HELLO_BYTES_MAX).next(&mut stream).await? {
        Reception::Welcome => Ok(stream),
        refusal => Err(Lost::Refused(refusal)),
    }
}

/// Writes letters, those that wait already in one piece.
async fn write(posted: &mut mpsc::Receiver<Letter>, stream: &mut (impl AsyncWriteExt + Unpin)) -> Lost {
    let mut bytes = Vec::new();
    loop {
        let Some(letter) = posted.recv().await else {
            return Lost::Over;
        };
        bytes.clear();
        let mut next = Some(letter);
        while let Some(letter) = next {
            let before = bytes.len();
            if let Err(error) = append(&mut bytes, &letter) {
                tracing::error!(%error, "a letter cannot be encoded");
            }
            if bytes.len() - before > FRAME_BYTES_MAX {
                tracing::error!(bytes = bytes.len() - before, "a letter is too long for its receiver");
                bytes.truncate(before);
            }
            next = (bytes.len() < BATCH_BYTES).then(|| posted.try_recv().ok()).flatten();
        }
        let written = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        if let Err(error) = written.await {
            return Lost::Io(error);
        }
        bytes.shrink_to(BATCH_BYTES);
    }
}
