//! Certificates: read from files, understood, and made into rustls' settings. Shared by everything that speaks TLS:
//! controllers among themselves, the operators' port, the command line, links to servers.
//!
//! Who somebody is stands in the certificate as a URI (`identity`), not in a host name: a controller keeps its identity
//! when its address changes. Sessions are never resumed, because a resumed one checks no certificate again.

mod certificate;
mod error;
mod explain;
mod identity;
pub mod issue;
mod keyring;
mod members;
mod pem;
mod renewal;
mod settings;
mod standing;

pub use certificate::Certificate;
pub use error::TlsError;
pub use explain::{explain, refusal};
pub use identity::{Identity, Right};
pub use members::Kind;
pub use pem::{Files, Material};
pub use settings::{accepting, accepting_anyone, dialling_host, dialling_peer};

pub(crate) use keyring::{HandshakeError, Keyring};
pub(crate) use renewal::{LOOK_EVERY, Steady, renew};
pub(crate) use standing::Standing;
