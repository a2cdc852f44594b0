//! What the files hold as rustls' settings, for each end and purpose.

use super::error::TlsError;
use super::identity::Identity;
use super::members::{Kind, Members};
use super::pem::{Material, Own};
use backstay_model::ClusterName;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::sync::Arc;

/// For whoever is called: TLS 1.3, and everybody shows the certificate of a member of `cluster`, of this kind.
pub fn accepting(
    material: &Material,
    cluster: &ClusterName,
    kind: Kind,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(material)?, Arc::clone(&provider));
    let inner = verifier.build().map_err(|error| useless_authority(material, &error.to_string()))?;
    let verifier = Arc::new(Members { inner, cluster: cluster.clone(), kind });
    let own = own(material)?;
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(|error| useless_own(material, &error))?;
    let builder = builder.with_client_cert_verifier(verifier);
    let config = builder.with_single_cert(own.chain.clone(), key(own));
    let mut config = config.map_err(|error| useless_own(material, &error))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// For whoever is called by clients that show no certificate: TLS 1.2 or 1.3.
pub fn accepting_anyone(material: &Material) -> Result<Arc<ServerConfig>, TlsError> {
    let own = own(material)?;
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| useless_own(material, &error))?.with_no_client_auth();
    let config = builder.with_single_cert(own.chain.clone(), key(own));
    config.map(Arc::new).map_err(|error| useless_own(material, &error))
}

/// For a controller that calls another: TLS 1.3, and the certificate must be the authority's. Who it is, is for the
/// caller to look at, in the certificate's `identity`; its host names do not count.
pub fn dialling_peer(material: &Material) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let verifier = AnyName { roots: roots(material)?, provider: Arc::clone(&provider) };
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(|error| useless_own(material, &error))?;
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let own = own(material)?;
    let config = builder.with_client_auth_cert(own.chain.clone(), key(own));
    let mut config = config.map_err(|error| useless_own(material, &error))?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// For whoever calls a host by its name or address: TLS 1.2 or 1.3, the certificate must be the authority's and stand
/// for that host. Shows this side's own certificate, if there is one.
pub fn dialling_host(material: &Material) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(material)?, Arc::clone(&provider));
    let verifier = verifier.build().map_err(|error| useless_authority(material, &error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| useless_own(material, &error))?;
    let builder = builder.with_webpki_verifier(verifier);
    let mut config = match &material.own {
        Some(own) => {
            let config = builder.with_client_auth_cert(own.chain.clone(), key(own));
            config.map_err(|error| useless_own(material, &error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// That this side's own certificate was made by the authority beside it and is `me`'s.
pub(super) fn check_own(material: &Material, me: &Identity) -> Result<(), TlsError> {
    let own = own(material)?;
    let path = material.files.own.as_ref().map(|(certificate, _)| certificate.clone()).unwrap_or_default();
    let authority = || material.files.authority.clone();
    let other_authority = || TlsError::OtherAuthority { certificate: path.clone(), authority: authority() };
    let verifier = AnyName { roots: roots(material)?, provider: provider() };
    let (first, rest) = own.chain.split_first().ok_or_else(other_authority)?;
    let checked = match me {
        Identity::Node { .. } | Identity::Agent { .. } => verifier.check(first, rest, UnixTime::now()),
        // Nobody calls them, and their certificates are not good for that.
        Identity::Gateway { .. } | Identity::Client { .. } => {
            let callers = WebPkiClientVerifier::builder_with_provider(roots(material)?, provider()).build();
            let callers = callers.map_err(|error| useless_authority(material, &error.to_string()))?;
            callers.verify_client_cert(first, rest, UnixTime::now()).map(drop)
        }
    };
    match checked {
        Ok(()) => {}
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            return Err(other_authority());
        }
        Err(error) => return Err(useless_own(material, &error)),
    }
    match material.certificate().and_then(|certificate| certificate.identity) {
        Some(identity) if identity == *me => Ok(()),
        found => Err(TlsError::OtherIdentity {
            path,
            found: found.map_or_else(|| "nobody's that Backstay knows".to_owned(), |found| found.to_string()),
            wanted: me.to_string(),
            next: "Name that one in [tls], or make it with `backstay cert node`",
        }),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(material: &Material) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in &material.authorities {
        let added = roots.add(authority.clone());
        added.map_err(|error| useless_authority(material, &error.to_string()))?;
    }
    Ok(Arc::new(roots))
}

fn own(material: &Material) -> Result<&Own, TlsError> {
    material.own.as_ref().ok_or_else(|| TlsError::Senseless {
        what: "the authority's certificate",
        path: material.files.authority.clone(),
        reason: "it stands alone, without a certificate and a key".to_owned(),
    })
}

fn key(own: &Own) -> PrivateKeyDer<'static> {
    own.key.clone_key()
}

fn useless_authority(material: &Material, reason: &str) -> TlsError {
    TlsError::Senseless {
        what: "the authority's certificate",
        path: material.files.authority.clone(),
        reason: reason.to_owned(),
    }
}

fn useless_own(material: &Material, error: &Error) -> TlsError {
    let (certificate, key) = material.files.own.clone().unwrap_or_default();
    match error {
        Error::InconsistentKeys(_) => TlsError::OtherKey { certificate, key },
        error => {
            TlsError::Senseless { what: "the certificate", path: certificate, reason: error.to_string() }
        }
    }
}

/// Checks everything about a server's certificate but its host names.
#[derive(Debug)]
struct AnyName {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

impl AnyName {
    fn check(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.roots, intermediates, now, algorithms)
    }
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
