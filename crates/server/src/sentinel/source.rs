//! What the port needs to know of the node it belongs to.

use crate::Handle;
use backstay_model::{ClusterStatus, Event};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::broadcast;

/// A node as the port sees it. Cheap to clone.
pub trait Source: Clone + Send + Sync + 'static {
    /// The whole picture; none: the node is stopping.
    fn status(&self) -> impl Future<Output = Option<ClusterStatus>> + Send;

    /// Everything that happens from now on. What `status` says afterwards includes every event that was sent before.
    fn events(&self) -> broadcast::Receiver<Arc<Event>>;
}

impl Source for Handle {
    async fn status(&self) -> Option<ClusterStatus> {
        Self::status(self).await
    }

    fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        Self::events(self)
    }
}
