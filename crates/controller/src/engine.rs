//! What the brain does otherwise for one engine than for another, as data. What an order means there is the link's
//! business.

use backstay_model::{Engine, Unit};
use std::time::Duration;

/// See the module's head.
pub(crate) struct Manners {
    /// How long a promotion may stay unobserved. A MariaDB first applies what it has received.
    pub(crate) promotion_patience: Duration,
    /// Writes are not paused for a planned move before the candidate lacks no more than this: what then remains takes
    /// milliseconds. Bytes, or transactions.
    pub(crate) near: u64,
    /// How often something is written to the primary, so that replicas can be seen to receive and apply. `None`: its
    /// stream moves by itself.
    pub(crate) heartbeat: Option<Duration>,
    /// What offsets count.
    pub(crate) unit: Unit,
}

impl Manners {
    const REDIS: Self = Self {
        promotion_patience: Duration::from_millis(500),
        near: 1024 * 1024,
        heartbeat: None,
        unit: Unit::Bytes,
    };
    const MARIADB: Self = Self {
        promotion_patience: Duration::from_secs(10),
        near: 200,
        heartbeat: Some(Duration::from_millis(500)),
        unit: Unit::Transactions,
    };

    /// Those for this engine.
    pub(crate) const fn of(engine: &Engine) -> &'static Self {
        match engine {
            Engine::Redis(_) => &Self::REDIS,
            Engine::MariaDb(_) => &Self::MARIADB,
        }
    }
}
