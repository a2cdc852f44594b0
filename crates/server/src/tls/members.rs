//! Who may call: beside the authority's signature and the dates, which rustls checks, a certificate must be that of a
//! member of this cluster, and of the kind that the port is for. Checked within the handshake, so that whoever is
//! refused hears of it.

use super::certificate::Certificate;
use super::identity::Identity;
use backstay_model::ClusterName;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::sync::Arc;

/// It is a certificate of the authority, but of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its certificate is {found}, and {wanted} is needed: {next}")]
pub(crate) struct Stranger {
    pub(super) found: String,
    pub(super) wanted: String,
    pub(super) next: &'static str,
}

/// Whom a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Controllers, and gateways and agents that ask them.
    Node,
    /// Operators and their programs.
    Client,
}

/// Checks a caller's certificate.
#[derive(Debug)]
pub(super) struct Members {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) cluster: ClusterName,
    pub(super) kind: Kind,
}

/// Who shows this certificate, if a member of `cluster` does.
pub(super) fn member(
    shown: Option<&CertificateDer<'_>>,
    cluster: &ClusterName,
) -> Result<Identity, Stranger> {
    let wanted = format!("one of cluster {cluster}");
    match shown.and_then(Certificate::read).and_then(|certificate| certificate.identity) {
        Some(identity) if identity.cluster() == cluster => Ok(identity),
        Some(other) => Err(Stranger {
            found: other.to_string(),
            wanted,
            next: "correct the address in one of the files, or make a certificate for this cluster",
        }),
        None => Err(Stranger {
            found: "nobody's that Backstay knows".to_owned(),
            wanted,
            next: "make one with `backstay cert`",
        }),
    }
}

impl Members {
    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Stranger> {
        let identity = member(Some(shown), &self.cluster)?;
        match (self.kind, &identity) {
            (Kind::Node, Identity::Node { .. } | Identity::Gateway { .. } | Identity::Agent { .. })
            | (Kind::Client, Identity::Client { .. }) => Ok(()),
            (Kind::Node, client) => Err(Stranger {
                found: client.to_string(),
                wanted: "a controller's".to_owned(),
                next: "clients talk to the admin address",
            }),
            (Kind::Client, node) => Err(Stranger {
                found: node.to_string(),
                wanted: "a client's".to_owned(),
                next: "make one with `backstay cert client`",
            }),
        }
    }
}

impl ClientCertVerifier for Members {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        match self.check(end_entity) {
            Ok(()) => Ok(verified),
            Err(stranger) => {
                Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(stranger)))))
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
