//! What the brain does otherwise for one engine than for another, as data. What an order means there is the link's
//! business.

use backstay_model::Engine;
use std::time::Duration;

/// See the module's head.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Manners {
    /// How long a promotion may stay unobserved. A MariaDB first applies what it has received.
    pub(crate) promotion_patience: Duration,
    /// Writes are not paused for a planned move before the candidate lacks no more than this: what then remains takes
    /// milliseconds. Bytes, or transactions.
    pub(crate) near: u64,
    /// How often something is written to the primary, so that replicas can be seen to receive and apply. `None`: its
    /// stream moves by itself.
    pub(crate) heartbeat: Option<Duration>,
    /// The canary goes over a connection of its own, so nothing keeps it behind what was ordered before.
    pub(crate) writes_apart: bool,
    /// Histories are named by the servers that write them, so a name comes again; and a primary counts on from where it
    /// stood as a replica.
    pub(crate) named_by_servers: bool,
    /// One that is re-pointed may take a full copy, so only a few are at a time; and it tries by itself until it is linked.
    /// Otherwise it goes on where it stood, and its thread may have given up.
    pub(crate) copies: bool,
    /// What locks tables, or commits slowly, keeps it open.
    pub(crate) closes_under_lock: bool,
    /// What a planned move keeps waiting runs when that ends, unless it is let go first.
    pub(crate) postpones: bool,
}

impl Manners {
    const REDIS: Self = Self {
        promotion_patience: Duration::from_millis(500),
        near: 1024 * 1024,
        heartbeat: None,
        writes_apart: false,
        named_by_servers: false,
        copies: true,
        closes_under_lock: false,
        postpones: true,
    };
    const MARIADB: Self = Self {
        promotion_patience: Duration::from_secs(10),
        near: 200,
        heartbeat: Some(Duration::from_millis(500)),
        writes_apart: true,
        named_by_servers: true,
        copies: false,
        closes_under_lock: true,
        postpones: false,
    };

    /// Those for this engine.
    pub(crate) const fn of(engine: &Engine) -> &'static Self {
        match engine {
            Engine::Redis(_) => &Self::REDIS,
            Engine::MariaDb(_) | Engine::MySql(_) => &Self::MARIADB,
        }
    }
}
