//! What the port is told once, at its start.

use backstay_config::Config;
use backstay_model::{Address, NodeName, ServiceName};
use std::collections::BTreeMap;
use std::time::Duration;

/// What the port needs of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    /// This node.
    pub node: NodeName,
    /// What clients must give to be let in.
    pub password: Option<Vec<u8>>,
    /// The Sentinel ports of all controllers, this one included; those without one are missing.
    pub ports: BTreeMap<NodeName, Address>,
    /// The services that clients may know of, which are those of Redis, and the terms on which each is watched.
    pub services: BTreeMap<ServiceName, ServiceTerms>,
    /// How far clients are trusted.
    pub bounds: Bounds,
}

/// What Sentinel's replies say about how a service is watched.
#[derive(Clone, Copy, Debug)]
pub struct ServiceTerms {
    /// `down-after-milliseconds`.
    pub down_after: Duration,
    /// `parallel-syncs`.
    pub parallel_syncs: usize,
}

/// How far clients are trusted.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most connections at once; at most half of the files that the process may open is used all the same.
    pub connections_max: usize,
    /// The longest request.
    pub request_bytes_max: usize,
    /// Replies that wait to be sent: beyond this, no further request is read.
    pub unsent_bytes_pause: usize,
    /// Messages that wait to be sent: beyond this, the subscriber is dropped.
    pub unsent_bytes_max: usize,
    /// How long the first request, or the rest of a request that was begun, may take.
    pub request_time_max: Duration,
    /// How long a client may take nothing of what waits for it.
    pub send_time_max: Duration,
    /// How long after its beginning a planned move may keep those waiting who ask where the primary is.
    pub move_wait_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            request_bytes_max: 64 * 1024,
            unsent_bytes_pause: 64 * 1024,
            unsent_bytes_max: 1024 * 1024,
            request_time_max: Duration::from_secs(60),
            send_time_max: Duration::from_secs(60),
            move_wait_max: Duration::from_millis(50),
        }
    }
}

impl Settings {
    /// The settings of the controller called `node`; `password` is what the configuration's secret holds.
    pub fn of(config: &Config, node: &NodeName, password: Option<Vec<u8>>) -> Self {
        let ports = config.nodes.iter().filter_map(|node| Some((node.name.clone(), node.sentinel.clone()?)));
        // Whoever asks a Sentinel will speak Redis to whatever it names.
        let redis = config.spec.services.iter().filter(|service| service.engine.redis().is_some());
        let services = redis.map(|service| {
            let terms =
                ServiceTerms { down_after: service.down_after, parallel_syncs: service.parallel_syncs };
            (service.name.clone(), terms)
        });
        Self {
            cluster: config.spec.cluster.as_str().to_owned(),
            node: node.clone(),
            password,
            ports: ports.collect(),
            services: services.collect(),
            bounds: Bounds::default(),
        }
    }

    /// Whether clients may know of the service.
    pub(super) fn shows(&self, service: &ServiceName) -> bool {
        self.services.contains_key(service)
    }

    /// The name by which Sentinel's clients tell controllers apart: forty hexadecimal digits, the same for ever.
    pub fn id_of(&self, node: &NodeName) -> String {
        let digits = (0..3_u8).map(|part| {
            let text = format!("{part}/{}/{node}", self.cluster);
            format!("{:016x}", fnv1a(text.as_bytes()))
        });
        let mut digits = digits.collect::<String>();
        digits.truncate(40);
        digits
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
