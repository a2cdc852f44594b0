//! What happens to servers while clients of an address are at work.

use crate::bench::case::named;
use crate::bench::gateway::case::System;
use crate::error::{LabError, Result};
use crate::servers::redis::RedisServer;
use crate::stack::fault::Fault;
use crate::stack::lab::Lab;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What clients of an address are measured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GatewayFault {
    /// The primary is killed.
    #[serde(rename = "crash")]
    Crash,
    /// The primary stands still.
    #[serde(rename = "hang")]
    Hang,
    /// The operator wants another primary.
    #[serde(rename = "switchover")]
    Switchover,
    /// One of three gateways stands still with its lease, and in the same instant the primary is killed.
    #[serde(rename = "crash+gateway-hang")]
    CrashBesideHungGateway,
    /// The primary and one of three gateways are killed in the same instant.
    #[serde(rename = "crash+gateway")]
    CrashWithGateway,
}

named!(
    GatewayFault,
    "fault",
    Crash = "crash",
    Hang = "hang",
    Switchover = "switchover",
    CrashBesideHungGateway = "crash+gateway-hang",
    CrashWithGateway = "crash+gateway"
);

impl GatewayFault {
    /// All, in the order in which they are run.
    pub const ALL: [Self; 5] =
        [Self::Crash, Self::Hang, Self::Switchover, Self::CrashBesideHungGateway, Self::CrashWithGateway];

    /// With how many gateways.
    pub const fn gateways(self) -> usize {
        if self.takes_gateway() { 3 } else { 2 }
    }

    /// Whether one gateway, the first, is of no use from then on: its clients wait, those of the others are measured.
    pub const fn takes_gateway(self) -> bool {
        matches!(self, Self::CrashBesideHungGateway | Self::CrashWithGateway)
    }

    /// Whether it can happen behind `system`.
    pub fn happens_to(self, system: System) -> bool {
        match system {
            System::Backstay => true,
            System::Haproxy => !self.takes_gateway(),
            System::Direct | System::Twemproxy => false,
        }
    }

    /// Does it.
    pub(super) fn cause(self, lab: &Lab, primary: &RedisServer) -> Result<()> {
        let gateway = || {
            let first = lab.gateways()?.into_iter().next();
            first.ok_or_else(|| LabError::Refused("this lab has no gateway.".to_owned()))
        };
        match self {
            Self::Crash => lab.fault(Fault::Kill, &primary.name).map(drop),
            Self::Hang => lab.fault(Fault::Hang, &primary.name).map(drop),
            Self::Switchover => {
                let next = lab.instances()?.into_iter().find(|instance| instance.name != primary.name);
                let next =
                    next.ok_or_else(|| LabError::Refused("this lab has one instance only.".to_owned()))?;
                lab.switch_over(&next.name).map(drop)
            }
            Self::CrashBesideHungGateway => {
                lab.fault(Fault::Hang, &gateway()?.name)?;
                lab.fault(Fault::Kill, &primary.name).map(drop)
            }
            Self::CrashWithGateway => {
                lab.fault_all(Fault::Kill, &[&primary.name, &gateway()?.name]).map(drop)
            }
        }
    }
}
