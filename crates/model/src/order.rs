//! What the brain orders done to an instance. An order says what, in which epoch, and until when it may be sent.

use crate::{Address, Epoch, InstanceName, RunId, ServiceName, Time};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One act on one instance. Idempotent. Past its deadline it is not sent; once sent it may run at any later time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The process that was seen there when it was decided; for no other. `None`: none was ever seen.
    pub process: Option<RunId>,
    /// The epoch that authorises it.
    pub epoch: Epoch,
    /// No later than the end of the leader's lease, on this node's clock.
    pub deadline: Time,
    /// What to do.
    pub action: Action,
}

/// What can be done to an instance. The commands behind each are in `wire`; their order on one connection is part of
/// the meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Close for writes and disconnect clients, queued at once behind whatever is unanswered on the connection.
    Fence,
    /// Stop replicating, then report the offset on the same connection. Behind an unanswered promotion it is the
    /// revocation: it runs with nothing in between.
    Freeze,
    /// Disconnect every other client, close for writes and become a primary, in one write, on a connection that
    /// answered within the last 100 ms.
    Promote,
    /// Take the service's writes.
    Open,
    /// Write what nobody else reads, and report its acknowledgement.
    Canary,
    /// Replicate from the primary. `disconnect` also throws out the clients, who take the instance for a primary.
    Follow {
        /// The primary's address.
        primary: Address,
        /// Disconnect clients.
        disconnect: bool,
        /// Its acknowledgements count (`Durability::Majority`).
        acker: bool,
    },
    /// Keep writes waiting, then report the offset on the same connection. For planned moves only.
    Pause {
        /// It ends by itself after so long.
        duration: Duration,
    },
    /// End a pause.
    Resume,
}
