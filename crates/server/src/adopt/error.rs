//! Why servers are not made fit, for the operator.

use crate::secret::{LoginError, SecretError};
use crate::tls::TlsError;
use backstay_model::{InstanceName, ServiceName};

/// Why nothing, or not everything, was done.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// The file does not have the service.
    #[error("{file} has no service called '{name}'. It has these: {known}")]
    UnknownService {
        /// The file.
        file: String,
        /// What was asked for.
        name: ServiceName,
        /// What there is.
        known: String,
    },
    /// The service does not have the instance.
    #[error("the service {service} has no instance called '{name}'. It has these: {known}")]
    UnknownInstance {
        /// The service.
        service: ServiceName,
        /// What was asked for.
        name: InstanceName,
        /// What there is.
        known: String,
    },
    /// It is no Redis.
    #[error(
        "the service {service} is a {engine} that the file has already: {next}. Nothing was looked at and nothing was changed"
    )]
    NoRedis {
        /// The service.
        service: ServiceName,
        /// What it is.
        engine: &'static str,
        /// What to do instead, as a clause.
        next: String,
    },
    /// A password cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No rule of an ACL can name the key.
    #[error(
        "the canary key '{key}' holds a space, and no ACL rule can name such a key. Give the service another canary_key, \
         or leave username out"
    )]
    KeyUnfit {
        /// The key.
        key: String,
    },
    /// Some instances cannot be looked at or may not be changed, so none was.
    #[error("nothing was changed:\n{}", .0.join("\n"))]
    Unfit(Vec<String>),
    /// A step failed.
    #[error(
        "{instance}: {what} failed: {why}. What stands before it in the list was done, and nothing behind it; mend this \
         and run the command again, which goes on from here"
    )]
    Step {
        /// The instance.
        instance: InstanceName,
        /// The step.
        what: String,
        /// The reason.
        why: String,
    },
}

impl From<LoginError> for AdoptError {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Secret(error) => Self::Secret(error),
            LoginError::Tls(error) => Self::Tls(error),
        }
    }
}
