//! A socket as the loop sees it: bytes, over TCP or Unix, with or without TLS.

use super::proxied::{Claim, Header, Wrong};
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use rustls::{ClientConnection, Connection, ServerConnection};
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

/// A peer that is silent for so long is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// A server that acknowledges nothing for so long is gone.
pub(super) const SERVER_TIMEOUT: Duration = Duration::from_secs(30);
/// A client, too; and one that takes nothing of what waits for it, although it says that it lives (tcp(7),
/// `TCP_USER_TIMEOUT`): it may only be slow.
pub(super) const CLIENT_TIMEOUT: Duration = Duration::from_secs(120);

#[allow(clippy::struct_excessive_bools, reason = "what is known of a socket, independently of each other")]
pub(crate) struct Socket {
    stream: Stream,
    tls: Option<Box<Connection>>,
    /// There may be more to read.
    pub(crate) readable: bool,
    /// It is among those that are read again in the next turn.
    pub(crate) listed: bool,
    /// The peer sends nothing any more: it is read until the end.
    pub(crate) closed: bool,
    /// Nor does it listen.
    pub(crate) hung_up: bool,
    /// It is not known yet whether the connection can be made.
    pub(crate) connecting: bool,
    /// What the load balancer says before the client's first byte, until all of it has come.
    pub(crate) header: Option<Box<Header>>,
    /// There is a load balancer in between: the client has called another address than the one that was reached.
    pub(crate) proxied: bool,
}

