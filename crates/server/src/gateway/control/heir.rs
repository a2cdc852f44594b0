//! How listening sockets go from one gateway to the next: both accept from the same queue for a moment, so that it never
//! has nobody, and no connection in it is lost when the first one closes its end.

use super::words::{Answer, Place, Request, State, text};
use super::{may_ask, path_in};
use backstay_gateway::{Heritage, Listen};
use backstay_model::{ClusterName, GatewayName};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::io::Interest;

/// As many as the kernel takes in one message (`SCM_MAX_FD`, unix(7)).
const SOCKETS_MAX: usize = 253;
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How long a predecessor may take. One that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long one that hung up may take to be gone.
const END_PAUSE: Duration = Duration::from_millis(50);

pub(super) type Sockets = Vec<(Listen, OwnedFd)>;

/// Who is at the control socket of this gateway's name.
pub(crate) enum Found {
    Nobody,
    /// Somebody who says nothing: it hangs.
    Silent,
    /// Somebody who is not followed: a gateway of another cluster, one within a controller's process, or one that is not
    /// understood.
    Stranger,
    /// Another successor was given the sockets, and serves soon, or gives up.
    Busy,
    /// The gateway before this one, and what it listens at.
    Gateway(Predecessor, Heritage),
}

/// The gateway before this one, which goes on until it is told that this one serves.
pub(crate) struct Predecessor {
    pub(super) stream: UnixStream,
    /// When it gave its sockets.
    pub(super) state: State,
}

/// Looks for a gateway of this name in these folders, and asks it for its sockets.
pub(crate) fn find(folders: &[PathBuf], cluster: &ClusterName, name: &GatewayName) -> Found {
    for path in folders.iter().filter_map(|folder| path_in(folder, name).ok()) {
        match meet(&path, cluster) {
            Found::Nobody => {}
            found => return found,
        }
    }
    Found::Nobody
}

/// Whether anybody is at the control socket of this gateway's name, also one that hangs.
pub(crate) fn is_answered(folder: &Path, name: &GatewayName) -> bool {
    let connected = path_in(folder, name).and_then(|path| connect(&path));
    connected.map_or_else(|error| is_late(&error), |_| true)
}

fn meet(path: &Path, cluster: &ClusterName) -> Found {
    let mut hung_up = false;
    loop {
        let stream = match connect(path) {
            Ok(stream) => stream,
            Err(error) if is_late(&error) => return Found::Silent,
            // Nobody is there, or nobody can know.
            Err(_) => return Found::Nobody,
        };
        // Root reaches everybody's. Without this it would put its own in that one's place.
        if !is_ours(&stream) {
            return stranger(path, "another user runs it");
        }
        match ask(&stream, cluster) {
            Ok((Answer::Sockets { at, state }, sockets)) => {
                let sockets = at.into_iter().map(Listen::from).zip(sockets).collect();
                let heritage = Heritage { sockets, replaces: false };
                return Found::Gateway(Predecessor { stream, state }, heritage);
            }
            Ok((Answer::Busy, _)) => return Found::Busy,
            Ok((Answer::Error(said), _)) => return stranger(path, &format!("it says: {said}")),
            Ok((answer, _)) => return stranger(path, &format!("it answers {answer:?}")),
            Err(error) if is_late(&error) => {
                tracing::warn!("the gateway at {} does not answer: it hangs", path.display());
                return Found::Silent;
            }
            // It may just have ended.
            Err(error) if is_end(&error) && !hung_up => {
                hung_up = true;
                std::thread::sleep(END_PAUSE);
            }
            Err(error) => return stranger(path, &error.to_string()),
        }
    }
}

fn stranger(path: &Path, reason: &str) -> Found {
    tracing::warn!(
        "{} belongs to a gateway that this one cannot follow, of another cluster, version or user, or in a controller's \
         process ({reason}). This one starts beside it, without a control socket: end that one, or give this one another \
         name, or another folder with --control DIR",
        path.display()
    );
    Found::Stranger
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Never blocks: who accepts nobody may have a full queue.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    socket.set_nonblocking(false)?;
    let stream = UnixStream::from(OwnedFd::from(socket));
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Whether whoever listens there is this user, or root.
fn is_ours(stream: &UnixStream) -> bool {
    sockopt::socket_peercred(stream).is_ok_and(|peer| may_ask(peer.uid.as_raw()))
}

fn ask(stream: &UnixStream, cluster: &ClusterName) -> io::Result<(Answer, Vec<OwnedFd>)> {
    let until = Instant::now() + PATIENCE;
    let mut writer = stream;
    writer.write_all(&text(&Request::Sockets(cluster.clone())))?;
    let (mut answer, mut sockets) = (Vec::new(), Vec::new());
    let mut buffer = vec![0; 16 * 1024];
    while !answer.ends_with(b"\n") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(senseless("its answer does not end"));
        }
        stream.set_read_timeout(Some(left))?;
        let read = if answer.is_empty() {
            receive(stream, &mut buffer, &mut sockets)?
        } else {
            let mut reader = stream;
            reader.read(&mut buffer)?
        };
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up"));
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    let answer = serde_json::from_slice(&answer)
        .map_err(|error| senseless(&format!("its answer means nothing here: {error}")))?;
    if let Answer::Sockets { at, .. } = &answer
        && at.len() != sockets.len()
    {
        return Err(senseless("not every address came with a socket"));
    }
    Ok((answer, sockets))
}

fn senseless(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
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
    if message.flags.contains(ReturnFlags::CTRUNC) {
        return Err(senseless("this process may not have so many files (see its limit of open files)"));
    }
    Ok(message.bytes)
}

/// Sends the sockets, and where they listen.
pub(super) async fn send_sockets(
    stream: &tokio::net::UnixStream,
    sockets: &Sockets,
    state: State,
) -> io::Result<()> {
    let sockets = &sockets[..sockets.len().min(SOCKETS_MAX)];
    let at = sockets.iter().map(|(listen, _)| Place::from(listen)).collect();
    let text = text(&Answer::Sockets { at, state });
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
