//! One connection to a server, a question at a time: every call has a deadline, every error is a sentence.

use crate::link::Disagreement;
use crate::secret::Login;
use backstay_model::Address;
use backstay_wire::redis::encode_auth;
use backstay_wire::resp::{Decoder, Limits, Value, encode_request};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long a connection, a login or a reply may take.
const PATIENCE: Duration = Duration::from_secs(5);
const READ_BYTES: usize = 16 * 1024;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection on which the login was accepted.
pub(crate) struct Server {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    /// This end and the other one.
    pub(crate) ends: (SocketAddr, SocketAddr),
}

/// Why a server did not do what it was asked. The sentence goes behind its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ServerError {
    /// Nobody there, or nobody who speaks Redis.
    Unreachable(String),
    /// It answers, and there is no TLS with it.
    NoTls(String),
    /// The login or the user's rights do not suffice.
    Denied(String),
    /// An error reply, or a reply that makes no sense.
    Refused(String),
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(text) | Self::NoTls(text) | Self::Denied(text) | Self::Refused(text) => {
                f.write_str(text)
            }
        }
    }
}

impl Server {
    pub(crate) async fn connect(address: &Address, login: &Login) -> Result<Self, ServerError> {
        Self::connect_among(address, &[], login).await
    }

    /// As `connect`, to one of these addresses of the host; none: its name is looked up.
    pub(crate) async fn connect_among(
        address: &Address,
        ips: &[IpAddr],
        login: &Login,
    ) -> Result<Self, ServerError> {
        let late = |_| ServerError::Unreachable(format!("did not accept a connection for {PATIENCE:?}"));
        let connecting = async {
            if ips.is_empty() {
                return TcpStream::connect((&*address.host, address.port)).await;
            }
            let known: Vec<_> = ips.iter().map(|ip| SocketAddr::new(*ip, address.port)).collect();
            TcpStream::connect(&known[..]).await
        };
        let unreachable = |error: io::Error| ServerError::Unreachable(format!("cannot be reached: {error}"));
        let stream = timeout(PATIENCE, connecting).await.map_err(late)?.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let ends = (stream.local_addr().map_err(unreachable)?, stream.peer_addr().map_err(unreachable)?);
        let stream: Box<dyn Stream> = match login.tls().cloned() {
            None => Box::new(stream),
            Some(mut tls) => {
                let shaken = timeout(PATIENCE, tls.shake_hands(&address.host, stream)).await;
                let shaken =
                    shaken.map_err(|_| ServerError::Unreachable("does not answer in TLS".to_owned()))?;
                let denied = |it: Disagreement| ServerError::NoTls(format!("{}: {}", it.fault, it.reason));
                Box::new(shaken.map_err(unreachable)?.map_err(denied)?)
            }
        };
        let mut server = Self { stream, decoder: Decoder::new(Limits::default()), ends };
        if let Some(password) = login.password() {
            let mut request = Vec::new();
            encode_auth(&mut request, login.username(), password.reveal());
            if let Value::Error(text) = server.exchange(&request).await? {
                return Err(ServerError::Denied(format!("refuses the login of {}: {text}", whose(login))));
            }
        }
        server.ask(&["PING"]).await?;
        Ok(server)
    }

    /// The reply to one request. An error reply is an error here.
    pub(crate) async fn ask(&mut self, request: &[&str]) -> Result<Value, ServerError> {
        let mut bytes = Vec::new();
        encode_request(&mut bytes, request);
        let value = self.exchange(&bytes).await?;
        let Value::Error(text) = value else {
            return Ok(value);
        };
        // Later words may be secrets or long.
        let asked = request.iter().take(2).copied().collect::<Vec<_>>().join(" ");
        Err(match text.split(' ').next() {
            Some("NOPERM") => ServerError::Denied(format!("denies {asked}: {text}")),
            Some("NOAUTH") => ServerError::Denied("demands a login".to_owned()),
            _ => ServerError::Refused(format!("answers {asked} with an error: {text}")),
        })
    }

    /// The same for a reply that is a text.
    pub(crate) async fn text(&mut self, request: &[&str]) -> Result<String, ServerError> {
        let value = self.ask(request).await?;
        let text = value.as_bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        text.ok_or_else(|| {
            ServerError::Refused(format!("answers {} with something that is no text", request[0]))
        })
    }

    /// A setting's value; `None`: this server does not have it.
    pub(crate) async fn setting(&mut self, name: &str) -> Result<Option<String>, ServerError> {
        match self.ask(&["CONFIG", "GET", name]).await? {
            Value::Array(items) => Ok(items.get(1).and_then(Value::as_text).map(str::to_owned)),
            _ => Err(ServerError::Refused("answers CONFIG GET with something that is no list".to_owned())),
        }
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<Value, ServerError> {
        match timeout(PATIENCE, self.exchange_patiently(request)).await {
            Ok(Ok(value)) => Ok(value),
            // What a server thinks of our certificate it says after the handshake.
            Ok(Err(error))
                if error.get_ref().is_some_and(|inner| inner.downcast_ref::<rustls::Error>().is_some()) =>
            {
                Err(ServerError::NoTls(format!("fails the TLS handshake: {error}")))
            }
            Ok(Err(error)) => Err(ServerError::Unreachable(format!("ended the connection: {error}"))),
            Err(_) => Err(ServerError::Unreachable(format!("did not answer for {PATIENCE:?}"))),
        }
    }

    async fn exchange_patiently(&mut self, request: &[u8]) -> io::Result<Value> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let mut bytes = vec![0; READ_BYTES];
        loop {
            let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            if let Some(value) = self.decoder.next().map_err(invalid)? {
                return Ok(value);
            }
            match self.stream.read(&mut bytes).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.decoder.feed(&bytes[..count]).map_err(invalid)?,
            }
        }
    }
}

fn whose(login: &Login) -> String {
    login.username().map_or_else(|| "the default user".to_owned(), |name| format!("the user {name}"))
}
