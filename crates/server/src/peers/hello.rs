//! The first words on a connection to a controller: who calls, another controller, a gateway or an agent, whom they want,
//! and whether they are welcome. With certificates the caller's name is proven; without them the network is loopback, and it
//! is believed.
//!
//! The hello itself never changes. Versions say what may follow it: two controllers talk in the lower of their latest
//! ones, if both still speak that. All versions so far write letters alike.

use backstay_consensus::VERSION_MIN;
use backstay_model::{ClusterName, GatewayName, InstanceName, NodeId, NodeName};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Set Backstay's peers apart from whatever else may call, and from each other.
const CONTROLLER: u64 = 0x6261_636b_7374_6179;
const GATEWAY: u64 = 0x6261_636b_6761_7465;
const AGENT: u64 = 0x6261_636b_6167_6e74;
/// The longest frame before the caller is known.
pub(super) const HELLO_BYTES_MAX: usize = 1024;
/// How long the first words may take, from the connection to the answer.
pub(super) const HELLO_PATIENCE: Duration = Duration::from_secs(2);

/// The caller's first and only frame before the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hello {
    magic: u64,
    version_min: u32,
    version_max: u32,
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
    #[error(
        "it speaks versions {min} to {max} between controllers, and this one none of them: upgrade one step at a time"
    )]
    OtherVersion {
        /// What the one who answers speaks.
        min: u32,
        /// The latest.
        max: u32,
    },
    /// The caller is no Backstay controller.
    #[error("it takes the caller for no Backstay controller")]
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
    #[error("the caller's certificate is somebody else's: give each controller, gateway and agent its own")]
    OtherCertificate,
}

/// Who calls a controller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Caller {
    /// Another controller.
    Controller(NodeName),
    /// A gateway.
    Gateway(GatewayName),
    /// The agent of an instance.
    Agent(InstanceName),
}

impl Caller {
    /// What it is called, whatever it is.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Controller(name) => name.as_str(),
            Self::Gateway(name) => name.as_str(),
            Self::Agent(name) => name.as_str(),
        }
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Controller(name) => write!(f, "controller {name} (number {})", NodeId::of(name)),
            Self::Gateway(name) => write!(f, "gateway {name}"),
            Self::Agent(name) => write!(f, "the agent of {name}"),
        }
    }
}

impl Hello {
    pub(super) fn new(version_max: u32, cluster: &ClusterName, from: &Caller, to: &NodeName) -> Self {
        let magic = match from {
            Caller::Controller(_) => CONTROLLER,
            Caller::Gateway(_) => GATEWAY,
            Caller::Agent(_) => AGENT,
        };
        let (cluster, from, to) = (cluster.clone(), NodeName::from(from.name()), to.clone());
        Self { magic, version_min: VERSION_MIN, version_max, cluster, from, to }
    }

    /// Who calls.
    pub(super) fn caller(&self) -> Caller {
        match self.magic {
            GATEWAY => Caller::Gateway(GatewayName::from(self.from.as_str())),
            AGENT => Caller::Agent(InstanceName::from(self.from.as_str())),
            _ => Caller::Controller(self.from.clone()),
        }
    }

    /// To which cluster it says it belongs.
    pub(super) const fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// What the controller `me` of `cluster` says to it; `is_listed` knows the other controllers. Gateways and
    /// agents need not be listed.
    pub(super) fn receive(
        &self,
        version_max: u32,
        cluster: &ClusterName,
        me: &NodeName,
        is_listed: impl Fn(&NodeName) -> bool,
    ) -> Reception {
        if ![CONTROLLER, GATEWAY, AGENT].contains(&self.magic) {
            Reception::OtherLanguage
        } else if self.version_min > version_max || self.version_max < VERSION_MIN {
            Reception::OtherVersion { min: VERSION_MIN, max: version_max }
        } else if self.cluster != *cluster {
            Reception::OtherCluster
        } else if self.to != *me {
            Reception::NotMe
        } else if self.magic == CONTROLLER && !is_listed(&self.from) {
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
    fn only_a_listed_controller_of_this_cluster_and_of_a_common_version_is_welcome() {
        let hello = Hello::new(2, &"shop".into(), &Caller::Controller("b".into()), &"a".into());
        let listed = |name: &NodeName| name.as_str() == "b";
        assert_eq!(hello.receive(2, &"shop".into(), &"a".into(), listed), Reception::Welcome);
        assert_eq!(hello.receive(1, &"shop".into(), &"a".into(), listed), Reception::Welcome);
        assert_eq!(hello.receive(2, &"other".into(), &"a".into(), listed), Reception::OtherCluster);
        assert_eq!(hello.receive(2, &"shop".into(), &"c".into(), listed), Reception::NotMe);
        assert_eq!(hello.receive(2, &"shop".into(), &"a".into(), |_| false), Reception::Unlisted);
        let gateway = Hello::new(2, &"shop".into(), &Caller::Gateway("b".into()), &"a".into());
        assert_eq!(gateway.receive(2, &"shop".into(), &"a".into(), |_| false), Reception::Welcome);
        assert_eq!(gateway.caller(), Caller::Gateway("b".into()));
        let agent = Hello::new(2, &"shop".into(), &Caller::Agent("db1".into()), &"a".into());
        assert_eq!(agent.receive(2, &"shop".into(), &"a".into(), |_| false), Reception::Welcome);
        assert_eq!(agent.caller(), Caller::Agent("db1".into()));
        let later = Hello { version_min: 3, version_max: 4, ..hello.clone() };
        let refused = later.receive(2, &"shop".into(), &"a".into(), listed);
        assert_eq!(refused, Reception::OtherVersion { min: 1, max: 2 });
        assert!(refused.to_string().contains("versions 1 to 2"), "{refused}");
        let stranger = Hello { magic: 7, ..hello };
        assert_eq!(stranger.receive(2, &"shop".into(), &"a".into(), listed), Reception::OtherLanguage);
    }
}
