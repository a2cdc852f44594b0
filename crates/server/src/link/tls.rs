//! TLS towards instances. Certificates are read again for every connection, so that renewed ones need no restart.

use crate::tls::{Files, TlsError, dialling_host};
use backstay_config::ServiceTls;
use backstay_model::Fault;
use rustls::client::ClientConnection;
use rustls::{CertificateError, ClientConfig, Error};
use rustls_pki_types::ServerName;
use std::fmt;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a server that does not answer a handshake may take to answer in the clear.
const CLEAR_PATIENCE: Duration = Duration::from_millis(200);

/// How to talk TLS to the instances of a service.
#[derive(Clone)]
pub(crate) struct TlsDialler {
    files: Files,
    server_name: Option<String>,
    config: Arc<ClientConfig>,
}

/// Why there is no TLS with a server that answers.
#[derive(Debug)]
pub(crate) struct Disagreement {
    /// What it amounts to.
    pub(crate) fault: Fault,
    /// In words, for the log.
    pub(crate) reason: String,
}

impl fmt::Debug for TlsDialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsDialler").field("files", &self.files).finish_non_exhaustive()
    }
}

impl TlsDialler {
    /// Reads the certificates for the first time.
    pub(crate) fn new(tls: &ServiceTls) -> Result<Self, TlsError> {
        let own = tls.client.as_ref().map(|client| (client.certificate.clone(), client.key.clone()));
        let files = Files { authority: tls.ca.clone(), own };
        // A date that has passed is told as what it does: connections fail, and the problem names it.
        let config = dialling_host(&files.read_unchecked()?)?;
        Ok(Self { files, server_name: tls.server_name.clone(), config })
    }

    /// The settings as they are now, and the name that certificates must bear, if it is not the host's.
    pub(crate) fn parts(&self) -> (Arc<ClientConfig>, Option<String>) {
        (Arc::clone(&self.config), self.server_name.clone())
    }

    /// Reads them again. What cannot be read now leaves the last ones in force.
    fn refresh(&mut self) {
        match self.files.read_unchecked().and_then(|material| dialling_host(&material)) {
            Ok(config) => self.config = config,
            Err(error) => tracing::warn!("{error}; the certificates read before stay in use"),
        }
    }

    /// Shakes hands on a new connection to `host`. An error of the network is none of TLS.
    pub(crate) async fn shake_hands(
        &mut self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<Result<TlsStream<TcpStream>, Disagreement>> {
        self.refresh();
        let name = self.server_name.as_deref().unwrap_or(host);
        let Ok(name) = ServerName::try_from(name.to_owned()) else {
            let reason = format!("no certificate can stand for '{name}': write server_name");
            return Ok(Err(Disagreement { fault: Fault::CertificateUntrusted, reason }));
        };
        match TlsConnector::from(Arc::clone(&self.config)).connect(name, stream).await {
            Ok(stream) => Ok(Ok(stream)),
            Err(error) => disagreement(error).map(Err),
        }
    }
}

/// What a failed handshake amounts to, unless the network failed.
fn disagreement(error: io::Error) -> io::Result<Disagreement> {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(tls) => Ok(Disagreement { fault: fault_of(tls), reason: tls.to_string() }),
        // It accepted the connection and did not want to hear of TLS.
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Ok(Disagreement { fault: Fault::TlsFailed, reason: "it closed the connection".to_owned() })
        }
        None => Err(error),
    }
}

/// What an error of TLS amounts to.
pub(super) fn fault_of(error: &Error) -> Fault {
    match error {
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Fault::CertificateOutdated,
        Error::InvalidCertificate(_) => Fault::CertificateUntrusted,
        _ => Fault::TlsFailed,
    }
}

/// Whether a server that says nothing to a handshake answers in the clear: Redis waits for more of what it takes for a
/// command. Nothing secret is said.
pub(super) async fn answers_in_the_clear(mut stream: TcpStream) -> bool {
    let ask = async {
        stream.write_all(b"PING\r\n").await?;
        stream.read_u8().await
    };
    matches!(timeout(CLEAR_PATIENCE, ask).await, Ok(Ok(b'+' | b'-')))
}

/// The encrypted half of a socket: plain bytes on one side, a TCP stream that never waits on the other.
#[derive(Debug)]
pub(super) struct Encrypted(Box<ClientConnection>);

impl Encrypted {
    pub(super) fn new(connection: ClientConnection) -> Self {
        Self(Box::new(connection))
    }

    /// Whether encrypted bytes wait to be sent.
    pub(super) fn wants_write(&self) -> bool {
        self.0.wants_write()
    }

    /// As `TcpStream::try_write`: takes what has room, and sends as much as goes.
    pub(super) fn try_write(&mut self, stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.0.writer().write(bytes)?;
        match self.send(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && taken > 0 => Ok(taken),
            sent => sent.map(|()| taken),
        }
    }

    /// Sends what waits.
    pub(super) fn send(&mut self, stream: &TcpStream) -> io::Result<()> {
        while self.0.wants_write() {
            if self.0.write_tls(&mut Immediate(stream))? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    /// As `TcpStream::try_read`: zero is the end, `WouldBlock` is nothing for now. An error of TLS is `InvalidData` and
    /// holds a `rustls::Error`.
    pub(super) fn try_read(&mut self, stream: &TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.reader().read(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if self.0.read_tls(&mut Immediate(stream))? == 0 {
                return Ok(0);
            }
            let processed = self.0.process_new_packets();
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }
}

/// A stream that does what it can at once.
struct Immediate<'a>(&'a TcpStream);

impl Read for Immediate<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(bytes)
    }
}

impl Write for Immediate<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
