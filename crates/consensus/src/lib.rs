//! Raft behind one step function, speaking only our types.
//!
//! Neighbours: the server (or the simulator) runs the effects in order, one after the other; the brain hears of
//! committed entries and of the lease. Deliberately absent: clocks, entropy, files, sockets, threads, protobuf bytes,
//! membership changes (the voters are those of the configuration) and forwarding of proposals.

mod consensus;
mod durable;
mod guard;
mod io;
mod lease;
mod message;
mod pace;
mod ready;
mod reception;
mod report;
mod schedule;
mod settings;
mod store;
mod translate;

pub use consensus::Consensus;
pub use durable::{Durable, Entry, HardState, Persist, Snapshot};
pub use io::{Effect, Input, Refusal, Status};
pub use message::{Body, Kind, Message, RaftMessage};
pub use settings::{Settings, StartError, TICK};
