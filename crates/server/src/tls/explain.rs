//! Why a TLS connection was not made, in the operator's words.

use backstay_model::UnixMicros;
use rustls::{AlertDescription, CertificateError, Error};
use rustls_pki_types::UnixTime;
use std::io;

/// Why a connection with "it", the other side, broke: a clause, and what to do.
pub fn explain(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match (inner, error.kind()) {
        (Some(error), _) => of_rustls(error),
        (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
            "it hung up during the TLS handshake: if its file has no [tls], give all nodes the same file; else look at \
             its log"
                .to_owned()
        }
        (None, _) => error.to_string(),
    }
}

/// As `explain`, if the other side refused in the handshake, so that nothing that was sent can have been read.
pub fn refusal(error: &io::Error) -> Option<String> {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(inner, Some(Error::AlertReceived(_))).then(|| explain(error))
}

fn of_rustls(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => of_certificate(error),
        Error::NoCertificatesPresented => "it shows no certificate".to_owned(),
        Error::AlertReceived(alert) => of_alert(*alert),
        Error::InvalidMessage(_) => {
            "it does not speak TLS: if it is a controller without [tls] in its file, give all nodes the same file"
                .to_owned()
        }
        Error::PeerIncompatible(_) => "it speaks only other versions of TLS; 1.3 is needed".to_owned(),
        error => format!("the TLS handshake failed: {error}"),
    }
}

fn of_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate was made by another authority: make all certificates with the same one (`backstay cert`)"
                .to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("its certificate expired on {} UTC: make a new one with `backstay cert`", moment(*not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "its certificate is valid only from {} UTC on: set the clocks of both machines",
            moment(*not_before)
        ),
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "its certificate does not stand for this host, but for {}: use one of these, or make one with `backstay cert \
             node --host`",
            hosts(presented)
        ),
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is for another purpose: one of a client is not good for a controller, nor one of an \
             authority for either"
                .to_owned()
        }
        CertificateError::Other(stranger) => stranger.to_string(),
        error => format!("its certificate is not accepted: {error}"),
    }
}

/// The hosts among a certificate's names, as rustls writes them: `DnsName("a.b")`, `IpAddress(10.0.0.1)`.
fn hosts(presented: &[String]) -> String {
    let bare = |name: &String| {
        let name = name.strip_prefix("DnsName(").or_else(|| name.strip_prefix("IpAddress("))?;
        Some(name.trim_end_matches(')').trim_matches('"').to_owned())
    };
    let hosts: Vec<_> = presented.iter().filter_map(bare).collect();
    if hosts.is_empty() { "none".to_owned() } else { hosts.join(", ") }
}

fn of_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "it does not accept this side's certificate, because another authority made it: make all certificates with \
             the same one (`backstay cert`)"
                .to_owned()
        }
        AlertDescription::CertificateExpired => {
            "it holds this side's certificate to be expired or not yet valid: look at it with `backstay cert show`, and \
             at the clocks of both machines"
                .to_owned()
        }
        AlertDescription::CertificateRequired => {
            "it wants a certificate of this side, which has none".to_owned()
        }
        AlertDescription::UnsupportedCertificate => {
            "it does not accept this side's certificate for this purpose: a client's is not good for a controller"
                .to_owned()
        }
        AlertDescription::CertificateUnknown => {
            "it does not accept this side's certificate, which is that of another cluster, or of a client where a \
             controller is needed or the other way round: look at it with `backstay cert show`"
                .to_owned()
        }
        AlertDescription::ProtocolVersion => {
            "it speaks only other versions of TLS".to_owned()
        }
        alert => format!("it refused the TLS handshake ({alert:?}); look at its log"),
    }
}

fn moment(time: UnixTime) -> UnixMicros {
    UnixMicros(time.as_secs().saturating_mul(1_000_000))
}
