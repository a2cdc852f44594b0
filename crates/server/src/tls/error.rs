//! Why certificates cannot be used.

use backstay_model::UnixMicros;
use std::path::{Path, PathBuf};

/// Why certificates cannot be used. Each names the file and says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error(
        "{what} {} cannot be read: {reason}. Put it there with `backstay cert`, or correct the path",
        path.display()
    )]
    Unreadable {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The file holds something else.
    #[error(
        "{what} {} is of no use: {reason}. Make a new one with `backstay cert`, or correct the path",
        path.display()
    )]
    Senseless {
        /// What it is for.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with its content.
        reason: String,
    },
    /// The key is another certificate's.
    #[error(
        "the key {} does not belong to the certificate {}. Name the two files that were made together",
        key.display(),
        certificate.display()
    )]
    OtherKey {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Past its date.
    #[error("the {what} {} expired on {at} UTC. Make a new one with `backstay cert`", path.display())]
    Expired {
        /// The file.
        path: PathBuf,
        /// Which certificate it is.
        what: &'static str,
        /// When.
        at: UnixMicros,
    },
    /// Before its date.
    #[error(
        "the {what} {} is valid only from {at} UTC on. Set this machine's clock, or make a new one with `backstay \
         cert`",
        path.display()
    )]
    NotYet {
        /// The file.
        path: PathBuf,
        /// Which certificate it is.
        what: &'static str,
        /// When.
        at: UnixMicros,
    },
    /// It is not made by the authority beside it.
    #[error(
        "the certificate {} was not made by the authority {}. Give all files of one `backstay cert authority`",
        certificate.display(),
        authority.display()
    )]
    OtherAuthority {
        /// The certificate.
        certificate: PathBuf,
        /// The authority.
        authority: PathBuf,
    },
    /// It is somebody else's.
    #[error("the certificate {} is {found}, and {wanted} is needed. {next}", path.display())]
    OtherIdentity {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
        /// What to do.
        next: &'static str,
    },
}

impl TlsError {
    /// The file that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::Senseless { path, .. }
            | Self::Expired { path, .. }
            | Self::NotYet { path, .. }
            | Self::OtherIdentity { path, .. } => path,
            Self::OtherKey { key, .. } => key,
            Self::OtherAuthority { certificate, .. } => certificate,
        }
    }

    pub(super) fn empty(path: &Path) -> Self {
        Self::Senseless {
            what: "the authority's certificate",
            path: path.to_owned(),
            reason: "it is empty".to_owned(),
        }
    }

    pub(super) fn unreadable(path: &Path, reason: String) -> Self {
        Self::Unreadable { what: "the authority's certificate", path: path.to_owned(), reason }
    }
}
