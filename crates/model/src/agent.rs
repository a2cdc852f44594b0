//! What agents and controllers tell each other. An agent runs on a database's own host and does there what no connection
//! to the database can: it stops and starts it, saves what only it holds, and puts a copy of another instance in the place
//! of its data.
//!
//! As with gateways, report and answer carry the whole picture, so that a lost one costs nothing but time.

use crate::ids::{Address, Epoch, InstanceName, ServiceName, Term};
use crate::time::{Time, UnixMicros};
use serde::{Deserialize, Serialize};

/// What a controller wants done with one instance, as agreed in the replicated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// Names this rebuild; a later one of the same instance has a larger one.
    pub number: u64,
    /// When it was agreed on. A cluster that is formed anew counts from 1 again: this tells one from the other.
    pub at: UnixMicros,
    /// Of which service.
    pub service: ServiceName,
    /// Whose data is replaced.
    pub instance: InstanceName,
    /// The primary's epoch when it was agreed on.
    pub epoch: Epoch,
    /// The instance that is copied from, or compared with.
    pub donor: InstanceName,
    /// Where the donor's agent listens.
    pub donor_agent: Address,
    /// How.
    pub method: Method,
}

/// How an instance gets rid of what only it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Flashback where everything to take back are rows and their images are whole, a copy otherwise.
    Auto,
    /// Take back the rows that only it changed (`mariadb-binlog --flashback`).
    Flashback,
    /// A copy of the donor's data (`mariadb-backup`).
    Copy,
}

/// How far an agent is with a rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    /// The instance is being stopped, and what only it holds written to a file.
    Saving,
    /// The instance is stopped, and what only it held lies in `file` (`None`: there was nothing). From now on its data may
    /// be discarded, once the leader says so (`AgentOrders::discard`).
    Saved {
        /// On the agent's host.
        file: Option<String>,
        /// How many transactions.
        transactions: u64,
    },
    /// Its own changes are being taken back.
    TakingBack,
    /// The donor's data arrives.
    Copying {
        /// So far.
        bytes: u64,
    },
    /// What arrived is made consistent (`mariadb-backup --prepare`).
    Preparing,
    /// It is being started on its new data.
    Starting,
    /// It runs.
    Done {
        /// What was done in the end: never `Auto`.
        method: Method,
        /// Why not the other one, as a clause.
        because: String,
    },
    /// It ended; the sentence says what the data is.
    Failed {
        /// What happened and what to do, as a sentence.
        why: String,
    },
}

/// From an agent to every controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentReport {
    /// Counts up with every report of this process.
    pub number: u64,
    /// The rebuild that it was last told of, and how far that is.
    pub rebuild: Option<(u64, Progress)>,
}

/// From the leader to an agent: an answer to each report. Only one to a report made a moment ago counts: whoever led when
/// it was written may have slept since, and another leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentOrders {
    /// In which it leads.
    pub term: Term,
    /// The agent's process whose report this answers.
    pub process: u64,
    /// The number of that report.
    pub answers: u64,
    /// At the agent: until when it is in force. `None`: for ever.
    #[serde(skip)]
    pub until: Option<Time>,
    /// What to do. `None`: nothing; what runs is ended where that loses nothing.
    pub rebuild: Option<Rebuild>,
    /// The instance's data may be discarded: it counts for no acknowledgement, and the primary reigns.
    pub discard: bool,
}

impl AgentOrders {
    /// Whether something new may be begun on its word.
    pub fn in_force(&self, now: Time) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether it wants the same done.
    pub fn wants_the_same(&self, other: &Self) -> bool {
        self.rebuild == other.rebuild && self.discard == other.discard
    }
}

/// Surplus that an agent saved before anything was discarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSurplus {
    /// On the agent's host. `None`: there was nothing to save.
    pub file: Option<String>,
    /// How many transactions.
    pub transactions: u64,
}

/// How a rebuild ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RebuildOutcome {
    /// The instance runs, and holds nothing that only it holds.
    Done {
        /// What was done: never `Auto`.
        method: Method,
        /// Why not the other one, as a clause.
        because: String,
    },
    /// It could not be done.
    Failed {
        /// What happened and what to do, as a sentence.
        why: String,
    },
    /// It was not to be done any more.
    CalledOff {
        /// Why, as a clause.
        why: String,
    },
}

impl Method {
    /// As the command line spells it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Flashback => "flashback",
            Self::Copy => "copy",
        }
    }
}
