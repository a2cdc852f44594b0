//! Many Redis instances in one thread: they speak RESP over loopback and answer what a controller asks as Redis 7.0
//! would, but hold no data. For measuring controllers with far more services than a machine can run servers.

mod command;
mod connection;
mod group;
mod host;
mod info;

pub use group::{Group, INSTANCES_PER_GROUP};
pub use host::Fakes;
