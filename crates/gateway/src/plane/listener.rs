//! Where clients come in.

use super::socket::{CLIENT_TIMEOUT, Socket, watch_peers};
use crate::settings::{Heritage, Listen};
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket as RawSocket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

pub(crate) struct Listener {
    pub(crate) endpoint: usize,
    /// It was another gateway's before, which still accepts.
    pub(crate) inherited: bool,
    socket: Kind,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, File),
}

/// The file of a Unix socket.
struct File {
    path: PathBuf,
    /// What it is known by in the file system: another gateway's file may have taken its place.
    identity: Option<(u64, u64)>,
}

impl Listener {
    pub(crate) fn open(endpoint: usize, listen: &Listen, heritage: &mut Heritage) -> io::Result<Self> {
        if let Some(socket) = inherit(listen, heritage) {
            return Ok(Self { endpoint, inherited: true, socket });
        }
        let socket = match listen {
            Listen::Tcp(address) => Kind::Tcp(listen_tcp(*address)?),
            Listen::Unix(path) => {
                let listener = listen_unix(path, heritage.replaces)?;
                Kind::Unix(listener, File { path: path.clone(), identity: identity(path) })
            }
        };
        Ok(Self { endpoint, inherited: false, socket })
    }

    /// Accepts at an inherited socket. The gateway that made its file may have removed it since, or somebody replaced it:
    /// then there is a second listener with a file of its own, and the first one's queue goes on.
    pub(crate) fn take_over(&mut self) -> io::Result<Option<Self>> {
        self.inherited = false;
        let Kind::Unix(_, file) = &mut self.socket else {
            return Ok(None);
        };
        if file.identity.is_some() && identity(&file.path) == file.identity {
            return Ok(None);
        }
        let path = file.path.clone();
        file.identity = None;
        let listener = bind_over(&path)?;
        let file = File { identity: identity(&path), path };
        Ok(Some(Self { endpoint: self.endpoint, inherited: false, socket: Kind::Unix(listener, file) }))
    }

    /// The same socket once more, for another gateway. `None`: nobody could find it there.
    pub(crate) fn share(&self) -> Option<OwnedFd> {
        match &self.socket {
            Kind::Tcp(listener) => listener.as_fd().try_clone_to_owned().ok(),
            Kind::Unix(_, File { identity: None, .. }) => None,
            Kind::Unix(listener, _) => listener.as_fd().try_clone_to_owned().ok(),
        }
    }

    /// Ceases to accept without closing what another gateway accepts from, too: its queue lives on.
    pub(crate) fn hand_over(mut self, registry: &Registry) {
        // Closing it is not enough for that: the other gateway's descriptor keeps it registered.
        let _ = match &mut self.socket {
            Kind::Tcp(listener) => listener.deregister(registry),
            Kind::Unix(listener, file) => {
                file.identity = None;
                listener.deregister(registry)
            }
        };
    }

    pub(crate) fn address(&self) -> io::Result<Listen> {
        Ok(match &self.socket {
            Kind::Tcp(listener) => Listen::Tcp(listener.local_addr()?),
            Kind::Unix(_, file) => Listen::Unix(file.path.clone()),
        })
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Kind::Tcp(listener) => listener.register(registry, token, Interest::READABLE),
            Kind::Unix(listener, _) => listener.register(registry, token, Interest::READABLE),
        }
    }

    /// One more client and where it comes from.
    pub(crate) fn accept(&self) -> io::Result<(Socket, String)> {
        match &self.socket {
            Kind::Tcp(listener) => {
                listener.accept().map(|(stream, peer)| (Socket::accepted(stream), peer.to_string()))
            }
            Kind::Unix(listener, file) => listener
                .accept()
                .map(|(stream, _)| (Socket::unix(stream), format!("{}:0", file.path.display()))),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // What was never taken over is its first gateway's.
        if let Kind::Unix(_, file) = &self.socket
            && !self.inherited
            && file.identity.is_some()
            && identity(&file.path) == file.identity
        {
            let _ = std::fs::remove_file(&file.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// The predecessor's socket at this address, if it listens there.
fn inherit(listen: &Listen, heritage: &mut Heritage) -> Option<Kind> {
    let at = heritage.sockets.iter().position(|(address, _)| address == listen)?;
    let socket = RawSocket::from(heritage.sockets.swap_remove(at).1);
    watch_peers(&SockRef::from(&socket), CLIENT_TIMEOUT);
    let listens = socket.is_listener().unwrap_or(false) && socket.set_nonblocking(true).is_ok();
    match listen {
        Listen::Tcp(address) => {
            let here = socket.local_addr().ok()?.as_socket();
            (listens && here == Some(*address)).then(|| Kind::Tcp(TcpListener::from_std(socket.into())))
        }
        Listen::Unix(path) => {
            // Without its file nobody would find it.
            let identity = identity(path)?;
            let file = File { path: path.clone(), identity: Some(identity) };
            listens.then(|| Kind::Unix(UnixListener::from_std(socket.into()), file))
        }
    }
}

/// `replaces`: whoever answers there is to be followed.
fn listen_unix(path: &Path, replaces: bool) -> io::Result<UnixListener> {
    if path.exists() {
        let answers = StdUnixStream::connect(path).is_ok();
        if answers && replaces {
            return bind_over(path);
        }
        // One that a killed gateway left behind; one that answers belongs to somebody.
        if !answers {
            std::fs::remove_file(path)?;
        }
    }
    UnixListener::bind(path)
}

/// In the place of whatever is there: there is no moment without a socket.
fn bind_over(path: &Path) -> io::Result<UnixListener> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let listener = UnixListener::bind(&fresh)?;
    if let Err(error) = std::fs::rename(&fresh, path) {
        let _ = std::fs::remove_file(&fresh);
        return Err(error);
    }
    Ok(listener)
}

fn listen_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    // A successor listens before its predecessor ceases to, and nobody is refused in between. Two gateways at one address
    // are no harm: leases make what each of them does right.
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    watch_peers(&SockRef::from(&socket), CLIENT_TIMEOUT);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plane::socket::tests::{notices_a_dead_peer, until};

    #[test]
    fn a_client_that_is_gone_without_a_word_is_noticed_also_at_an_inherited_socket() {
        let at = Listen::Tcp("127.0.0.1:0".parse().unwrap());
        let listener = Listener::open(0, &at, &mut Heritage::default()).unwrap();
        let at = listener.address().unwrap();
        let sockets = vec![(at.clone(), listener.share().unwrap())];
        let heir = Listener::open(0, &at, &mut Heritage { sockets, replaces: false }).unwrap();
        assert!(heir.inherited);
        let Listen::Tcp(address) = at else { panic!("it listens on TCP") };
        for listener in [listener, heir] {
            let _far = std::net::TcpStream::connect(address).unwrap();
            let (near, _) = until("a client", || listener.accept().ok());
            notices_a_dead_peer(&near, CLIENT_TIMEOUT);
        }
    }
}
