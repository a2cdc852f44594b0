//! How listening sockets go from one gateway to the next: both accept from the same queue for a moment, so that it never
//! has nobody, and no connection in it is lost when the first one closes its end.

use super::counter::Place;
use super::{may_ask, path_in};
use backstay_gateway::{Heritage, Listen};
use backstay_model::{ClusterName, GatewayName};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg, sockopt,
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// As many as the kernel takes in one message (`SCM_MAX_FD`, unix(7)).
const SOCKETS_MAX: usize = 253;
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How long a predecessor may take. One that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) type Sockets = Vec<(Listen, OwnedFd)>;

/// Who is at the control socket of this gateway's name.
pub(crate) enum Found {
    Nobody,
    /// Somebody who says nothing.
    Silent,
    /// Somebody who is not followed: a gateway of another cluster, or one within a controller's process.
    Stranger,
    /// The gateway before this one, and what it listens at.
    Gateway(Predecessor, Heritage),
}

/// The gateway before this one, which goes on until it is told that this one serves.
pub(crate) struct Predecessor {
    stream: UnixStream,
}

impl Predecessor {
    /// This gateway has begun to accept at these: the predecessor leaves.
    pub(crate) fn dismiss(mut self, taken: &[Listen]) {
        let places: Vec<Place> = taken.iter().map(Place::from).collect();
        let line = serde_json::to_string(&serde_json::json!({ "serving": places })).unwrap_or_default();
        if let Err(error) = writeln!(self.stream, "{line}").and_then(|()| self.stream.flush()) {
            tracing::warn!("the gateway before this one is gone: {error}");
        }
    }
}

/// Looks for a gateway of this name in these folders, and asks it for its sockets.
pub(crate) fn find(folders: &[PathBuf], cluster: &ClusterName, name: &GatewayName) -> Found {
    for path in folders.iter().filter_map(|folder| path_in(folder, name).ok()) {
        match connect(&path) {
            Ok(stream) => {
                return match ask(&stream, cluster) {
                    Ok(sockets) => {
                        Found::Gateway(Predecessor { stream }, Heritage { sockets, replaces: false })
                    }
                    Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                        tracing::warn!(
                            "{} belongs to a gateway that this one cannot follow, of another cluster or in a controller's \
                             process: give this one another name, or another folder with --control DIR",
                            path.display()
                        );
                        Found::Stranger
                    }
                    Err(error) => {
                        tracing::warn!(
                            "the gateway at {} does not hand over its sockets: {error}",
                            path.display()
                        );
                        Found::Silent
                    }
                };
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Found::Silent,
            // Nobody is there, or somebody who is none of ours.
            Err(_) => {}
        }
    }
    Found::Nobody
}

/// Never blocks: who accepts nobody may have a full queue.
fn connect(path: &std::path::Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    let stream = UnixStream::from(OwnedFd::from(socket));
    let uid = sockopt::socket_peercred(&stream)?.uid.as_raw();
    if !may_ask(uid) {
        tracing::warn!("{} belongs to another user: it is left alone", path.display());
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(stream: &UnixStream, cluster: &ClusterName) -> io::Result<Sockets> {
    let until = Instant::now() + PATIENCE;
    let mut writer = stream;
    writeln!(writer, "{}", serde_json::json!({ "sockets": cluster }))?;
    let (mut text, mut sockets) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 16 * 1024];
    while !text.ends_with(b"\n") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || text.len() > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let read = if text.is_empty() {
            receive(stream, &mut buffer, &mut sockets)?
        } else {
            let mut reader = stream;
            reader.read(&mut buffer)?
        };
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&buffer[..read]);
    }
    if text.starts_with(b"{") {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let places: Vec<Place> = serde_json::from_slice(&text)?;
    if places.len() != sockets.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not every address came with a socket"));
    }
    Ok(places.into_iter().map(Listen::from).zip(sockets).collect())
}

fn receive(stream: &UnixStream, buffer: &mut [u8], sockets: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = recvmsg(stream, &mut [IoSliceMut::new(buffer)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(given) = part {
            sockets.extend(given);
        }
    }
    Ok(message.bytes)
}

/// Sends the sockets, and where they listen.
pub(super) async fn send_sockets(stream: &tokio::net::UnixStream, sockets: &Sockets) -> io::Result<()> {
    let sockets = &sockets[..sockets.len().min(SOCKETS_MAX)];
    let places: Vec<Place> = sockets.iter().map(|(listen, _)| Place::from(listen)).collect();
    let mut text = serde_json::to_vec(&places)?;
    text.push(b'\n');
    let mut sent = 0;
    while sent < text.len() {
        stream.writable().await?;
        let written = stream.try_io(Interest::WRITABLE, || {
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_MAX))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let given: Vec<_> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
            // They go with the first byte.
            if sent == 0 && !given.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(&given));
            }
            Ok(sendmsg(stream, &[IoSlice::new(&text[sent..])], &mut control, SendFlags::NOSIGNAL)?)
        });
        match written {
            Ok(written) => sent += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
