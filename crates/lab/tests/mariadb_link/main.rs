//! The link of a controller to a real MariaDB, with nothing between but a socket: what it says and hears, what orders do
//! there, and with which rights.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

mod admission;
mod canary;
mod driver;
mod events;
mod fencing;
mod moving;
mod watching;
