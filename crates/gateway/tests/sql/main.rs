//! The SQL gateway in front of real servers.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod bulk;
mod ends;
mod logins;
mod moves;
mod refusals;
mod server;
mod support;
mod together;
mod wire;
