//! Where clients come in.

use super::socket::Socket;
use crate::settings::Listen;
use mio::event::Source;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;

pub(super) struct Listener {
    pub(super) endpoint: usize,
    socket: Kind,
}

enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub(super) fn open(endpoint: usize, listen: &Listen) -> io::Result<Self> {
        let socket = match listen {
            Listen::Tcp(address) => Kind::Tcp(listen_tcp(*address)?),
            Listen::Unix(path) => {
                // One that a killed gateway left behind; one that answers belongs to somebody.
                if path.exists() && StdUnixStream::connect(path).is_err() {
                    std::fs::remove_file(path)?;
                }
                Kind::Unix(UnixListener::bind(path)?, path.clone())
            }
        };
        Ok(Self { endpoint, socket })
    }

    pub(super) fn address(&self) -> io::Result<Listen> {
        Ok(match &self.socket {
            Kind::Tcp(listener) => Listen::Tcp(listener.local_addr()?),
            Kind::Unix(_, path) => Listen::Unix(path.clone()),
        })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            Kind::Tcp(listener) => listener.register(registry, token, Interest::READABLE),
            Kind::Unix(listener, _) => listener.register(registry, token, Interest::READABLE),
        }
    }

    /// One more client and where it comes from.
    pub(super) fn accept(&self) -> io::Result<(Socket, String)> {
        match &self.socket {
            Kind::Tcp(listener) => {
                listener.accept().map(|(stream, peer)| (Socket::tcp(stream), peer.to_string()))
            }
            Kind::Unix(listener, path) => {
                listener.accept().map(|(stream, _)| (Socket::unix(stream), format!("{}:0", path.display())))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Kind::Unix(_, path) = &self.socket {
            let _ = std::fs::remove_file(path);
        }
    }
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
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}