/// Why there is no header of the PROXY protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoHeader {
    #[error(transparent)]
    Wrong(#[from] Wrong),
    #[error("it ended before its PROXY header did")]
    Cut,
    #[error("its PROXY header did not come in time")]
    Late,
    /// Nothing came at all: a load balancer looks whether somebody listens.
    #[error("it ended without a word")]
    Empty,
    #[error("its PROXY header cannot be read: {0}")]
    Io(#[from] io::Error),
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// One to a server.
    pub(crate) fn tcp(stream: TcpStream) -> Self {
        watch_peers(&SockRef::from(&stream), SERVER_TIMEOUT);
        Self::accepted(stream)
    }

    /// One that has its options from the listening socket.
    pub(crate) fn accepted(stream: TcpStream) -> Self {
        Self::of(Stream::Tcp(stream))
    }

    pub(crate) fn unix(stream: UnixStream) -> Self {
        Self::of(Stream::Unix(stream))
    }

    fn of(stream: Stream) -> Self {
        Self {
            stream,
            tls: None,
            readable: false,
            listed: false,
            closed: false,
            hung_up: false,
            connecting: false,
            header: None,
            proxied: false,
        }
    }

    /// A load balancer speaks first.
    pub(crate) fn with_header(mut self) -> Self {
        self.header = Some(Box::new(Header::new()));
        self.proxied = true;
        self
    }

    pub(crate) fn with_server_tls(mut self, tls: ServerConnection) -> Self {
        self.tls = Some(Box::new(tls.into()));
        self
    }

    pub(crate) fn with_client_tls(mut self, tls: ClientConnection) -> Self {
        self.tls = Some(Box::new(tls.into()));
        self
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        match &mut self.stream {
            Stream::Tcp(stream) => stream.register(registry, token, both),
            Stream::Unix(stream) => stream.register(registry, token, both),
        }
    }

    /// The address that the peer has reached.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Where the peer is.
    pub(crate) fn peer_address(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Tells the peer that nothing more comes; without TLS.
    pub(crate) fn end_writing(&self) {
        // It may be gone: then there is nobody to be told.
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// The name that the peer has called.
    pub(crate) fn server_name(&self) -> Option<String> {
        match self.tls.as_deref()? {
            Connection::Server(tls) => tls.server_name().map(str::to_owned),
            Connection::Client(_) => None,
        }
    }

    /// TLS is not agreed on yet.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    /// Why the connection could not be made, if that is so.
    pub(crate) fn error(&self) -> Option<io::Error> {
        match &self.stream {
            Stream::Tcp(stream) => match stream.take_error() {
                Ok(None) => {
                    stream.peer_addr().err().filter(|error| error.kind() != io::ErrorKind::NotConnected)
                }
                Ok(error) => error,
                Err(error) => Some(error),
            },
            Stream::Unix(stream) => stream.take_error().ok().flatten(),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => stream.peer_addr().is_ok(),
            Stream::Unix(_) => true,
        }
    }

    /// What the kernel has not sent yet shall never be sent.
    pub(crate) fn drop_unsent(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Tells the peer that nothing was cut off. TLS alone needs to be told. False: that, and maybe more, is not written yet.
    pub(crate) fn say_goodbye(&mut self) -> bool {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush().unwrap_or(true)
    }

    /// A read that does not fill the buffer leaves nothing to read: the next byte is an event.
    pub(crate) fn tells_when_empty(&self) -> bool {
        self.tls.is_none() && !self.closed
    }

    /// Reads the header, and no byte behind it. `None`: the rest has not come yet.
    pub(crate) fn read_header(&mut self) -> Result<Option<Claim>, NoHeader> {
        let mut some = [0; 256];
        loop {
            let Some(header) = &mut self.header else {
                return Ok(None);
            };
            let wants = header.wants().min(some.len());
            match self.stream.read(&mut some[..wants]) {
                Ok(0) if header.is_empty() => return Err(NoHeader::Empty),
                Ok(0) => return Err(NoHeader::Cut),
                Ok(read) => {
                    if let Some(claim) = header.take(&some[..read])? {
                        self.header = None;
                        return Ok(Some(claim));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads; zero is the end.
    #[inline]
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.stream.read(buffer);
        };
        loop {
            match tls.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // A peer that closes without saying so has said everything that it will.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                other => return other,
            }
            let read = tls.read_tls(&mut self.stream)?;
            let processed = tls.process_new_packets();
            // What the handshake has to say goes out even when it is why it failed.
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(1..) => {}
                    // It goes out later; what was read must not wait for that.
                    Ok(0) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            if read == 0 {
                return Ok(0);
            }
        }
    }

    /// Writes some of it.
    #[inline]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.stream.write(bytes);
        };
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        let written = tls.writer().write(bytes)?;
        while tls.wants_write() {
            match tls.write_tls(&mut self.stream) {
                Ok(_) => {}
                // It stays in the session's own bounded buffer.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if written == 0 && !bytes.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }

    /// Sends what TLS still holds back. True: there is nothing left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut self.stream) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(true)
    }
}

/// What is written goes at once, and a peer that is gone is noticed. Connections have these options from the socket that they
/// are accepted at, which spares six system calls for each.
pub(crate) fn watch_peers(socket: &SockRef<'_>, timeout: Duration) {
    // Without these it still works, later told of a dead peer.
    let _ = socket.set_tcp_nodelay(true);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_EVERY).with_retries(3);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_user_timeout(Some(timeout));
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig, StreamOwned};
    use std::sync::Arc;
    use std::time::Instant;

    const LIMIT: Duration = Duration::from_secs(10);

    pub(in crate::plane) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look() {
                return found;
            }
            assert!(start.elapsed() < LIMIT, "{what}");
            std::thread::yield_now();
        }
    }

    /// A socket, and the other end of it, over TLS.
    pub(in crate::plane) fn pair() -> (Socket, StreamOwned<ClientConnection, std::net::TcpStream>) {
        let made = rcgen::generate_simple_self_signed(vec!["shop".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = listener.accept().unwrap().0;
        SockRef::from(&far).set_recv_buffer_size(4096).unwrap();
        SockRef::from(&near).set_send_buffer_size(4096).unwrap();
        near.set_nonblocking(true).unwrap();
        let client = ClientConnection::new(Arc::new(client), ServerName::try_from("shop").unwrap()).unwrap();
        let socket = Socket::tcp(TcpStream::from_std(near))
            .with_server_tls(ServerConnection::new(Arc::new(server)).unwrap());
        (socket, StreamOwned::new(client, far))
    }

    pub(in crate::plane) fn notices_a_dead_peer(socket: &Socket, timeout: Duration) {
        let Stream::Tcp(stream) = &socket.stream else { panic!("it is TCP") };
        let options = SockRef::from(stream);
        assert!(options.tcp_nodelay().unwrap());
        assert!(options.keepalive().unwrap());
        assert_eq!(options.tcp_keepalive_time().unwrap(), KEEPALIVE);
        assert_eq!(options.tcp_keepalive_interval().unwrap(), KEEPALIVE_EVERY);
        assert_eq!(options.tcp_user_timeout().unwrap(), Some(timeout));
    }

    #[test]
    fn a_peer_that_is_gone_without_a_word_is_noticed() {
        notices_a_dead_peer(&pair().0, SERVER_TIMEOUT);
    }

    #[test]
    fn a_peer_that_does_not_read_is_still_heard() {
        let (mut socket, mut far) = pair();
        let mut buffer = [0; 1024];
        let speaker = std::thread::spawn(move || {
            far.write_all(b"first").unwrap();
            far
        });
        until("the first word", || socket.read(&mut buffer).ok());
        let mut far = speaker.join().unwrap();
        far.write_all(b"second").unwrap();
        until("the second word", || match &socket.stream {
            Stream::Tcp(near) => near.peek(&mut [0]).ok(),
            Stream::Unix(_) => None,
        });
        // Neither the kernel nor TLS takes any more.
        until("a full connection", || {
            let _ = socket.write(&[b'x'; 16 * 1024]);
            (!socket.flush().unwrap()).then_some(())
        });
        // Nobody says again that it has come.
        let read = socket.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..read], b"second");
    }
}
