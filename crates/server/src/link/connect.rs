//! Making a connection to an instance: the name resolved anew each time, the last known addresses as a fallback, and
//! everything within one deadline. At most one look-up per link is on its way, however long a name server hangs.

use super::socket::{Channel, Opened};
use super::tls::{TlsDialler, answers_in_the_clear};
use backstay_controller::link::ConnectFailure;
use backstay_model::{Address, Fault};
use backstay_wire::mariadb::{Upgrade, upgrade};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// How long to wait for a name server while older addresses are known. Reconnecting is where failovers begin.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(50);
/// How many names are looked up at a time: each occupies a thread for as long as the name server likes.
static LOOKUPS: Semaphore = Semaphore::const_new(64);
/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// After which silence the kernel asks an idle connection's host whether it still knows it.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);

/// How to reach one instance.
#[derive(Debug)]
pub(super) struct Connector {
    address: Address,
    /// Until a connection must be open.
    patience: Duration,
    /// After which time without any acknowledgement from the host's kernel a connection is given up. A process that
    /// merely stands still keeps its connection.
    give_up: Duration,
    tls: Option<TlsDialler>,
    /// The server speaks first, and is asked for TLS in its own protocol.
    greets: bool,
    /// TLS was seen to work: who is silent now is silent.
    tls_worked: bool,
    /// What was said last about TLS, so that it is said once.
    disagreement: Option<String>,
    known: Vec<SocketAddr>,
    lookup: Option<JoinHandle<io::Result<Vec<SocketAddr>>>>,
}

impl Connector {
    pub(super) fn new(
        address: Address,
        patience: Duration,
        give_up: Duration,
        tls: Option<TlsDialler>,
        greets: bool,
    ) -> Self {
        Self {
            address,
            patience,
            give_up,
            tls,
            greets,
            tls_worked: false,
            disagreement: None,
            known: Vec::new(),
            lookup: None,
        }
    }

    /// One connection, with all its options set before the first byte, and with TLS if there is to be TLS.
    pub(super) async fn connect(&mut self) -> Result<Opened, ConnectFailure> {
        let deadline = Instant::now() + self.patience;
        let mut stream = self.connect_tcp(deadline).await?;
        if self.tls.is_none() {
            return Ok(Opened { channel: Channel::Plain(stream), early: Vec::new() });
        }
        let mut early = Vec::new();
        if self.greets {
            match timeout_at(deadline, ask_for_tls(&mut stream, &mut early)).await {
                Ok(Ok(Greeted::Agreed)) => {}
                // It lets nobody in, and says why.
                Ok(Ok(Greeted::Spoke)) => return Ok(Opened { channel: Channel::Plain(stream), early }),
                Ok(Ok(Greeted::Disagreed(fault, reason))) => {
                    return Err(self.disagree(fault, reason.to_owned()));
                }
                Ok(Err(_)) | Err(_) => return Err(ConnectFailure::Unreachable),
            }
        }
        let Some(tls) = self.tls.as_mut() else {
            return Err(ConnectFailure::Unreachable);
        };
        let peer = stream.peer_addr();
        let shaken = timeout_at(deadline, tls.shake_hands(&self.address.host, stream)).await;
        match shaken {
            Ok(Ok(Ok(stream))) => {
                (self.tls_worked, self.disagreement) = (true, None);
                Ok(Opened { channel: Channel::Tls(Box::new(stream)), early })
            }
            Ok(Ok(Err(disagreement))) => Err(self.disagree(disagreement.fault, disagreement.reason)),
            Ok(Err(error)) => {
                tracing::debug!(address = %self.address, %error, "the connection ended during the handshake");
                Err(ConnectFailure::Unreachable)
            }
            Err(_) => {
                // A process that hangs says nothing either, but it does not answer in the clear.
                if let (false, false, Ok(peer)) = (self.greets, self.tls_worked, peer)
                    && let Ok(Ok(stream)) = timeout(self.patience, self.open(peer)).await
                    && answers_in_the_clear(stream).await
                {
                    return Err(self.disagree(Fault::TlsFailed, "it speaks in the clear".to_owned()));
                }
                Err(ConnectFailure::Unreachable)
            }
        }
    }

