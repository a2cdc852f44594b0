//! `tls = { ... }` of a service: how Backstay makes sure whom it talks to, and proves who it is. Files are named here,
//! read elsewhere.

use crate::finding::Findings;
use crate::section::{At, Section};
use crate::values;
use serde::Serialize;
use std::path::PathBuf;

/// TLS towards a service's instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceTls {
    /// The certificates of the authorities that may have signed an instance's certificate (PEM).
    pub ca: PathBuf,
    /// The certificate that Backstay shows, if the instances ask for one.
    pub client: Option<TlsClient>,
    /// The name that every instance's certificate must bear; the host of its address if there is none.
    pub server_name: Option<String>,
}

/// A certificate with its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsClient {
    /// The certificate, and behind it those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The table as it was read; `example` is where an authority's certificates might be.
pub(crate) fn read(
    section: Option<Section<'_>>,
    example: &str,
    findings: &mut Findings,
) -> Option<ServiceTls> {
    let mut section = section?;
    let ca = section.required("ca", findings, example, values::path);
    let certificate = section.optional("certificate", findings, values::path);
    let key = section.optional("key", findings, values::path);
    let server_name = section.optional("server_name", findings, values::host);
    lone(&section, certificate.as_ref(), "key", findings);
    lone(&section, key.as_ref(), "certificate", findings);
    section.finish(findings);
    let client = certificate.zip(key);
    Some(ServiceTls {
        ca: ca?.value,
        client: client.map(|(certificate, key)| TlsClient { certificate: certificate.value, key: key.value }),
        server_name: server_name.map(|name| name.value),
    })
}

/// The table of a certificate alone as it was read.
pub(crate) fn read_certificate(section: Option<Section<'_>>, findings: &mut Findings) -> Option<TlsClient> {
    let mut section = section?;
    let certificate = section.required("certificate", findings, "/etc/backstay/shop.crt", values::path);
    let key = section.required("key", findings, "/etc/backstay/shop.key", values::path);
    section.finish(findings);
    Some(TlsClient { certificate: certificate?.value, key: key?.value })
}

/// A certificate is of no use without its key, nor a key without its certificate.
fn lone(section: &Section<'_>, present: Option<&At<PathBuf>>, other: &'static str, findings: &mut Findings) {
    if let Some(present) = present.filter(|_| !section.has(other)) {
        let message = format!("the client's certificate has no {other}");
        findings.error(&present.span, message, format!("Add {other} = \"/path\", or leave both out."));
    }
}
