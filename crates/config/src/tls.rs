//! `[tls]`: where each controller's certificate, its key and the authority's certificate are. The files are not read
//! here; whoever reads them can point at the setting that names them.

use crate::finding::{ConfigErrors, Findings, Place};
use crate::section::{At, Section};
use crate::values::{self, Refusal};
use backstay_model::NodeName;
use std::path::PathBuf;

/// What stands for the controller's own name in a path.
const NODE: &str = "{node}";

/// Where certificates are.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Who is trusted to make certificates.
    pub authority: PathBuf,
    certificate: String,
    key: String,
    places: [Place; 3],
}

/// A setting of `[tls]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsSetting {
    /// The authority's certificate.
    Authority,
    /// A controller's certificate.
    Certificate,
    /// Its key.
    Key,
}

impl Tls {
    /// The certificate of the controller called `node`.
    pub fn certificate(&self, node: &NodeName) -> PathBuf {
        self.certificate.replace(NODE, node.as_str()).into()
    }

    /// Its key.
    pub fn key(&self, node: &NodeName) -> PathBuf {
        self.key.replace(NODE, node.as_str()).into()
    }

    /// A mistake that was found in the file that `setting` names, shown at that setting.
    pub fn mistake(&self, setting: TlsSetting, message: &str, help: &str) -> ConfigErrors {
        let place = match setting {
            TlsSetting::Authority => &self.places[0],
            TlsSetting::Certificate => &self.places[1],
            TlsSetting::Key => &self.places[2],
        };
        place.mistake(message, help)
    }

    pub(crate) fn patterns(&self) -> (&str, &str) {
        (&self.certificate, &self.key)
    }
}

/// `[tls]` as it was read.
pub(crate) struct TlsDraft {
    authority: Option<At<PathBuf>>,
    certificate: Option<At<String>>,
    key: Option<At<String>>,
}

impl TlsDraft {
    pub(crate) fn read(mut section: Section<'_>, findings: &mut Findings) -> Self {
        let authority = section.required("authority", findings, "/etc/backstay/authority.pem", values::path);
        let certificate = section.required("certificate", findings, "/etc/backstay/{node}.pem", pattern);
        let key = section.required("key", findings, "/etc/backstay/{node}.key", pattern);
        if let (Some(certificate), Some(key)) = (&certificate, &key)
            && certificate.value == key.value
        {
            let help = "`backstay cert node` makes two files: NAME.pem and NAME.key.";
            findings
                .error(&key.span, "the certificate and its key are the same file", help)
                .also(certificate.span.clone(), "and here");
        }
        section.finish(findings);
        Self { authority, certificate, key }
    }

    /// Nothing is missing if there was no error.
    pub(crate) fn settings(&self, findings: &Findings) -> Option<Tls> {
        let (authority, certificate, key) =
            (self.authority.as_ref()?, self.certificate.as_ref()?, self.key.as_ref()?);
        let places = [&authority.span, &certificate.span, &key.span].map(|span| findings.place(span));
        Some(Tls {
            authority: authority.value.clone(),
            certificate: certificate.value.clone(),
            key: key.value.clone(),
            places,
        })
    }
}

/// A path that may hold `{node}`.
fn pattern(text: &str) -> Result<String, Refusal> {
    values::path(text)?;
    if text.replace(NODE, "").contains(['{', '}']) {
        return Err(Refusal {
            message: format!("'{text}' holds braces that mean nothing"),
            help: "Write {node} where the controller's name belongs, or the same path for all of them."
                .into(),
        });
    }
    Ok(text.to_owned())
}
