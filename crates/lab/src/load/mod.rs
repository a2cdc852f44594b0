//! What stands outside and looks: a client that finds its primary through the Sentinel ports, writers that note every
//! acknowledgement, pinned connections to an old primary, the checker that counts what is missing afterwards, and
//! generators of load that never block.

pub mod checker;
pub mod client;
pub mod connection;
pub mod crowd;
pub mod exchange;
pub mod latencies;
pub mod light;
pub(crate) mod link;
pub mod logins;
pub mod orders;
pub mod paced;
pub mod probe;
pub mod record;
pub mod saturating;
pub mod sql;
pub mod storm;
pub mod zombie;