    fn disagree(&mut self, fault: Fault, reason: String) -> ConnectFailure {
        if self.disagreement.as_ref() != Some(&reason) {
            tracing::warn!("no TLS with {}: {reason}. It {fault}", self.address);
            self.disagreement = Some(reason);
        }
        ConnectFailure::NoTls(fault)
    }

    async fn connect_tcp(&mut self, deadline: Instant) -> Result<TcpStream, ConnectFailure> {
        let addresses = self.resolve(deadline).await?;
        let mut failure = ConnectFailure::Unreachable;
        let mut any_unreachable = false;
        for address in addresses {
            match timeout_at(deadline, self.open(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    failure = ConnectFailure::Refused;
                }
                Ok(Err(error)) => {
                    any_unreachable = true;
                    tracing::debug!(%address, %error, "no connection");
                }
                Err(_) => any_unreachable = true,
            }
        }
        // Only an instance that every address refuses is known not to run.
        Err(if any_unreachable { ConnectFailure::Unreachable } else { failure })
    }

    async fn resolve(&mut self, deadline: Instant) -> Result<Vec<SocketAddr>, ConnectFailure> {
        if let Ok(ip) = self.address.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, self.address.port)]);
        }
        let lookup = self.lookup.get_or_insert_with(|| {
            let name = (self.address.host.to_string(), self.address.port);
            tokio::spawn(async move {
                let _place = LOOKUPS.acquire().await.map_err(io::Error::other)?;
                Ok(lookup_host(name).await?.take(ADDRESSES_MAX).collect())
            })
        });
        let remaining = deadline.saturating_duration_since(Instant::now());
        let patience = if self.known.is_empty() { remaining } else { LOOKUP_PATIENCE.min(remaining) };
        match timeout(patience, lookup).await {
            // Still on its way: what it finds serves the next connection.
            Err(_) => {}
            Ok(found) => {
                self.lookup = None;
                match found {
                    Ok(Ok(found)) if !found.is_empty() => self.known = found,
                    Ok(Err(error)) => {
                        tracing::debug!(address = %self.address, %error, "the name does not resolve");
                    }
                    _ => {}
                }
            }
        }
        if self.known.is_empty() {
            return Err(ConnectFailure::NameUnresolved);
        }
        Ok(self.known.clone())
    }

    async fn open(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_nodelay(true)?;
        notice_dead_hosts(&SockRef::from(&socket), self.give_up)?;
        socket.connect(address).await
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        if let Some(lookup) = &self.lookup {
            lookup.abort();
        }
    }
}

/// What came of asking a server that speaks first for TLS.
enum Greeted {
    /// The handshake may begin.
    Agreed,
    /// It said something else, which is to be heard.
    Spoke,
    Disagreed(Fault, &'static str),
}

/// Reads the greeting into `early` and asks for TLS. Nothing secret is said.
async fn ask_for_tls(stream: &mut TcpStream, early: &mut Vec<u8>) -> io::Result<Greeted> {
    loop {
        match upgrade(early) {
            Ok(Upgrade::Wait) => {}
            Ok(Upgrade::Spoke) => return Ok(Greeted::Spoke),
            Ok(Upgrade::Unable) => return Ok(Greeted::Disagreed(Fault::TlsFailed, "it offers no TLS")),
            Ok(Upgrade::Send(request)) => {
                stream.write_all(&request).await?;
                return Ok(Greeted::Agreed);
            }
            Err(_) => return Ok(Greeted::Disagreed(Fault::NotTheEngine, "it is no MariaDB")),
        }
        if stream.read_buf(early).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Lets the kernel end a connection whose other host is gone: after `give_up` with unacknowledged data, or when idle
/// after a few unanswered questions.
pub(crate) fn notice_dead_hosts(socket: &SockRef<'_>, give_up: Duration) -> io::Result<()> {
    let keepalive =
        TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(3);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(give_up))
}
