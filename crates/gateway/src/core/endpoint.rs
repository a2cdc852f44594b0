//! An endpoint: where its commands go now, and what it has open there.

use crate::core::notices::Outlook;
use crate::core::rate::Rate;
use crate::core::table::Key;
use crate::direction::{Direction, Source, Target};
use crate::settings::{Endpoint, EndpointKind, Login, Otherwise};
use crate::traffic::Traffic;
use backstay_lease::MARGIN;
use backstay_model::{Epoch, Time};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const BACK_OFF_MIN: Duration = Duration::from_millis(5);
const BACK_OFF_MAX: Duration = Duration::from_millis(500);

/// Which connections are alike: user, database, RESP3.
pub(crate) type LaneName = (u16, u32, bool);

#[allow(clippy::struct_excessive_bools, reason = "what is known of an endpoint, independently of each other")]
pub(crate) struct EndpointState {
    pub(crate) settings: Endpoint,
    /// As whom clients speak to servers; the first is everybody's.
    pub(crate) logins: Vec<Option<Login>>,
    pub(crate) direction: Direction,
    pub(crate) sources: Vec<Source>,
    /// Since when replicas are too far behind to be read from.
    pub(crate) far_since: BTreeMap<SocketAddr, Time>,
    /// Where commands go now. `None`: nowhere.
    pub(crate) target: Option<Target>,
    /// The target is the primary: the lease counts.
    pub(crate) primary: bool,
    /// No replica qualifies, and that is answered with an error.
    pub(crate) refuses: bool,
    /// Commands may be sent on now.
    pub(crate) open: bool,
    /// Since when what is under way is let finish.
    pub(crate) draining: Option<Draining>,
    /// What clients are told of all this.
    pub(crate) outlook: Outlook,

    pub(crate) lanes: BTreeMap<LaneName, Key>,
    /// Why a database cannot be selected.
    pub(crate) refused_databases: BTreeMap<u32, Vec<u8>>,
    /// Own connections that belong to nobody now.
    pub(crate) idle: Vec<Key>,
    /// All own connections.
    pub(crate) owns: usize,
    /// Clients that wait for a server.
    pub(crate) waiting: VecDeque<Key>,
    pub(crate) held_bytes: usize,
    pub(crate) clients: usize,
    /// What its clients and connections held when it was last counted, in bytes.
    pub(crate) memory: usize,
    /// That is nearly all that they may hold.
    pub(crate) full: bool,
    /// How many commands it takes. `None`: as many as come.
    pub(crate) rate: Option<Rate>,

    /// No connection is opened before this moment.
    pub(crate) retry_at: Time,
    /// Those that wait were not yet told that it has come.
    pub(crate) retries: bool,
    pub(crate) back_off: Duration,
    /// Why the last connection failed.
    pub(crate) trouble: String,
    /// What servers say about their version.
    pub(crate) version: String,
    /// What went through it.
    pub(crate) traffic: Arc<Traffic>,
}

/// A drain under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draining {
    pub(crate) since: Time,
    /// When blocked connections are asked for next.
    pub(crate) unblock_at: Time,
}

impl EndpointState {
    /// Whether its clients may change nothing, wherever their commands go.
    pub(crate) const fn reads_only(&self) -> bool {
        matches!(self.settings.kind, EndpointKind::Reader { .. })
    }

    pub(crate) fn new(settings: Endpoint) -> Self {
        let traffic = Arc::new(Traffic::new(&settings));
        let mut logins = vec![settings.backend.login.clone()];
        logins.extend(settings.users.iter().filter_map(|user| user.login.clone()).map(Some));
        let rate = Rate::new(settings.limits.commands_per_second);
        Self {
            settings,
            logins,
            direction: Direction::Hold { epoch: Epoch(0) },
            sources: Vec::new(),
            far_since: BTreeMap::new(),
            target: None,
            primary: true,
            refuses: false,
            open: false,
            draining: None,
            outlook: Outlook::New,
            lanes: BTreeMap::new(),
            refused_databases: BTreeMap::new(),
            idle: Vec::new(),
            owns: 0,
            waiting: VecDeque::new(),
            held_bytes: 0,
            clients: 0,
            memory: 0,
            full: false,
            rate,
            retry_at: Time::ZERO,
            retries: false,
            back_off: Duration::ZERO,
            trouble: String::new(),
            version: String::new(),
            traffic,
        }
    }

    /// The number of clients has changed.
    pub(crate) fn count_clients(&self) {
        self.traffic.clients.store(self.clients as u64, Ordering::Relaxed);
    }

    /// The number of the login that this user's commands are sent with.
    pub(crate) fn login_of(&self, user: usize) -> u16 {
        let own = |user: usize| self.settings.users.get(user).is_some_and(|user| user.login.is_some());
        if own(user) { (0..=user).filter(|user| own(*user)).count() as u16 } else { 0 }
    }

    /// What is read from the primary now is no answer any more.
    pub(crate) fn is_expired(&self, now: Time) -> bool {
        now >= self.direction.until()
    }

    /// Commands may be sent to the primary.
    pub(crate) fn is_leased(&self, now: Time) -> bool {
        matches!(self.direction, Direction::Serve { until, .. } if now + MARGIN < until)
    }

    pub(crate) fn look_at_lease(&mut self, now: Time) {
        self.open = self.target.is_some() && (!self.primary || self.is_leased(now));
    }

    pub(crate) fn failed(&mut self, now: Time, why: &str) {
        why.clone_into(&mut self.trouble);
        self.back_off = (self.back_off * 2).clamp(BACK_OFF_MIN, BACK_OFF_MAX);
        self.retry_at = now + self.back_off;
        self.retries = true;
    }

    pub(crate) fn succeeded(&mut self) {
        self.trouble.clear();
        self.back_off = Duration::ZERO;
    }

    /// Where commands should go by what is known now, whether that is the primary, and whether they are refused.
    pub(crate) fn choose(&self, zone: &str) -> (Option<Target>, bool, bool) {
        let primary = match &self.direction {
            Direction::Serve { target, .. } => Some(target.clone()),
            Direction::Drain { .. } | Direction::Hold { .. } => None,
        };
        let EndpointKind::Reader { max_lag_bytes, otherwise } = &self.settings.kind else {
            return (primary, true, false);
        };
        let rank = |source: &&Source| {
            let far = zone.is_empty() || source.zone != zone;
            // Among equals the one that is used already: changing costs connections.
            (far, self.target.as_ref() != Some(&source.target), source.lag_bytes)
        };
        let near = self.sources.iter().filter(|source| source.lag_bytes <= *max_lag_bytes).min_by_key(rank);
        if let Some(source) = near {
            return (Some(source.target.clone()), false, false);
        }
        match otherwise {
            Otherwise::Primary => (primary, true, false),
            Otherwise::Refuse => (None, false, true),
            Otherwise::Any => {
                let any = self.sources.iter().min_by_key(|source| source.lag_bytes);
                (any.map(|source| source.target.clone()), false, any.is_none())
            }
        }
    }
}
