//! A controller on another machine: TLS, both sides with a certificate.

use crate::failure::{FAILED, Failure};
use backstay_model::Address;
use backstay_server::tls::{Files, dialling_host, explain};
use rustls_pki_types::ServerName;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What of this side is shown, and who is believed on the other.
#[derive(Clone)]
pub(crate) struct Remote {
    address: Address,
    connector: TlsConnector,
}

impl Remote {
    /// Reads the files: `key` stands beside the certificate, and `authority.pem` in its folder, if they are not named.
    pub(crate) fn all(
        addresses: &[Address],
        certificate: &Path,
        key: Option<&Path>,
        authority: Option<&Path>,
    ) -> Result<Vec<Self>, Failure> {
        let key = key.map_or_else(|| certificate.with_extension("key"), PathBuf::from);
        let authority = authority.map_or_else(|| certificate.with_file_name("authority.pem"), PathBuf::from);
        let files = Files { authority, own: Some((certificate.to_owned(), key)) };
        let settings = files.read().and_then(|material| dialling_host(&material));
        let settings = settings.map_err(|error| Failure::whole(FAILED, error.to_string()))?;
        let connector = TlsConnector::from(settings);
        Ok(addresses
            .iter()
            .map(|address| Self { address: address.clone(), connector: connector.clone() })
            .collect())
    }

    /// Shakes hands.
    pub(crate) async fn connect(&self) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.address.host.to_string()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((&*self.address.host, self.address.port)).await?;
        stream.set_nodelay(true)?;
        self.connector.connect(name, stream).await.map_err(|error| io::Error::other(explain(&error)))
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.address)
    }
}
