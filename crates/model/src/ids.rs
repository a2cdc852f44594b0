//! Identities. Each is a type of its own, so that a replication id is never taken for a run id.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(Arc<str>);

        impl $type {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// The name of a cluster of controllers, the same in every node's file.
    ClusterName
);
name!(
    /// A controller's name in the configuration file.
    NodeName
);
name!(
    /// A gateway's name, unique in the cluster.
    GatewayName
);
name!(
    /// A service's name: what Sentinel calls the master name.
    ServiceName
);
name!(
    /// An instance's name, unique within the file.
    InstanceName
);
name!(
    /// A server process's identity, new at every start (Redis: `run_id`).
    RunId
);
name!(
    /// A replication history's identity (Redis: `master_replid`).
    ReplId
);
name!(
    /// A digest of one section of the configuration, in hexadecimal.
    Digest
);

macro_rules! number {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub u64);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// A controller's number in consensus messages: a digest of its name, never zero.
    NodeId
);
number!(
    /// The number of a service's reign. One primary per epoch, ever; only a committed entry assigns the next.
    Epoch
);
number!(
    /// The number of a leader's reign among the controllers (Raft: term).
    Term
);
number!(
    /// A random number drawn when a state folder is made. Peers remember it, so that a folder that was lost and made
    /// anew is told from the one that voted.
    Generation
);
number!(
    /// A position in a replication stream, in bytes (Redis: `master_repl_offset`, `slave_repl_offset`).
    ReplOffset
);

impl NodeId {
    /// The number of the controller called `name`: 64-bit FNV-1a, so that the order of the file does not matter.
    pub fn of(name: &NodeName) -> Self {
        let hash = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Self(hash.max(1))
    }
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ReplOffset {
    /// How many bytes this position is ahead of `other`; zero if it is not.
    pub const fn ahead_of(self, other: Self) -> u64 {
        self.0.saturating_sub(other.0)
    }
}

/// Where a server listens: a host name or IP literal, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Address {
    /// A host name or an IP literal, without brackets.
    pub host: Arc<str>,
    /// The TCP port, never zero.
    pub port: u16,
}

/// Why a text is not an address. State is never affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

impl Address {
    /// Where nothing listens: freezing a replica points it here, and protected boot starts it here.
    pub fn nowhere() -> Self {
        Self { host: "127.0.0.1".into(), port: 1 }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let fail = |why: &str| Err(AddressError(format!("'{text}' is not an address: {why}")));
        let Some((host, port)) = text.rsplit_once(':') else {
            return fail("write host:port, such as 10.0.0.1:6379");
        };
        let host = match host.strip_prefix('[').map(|rest| rest.strip_suffix(']')) {
            Some(Some(literal)) => literal,
            Some(None) => return fail("the bracket is not closed"),
            None if host.contains(':') => {
                return fail("write an IPv6 address in brackets, such as [::1]:6379");
            }
            None => host,
        };
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/') {
            return fail("the host is missing or holds a character that no host name has");
        }
        match port.parse::<u16>() {
            Ok(port) if port > 0 => Ok(Self { host: host.into(), port }),
            _ => fail("the port must be a number from 1 to 65535"),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_was_written() {
        for text in ["10.0.0.1:6379", "redis-1.shop.internal:1", "[::1]:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_address_says_what_to_write_instead() {
        for (text, hint) in [
            ("10.0.0.1", "write host:port"),
            ("10.0.0.1:0", "from 1 to 65535"),
            ("10.0.0.1:65536", "from 1 to 65535"),
            (":6379", "host is missing"),
            ("::1:6379", "in brackets"),
            ("[::1:6379", "not closed"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn node_ids_depend_on_the_name_alone_and_are_never_zero() {
        assert_eq!(NodeId::of(&"a".into()), NodeId::of(&"a".into()));
        assert_ne!(NodeId::of(&"a".into()), NodeId::of(&"b".into()));
        assert_ne!(NodeId::of(&"".into()).0, 0);
    }
}
