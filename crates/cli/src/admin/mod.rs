//! Talking to a controller over its admin socket: finding one that answers, asking, and saying so if there is none.

mod client;
mod lines;
mod remote;
mod target;

pub(crate) use client::Controllers;
pub(crate) use target::Target;
