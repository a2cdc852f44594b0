//! What a vantage point saw. Engines' texts end here: probes translate them, and the brain never sees an error string.

use crate::{Address, Epoch, ReplId, ReplOffset, RunId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What one probe reports about one instance, in the order in which it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The instance's health changed, as seen from here.
    Health(Health),
    /// Who answered on a new connection. Comes before anything else from that connection.
    Identity(Identity),
    /// Where it stands in replication (Redis: `INFO replication`).
    Replication(Replication),
    /// The `INFO` behind a freeze, on the same connection: the one reply that counts as a freeze.
    Frozen {
        /// The epoch whose freeze it was.
        epoch: Epoch,
        /// Where the instance stands still.
        replication: Replication,
    },
    /// The `INFO` behind an accepted pause of writes, on the same connection.
    Paused {
        /// The epoch whose pause it was.
        epoch: Epoch,
        /// Where its writes stand.
        replication: Replication,
    },
    /// Whether Sentinels manage the instance beside us. Only when that changed.
    Sentinels(Sentinels),
    /// A canary write was acknowledged by the instance.
    CanaryAcknowledged {
        /// The run that acknowledged it.
        run_id: RunId,
    },
    /// An order was answered with an error. It may still have run in part: only a later observation tells.
    OrderRefused {
        /// What the engine's reply amounts to.
        fault: Fault,
    },
}

/// Sentinels that manage an instance, as it tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sentinels {
    /// It was not asked yet.
    #[default]
    Unknown,
    /// We lack the right to ask.
    Hidden,
    /// So many listen to Sentinels' hellos.
    Seen(u64),
}

/// One vantage point's opinion of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// Nothing was heard yet.
    #[default]
    Unknown,
    /// Answers.
    Up,
    /// A `PING` is unanswered, for less than `down_after`.
    Late,
    /// Down, by this evidence.
    Down(Evidence),
    /// Answers, but cannot serve. Neither alive nor dead: each fault has its own rule.
    Useless(Fault),
}

/// What speaks for an instance being down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Evidence {
    /// Soft: no answer for `down_after`.
    Silent,
    /// Hard: the host refused two connections within milliseconds, and nobody answers on an open one.
    Refused,
}

/// How an instance that answers fails to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Fault {
    /// Still loads its data set (`-LOADING`).
    Loading,
    /// Runs a script that does not end (`-BUSY`).
    Busy,
    /// Refuses writes because it cannot save (`-MISCONF`).
    DiskError,
    /// Lost its primary and serves no stale data (`-MASTERDOWN`).
    PrimaryLost,
    /// The password is wrong or missing (`-WRONGPASS`, `-NOAUTH`).
    WrongPassword,
    /// The user lacks a right that Backstay needs (`-NOPERM`).
    NoPermission,
    /// Accepts no more clients.
    TooManyClients,
    /// The host name does not resolve.
    NameUnresolved,
    /// Answered something that is not the engine of the file.
    NotTheEngine,
    /// Any other error reply.
    OtherError,
    /// Its certificate is past its date, or not valid yet.
    CertificateOutdated,
    /// Its certificate is of an authority that is not trusted, or stands for another name.
    CertificateUntrusted,
    /// Does not talk TLS, or not with us: it may want a certificate, or another one.
    TlsFailed,
    /// Something holds a lock that the order needs (MariaDB: 1205).
    Locked,
    /// Has not applied yet what it received.
    Draining,
    /// Its replication is not set up as Backstay needs it (MariaDB: without GTIDs, or with several primaries).
    Unsuitable,
    /// Lets nobody in who comes from this host (MariaDB: 1129, 1130).
    HostRefused,
    /// Applies nothing of what it received: its SQL thread stands.
    Stalled,
    /// Wrote, and no replica acknowledges it.
    Unacknowledged,
    /// Lets this user in over TLS only (MySQL: 3159, or a password that it does not remember).
    NeedsTls,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loading => "is still loading its data",
            Self::Busy => "is busy running a script",
            Self::DiskError => "cannot save to disk, so it takes no writes",
            Self::PrimaryLost => "lost its primary and serves no stale data",
            Self::WrongPassword => "refuses the password",
            Self::NoPermission => "denies a command that Backstay needs",
            Self::TooManyClients => "accepts no more clients",
            Self::NameUnresolved => "has a host name that does not resolve",
            Self::NotTheEngine => "answers something that is not what the file names",
            Self::OtherError => "answers with an error",
            Self::CertificateOutdated => "shows a certificate that is not valid today",
            Self::CertificateUntrusted => "shows a certificate of another authority or for another name",
            Self::TlsFailed => "fails the TLS handshake",
            Self::Locked => "holds a lock that stands in the way",
            Self::Draining => "has not applied yet what it received",
            Self::Unsuitable => "replicates in a way that Backstay cannot work with",
            Self::HostRefused => "lets nobody in from this host",
            Self::Stalled => "applies nothing of what it received",
            Self::Unacknowledged => "waits for an acknowledgement that does not come",
            Self::NeedsTls => "lets the user in over TLS only",
        })
    }
}

