//! Where a client comes from, and which endpoint is which.

use super::{Core, Key};

impl Core {
    /// A load balancer says where the client really is.
    pub(crate) fn client_named(&mut self, key: Key, peer: &str) {
        if let Some(client) = self.clients.get_mut(key) {
            client.peer = peer.into();
        }
    }

    /// The number of the endpoint of this name.
    pub(crate) fn endpoint_called(&self, name: &str) -> Option<usize> {
        self.endpoints.iter().position(|endpoint| endpoint.settings.name == name)
    }

    /// The client's endpoint, and where it comes from, for logs.
    pub(crate) fn whence(&self, key: Key) -> Option<(&str, &str)> {
        let client = self.clients.get(key)?;
        Some((&self.endpoints[client.endpoint].settings.name, &client.peer))
    }
}
