//! Raft behind one step function, speaking only our types.
//!
//! Neighbours: the server (or the simulator) runs the effects in order, one after the other; the brain hears of
//! committed entries and of the lease. Deliberately absent: clocks, entropy, files, sockets, threads, protobuf bytes
//! and forwarding of proposals.

mod change;
mod consensus;
mod durable;
mod guard;
mod io;
mod lease;
mod members;
mod message;
mod pace;
mod ready;
mod reception;
mod report;
mod schedule;
mod settings;
mod store;
mod translate;
mod versions;

pub use change::{Change, ChangeRefusal, Changed};
pub use consensus::Consensus;
pub use durable::{Durable, Entry, HardState, Persist, Snapshot};
pub use io::{Effect, Input, Refusal, Status};
pub use members::{Member, MemberId, Membership};
pub use message::{Body, Kind, Message, RaftMessage};
pub use settings::{Settings, StartError, TICK};
pub use versions::{ACKERS, GATEWAYS, MEMBERS_CHANGE, REBUILDS, VERSION, VERSION_MIN};
