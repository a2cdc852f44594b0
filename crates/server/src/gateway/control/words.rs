//! What is said at the control socket: one request per line, one line of JSON as the answer.

use backstay_gateway::Listen;
use backstay_model::ClusterName;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Request {
    Stats,
    Slow,
    State,
    /// To be given the listening sockets, for a gateway of this cluster.
    Sockets(ClusterName),
    /// The caller is about to accept at these, and at nothing else that it was given.
    Serving(Vec<Place>),
}

/// What is said to a successor.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Answer {
    /// The sockets came with it, in this order.
    Sockets {
        at: Vec<Place>,
        state: State,
    },
    /// Somebody else was given them, and has not yet said that it serves.
    Busy,
    State(State),
    /// This gateway leaves.
    Leaves,
    Error(String),
}

/// What a gateway is able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It may forward to the primary of every service.
    Serves,
    /// Not every client's commands go anywhere.
    Waits,
    /// It accepts nobody any more.
    Leaves,
}

/// `Listen`, to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<&Listen> for Place {
    fn from(listen: &Listen) -> Self {
        match listen {
            Listen::Tcp(address) => Self::Tcp(*address),
            Listen::Unix(path) => Self::Unix(path.clone()),
        }
    }
}

impl From<Place> for Listen {
    fn from(place: Place) -> Self {
        match place {
            Place::Tcp(address) => Self::Tcp(address),
            Place::Unix(path) => Self::Unix(path),
        }
    }
}

/// A line.
pub(super) fn text(value: &impl Serialize) -> Vec<u8> {
    // Nothing here has a form that JSON lacks.
    let mut text = serde_json::to_vec(value).unwrap_or_default();
    text.push(b'\n');
    text
}
