//! The acts: what happens to the primary.

use std::fmt;

/// What happens to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is killed.
    Crash,
    /// It stands still, and wakes after the failover.
    HangAndReturn,
    /// It is killed together with the leading controller.
    CrashWithLeader,
    /// It comes back at once without its data.
    RestartEmpty,
    /// Nothing breaks: it is moved by plan.
    Switchover,
}

impl Act {
    /// In the order in which they are played.
    pub const ALL: [Self; 5] =
        [Self::Crash, Self::HangAndReturn, Self::CrashWithLeader, Self::RestartEmpty, Self::Switchover];

    /// A few words for the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::HangAndReturn => "hang, then return",
            Self::CrashWithLeader => "crash + leader",
            Self::RestartEmpty => "restart empty",
            Self::Switchover => "switchover",
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Crash => "the primary is killed (kill -9)",
            Self::HangAndReturn => {
                "the primary stands still (kill -STOP), and later wakes while 40 clients wait to write to it"
            }
            Self::CrashWithLeader => "the primary and the leading controller are killed in the same instant",
            Self::Switchover => "nothing breaks: an operator moves the primary (backstay switchover)",
            Self::RestartEmpty => "the primary is killed, loses its disk and starts again at once, empty",
        })
    }
}
