//! What a lab shall be made of.

use crate::error::{LabError, Result};
use crate::stack::databases;
use backstay_model::Durability;
use std::path::PathBuf;
use std::time::Duration;

/// Controllers are called `a`, `b`, `c`, ...
const CONTROLLERS_MAX: usize = 9;
const REDIS_MAX: usize = 9;
const MARIADB_MAX: usize = 9;
const GATEWAYS_MAX: usize = 9;
/// `majority` is one of three, no more and no less.
const MAJORITY_OF: usize = 3;

/// What to bring up.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many controllers. 0: a Redis group that nobody watches.
    pub controllers: usize,
    /// How many Redis instances.
    pub redis: usize,
    /// How many MariaDB instances, of a service called `orders`.
    pub mariadb: usize,
    /// When that service's commits are acknowledged.
    pub durability: Durability,
    /// Whether each MariaDB instance has an agent, called as it with `-agent` behind.
    pub agents: bool,
    /// How many gateways beside the controllers, called `g1`, `g2`, ...
    pub gateways: usize,
    /// Where; none: a new folder among the temporary files.
    pub dir: Option<PathBuf>,
    /// The `backstay` program; none: it is looked for (see `find_backstay`).
    pub backstay: Option<PathBuf>,
    /// The service's name.
    pub service: String,
    /// `down_after` of the service.
    pub down_after: Duration,
    /// `probe_interval` of the service; none: the default.
    pub probe_interval: Option<Duration>,
    /// `cooldown` of the service; none: the default.
    pub cooldown: Option<Duration>,
    /// Whether `Lab::open_latest` shall find it. A lab that its program takes down again should not stand in the way of
    /// one that somebody works with.
    pub remember: bool,
    /// Whether the controllers prove to each other who they are, with certificates made for this lab, and also answer
    /// operators over TLS.
    pub tls: bool,
    /// How long the lab may take to get ready.
    pub ready_limit: Duration,
}

impl Default for Options {
    /// Three controllers, three Redis instances, no MariaDB, in a temporary folder.
    fn default() -> Self {
        Self {
            controllers: 3,
            redis: 3,
            mariadb: 0,
            durability: Durability::Async,
            agents: false,
            gateways: 0,
            dir: None,
            backstay: None,
            service: "mymaster".to_owned(),
            down_after: Duration::from_millis(500),
            probe_interval: None,
            // Short, so that one fault after the other can be tried without waiting.
            cooldown: Some(Duration::from_millis(500)),
            remember: true,
            tls: false,
            ready_limit: Duration::from_secs(20),
        }
    }
}

impl Options {
    /// Says what makes no lab.
    pub(crate) fn check(&self) -> Result<()> {
        let complaint = if self.controllers > CONTROLLERS_MAX {
            format!(
                "a lab has at most {CONTROLLERS_MAX} controllers, not {}. More than five make no cluster safer: try 3 or 5.",
                self.controllers
            )
        } else if self.redis == 0 || self.redis > REDIS_MAX {
            format!(
                "a lab has 1 to {REDIS_MAX} Redis instances, not {}. Try 3: a primary and two replicas.",
                self.redis
            )
        } else if self.mariadb > MARIADB_MAX {
            format!(
                "a lab has at most {MARIADB_MAX} MariaDB instances, not {}. Try 3: a primary and two replicas.",
                self.mariadb
            )
        } else if self.durability == Durability::Majority && self.mariadb != MAJORITY_OF {
            format!(
                "durability 'majority' needs exactly {MAJORITY_OF} MariaDB instances, not {}: MariaDB waits for one \
                 acknowledgement only. Write --mariadb {MAJORITY_OF}.",
                self.mariadb
            )
        } else if self.gateways > GATEWAYS_MAX {
            format!("a lab has at most {GATEWAYS_MAX} gateways, not {}.", self.gateways)
        } else if self.gateways > 0 && self.controllers == 0 {
            "gateways ask controllers where to send commands, and this lab has none. Leave --controllers out."
                .to_owned()
        } else if self.service.is_empty() || !self.service.chars().all(is_plain) {
            format!("'{}' is no service name for a lab. Use letters, digits, '-', '_' and '.'.", self.service)
        } else if self.service == databases::SERVICE && self.mariadb > 0 {
            format!(
                "'{}' is the name of the lab's MariaDB service. Choose another with --service.",
                self.service
            )
        } else {
            return Ok(());
        };
        Err(LabError::Options(complaint))
    }

    /// The controllers' names.
    pub(crate) fn controller_names(&self) -> Vec<String> {
        ('a'..='z').take(self.controllers).map(String::from).collect()
    }

    /// The gateways' names.
    pub(crate) fn gateway_names(&self) -> Vec<String> {
        (1..=self.gateways).map(|number| format!("g{number}")).collect()
    }

    /// The instances' names.
    pub(crate) fn redis_names(&self) -> Vec<String> {
        (1..=self.redis).map(|number| format!("r{number}")).collect()
    }
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.')
}
