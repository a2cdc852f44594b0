//! Where the pure crates meet the world: sockets, clocks, disks. Everything that decides is elsewhere; what is here is
//! small and dumb, and runs effects strictly in the order in which it was told.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

mod admin;
pub mod adopt;
mod agent;
mod anteroom;
mod clock;
mod conversation;
pub mod doctor;
mod driver;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gateway;
mod handle;
mod journal;
mod limits;
mod link;
mod peers;
mod question;
mod run;
mod secret;
mod seldom;
pub mod sentinel;
mod storage;
pub mod tls;

pub use admin::AdminError;
pub use agent::{AgentError, AgentOptions, run_agent};
pub use driver::Stopped;
pub use gateway::{CONTROL_SUFFIX, GatewayError, GatewayOptions, control_folders, run_gateway};
pub use handle::Handle;
pub use limits::TooFewFiles;
pub use run::{RunError, run};
pub use secret::SecretError;
pub use storage::{Storage, StorageError};
