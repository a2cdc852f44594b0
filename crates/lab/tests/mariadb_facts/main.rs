//! Facts about MariaDB itself, without Backstay, on which its engine relies. Each was seen once by hand; here it is seen
//! again with the version that is installed.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

mod acknowledgement;
mod client;
mod closing;
mod connection;
mod hang;
mod rejoin;
mod relay;
mod restart;
mod rights;
mod support;
