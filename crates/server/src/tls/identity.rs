//! Who a certificate says somebody is: a URI among its names, `backstay://CLUSTER/node/NAME` for a controller,
//! `backstay://CLUSTER/gateway/NAME` for a gateway, `backstay://CLUSTER/agent/NAME` for the agent of an instance,
//! `backstay://CLUSTER/client/operate/NAME` or `.../client/read/NAME`
//! for an operator.

use backstay_model::{ClusterName, GatewayName, InstanceName, NodeName};
use std::fmt;

const SCHEME: &str = "backstay://";
/// The longest name of anything.
const NAME_BYTES_MAX: usize = 64;

/// Who somebody is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A controller.
    Node {
        /// Its cluster.
        cluster: ClusterName,
        /// Its name.
        name: NodeName,
    },
    /// A gateway that is no controller's.
    Gateway {
        /// Its cluster.
        cluster: ClusterName,
        /// Its name.
        name: GatewayName,
    },
    /// The agent on an instance's host.
    Agent {
        /// Its cluster.
        cluster: ClusterName,
        /// The instance's name.
        name: InstanceName,
    },
    /// An operator, or an operator's program.
    Client {
        /// The cluster that it may look at.
        cluster: ClusterName,
        /// The name that goes on record.
        name: String,
        /// What it may do.
        right: Right,
    },
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Look at everything, change nothing.
    Read,
    /// Everything.
    Operate,
}

impl Right {
    const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

impl Identity {
    /// The cluster that it belongs to.
    pub const fn cluster(&self) -> &ClusterName {
        match self {
            Self::Node { cluster, .. }
            | Self::Gateway { cluster, .. }
            | Self::Agent { cluster, .. }
            | Self::Client { cluster, .. } => cluster,
        }
    }

    /// As it stands in a certificate.
    pub fn uri(&self) -> String {
        match self {
            Self::Node { cluster, name } => format!("{SCHEME}{cluster}/node/{name}"),
            Self::Gateway { cluster, name } => format!("{SCHEME}{cluster}/gateway/{name}"),
            Self::Agent { cluster, name } => format!("{SCHEME}{cluster}/agent/{name}"),
            Self::Client { cluster, name, right } => {
                format!("{SCHEME}{cluster}/client/{}/{name}", right.word())
            }
        }
    }

    /// Reads it back; `None`: it is no such URI.
    pub fn of_uri(uri: &str) -> Option<Self> {
        let parts: Vec<_> = uri.strip_prefix(SCHEME)?.split('/').collect();
        if !parts.iter().all(|part| is_name(part)) {
            return None;
        }
        let cluster = ClusterName::from(*parts.first()?);
        let client =
            |name: &str, right| Self::Client { cluster: cluster.clone(), name: name.to_owned(), right };
        match parts[1..] {
            ["node", name] => Some(Self::Node { cluster: cluster.clone(), name: NodeName::from(name) }),
            ["gateway", name] => Some(Self::Gateway { cluster, name: GatewayName::from(name) }),
            ["agent", name] => Some(Self::Agent { cluster, name: InstanceName::from(name) }),
            ["client", "read", name] => Some(client(name, Right::Read)),
            ["client", "operate", name] => Some(client(name, Right::Operate)),
            _ => None,
        }
    }
}

/// Names get into messages and records.
fn is_name(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    part.starts_with(|first: char| first.is_ascii_alphanumeric())
        && part.len() <= NAME_BYTES_MAX
        && part.bytes().all(is_plain)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node { cluster, name } => write!(f, "that of controller {name} of cluster {cluster}"),
            Self::Gateway { cluster, name } => write!(f, "that of gateway {name} of cluster {cluster}"),
            Self::Agent { cluster, name } => write!(f, "that of the agent of {name} of cluster {cluster}"),
            Self::Client { cluster, name, right: Right::Operate } => {
                write!(f, "that of the client {name} of cluster {cluster}")
            }
            Self::Client { cluster, name, right: Right::Read } => {
                write!(f, "that of the client {name} of cluster {cluster}, who may only read")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_back_and_nothing_else_is_one() {
        for uri in [
            "backstay://shop/node/a",
            "backstay://shop/gateway/app1",
            "backstay://shop/agent/db1",
            "backstay://shop/client/read/b",
            "backstay://shop/client/operate/c",
        ] {
            assert_eq!(Identity::of_uri(uri).map(|identity| identity.uri()).as_deref(), Some(uri));
        }
        for uri in [
            "",
            "backstay://",
            "backstay:///node/a",
            "backstay://shop",
            "backstay://shop/node",
            "backstay://shop/node/",
            "backstay://shop/node/a/b",
            "backstay://shop/node/..",
            "backstay://shop/client/all/c",
            "https://shop/node/a",
            "backstay://shop/client/read/a b",
            "backstay://shop/node/a\n",
        ] {
            assert_eq!(Identity::of_uri(uri), None, "{uri}");
        }
    }
}
