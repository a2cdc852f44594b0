//! Passwords: where they are read, and that they are never shown. A file is read again whenever a connection is made,
//! so that a changed password needs no restart; an environment variable cannot change.

use crate::link::TlsDialler;
use crate::tls::TlsError;
use backstay_config::{Credentials, ReplicationUser, SecretSource};
use backstay_model::MariaDbSpec;
use backstay_wire::mariadb::{Account, Settings};
use std::fmt;
use std::io::{self, Read};

/// The longest password that is read.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// A password. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The password itself, for the wire alone.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why there is no password.
#[derive(Debug, thiserror::Error)]
#[error("no password can be read from {origin}: {reason}. Put it there, or correct the file's setting")]
pub struct SecretError {
    origin: SecretSource,
    reason: String,
}

/// Reads a secret where the file says it is.
pub(crate) fn read(source: &SecretSource) -> Result<Secret, SecretError> {
    let failed = |reason: String| SecretError { origin: source.clone(), reason };
    let text = match source {
        SecretSource::Env(name) => std::env::var(name).map_err(|error| failed(error.to_string()))?,
        SecretSource::File(path) => {
            let mut text = String::new();
            let read = |text: &mut String| -> io::Result<()> {
                let file = std::fs::File::open(path)?;
                file.take(SECRET_BYTES_MAX).read_to_string(text).map(|_| ())
            };
            read(&mut text).map_err(|error| failed(error.to_string()))?;
            // A final line break belongs to the file, not to the password.
            let end =
                text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
            end.to_owned()
        }
    };
    if text.is_empty() {
        return Err(failed("it is empty".to_owned()));
    }
    Ok(Secret(text))
}

/// Why nobody can log in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The password cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// How to reach and log in to an instance: as the file says, with the password as it was read last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login {
    credentials: Credentials,
    password: Option<Secret>,
    /// As whom replicas log in at their primary, if that is somebody else.
    replication: Option<Account>,
    tls: Option<TlsDialler>,
}

impl Login {
    /// Reads the password and the certificates for the first time.
    pub(crate) fn new(credentials: Credentials) -> Result<Self, LoginError> {
        let password = credentials.password.as_ref().map(read).transpose()?;
        let account = |user: &ReplicationUser| -> Result<Account, SecretError> {
            let password = read(&user.password)?;
            Ok(Account { username: user.username.clone(), password: password.reveal().to_owned() })
        };
        let replication = credentials.replication.as_ref().map(account).transpose()?;
        let tls = credentials.tls.as_ref().map(TlsDialler::new).transpose()?;
        Ok(Self { credentials, password, replication, tls })
    }

    /// How to talk TLS, if that is how.
    pub(crate) fn tls(&self) -> Option<&TlsDialler> {
        self.tls.as_ref()
    }

    /// The user, if it is not the default one.
    pub(crate) fn username(&self) -> Option<&str> {
        self.credentials.username.as_deref()
    }

    /// The password, if there is one.
    pub(crate) fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// What a conversation with a MariaDB needs to know. Replicas log in at their primary as Backstay does, unless the
    /// file names somebody else.
    pub(crate) fn mariadb_settings(&self, spec: MariaDbSpec) -> Settings {
        let password = self.password().map(Secret::reveal).unwrap_or_default();
        let username = self.username().unwrap_or_default();
        let login = Account { username: username.to_owned(), password: password.to_owned() };
        let replication = self.replication.clone().unwrap_or_else(|| login.clone());
        Settings { replication, login, spec, encrypted: self.tls.is_some() }
    }

    /// Reads it again if it may have changed. What cannot be read now leaves the last one in force.
    pub(crate) fn refresh(&mut self) {
        let Some(source @ SecretSource::File(_)) = &self.credentials.password else {
            return;
        };
        match read(source) {
            Ok(password) => self.password = Some(password),
            Err(error) => tracing::warn!("{error}; the password read before stays in use"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_may_end_with_a_line_break_and_shows_in_no_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        for text in ["hush hush", "hush hush\n", "hush hush\r\n"] {
            std::fs::write(&path, text).unwrap();
            let secret = read(&SecretSource::File(path.clone())).unwrap();
            assert_eq!(secret.reveal(), "hush hush");
            assert!(!format!("{secret:?}").contains("hush"));
        }
        std::fs::write(&path, "\n").unwrap();
        let error = read(&SecretSource::File(path.clone())).unwrap_err().to_string();
        assert!(error.contains("it is empty") && error.contains("password"), "{error}");
    }

    #[test]
    fn a_changed_password_is_used_from_the_next_connection_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "old").unwrap();
        let mut login = Login::new(Credentials {
            password: Some(SecretSource::File(path.clone())),
            ..Credentials::default()
        })
        .unwrap();
        std::fs::write(&path, "new").unwrap();
        login.refresh();
        assert_eq!(login.password().map(Secret::reveal), Some("new"));
        std::fs::remove_file(&path).unwrap();
        login.refresh();
        assert_eq!(login.password().map(Secret::reveal), Some("new"));
    }
}
