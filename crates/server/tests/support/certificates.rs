//! Certificates in a folder, good and bad ones, and a client that shows one.

use backstay_model::UnixMicros;
use backstay_server::tls::issue::{self, Dates, Issued};
use backstay_server::tls::{Files, Identity, Right, dialling_host};
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// An authority and the folder for what it makes.
pub(crate) struct Certificates {
    pub(crate) folder: PathBuf,
    cluster: String,
    pub(crate) authority: Issued,
}

impl Certificates {
    pub(crate) fn new(folder: &Path, cluster: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let authority = issue::authority(cluster, Dates::from_now(3650)).unwrap();
        fs::write(folder.join("authority.pem"), &authority.certificate).unwrap();
        Self { folder: folder.to_owned(), cluster: cluster.to_owned(), authority }
    }

    /// The file's `[tls]`.
    pub(crate) fn section(&self) -> String {
        let folder = self.folder.display();
        format!(
            "[tls]\nauthority = \"{folder}/authority.pem\"\ncertificate = \"{folder}/{{node}}.pem\"\n\
             key = \"{folder}/{{node}}.key\"\n"
        )
    }

    /// A controller's certificate.
    pub(crate) fn node(&self, name: &str, days: u32) {
        self.put(name, &self.issue(&self.node_identity(name), Dates::from_now(days)));
    }

    /// A client's; its certificate file.
    pub(crate) fn client(&self, name: &str, right: Right) -> PathBuf {
        let cluster = self.cluster.as_str().into();
        let identity = Identity::Client { cluster, name: name.to_owned(), right };
        self.put(name, &self.issue(&identity, Dates::from_now(365)))
    }

    pub(crate) fn node_identity(&self, name: &str) -> Identity {
        Identity::Node { cluster: self.cluster.as_str().into(), name: name.into() }
    }

    pub(crate) fn issue(&self, identity: &Identity, dates: Dates) -> Issued {
        issue::certificate(&self.authority, identity, &["127.0.0.1".to_owned()], dates).unwrap()
    }

    /// Puts a certificate in place of what is there under this name.
    pub(crate) fn put(&self, name: &str, issued: &Issued) -> PathBuf {
        let certificate = self.folder.join(format!("{name}.pem"));
        fs::write(certificate.with_extension("key"), &issued.key).unwrap();
        fs::write(&certificate, &issued.certificate).unwrap();
        certificate
    }
}

/// Dates that many days from now; negative: ago.
pub(crate) fn dates(from_days: i64, to_days: i64) -> Dates {
    let now = UnixMicros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64);
    let moment = |days: i64| {
        let distance = DAY * days.unsigned_abs() as u32;
        if days < 0 { UnixMicros(now.0 - distance.as_micros() as u64) } else { now + distance }
    };
    Dates { not_before: moment(from_days), not_after: moment(to_days) }
}

/// A client that shows `certificate`, connected to `port`. With TLS 1.3 it is not yet known whether it is welcome.
pub(crate) async fn connect(port: u16, certificate: &Path) -> io::Result<TlsStream<TcpStream>> {
    let files = Files {
        authority: certificate.with_file_name("authority.pem"),
        own: Some((certificate.to_owned(), certificate.with_extension("key"))),
    };
    let connector = TlsConnector::from(dialling_host(&files.read_unchecked().unwrap()).unwrap());
    let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let stream = TcpStream::connect((host, port)).await?;
    connector.connect(ServerName::from(host), stream).await
}

/// The status code and the body of a request over TLS.
pub(crate) async fn request(
    port: u16,
    certificate: &Path,
    method: &str,
    path: &str,
    body: &Value,
) -> io::Result<(u16, Value)> {
    let mut stream = connect(port, certificate).await?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!("{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    Ok((code, serde_json::from_str(body).unwrap_or(Value::Null)))
}
