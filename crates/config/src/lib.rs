//! TOML to a checked configuration: every mistake at once, each with its line, a caret and a remedy. It reads no file,
//! no secret and no environment, and it never writes: the user's file is the user's.

mod check;
mod conceal;
mod config;
mod controllers;
mod digest;
mod endpoints;
mod engines;
mod finding;
mod section;
mod service_tls;
mod services;
mod show;
mod tls;
mod values;

pub use config::{Config, Credentials, NodeSettings, ReplicationUser, SecretSource, UnknownNode};
pub use endpoints::{Endpoint, EndpointProtocol, EndpointRole, EndpointUser, Otherwise};
pub use finding::{ConfigErrors, Finding, Note};
pub use service_tls::{ServiceTls, TlsClient};
pub use tls::{Tls, TlsSetting};
