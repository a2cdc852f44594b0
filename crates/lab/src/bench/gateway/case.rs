//! What is sent through what.

use crate::bench::case::named;
use crate::error::{LabError, Result};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// What stands between the clients and Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum System {
    /// Nothing.
    Direct,
    /// A gateway of ours.
    Backstay,
    /// HAProxy, which passes bytes on.
    Haproxy,
    /// twemproxy, which shares one connection to the server among all clients.
    Twemproxy,
}

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `GET`, 50 connections.
    GetC50,
    /// `SET`, 50 connections.
    SetC50,
    /// `GET`, 1,000 connections.
    GetC1000,
    /// `SET`, 1,000 connections.
    SetC1000,
    /// `GET`, 50 connections, 16 commands in flight on each.
    GetC50P16,
    /// `SET`, 50 connections, 16 commands in flight on each.
    SetC50P16,
    /// `GET` of 10 KiB, 50 connections.
    Get10k,
    /// `SET` of 10 KiB, 50 connections.
    Set10k,
    /// A new connection for each `GET`, 50 at a time.
    Connect,
    /// The same with `AUTH` before it.
    ConnectAuth,
    /// 10,000 `GET` and `SET` a second over 50 connections: far from any limit.
    Latency10k,
}

named!(
    System,
    "system",
    Direct = "direct",
    Backstay = "backstay",
    Haproxy = "haproxy",
    Twemproxy = "twemproxy"
);
named!(
    Case,
    "case",
    GetC50 = "get-c50",
    SetC50 = "set-c50",
    GetC1000 = "get-c1000",
    SetC1000 = "set-c1000",
    GetC50P16 = "get-c50-p16",
    SetC50P16 = "set-c50-p16",
    Get10k = "get-10k",
    Set10k = "set-10k",
    Connect = "connect",
    ConnectAuth = "connect-auth",
    Latency10k = "latency-10k"
);

impl Serialize for System {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Case {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A run of `redis-benchmark`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// `get` or `set`.
    pub test: &'static str,
    /// Connections.
    pub connections: usize,
    /// Commands in flight on each.
    pub pipeline: usize,
    /// Bytes of a value.
    pub value_bytes: usize,
}

/// Who makes the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// `redis-benchmark`.
    Tool(Tool),
    /// A new connection for each request (`load::storm`).
    Storm,
    /// A steady rate (`load::paced`).
    Paced,
}

impl System {
    /// In the order of the table.
    pub const ALL: [Self; 4] = [Self::Direct, Self::Backstay, Self::Haproxy, Self::Twemproxy];
}

impl Case {
    /// In the order in which they are made.
    pub const ALL: [Self; 11] = [
        Self::GetC50,
        Self::SetC50,
        Self::GetC1000,
        Self::SetC1000,
        Self::GetC50P16,
        Self::SetC50P16,
        Self::Get10k,
        Self::Set10k,
        Self::Connect,
        Self::ConnectAuth,
        Self::Latency10k,
    ];

    /// Whether every system demands a password.
    pub fn needs_password(self) -> bool {
        self == Self::ConnectAuth
    }

    /// Who makes it.
    pub fn load(self) -> Load {
        const SMALL: usize = 3;
        const LARGE: usize = 10 * 1024;
        let tool = |test, connections, pipeline, value_bytes| {
            Load::Tool(Tool { test, connections, pipeline, value_bytes })
        };
        match self {
            Self::GetC50 => tool("get", 50, 1, SMALL),
            Self::SetC50 => tool("set", 50, 1, SMALL),
            Self::GetC1000 => tool("get", 1000, 1, SMALL),
            Self::SetC1000 => tool("set", 1000, 1, SMALL),
            Self::GetC50P16 => tool("get", 50, 16, SMALL),
            Self::SetC50P16 => tool("set", 50, 16, SMALL),
            Self::Get10k => tool("get", 50, 1, LARGE),
            Self::Set10k => tool("set", 50, 1, LARGE),
            Self::Connect | Self::ConnectAuth => Load::Storm,
            Self::Latency10k => Load::Paced,
        }
    }
}
