//! Files to certificates and keys. Nothing of a key ever reaches a message.

use super::certificate::Certificate;
use super::error::TlsError;
use super::identity::Identity;
use super::settings::{check_own, dialling_peer};
use crate::clock;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const AUTHORITY: &str = "the authority's certificate";
const CERTIFICATE: &str = "the certificate";
const KEY: &str = "the key";

/// Where certificates are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Who is trusted to make certificates: one or more of them.
    pub authority: PathBuf,
    /// This side's own certificate and its key, if it has one.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
pub struct Material {
    pub(super) files: Files,
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) own: Option<Own>,
}

/// This side's own certificate, with those between it and the authority, and its key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Own {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: Arc<PrivateKeyDer<'static>>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Files {
    /// Reads all of them, and checks that they are what they should be and that now is within their dates.
    pub fn read(&self) -> Result<Material, TlsError> {
        let material = self.read_unchecked()?;
        material.check_dates()?;
        Ok(material)
    }

    /// Whether a controller called `me` could start with them.
    pub fn check(&self, me: &Identity) -> Result<(), TlsError> {
        let material = self.read()?;
        check_own(&material, me)?;
        dialling_peer(&material).map(drop)
    }

    /// The same whatever the date.
    pub fn read_unchecked(&self) -> Result<Material, TlsError> {
        let authorities = certificates(AUTHORITY, &self.authority)?;
        let own = match &self.own {
            Some((certificate, key)) => {
                let chain = certificates(CERTIFICATE, certificate)?;
                Some(Own { chain, key: Arc::new(private_key(key)?) })
            }
            None => None,
        };
        Ok(Material { files: self.clone(), authorities, own })
    }
}

impl Material {
    /// This side's own certificate in words.
    pub fn certificate(&self) -> Option<Certificate> {
        Certificate::read(self.own.as_ref()?.chain.first()?)
    }

    /// The authority's certificate in words; that which ends first, if there are several.
    pub fn authority(&self) -> Option<Certificate> {
        let all = self.authorities.iter().filter_map(Certificate::read);
        all.min_by_key(|certificate| certificate.not_after)
    }

    /// Every certificate of the authority's file in words.
    pub fn authorities(&self) -> Vec<Certificate> {
        self.authorities.iter().filter_map(Certificate::read).collect()
    }

    pub(super) fn path(&self) -> &Path {
        &self.files.authority
    }

    pub(super) fn check_dates(&self) -> Result<(), TlsError> {
        let now = clock::now().unix;
        // Of several authorities one may be past its date: that is how they are changed.
        let authorities = self.authorities.iter().filter_map(Certificate::read);
        let authority = authorities.max_by_key(|certificate| certificate.not_after);
        let own = self.files.own.as_ref().map(|(path, _)| (path, self.certificate()));
        let all = [(&self.files.authority, "authority's certificate", authority)].into_iter();
        let all = all.chain(own.map(|(path, certificate)| (path, "certificate", certificate)));
        for (path, what, certificate) in all {
            let path = path.clone();
            match certificate {
                Some(it) if it.not_after <= now => {
                    return Err(TlsError::Expired { path, what, at: it.not_after });
                }
                Some(it) if it.not_before > now => {
                    return Err(TlsError::NotYet { path, what, at: it.not_before });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(what, path)?;
    let senseless =
        |reason: &str| TlsError::Senseless { what, path: path.to_owned(), reason: reason.to_owned() };
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|_| senseless("it is not PEM"))?;
    if found.is_empty() {
        return Err(senseless("there is no certificate in it"));
    }
    if found.iter().any(|der| Certificate::read(der).is_none()) {
        return Err(senseless("a certificate in it cannot be understood"));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(KEY, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| TlsError::Senseless {
        what: KEY,
        path: path.to_owned(),
        reason: "there is no private key in it".to_owned(),
    })
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(bytes),
        Err(error) => Err(TlsError::Unreadable { what, path: path.to_owned(), reason: error.to_string() }),
    }
}
