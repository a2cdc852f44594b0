//! What a node is told at its start, and why it may refuse to start. Everything here comes from the configuration but
//! the generation (the state folder's) and the seed.

use crate::{MemberId, VERSION, VERSION_MIN};
use backstay_model::{ClusterName, Generation, NodeId};
use std::fmt;
use std::time::Duration;

/// The grain of Raft's time. Elections and heartbeats happen on multiples of it.
pub const TICK: Duration = Duration::from_millis(10);

/// Who this node is and how patient it is. The same on every node, but for `me`, `generation` and `seed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// This node. Must be one of `voters`, unless there are none.
    pub me: NodeId,
    /// The name of the cluster; messages of any other are refused.
    pub cluster: ClusterName,
    /// This state folder's number. Must not change while the folder lives, and must be new when the folder is.
    pub generation: Generation,
    /// The founders of the cluster, this one included, if this folder was made at the cluster's very first start; the
    /// order does not matter. Empty if it was made later: then it joins, and its vote is for the others to give.
    pub voters: Vec<NodeId>,
    /// The controllers that may be talked to, members or not: those of the configuration.
    pub peers: Vec<NodeId>,
    /// The latest version that this node speaks.
    pub version: u32,
    /// How often a leader is heard, at least one `TICK`.
    pub heartbeat: Duration,
    /// For how long a node that heard a leader votes for nobody else, and the least silence before it campaigns; the
    /// most is twice that. At least three heartbeats.
    pub election_timeout: Duration,
    /// By how many percent a leader's lease is shortened, so that clocks may run at different speeds. At most 50.
    pub lease_margin_percent: u32,
    /// Spreads the election timeouts within a node's slot. Any number will do.
    pub seed: u64,
}

impl Settings {
    /// Settings with the usual times: heartbeat 50 ms, election timeout 200 to 400 ms, margin 10 %.
    pub fn new(
        me: NodeId,
        cluster: ClusterName,
        generation: Generation,
        voters: Vec<NodeId>,
        seed: u64,
    ) -> Self {
        Self {
            me,
            cluster,
            generation,
            peers: voters.clone(),
            voters,
            version: VERSION,
            heartbeat: Duration::from_millis(50),
            election_timeout: Duration::from_millis(200),
            lease_margin_percent: 10,
            seed,
        }
    }

    /// This node's number as a member.
    pub fn member_id(&self) -> MemberId {
        if self.voters.contains(&self.me) {
            MemberId::founder(self.me)
        } else {
            MemberId::joined(self.me, self.generation)
        }
    }

    /// The longest lease that any leader with these settings can hold, from the moment at which it asked.
    pub fn lease_max(&self) -> Duration {
        let kept = 100_u32.saturating_sub(self.lease_margin_percent);
        self.election_timeout.saturating_sub(TICK) * kept / 100
    }
}

/// Why a node cannot start. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The settings contradict themselves; the text says which rule.
    Settings(&'static str),
    /// What storage gave back cannot be what was stored; the text says which rule.
    Durable(&'static str),
    /// The Raft library refused to start; the text is its own.
    Library(String),
    /// The cluster has gone on to a version that this node does not speak.
    Newer {
        /// The cluster's level.
        level: u32,
        /// The latest version that this node speaks.
        version: u32,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(rule) => write!(f, "the consensus settings are wrong: {rule}"),
            Self::Durable(rule) => write!(f, "the stored state is damaged: {rule}"),
            Self::Library(text) => write!(f, "Raft does not start: {text}"),
            Self::Newer { level, version } => write!(
                f,
                "the cluster works at level {level} since all its controllers were upgraded, and this program only knows \
                 {version}: start the newer version"
            ),
        }
    }
}

impl std::error::Error for StartError {}

impl Settings {
    /// Names the first rule that is broken.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let mut sorted = self.voters.clone();
        sorted.sort_unstable();
        sorted.dedup();
        let rule = if self.heartbeat < TICK {
            "a heartbeat lasts at least 10 ms"
        } else if self.election_timeout < self.heartbeat * 3 {
            "the election timeout is at least three heartbeats"
        } else if self.election_timeout > Duration::from_secs(3600) {
            "the election timeout is at most an hour"
        } else if self.lease_margin_percent > 50 {
            "the lease margin is at most 50 percent"
        } else if sorted.len() != self.voters.len() {
            "a voter is listed twice"
        } else if sorted.contains(&NodeId(0)) {
            "no voter has the number zero"
        } else if self.version < VERSION_MIN {
            "the version is older than any that is spoken"
        } else if !sorted.is_empty() && !sorted.contains(&self.me) {
            "this node is not among the voters"
        } else {
            return Ok(());
        };
        Err(StartError::Settings(rule))
    }
}
