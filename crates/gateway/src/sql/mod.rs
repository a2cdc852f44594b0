//! Endpoints that speak MySQL's protocol: one connection of a client, one connection to a server, and as little between
//! them as can be. `exchange` decides, `plane` moves bytes; as with Redis the first knows neither sockets nor clocks.
//!
//! What it deliberately lacks: statements are not parsed, connections not shared, users and TLS left to the server. What is
//! known of a conversation (`talk`) comes from packet headers and only makes the closing of connections gentler.

mod ends;
mod exchange;
mod login;
mod packets;
mod plane;
mod refusal;
mod talk;

#[cfg(any(test, fuzzing))]
pub(crate) mod play;

pub(crate) use plane::Plane;
#[cfg(fuzzing)]
pub(crate) use talk::follow;
