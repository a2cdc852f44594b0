//! What stands outside and looks: a client that finds its primary through the Sentinel ports, writers that note every
//! acknowledgement, pinned connections to an old primary, and the checker that counts what is missing afterwards.

pub mod checker;
pub mod client;
pub mod connection;
pub mod light;
pub mod probe;
pub mod record;
pub mod saturating;
pub mod zombie;
