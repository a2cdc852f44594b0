//! The first words on a connection between controllers: who calls, whom they want, and whether they are welcome. With
//! certificates the caller's name is proven; without them the network is loopback, and it is believed.

use backstay_model::{ClusterName, NodeName};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Sets Backstay's peers apart from whatever else may call.
const MAGIC: u64 = 0x6261_636b_7374_6179;
/// What the letters look like. Controllers of different versions do not talk.
const VERSION: u32 = 1;
/// The longest frame before the caller is known.
pub(super) const HELLO_BYTES_MAX: usize = 1024;
/// How long the first words may take, from the connection to the answer.
pub(super) const HELLO_PATIENCE: Duration = Duration::from_secs(2);

/// The caller's first and only frame before the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    magic: u64,
    version: u32,
    cluster: ClusterName,
    from: NodeName,
    to: NodeName,
}

/// The answer. After anything but `Welcome` the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(super) enum Reception {
    /// Letters may follow.
    #[error("welcome")]
    Welcome,
    /// The caller does not speak this.
    #[error("it is no Backstay controller, or one of another version: run the same version everywhere")]
    OtherLanguage,
    /// The caller's cluster is another one.
    #[error("it belongs to another cluster: correct the cluster's name or the address in one of the files")]
    OtherCluster,
    /// The caller wanted somebody else.
    #[error("another controller listens at this address: correct the addresses in the file")]
    NotMe,
    /// The caller is not in the file.
    #[error("the file does not list the caller: give all nodes the same file and restart those that differ")]
    Unlisted,
    /// The caller says another name than its certificate.
    #[error("the caller's certificate is another controller's: give each controller its own in [tls]")]
    OtherCertificate,
}

impl Hello {
    pub(super) fn new(cluster: &ClusterName, from: &NodeName, to: &NodeName) -> Self {
        Self { magic: MAGIC, version: VERSION, cluster: cluster.clone(), from: from.clone(), to: to.clone() }
    }

    /// Who calls.
    pub(super) const fn caller(&self) -> &NodeName {
        &self.from
    }

    /// To which cluster it says it belongs.
    pub(super) const fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// What the controller `me` of `cluster` says to it; `is_listed` knows the other controllers.
    pub(super) fn receive(
        &self,
        cluster: &ClusterName,
        me: &NodeName,
        is_listed: impl Fn(&NodeName) -> bool,
    ) -> Reception {
        if self.magic != MAGIC || self.version != VERSION {
            Reception::OtherLanguage
        } else if self.cluster != *cluster {
            Reception::OtherCluster
        } else if self.to != *me {
            Reception::NotMe
        } else if !is_listed(&self.from) {
            Reception::Unlisted
        } else {
            Reception::Welcome
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listed_controller_of_this_cluster_and_version_is_welcome() {
        let hello = Hello::new(&"shop".into(), &"b".into(), &"a".into());
        let listed = |name: &NodeName| name.as_str() == "b";
        assert_eq!(hello.receive(&"shop".into(), &"a".into(), listed), Reception::Welcome);
        assert_eq!(hello.receive(&"other".into(), &"a".into(), listed), Reception::OtherCluster);
        assert_eq!(hello.receive(&"shop".into(), &"c".into(), listed), Reception::NotMe);
        assert_eq!(hello.receive(&"shop".into(), &"a".into(), |_| false), Reception::Unlisted);
        let later = Hello { version: VERSION + 1, ..hello };
        assert_eq!(later.receive(&"shop".into(), &"a".into(), listed), Reception::OtherLanguage);
    }
}
