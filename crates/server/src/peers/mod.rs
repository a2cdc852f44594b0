//! The full mesh between controllers. Each dials every other one and sends its own letters there; what it hears comes
//! in on the connections that it accepted. Letters may be lost or late, never out of order on one connection. Gateways
//! and agents dial every controller, too, and speak both ways on one connection.

mod agents;
mod dial;
mod frames;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gateways;
mod hello;
mod listen;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use agents::AgentLetter;
pub(crate) use dial::dial_all;
pub(crate) use gateways::{GatewayLetter, consult_all};
pub(crate) use hello::Caller;
pub(crate) use listen::listen;

use crate::tls::Keyring;
use backstay_model::{ClusterName, ControllerSpec};
use std::sync::Arc;
use std::time::Duration;

/// The longest frame once the caller is known: room for the whole replicated state of a large cluster.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// After how long without an acknowledgement from the other kernel a connection is given up.
const GIVE_UP: Duration = Duration::from_secs(2);

/// What both directions must know.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    pub(crate) cluster: ClusterName,
    pub(crate) me: Caller,
    /// All controllers but this one.
    pub(crate) others: Vec<ControllerSpec>,
    /// What proves who somebody is; without it nothing does, and nothing is encrypted.
    pub(crate) keyring: Option<Arc<Keyring>>,
    /// The latest version to speak.
    pub(crate) version_max: u32,
}
