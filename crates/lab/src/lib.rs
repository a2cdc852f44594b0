//! Local stacks of real servers on one machine, for trying, testing and measuring: the lab itself, faults, a
//! Sentinel-aware client, writers and checkers. The demo and the failover benchmark stand on it. Nothing here decides
//! anything about a failover.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "this crate touches the world")]

pub mod admin;
pub mod bench;
pub mod demo;
pub mod error;
pub mod fakes;
pub mod load;
pub mod servers;
pub mod stack;
pub mod wait;

pub use error::{LabError, Result};
pub use servers::nursery;
pub use stack::down::DownReport;
pub use stack::fault::{Fault, FaultReport};
pub use stack::lab::{Lab, ScopedLab};
pub use stack::options::Options;
pub use stack::view::LabView;
