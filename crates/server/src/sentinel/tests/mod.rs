//! The port over a node that is made up: what it says, what it publishes, what it withstands.

mod conversation;
mod hostile;
mod node;
mod stock;
mod strangers;
mod subscribers;
