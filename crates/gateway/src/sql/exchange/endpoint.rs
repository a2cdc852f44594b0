//! An endpoint: where its clients are connected to now, and what it has open there.

use crate::core::Key;
use crate::direction::{Direction, Source, Target};
use crate::settings::{Endpoint, EndpointKind, Otherwise};
use crate::traffic::Traffic;
use backstay_lease::MARGIN;
use backstay_model::{Epoch, Time};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

const BACK_OFF_MIN: Duration = Duration::from_millis(5);
const BACK_OFF_MAX: Duration = Duration::from_millis(500);
/// Connections to one server that have not been greeted yet. A server's queue is short (MariaDB: 80), and who does not fit
/// into it waits for a second.
const UNGREETED_MAX: usize = 64;

pub(super) struct EndpointState {
    pub(super) settings: Endpoint,
    pub(super) direction: Direction,
    pub(super) sources: Vec<Source>,
    /// Something was said about it.
    pub(super) told: bool,
    /// Since when replicas are too far behind to be read from.
    pub(super) far_since: BTreeMap<SocketAddr, Time>,
    /// What is known of each server.
    pub(super) places: BTreeMap<SocketAddr, Place>,
    /// Connections to the primary, whatever their stage.
    pub(super) primary_links: usize,
    /// Clients without a server, the oldest first; and those who were, and are not any more.
    pub(super) queue: VecDeque<Key>,
    /// How many of the queue wait.
    pub(super) waiting: usize,
    pub(super) clients: usize,
    /// What its clients did not take yet, in bytes.
    pub(super) kept: usize,
    /// Pairs that wait for a longer lease.
    pub(super) stalled: Vec<Key>,
    pub(super) traffic: Arc<Traffic>,
}

/// A server.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) links: usize,
    /// Of these, how many the server has not greeted.
    pub(super) ungreeted: usize,
    pub(super) trouble: Option<Trouble>,
}

/// The last connection to a server failed.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) why: String,
    back_off: Duration,
    /// The next one is not tried before.
    pub(super) retry_at: Time,
}

/// Where the next client goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    To {
        address: SocketAddr,
        primary: bool,
    },
    /// Nowhere yet.
    Wait,
    /// No replica qualifies, and nobody is to wait for one.
    Refuse,
}

impl EndpointState {
    pub(super) fn new(settings: Endpoint) -> Self {
        Self {
            traffic: Arc::new(Traffic::new(&settings)),
            settings,
            direction: Direction::Hold { epoch: Epoch(0) },
            sources: Vec::new(),
            told: false,
            far_since: BTreeMap::new(),
            places: BTreeMap::new(),
            primary_links: 0,
            queue: VecDeque::new(),
            waiting: 0,
            clients: 0,
            kept: 0,
            stalled: Vec::new(),
        }
    }

    /// What is read from the primary now is no answer any more.
    pub(super) fn is_expired(&self, now: Time) -> bool {
        now >= self.direction.until()
    }

    /// Nothing is sent to the primary any more: its answer might come too late.
    pub(super) fn lapses(&self, now: Time) -> bool {
        now + MARGIN >= self.direction.until()
    }

    /// The primary, while clients may be connected to it.
    fn primary(&self, now: Time) -> Option<&Target> {
        match &self.direction {
            Direction::Serve { target, .. } if !self.lapses(now) => Some(target),
            _ => None,
        }
    }

    /// Where the next client goes by what is known now.
    pub(super) fn choose(&self, zone: &str, now: Time) -> Choice {
        let EndpointKind::Reader { max_lag_bytes, otherwise } = &self.settings.kind else {
            return self.at_primary(now);
        };
        let near = |source: &&Source| source.lag_bytes <= *max_lag_bytes;
        if self.sources.iter().any(|source| near(&source)) {
            let near = self.sources.iter().filter(near);
            // A site's own replicas, and of these the one with the fewest connections.
            let rank = |source: &Source| {
                let far = zone.is_empty() || source.zone != zone;
                let links = self.places.get(&source.target.address).map_or(0, |place| place.links);
                (far, links, source.lag_bytes)
            };
            return self.best(near, rank, now);
        }
        match otherwise {
            Otherwise::Primary => self.at_primary(now),
            Otherwise::Any if !self.sources.is_empty() => {
                self.best(self.sources.iter(), |source| source.lag_bytes, now)
            }
            Otherwise::Any | Otherwise::Refuse => {
                if self.told {
                    Choice::Refuse
                } else {
                    Choice::Wait
                }
            }
        }
    }

    fn at_primary(&self, now: Time) -> Choice {
        match self.primary(now) {
            Some(target) if self.accepts(target.address, now) => {
                Choice::To { address: target.address, primary: true }
            }
            _ => Choice::Wait,
        }
    }

    fn best<'a, R: Ord>(
        &self,
        sources: impl Iterator<Item = &'a Source>,
        rank: impl Fn(&Source) -> R,
        now: Time,
    ) -> Choice {
        let open = sources.filter(|source| self.accepts(source.target.address, now));
        let best = open.min_by_key(|source| rank(source));
        best.map_or(Choice::Wait, |source| Choice::To { address: source.target.address, primary: false })
    }

    /// One more connection may be tried there.
    fn accepts(&self, address: SocketAddr, now: Time) -> bool {
        self.places.get(&address).is_none_or(|place| match &place.trouble {
            // One finds out whether it is over.
            Some(trouble) => place.ungreeted == 0 && now >= trouble.retry_at,
            None => place.ungreeted < UNGREETED_MAX,
        })
    }

    /// A replica may be read from, or was so until recently.
    pub(super) fn lists(&self, address: SocketAddr, far_max: Duration, now: Time) -> bool {
        let near = || self.far_since.get(&address).is_none_or(|since| now < *since + far_max);
        self.sources.iter().any(|source| source.target.address == address) && near()
    }

    /// Remembers since when replicas are too far behind.
    pub(super) fn note_lag(&mut self, now: Time) {
        let EndpointKind::Reader { max_lag_bytes, otherwise } = self.settings.kind else {
            return;
        };
        let far = self.sources.iter().filter(|source| {
            // Where any replica will do, none is too far.
            source.lag_bytes > max_lag_bytes && otherwise != Otherwise::Any
        });
        let far = far.map(|source| source.target.address);
        self.far_since = far.map(|at| (at, self.far_since.get(&at).copied().unwrap_or(now))).collect();
    }

    /// Why there is no server for those who wait.
    pub(super) fn trouble(&self) -> Option<(SocketAddr, &str)> {
        self.places.iter().find_map(|(at, place)| Some((*at, &*place.trouble.as_ref()?.why)))
    }
}

impl Place {
    /// A connection there failed.
    pub(super) fn failed(&mut self, why: &str, now: Time) {
        let (back_off, retry_at) = match &self.trouble {
            // Those that were begun together fail together.
            Some(trouble) if now < trouble.retry_at => (trouble.back_off, trouble.retry_at),
            Some(trouble) => {
                let back_off = (trouble.back_off * 2).min(BACK_OFF_MAX);
                (back_off, now + back_off)
            }
            None => (BACK_OFF_MIN, now + BACK_OFF_MIN),
        };
        self.trouble = Some(Trouble { why: why.to_owned(), back_off, retry_at });
    }
}
