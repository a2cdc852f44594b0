//! A connection to a controller once each end knows who the other is, encrypted or, on loopback alone, plain.

use super::Mesh;
use super::hello::Caller;
use crate::tls::{HandshakeError, Identity, Kind};
use backstay_model::NodeName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Both directions of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, whatever is below it.
pub(super) type Stream = Box<dyn Duplex>;

/// The accepting end, and what the caller's certificate says; `None`: nothing is proven here.
pub(super) async fn accept(
    mesh: &Mesh,
    stream: TcpStream,
) -> Result<(Stream, Option<Identity>), HandshakeError> {
    let Some(keyring) = &mesh.keyring else {
        return Ok((Box::new(stream), None));
    };
    let (stream, identity) = keyring.accept(stream, Kind::Node).await?;
    Ok((Box::new(stream), Some(identity)))
}

/// Whether a certificate proves that somebody is who they say. The gateway inside a controller bears its name and shows
/// its certificate.
pub(super) fn proves(identity: &Identity, caller: &Caller) -> bool {
    match identity {
        Identity::Node { name, .. } => name.as_str() == caller.name(),
        Identity::Gateway { name, .. } => matches!(caller, Caller::Gateway(caller) if caller == name),
        Identity::Agent { name, .. } => matches!(caller, Caller::Agent(caller) if caller == name),
        Identity::Client { .. } => false,
    }
}

/// The calling end: nobody but `peer` is accepted.
pub(super) async fn dial(mesh: &Mesh, stream: TcpStream, peer: &NodeName) -> Result<Stream, HandshakeError> {
    let Some(keyring) = &mesh.keyring else {
        return Ok(Box::new(stream));
    };
    let wanted = Identity::Node { cluster: mesh.cluster.clone(), name: peer.clone() };
    Ok(Box::new(keyring.dial(stream, &wanted).await?))
}
