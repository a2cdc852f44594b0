//! One certificate in plain words: whose it is, who made it, from when until when.

use super::identity::Identity;
use backstay_model::UnixMicros;
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// One certificate in plain words. Reading it proves nothing; rustls checks signatures and dates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is, in its own words.
    pub subject: String,
    /// Who made it.
    pub issuer: String,
    /// Who it says somebody is; `None` if it is none of ours, or says more than one thing.
    pub identity: Option<Identity>,
    /// Host names and addresses that it stands for.
    pub hosts: Vec<String>,
    /// Whether it makes others.
    pub is_authority: bool,
    /// From when it counts.
    pub not_before: UnixMicros,
    /// Until when it counts.
    pub not_after: UnixMicros,
}

impl Certificate {
    /// Reads one; `None`: it is not a certificate.
    pub fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(der).ok()?;
        let names = parsed.subject_alternative_name().ok()?;
        let names = names.map_or(&[][..], |names| &names.value.general_names);
        let mut identities = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Identity::of_uri(uri),
            _ => None,
        });
        let identity = identities.next().filter(|_| identities.next().is_none());
        Some(Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            identity,
            hosts: names.iter().filter_map(host).collect(),
            is_authority: parsed.is_ca(),
            not_before: micros(parsed.validity().not_before),
            not_after: micros(parsed.validity().not_after),
        })
    }
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(host) => Some((*host).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let ip = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let ip = ip.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            ip.ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn micros(time: ASN1Time) -> UnixMicros {
    UnixMicros(u64::try_from(time.timestamp()).unwrap_or(0).saturating_mul(1_000_000))
}
