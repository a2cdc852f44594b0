//! The port that Sentinel's clients know: they ask who the primary of a service is, and hear when that changes. It tells
//! what this node sees and decides nothing; what it accepts from a client is bounded in every direction.
//!
//! Where a reply is spelt like Redis', it was compared with the stock `redis-sentinel` 7.0.15.

mod auth;
mod client;
mod command;
mod connection;
mod errors;
mod fields;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod glob;
mod hello;
mod info;
mod introspection;
mod news;
mod port;
mod pubsub;
mod query;
mod registry;
mod session;
mod settings;
mod source;
mod subscriptions;

#[cfg(test)]
mod tests;

pub use port::serve;
pub use settings::{Bounds, ServiceTerms, Settings};
pub use source::Source;
