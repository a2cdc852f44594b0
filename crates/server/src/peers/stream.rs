//! A connection between two controllers once each knows who the other is, encrypted or, on loopback alone, plain.

use super::Mesh;
use crate::tls::{HandshakeError, Identity, Kind};
use backstay_model::NodeName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Both directions of a connection.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection, whatever is below it.
pub(super) type Stream = Box<dyn Duplex>;

/// The accepting end: who called is what the certificate says; `None`: nothing is proven here.
pub(super) async fn accept(
    mesh: &Mesh,
    stream: TcpStream,
) -> Result<(Stream, Option<NodeName>), HandshakeError> {
    let Some(keyring) = &mesh.keyring else {
        return Ok((Box::new(stream), None));
    };
    match keyring.accept(stream, Kind::Node).await? {
        (stream, Identity::Node { name, .. }) => Ok((Box::new(stream), Some(name))),
        // The keyring lets in no others.
        (_, Identity::Client { .. }) => Err(HandshakeError::Tls("it is no controller".to_owned())),
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
