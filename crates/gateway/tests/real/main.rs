//! The gateway in front of real servers.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "these tests touch the world")]

mod files;
mod hostile;
mod limits;
mod moves;
mod neighbours;
mod notices;
mod plain;
mod proxied;
mod reader;
mod refusals;
mod states;
mod states_move;
mod support;
mod tls;
mod traffic;
