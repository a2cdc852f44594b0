//! What goes through one endpoint, counted for every thread to read. One thread writes, with plain stores: counting
//! costs a command some additions, and no lock.

use crate::family::Family;
use crate::settings::{Endpoint, Protocol};
use crate::slow::SlowLog;
use backstay_model::{
    ConnectionsTraffic, EndpointTraffic, FamilyTraffic, GatewayLoad, ServiceName, SqlTraffic,
};
use std::array::from_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Latencies are told apart from 2^4 microseconds on, in four steps per doubling, up to 2^24: from 16 us to 17 s.
const FIRST_DOUBLING: u32 = 4;
const LAST_DOUBLING: u32 = 24;
const BUCKETS: usize = ((LAST_DOUBLING - FIRST_DOUBLING) * 4) as usize + 2;

pub(crate) struct Traffic {
    name: String,
    service: ServiceName,
    /// Commands that take so many microseconds are remembered.
    pub(crate) slow_us: u64,
    pub(crate) slow: SlowLog,
    families: [FamilyCounters; Family::ALL.len()],
    pub(crate) clients: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) held: AtomicU64,
    pub(crate) held_total: AtomicU64,
    pub(crate) held_longest_us: AtomicU64,
    pub(crate) replayed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) shared: Connections,
    pub(crate) own: Connections,
    pub(crate) own_idle: AtomicU64,
    pub(crate) sql: SqlCounters,
    is_sql: bool,
}

/// Connections to servers of one kind.
#[derive(Default)]
pub(crate) struct Connections {
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
}

impl Connections {
    fn open(&self) -> u64 {
        read(&self.opened).saturating_sub(read(&self.closed))
    }
}

/// What endpoints count that speak SQL.
#[derive(Default)]
pub(crate) struct SqlCounters {
    pub(crate) commands: AtomicU64,
    /// Connections that were closed between two commands because their server is to be left.
    pub(crate) parted: AtomicU64,
    pub(crate) connects_failed: AtomicU64,
    too_many: AtomicU64,
    host_blocked: AtomicU64,
    host_denied: AtomicU64,
    login_denied: AtomicU64,
    otherwise: AtomicU64,
}

impl SqlCounters {
    /// The server has refused a client with this error.
    pub(crate) fn count_refusal(&self, number: u16) {
        add(
            match number {
                // Connections of all, and of one user.
                1040 | 1203 | 1226 => &self.too_many,
                1129 => &self.host_blocked,
                1130 => &self.host_denied,
                // With a password, without one, and to a database.
                1045 | 1698 | 1044 => &self.login_denied,
                _ => &self.otherwise,
            },
            1,
        );
    }

    fn read(&self) -> SqlTraffic {
        SqlTraffic {
            commands: read(&self.commands),
            parted: read(&self.parted),
            connects_failed: read(&self.connects_failed),
            too_many: read(&self.too_many),
            host_blocked: read(&self.host_blocked),
            host_denied: read(&self.host_denied),
            login_denied: read(&self.login_denied),
            refused_otherwise: read(&self.otherwise),
        }
    }
}

struct FamilyCounters {
    errors: AtomicU64,
    max_us: AtomicU64,
    latency: [AtomicU64; BUCKETS],
}

impl FamilyCounters {
    fn new() -> Self {
        Self { errors: AtomicU64::new(0), max_us: AtomicU64::new(0), latency: from_fn(|_| AtomicU64::new(0)) }
    }

    fn read(&self, family: Family) -> Option<FamilyTraffic> {
        let counts = self.latency.iter().map(read).enumerate();
        let latency: Vec<_> =
            counts.filter(|it| it.1 > 0).map(|(bucket, count)| (below(bucket), count)).collect();
        (!latency.is_empty()).then(|| FamilyTraffic {
            family: family.word().to_owned(),
            commands: latency.iter().map(|it| it.1).sum(),
            errors: read(&self.errors),
            max_us: read(&self.max_us),
            latency,
        })
    }
}

/// Where a latency is counted.
#[inline]
fn bucket(us: u64) -> usize {
    let us = us.clamp(8, (1 << LAST_DOUBLING) | 1);
    let doubling = us.ilog2();
    ((doubling * 4) as usize + (us >> (doubling - 2)) as usize)
        .saturating_sub(FIRST_DOUBLING as usize * 4 + 3)
}

/// What is counted in this bucket took less than so many microseconds.
fn below(bucket: usize) -> u64 {
    let Some(step) = bucket.checked_sub(1) else {
        return 1 << FIRST_DOUBLING;
    };
    if bucket == BUCKETS - 1 {
        return u64::MAX;
    }
    let doubling = FIRST_DOUBLING + step as u32 / 4;
    (5 + step as u64 % 4) << (doubling - 2)
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Counts up. Only the gateway's own thread may: that spares a locked instruction per batch.
#[inline]
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
}