/// Who answered, asked once per connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The process.
    pub run_id: RunId,
    /// The engine's version.
    pub version: String,
    /// Keys in all its databases.
    pub keys: u64,
    /// It still loads its data set, so `keys` says nothing.
    pub loading: bool,
}

/// Where an instance stands in replication, with the process that said so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replication {
    /// The process that answered.
    pub run_id: RunId,
    /// Primary or replica.
    pub role: Role,
    /// The history it is in.
    pub replid: ReplId,
    /// The history it was in before its promotion, and the offset at which that ended.
    pub previous: Option<(ReplId, ReplOffset)>,
    /// How far it is in that history.
    pub offset: ReplOffset,
    /// It rejects every write because Backstay closed it; it was to be opened before it serves again.
    pub closed: bool,
    /// What only a MariaDB says.
    pub sql: SqlState,
}

impl Replication {
    /// Whether it calls itself a primary.
    pub const fn is_primary(&self) -> bool {
        matches!(self.role, Role::Primary { .. })
    }

    /// How far what can be read here is behind `offset`: what it has not received, and what it has not applied yet.
    pub const fn lag_behind(&self, offset: ReplOffset) -> u64 {
        offset.ahead_of(self.offset) + self.sql.unapplied
    }
}

/// What a MariaDB says of itself beyond what every engine does. The default for others.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqlState {
    /// A replica that would take clients' writes (`read_only=0`).
    pub exposed: bool,
    /// A replica that applies nothing of what it receives: its SQL thread stands.
    pub stalled: bool,
    /// A replica whose history is not the primary's: it cannot go on from where it stands.
    pub diverged: bool,
    /// How much of what it received it has not applied yet. It holds that all the same.
    pub unapplied: u64,
    /// A primary whose commits wait until another instance has them, however long that takes.
    pub guarded: bool,
    /// How many replicas that acknowledge are connected to it.
    pub ackers: u64,
    /// A replica that acknowledges to such a primary what it has received.
    pub acks: bool,
    /// Counts up while whom it follows is alive, even if nothing is written there.
    pub heartbeats: u64,
}

/// The role that an instance reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Takes writes.
    Primary {
        /// How many replicas it believes to be connected. Never evidence: a cut-off primary believes for a minute.
        replicas: u32,
    },
    /// Follows another.
    Replica {
        /// Whom it was told to follow.
        of: Address,
        /// Whether it is connected there.
        link_up: bool,
        /// Whether it takes a full copy right now.
        syncing: bool,
    },
}

/// What a controller tells its peers about one instance: its opinion without its clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceReport {
    /// Its opinion of the instance's health.
    pub health: Health,
    /// The process it talked to last.
    pub run_id: Option<RunId>,
    /// Whether that process calls itself a primary.
    pub primary: bool,
}

/// One observer's opinion whether an instance is down, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suspicion {
    /// It is not, or nothing is known.
    None,
    /// Silent.
    Soft,
    /// Refused.
    Hard,
}

impl Health {
    /// The suspicion that this health amounts to.
    pub const fn suspicion(&self) -> Suspicion {
        match self {
            Self::Down(Evidence::Refused) => Suspicion::Hard,
            Self::Down(Evidence::Silent) => Suspicion::Soft,
            _ => Suspicion::None,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not heard of yet"),
            Self::Up => f.write_str("up"),
            Self::Late => f.write_str("late to answer"),
            Self::Down(Evidence::Silent) => f.write_str("silent"),
            Self::Down(Evidence::Refused) => f.write_str("refuses connections"),
            Self::Useless(fault) => write!(f, "{fault}"),
        }
    }
}
