//! Backstay's stack and stock Sentinel's behind one small set of verbs, so that a measurement cannot treat one of them
//! better than the other.

use crate::bench::case::{Case, System};
use crate::error::{LabError, Result};
use crate::load::client::Client;
use crate::servers::process::Moment;
use crate::servers::redis::{RedisServer, Role};
use crate::stack::fault::Fault;
use crate::stack::lab::ScopedLab;
use crate::stack::options::Options;
use crate::stack::stock::StockStack;
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::time::Duration;

const HEALTHY_LIMIT: Duration = Duration::from_secs(20);

/// One primary, two replicas, and three who watch.
#[derive(Debug)]
pub enum Stack {
    /// Watched by Backstay.
    Backstay(ScopedLab),
    /// Watched by stock Sentinel.
    Sentinel(StockStack),
}

impl Stack {
    /// A fresh one, whole and ready to fail over.
    pub fn up(case: &Case, backstay: Option<PathBuf>) -> Result<Self> {
        match case.system {
            System::Sentinel => StockStack::watched(case.down_after).map(Self::Sentinel),
            System::Backstay => {
                let lab =
                    ScopedLab::up(&Options { down_after: case.down_after, backstay, ..Options::default() })?;
                lab.await_healthy(HEALTHY_LIMIT)?;
                Ok(Self::Backstay(lab))
            }
        }
    }

    /// A new client.
    pub fn client(&self) -> Result<Client> {
        match self {
            Self::Backstay(lab) => lab.client(),
            Self::Sentinel(stack) => Ok(stack.client()),
        }
    }

    /// Its Redis instances.
    pub fn instances(&self) -> Result<Vec<RedisServer>> {
        match self {
            Self::Backstay(lab) => lab.instances(),
            Self::Sentinel(stack) => Ok(stack.instances()),
        }
    }

    /// The primary that its Sentinel ports name.
    pub fn primary(&self) -> Result<RedisServer> {
        let unknown = |what: String| LabError::Answer { from: "the Sentinel ports".to_owned(), what };
        let address = self.client()?.primary().map_err(|failure| unknown(failure.kind()))?;
        let found = self.instances()?.into_iter().find(|instance| instance.address() == address);
        found.ok_or_else(|| unknown(format!("{address} is the primary, and no instance listens there")))
    }

    /// Kills the instance called `name`.
    pub fn kill(&self, name: &str) -> Result<Moment> {
        match self {
            Self::Backstay(lab) => lab.fault(Fault::Kill, name).map(|report| report.at),
            Self::Sentinel(stack) => stack.signal(name, Signal::SIGKILL),
        }
    }

    /// Kills the instance called `name` and the leading controller.
    pub fn kill_with_leader(&self, name: &str) -> Result<Moment> {
        let Self::Backstay(lab) = self else {
            return Err(LabError::Refused("stock Sentinel has no leader between failovers.".to_owned()));
        };
        let leader = lab.leader()?.ok_or_else(|| LabError::Refused("no controller leads.".to_owned()))?;
        lab.fault_all(Fault::Kill, &[name, &leader]).map(|report| report.at)
    }

    /// Asks for another primary: `to` where that can be said.
    pub fn switch_over(&self, to: &str) -> Result<Moment> {
        match self {
            Self::Backstay(lab) => lab.switch_over(to),
            Self::Sentinel(stack) => stack.switch_over(),
        }
    }

    /// An instance other than the primary.
    pub fn replica(&self, primary: &RedisServer) -> Result<RedisServer> {
        let found = self.instances()?.into_iter().find(|instance| instance.name != primary.name);
        found.ok_or_else(|| LabError::Refused("this stack has one instance only.".to_owned()))
    }

    /// Stops the instance called `name`.
    pub fn hang(&self, name: &str) -> Result<Moment> {
        match self {
            Self::Backstay(lab) => lab.fault(Fault::Hang, name).map(|report| report.at),
            Self::Sentinel(stack) => stack.signal(name, Signal::SIGSTOP),
        }
    }

    /// Lets the instance called `name` go on.
    pub fn resume(&self, name: &str) -> Result<Moment> {
        match self {
            Self::Backstay(lab) => lab.fault(Fault::Resume, name).map(|report| report.at),
            Self::Sentinel(stack) => stack.signal(name, Signal::SIGCONT),
        }
    }

    /// How many bytes the most advanced replica is behind the primary, at most: the replicas are asked first.
    pub fn lag_bytes(&self) -> Result<u64> {
        let (mut replicas, mut primary) = (Vec::new(), Vec::new());
        for instance in self.instances()? {
            match instance.role()? {
                Role::Primary { .. } => primary.push(instance),
                Role::Replica { offset, .. } => replicas.push(offset),
            }
        }
        let most = replicas.into_iter().max().unwrap_or_default();
        match primary.first().map(RedisServer::role) {
            Some(Ok(Role::Primary { offset, .. })) => Ok(offset.saturating_sub(most).max(0) as u64),
            _ => Ok(0),
        }
    }

    /// Copies the controllers' logs out of a lab that is about to be removed; returns where to.
    pub fn save_logs(&self, run: &str) -> Option<PathBuf> {
        let Self::Backstay(lab) = self else { return None };
        let folder = std::env::temp_dir().join(format!("backstay-bench-{}-{run}", std::process::id()));
        lab.save_logs(&folder).ok()?;
        Some(folder)
    }
}
