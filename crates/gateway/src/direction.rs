//! Where an endpoint's traffic goes: `backstay_lease::Standing` with addresses resolved, and what a newer order changes. The
//! same for both kinds of endpoints.

use backstay_model::{Epoch, ServiceName, Time};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A server, its name resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) host: Arc<str>,
}

/// A replica that may be read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) target: Target,
    pub(crate) zone: String,
    pub(crate) lag_bytes: u64,
}

/// See `backstay_lease::Standing`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Serve { epoch: Epoch, target: Target, until: Time },
    Drain { epoch: Epoch, until: Time },
    Hold { epoch: Epoch },
}

/// What an order changes for an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Nothing but how long the lease is: it is an older order, or one that is followed already.
    Same,
    /// The first order of all is what a gateway starts with: there is nothing to do, and it is confirmed.
    First,
    /// The primary is about to move.
    Drain,
    /// The primary is to be left at once.
    Leave,
}

impl Direction {
    /// The epoch that this is said in.
    pub(crate) fn epoch(&self) -> Epoch {
        match self {
            Self::Serve { epoch, .. } | Self::Drain { epoch, .. } | Self::Hold { epoch } => *epoch,
        }
    }

    /// The primary, while it is to be used.
    pub(crate) const fn target(&self) -> Option<&Target> {
        match self {
            Self::Serve { target, .. } => Some(target),
            Self::Drain { .. } | Self::Hold { .. } => None,
        }
    }

    /// When the lease ends.
    pub(crate) const fn until(&self) -> Time {
        match self {
            Self::Serve { until, .. } | Self::Drain { until, .. } => *until,
            Self::Hold { .. } => Time::ZERO,
        }
    }

    /// Takes up an order.
    pub(crate) fn follow(&mut self, order: &Self) -> Turn {
        if order.epoch() < self.epoch() {
            return Turn::Same;
        }
        let turn = match (&mut *self, order) {
            (Self::Serve { epoch, target, until }, Self::Serve { epoch: new, target: to, until: end })
                if epoch == new && target == to =>
            {
                // A lease that follows upon the failsafe may end earlier than that would have.
                *until = *end;
                return Turn::Same;
            }
            (Self::Drain { epoch, until }, Self::Drain { epoch: new, until: end }) if epoch == new => {
                *until = *end.max(until);
                return Turn::Same;
            }
            (Self::Hold { epoch }, Self::Hold { epoch: new }) if epoch == new => {
                return if *epoch == Epoch(0) { Turn::First } else { Turn::Same };
            }
            (Self::Serve { .. }, Self::Drain { .. }) => Turn::Drain,
            _ => Turn::Leave,
        };
        *self = order.clone();
        turn
    }
}

/// The services whose gateways are to say that they do not forward any more, and in which epoch.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed(BTreeMap<ServiceName, Epoch>);

impl Unconfirmed {
    /// Notes an order. `is_new`: some endpoint follows it from now on, or there is none.
    pub(crate) fn note(&mut self, service: &ServiceName, order: &Direction, is_new: bool) {
        match order {
            _ if !is_new => {}
            Direction::Drain { epoch, .. } | Direction::Hold { epoch } => {
                self.0.insert(service.clone(), *epoch);
            }
            Direction::Serve { .. } => {
                self.0.remove(service);
            }
        }
    }

    /// Takes out those that have let go.
    pub(crate) fn confirm(&mut self, has_let_go: impl Fn(&ServiceName) -> bool) -> Vec<(ServiceName, Epoch)> {
        let confirmed: Vec<_> = self
            .0
            .iter()
            .filter(|(service, _)| has_let_go(service))
            .map(|(service, epoch)| (service.clone(), *epoch))
            .collect();
        for (service, _) in &confirmed {
            self.0.remove(service);
        }
        confirmed
    }
}