/// Remembers the largest.
#[inline]
pub(crate) fn raise(counter: &AtomicU64, to: u64) {
    if to > counter.load(Ordering::Relaxed) {
        counter.store(to, Ordering::Relaxed);
    }
}

impl Traffic {
    pub(crate) fn new(settings: &Endpoint) -> Self {
        let zero = || AtomicU64::new(0);
        let slow = settings.limits.slow.map(|slow| slow.as_micros() as u64);
        Self {
            name: settings.name.clone(),
            service: settings.service.clone(),
            slow_us: slow.unwrap_or(u64::MAX),
            slow: SlowLog::default(),
            families: from_fn(|_| FamilyCounters::new()),
            clients: zero(),
            bytes_in: zero(),
            bytes_out: zero(),
            held: zero(),
            held_total: zero(),
            held_longest_us: zero(),
            replayed: zero(),
            refused: zero(),
            unknown: zero(),
            shared: Connections::default(),
            own: Connections::default(),
            own_idle: zero(),
            sql: SqlCounters::default(),
            is_sql: settings.protocol == Protocol::Sql,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// So many commands of one family were answered, after so long.
    #[inline]
    pub(crate) fn answered(&self, family: Family, took: Duration, count: u64) {
        let us = took.as_micros() as u64;
        let counters = &self.families[family as usize];
        add(&counters.latency[bucket(us)], count);
        raise(&counters.max_us, us);
    }

    /// One of them was answered with an error.
    pub(crate) fn erred(&self, family: Family) {
        add(&self.families[family as usize].errors, 1);
    }

    /// What controllers are told, of all endpoints together.
    pub(crate) fn load(all: &[Arc<Self>]) -> GatewayLoad {
        let sum = |count: fn(&Self) -> u64| all.iter().map(|one| count(one)).sum();
        GatewayLoad {
            clients: sum(|it| read(&it.clients)),
            backends: sum(|it| it.shared.open() + it.own.open()),
            held: sum(|it| read(&it.held)),
            commands: sum(|it| {
                let counts = it.families.iter().flat_map(|family| &family.latency).map(read);
                counts.sum::<u64>() + read(&it.sql.commands)
            }),
            refused: sum(|it| read(&it.refused)),
            replayed: sum(|it| read(&it.replayed)),
            unknown: sum(|it| read(&it.unknown)),
        }
    }

    pub(crate) fn read(&self) -> EndpointTraffic {
        EndpointTraffic {
            endpoint: self.name.clone(),
            service: self.service.clone(),
            clients: read(&self.clients),
            bytes_in: read(&self.bytes_in),
            bytes_out: read(&self.bytes_out),
            held: read(&self.held),
            held_total: read(&self.held_total),
            held_longest_us: read(&self.held_longest_us),
            replayed: read(&self.replayed),
            refused: read(&self.refused),
            unknown: read(&self.unknown),
            connections: ConnectionsTraffic {
                shared: self.shared.open(),
                own_used: self.own.open().saturating_sub(read(&self.own_idle)),
                own_idle: read(&self.own_idle),
                shared_opened: read(&self.shared.opened),
                shared_closed: read(&self.shared.closed),
                own_opened: read(&self.own.opened),
                own_closed: read(&self.own.closed),
            },
            families: Family::ALL
                .into_iter()
                .filter_map(|family| self.families[family as usize].read(family))
                .collect(),
            sql: self.is_sql.then(|| self.sql.read()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_is_counted_below_the_next_quarter_of_its_doubling() {
        for (us, end) in [(0, 16), (15, 16), (16, 20), (19, 20), (20, 24), (31, 32), (32, 40), (1000, 1024)] {
            assert_eq!(below(bucket(us)), end, "{us}");
        }
        assert_eq!(below(bucket((1 << 24) - 1)), 1 << 24);
        assert_eq!((bucket(1 << 24), bucket(u64::MAX)), (BUCKETS - 1, BUCKETS - 1));
    }

    #[test]
    fn every_latency_lies_in_its_bucket_and_none_is_wider_than_a_quarter() {
        for us in (16..100_000).chain((100_000..1 << 24).step_by(997)) {
            let (bucket, end) = (bucket(us), below(bucket(us)));
            assert!(below(bucket - 1) <= us && us < end, "{us}: {bucket}");
            assert!(end * 4 <= us * 5 + 4, "{us}: {end}");
        }
    }
}
