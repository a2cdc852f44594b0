//! The certificates in use, which change when their files do. Connections that exist go on; the next handshake uses the
//! new ones. Files that are of no use change nothing, and that is told.

use super::certificate::Certificate;
use super::error::TlsError;
use super::explain::explain;
use super::identity::Identity;
use super::members::{Kind, Stranger, member};
use super::pem::{Files, Material};
use super::settings::{accepting, check_own, dialling_peer};
use super::standing::{Life, Standing};
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// How much is read of somebody who was refused, so that the refusal reaches them before the connection ends.
const FAREWELL_BYTES_MAX: u64 = 64 * 1024;

/// The certificates in use.
#[derive(Debug)]
pub(crate) struct Keyring {
    files: Files,
    me: Identity,
    current: watch::Sender<Arc<Current>>,
}

#[derive(Debug)]
struct Current {
    nodes: Arc<ServerConfig>,
    clients: Arc<ServerConfig>,
    dialling: Arc<ClientConfig>,
    standing: Standing,
}

/// Why a handshake failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HandshakeError {
    /// TLS itself.
    #[error("{0}")]
    Tls(String),
    /// It is a certificate of the authority, but of somebody else.
    #[error(transparent)]
    Stranger(#[from] Stranger),
}

impl Keyring {
    /// Reads the certificates of `me` for the first time.
    pub(crate) fn open(files: Files, me: Identity) -> Result<Self, TlsError> {
        let current = Current::of(&files.read_unchecked()?, &me)?;
        Ok(Self { files, me, current: watch::Sender::new(Arc::new(current)) })
    }

    /// With certificates that are not `me`'s, or not in force.
    #[cfg(test)]
    pub(crate) fn open_unchecked(files: &Files, me: Identity) -> Result<Self, TlsError> {
        let current = Current::unchecked(&files.read_unchecked()?, &me)?;
        Ok(Self { files: files.clone(), me, current: watch::Sender::new(Arc::new(current)) })
    }

    /// How they stand.
    pub(crate) fn standing(&self) -> Standing {
        self.current.borrow().standing.clone()
    }

    /// What the files hold now; what is of no use is part of that.
    pub(super) async fn look(&self) -> Result<Material, TlsError> {
        let files = self.files.clone();
        let read = tokio::task::spawn_blocking(move || files.read_unchecked()).await;
        read.unwrap_or_else(|error| Err(TlsError::unreadable(&self.files.authority, error.to_string())))
    }

    /// Takes what the files hold now. What is of no use leaves the last in use, and is remembered as trouble.
    pub(super) fn take(&self, found: Result<Material, TlsError>) -> Result<(), TlsError> {
        match found.and_then(|material| Current::of(&material, &self.me)) {
            Ok(current) => {
                self.current.send_replace(Arc::new(current));
                Ok(())
            }
            Err(error) => {
                self.current.send_modify(|current| {
                    let mut standing = current.standing.clone();
                    standing.trouble = Some(error.to_string());
                    *current = Arc::new(Current { standing, ..current.same() });
                });
                Err(error)
            }
        }
    }

    /// The accepting end's handshake, and who called: one of this kind.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        kind: Kind,
    ) -> Result<(TlsStream<TcpStream>, Identity), HandshakeError> {
        let acceptor = TlsAcceptor::from(self.current.borrow().accepting(kind));
        match acceptor.accept(stream).into_fallible().await {
            Ok(stream) => {
                let identity = self.shown(stream.get_ref().1.peer_certificates())?;
                Ok((TlsStream::Server(stream), identity))
            }
            Err((error, mut stream)) => {
                let why = HandshakeError::Tls(explain(&error));
                // Closed with unread bytes, the connection would be reset, and the alert lost on the way.
                if stream.shutdown().await.is_ok() {
                    let mut rest = Vec::new();
                    let _ = stream.take(FAREWELL_BYTES_MAX).read_to_end(&mut rest).await;
                }
                Err(why)
            }
        }
    }

    /// The calling end's handshake with the one whose identity is `wanted`. What the other end thinks of this side's
    /// certificate comes out of the first read.
    pub(crate) async fn dial(
        &self,
        stream: TcpStream,
        wanted: &Identity,
    ) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let connector = TlsConnector::from(Arc::clone(&self.current.borrow().dialling));
        // No name is sent for an address, and none is checked: the identity is, below.
        let nobody = ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let stream = connector.connect(nobody, stream).await;
        let stream = stream.map_err(|error| HandshakeError::Tls(explain(&error)))?;
        let found = self.shown(stream.get_ref().1.peer_certificates())?;
        if found != *wanted {
            return Err(Stranger {
                found: found.to_string(),
                wanted: wanted.to_string(),
                next: "correct the addresses in the file, or give that controller its own certificate",
            }
            .into());
        }
        Ok(TlsStream::Client(stream))
    }

    fn shown(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Identity, Stranger> {
        member(chain.and_then(<[_]>::first), self.me.cluster())
    }
}

impl Current {
    fn of(material: &Material, me: &Identity) -> Result<Self, TlsError> {
        material.check_dates()?;
        check_own(material, me)?;
        Self::unchecked(material, me)
    }

    fn unchecked(material: &Material, me: &Identity) -> Result<Self, TlsError> {
        let life = |certificate: Option<Certificate>| {
            let certificate = certificate.ok_or_else(|| TlsError::empty(material.path()))?;
            Ok(Life { not_before: certificate.not_before, not_after: certificate.not_after })
        };
        Ok(Self {
            nodes: accepting(material, me.cluster(), Kind::Node)?,
            clients: accepting(material, me.cluster(), Kind::Client)?,
            dialling: dialling_peer(material)?,
            standing: Standing {
                own: life(material.certificate())?,
                authority: life(material.authority())?,
                trouble: None,
            },
        })
    }

    fn accepting(&self, kind: Kind) -> Arc<ServerConfig> {
        Arc::clone(match kind {
            Kind::Node => &self.nodes,
            Kind::Client => &self.clients,
        })
    }

    fn same(&self) -> Self {
        Self {
            nodes: Arc::clone(&self.nodes),
            clients: Arc::clone(&self.clients),
            dialling: Arc::clone(&self.dialling),
            standing: self.standing.clone(),
        }
    }
}
