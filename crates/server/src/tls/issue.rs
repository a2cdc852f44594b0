//! Making certificates: an authority, and what it makes for controllers and clients. Keys are ECDSA P-256, which every
//! TLS library knows. Nothing here writes a file.

use super::identity::Identity;
use crate::clock;
use backstay_model::UnixMicros;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, SerialNumber, date_time_ymd,
};
use std::net::IpAddr;
use std::time::Duration;

/// How much earlier than now a certificate begins to count: clocks differ.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
/// The longest life: a hundred years.
pub const DAYS_MAX: u32 = 36_500;

/// From when until when a certificate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    /// From this moment on.
    pub not_before: UnixMicros,
    /// Until this moment.
    pub not_after: UnixMicros,
}

/// A certificate and its key, both as PEM. The key is a secret: it shows in no `Debug`.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

/// Why no certificate was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// A host cannot stand in a certificate.
    #[error(
        "'{0}' can stand in no certificate: give a host name of letters, digits, '-' and '.', or an IP address"
    )]
    Host(String),
    /// The authority's files are of no use.
    #[error("the authority is of no use: {0}. Name the two files that `backstay cert authority` made")]
    Authority(String),
    /// The library refuses.
    #[error("no certificate can be made: {0}")]
    Refused(String),
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl Dates {
    /// From now (and an hour before, for clocks that are late) for so many days.
    pub fn from_now(days: u32) -> Self {
        let now = clock::now().unix.0;
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let days = Duration::from_secs(u64::from(days.min(DAYS_MAX)) * 24 * 3600);
        Self {
            not_before: UnixMicros(now.saturating_sub(micros(CLOCK_SKEW))),
            not_after: UnixMicros(now.saturating_add(micros(days))),
        }
    }
}

/// Makes an authority for the cluster called `cluster`.
pub fn authority(cluster: &str, dates: Dates) -> Result<Issued, IssueError> {
    let mut parameters = parameters(dates)?;
    // Its key's beginning tells two authorities of one cluster apart.
    let key = KeyPair::generate().map_err(refused)?;
    let tag = key.public_key_raw().iter().rev().take(4).fold(0, |tag, byte| tag << 8 | u32::from(*byte));
    parameters.distinguished_name = name(&format!("backstay authority of {cluster} {tag:08x}"));
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = parameters.self_signed(&key).map_err(refused)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// Makes a certificate for `identity`, which stands for these hosts, too. A controller's and an agent's are good for both
/// ends of a connection, others only for the calling one.
pub fn certificate(
    authority: &Issued,
    identity: &Identity,
    hosts: &[String],
    dates: Dates,
) -> Result<Issued, IssueError> {
    let unusable = |error: rcgen::Error| IssueError::Authority(error.to_string());
    let authority_key = KeyPair::from_pem(&authority.key).map_err(unusable)?;
    let issuer = Issuer::from_ca_cert_pem(&authority.certificate, authority_key).map_err(unusable)?;
    let key = KeyPair::generate().map_err(refused)?;
    let mut parameters = parameters(dates)?;
    parameters.use_authority_key_identifier_extension = true;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let subject = match identity {
        Identity::Node { name, .. } => {
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            name.as_str()
        }
        Identity::Gateway { name, .. } => name.as_str(),
        Identity::Agent { name, .. } => {
            parameters.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            name.as_str()
        }
        Identity::Client { name, .. } => name,
    };
    parameters.distinguished_name = name(subject);
    let uri = identity.uri().try_into().map_err(refused)?;
    parameters.subject_alt_names.push(SanType::URI(uri));
    for host in hosts {
        parameters.subject_alt_names.push(san(host)?);
    }
    let certificate = parameters.signed_by(&key, &issuer).map_err(refused)?;
    Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
}

fn parameters(dates: Dates) -> Result<CertificateParams, IssueError> {
    let mut parameters = CertificateParams::default();
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(|error| IssueError::Refused(error.to_string()))?;
    // Positive, as a serial number must be.
    serial[0] = serial[0] & 0x7f | 0x40;
    parameters.serial_number = Some(SerialNumber::from_slice(&serial));
    // Whole seconds: a certificate has no smaller ones.
    let moment = |at: UnixMicros| date_time_ymd(1970, 1, 1) + Duration::from_secs(at.0 / 1_000_000);
    parameters.not_before = moment(dates.not_before);
    parameters.not_after = moment(dates.not_after);
    Ok(parameters)
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn san(host: &str) -> Result<SanType, IssueError> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if host.len() > 253 || !host.split('.').all(is_label) {
        return Err(IssueError::Host(host.to_owned()));
    }
    Ok(SanType::DnsName(host.to_owned().try_into().map_err(|_| IssueError::Host(host.to_owned()))?))
}

#[expect(clippy::needless_pass_by_value, reason = "the form that map_err wants")]
fn refused(error: rcgen::Error) -> IssueError {
    IssueError::Refused(error.to_string())
}
