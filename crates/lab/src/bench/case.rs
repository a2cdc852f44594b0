//! What is compared with what, how often, and in which order.

use crate::error::{LabError, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

const BACKSTAY_DOWN_AFTER_MS: u64 = 500;
const SENTINEL_DOWN_AFTER_MS: [u64; 3] = [200, 500, 5000];
const RUNS_MIN: usize = 5;

/// Who fails over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum System {
    /// Three controllers.
    Backstay,
    /// Three stock `redis-sentinel`.
    Sentinel,
}

/// What happens to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BenchFault {
    /// `kill -9`.
    #[serde(rename = "crash")]
    Crash,
    /// `kill -STOP`.
    #[serde(rename = "hang")]
    Hang,
    /// `kill -9`, and the leading controller with it.
    #[serde(rename = "crash+leader")]
    CrashWithLeader,
    /// `kill -STOP`, patient clients queue up, and after the failover it wakes.
    #[serde(rename = "zombie")]
    Zombie,
    /// Nothing breaks: the operator wants another primary.
    #[serde(rename = "switchover")]
    Switchover,
}

/// Who writes meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WriterKind {
    /// One write every 2 ms.
    Light,
    /// As many 2 KB writes as go through.
    Saturating,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Who fails over.
    pub system: System,
    /// When silence becomes suspicion.
    pub down_after: Duration,
    /// What happens.
    pub fault: BenchFault,
    /// Who writes.
    pub writer: WriterKind,
}

/// Which systems and faults; empty: all.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Systems.
    pub systems: Vec<System>,
    /// Faults.
    pub faults: Vec<BenchFault>,
    /// Writers.
    pub writers: Vec<WriterKind>,
}

impl Case {
    /// `down_after=500`.
    pub fn setting(&self) -> String {
        format!("down_after={}", self.down_after.as_millis())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.system, self.setting(), self.fault)?;
        match self.writer {
            WriterKind::Light => Ok(()),
            WriterKind::Saturating => f.write_str(" (saturating)"),
        }
    }
}

/// Display and FromStr of an enum whose variants have names.
macro_rules! named {
    ($type:ident, $what:literal, $($variant:ident = $name:literal),+) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$variant => $name),+ })
            }
        }

        impl FromStr for $type {
            type Err = LabError;

            fn from_str(text: &str) -> Result<Self> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    _ => Err(LabError::Options(format!(
                        "'{text}' is no {}. There are: {}.", $what, [$($name),+].join(", ")
                    ))),
                }
            }
        }
    };
}

pub(crate) use named;

named!(System, "system", Backstay = "backstay", Sentinel = "sentinel");
named!(
    BenchFault,
    "fault",
    Crash = "crash",
    Hang = "hang",
    CrashWithLeader = "crash+leader",
    Zombie = "zombie",
    Switchover = "switchover"
);
named!(WriterKind, "writer", Light = "light", Saturating = "saturating");

/// Every selected case with the number of its runs.
pub fn cases(runs: usize, selection: &Selection) -> Vec<(Case, usize)> {
    let few = (runs / 10).max(RUNS_MIN.min(runs));
    let settings = std::iter::once((System::Backstay, BACKSTAY_DOWN_AFTER_MS))
        .chain(SENTINEL_DOWN_AFTER_MS.map(|ms| (System::Sentinel, ms)));
    let mut cases = Vec::new();
    for (system, ms) in settings {
        for (fault, writer) in [
            (BenchFault::Crash, WriterKind::Light),
            (BenchFault::Hang, WriterKind::Light),
            (BenchFault::CrashWithLeader, WriterKind::Light),
            (BenchFault::Zombie, WriterKind::Light),
            (BenchFault::Switchover, WriterKind::Light),
            (BenchFault::Crash, WriterKind::Saturating),
            (BenchFault::Switchover, WriterKind::Saturating),
        ] {
            let case = Case { system, down_after: Duration::from_millis(ms), fault, writer };
            let many = system == System::Backstay
                && (writer == WriterKind::Light || fault == BenchFault::Switchover);
            if makes_sense(&case) && selection.takes(&case) {
                cases.push((case, if many { runs } else { few }));
            }
        }
    }
    cases
}

/// Stock Sentinel has no leader between failovers, and only its fastest setting is shown saturated.
fn makes_sense(case: &Case) -> bool {
    let fastest = case.down_after.as_millis() == u128::from(SENTINEL_DOWN_AFTER_MS[0]);
    match (case.system, case.fault, case.writer) {
        (System::Sentinel, BenchFault::CrashWithLeader, _) => false,
        // A planned move does not wait for silence, so one setting is all.
        (System::Sentinel, BenchFault::Switchover, _) | (System::Sentinel, _, WriterKind::Saturating) => {
            fastest
        }
        _ => true,
    }
}

impl Selection {
    fn takes(&self, case: &Case) -> bool {
        (self.systems.is_empty() || self.systems.contains(&case.system))
            && (self.faults.is_empty() || self.faults.contains(&case.fault))
            && (self.writers.is_empty() || self.writers.contains(&case.writer))
    }
}

/// The order of the runs, as indices of `cases`: all cases in turn, those with fewer runs spread evenly, so that
/// whatever else the machine does in the meantime hits all of them alike.
pub fn schedule(cases: &[(Case, usize)]) -> Vec<usize> {
    let rounds = cases.iter().map(|(_, runs)| *runs).max().unwrap_or_default();
    let mut order = Vec::new();
    for round in 0..rounds {
        for (index, (_, runs)) in cases.iter().enumerate() {
            // Due when `round * runs / rounds` steps up.
            if (round + 1) * runs / rounds > round * runs / rounds {
                order.push(index);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_gets_its_runs_and_no_system_goes_first_all_the_time() {
        let cases = cases(30, &Selection::default());
        let order = schedule(&cases);
        for (index, (case, runs)) in cases.iter().enumerate() {
            let times = order.iter().filter(|found| **found == index).count();
            assert_eq!(times, *runs, "{case}");
            let many = case.writer == WriterKind::Light || case.fault == BenchFault::Switchover;
            let expected = if case.system == System::Backstay && many { 30 } else { 5 };
            assert_eq!(*runs, expected, "{case}");
        }
        assert_ne!(cases[order[0]].0.system, cases[order[order.len() - 1]].0.system);
    }

    #[test]
    fn stock_sentinel_is_measured_at_every_setting_but_never_with_a_leader() {
        let all = cases(100, &Selection::default());
        let sentinel: Vec<_> = all.iter().filter(|(case, _)| case.system == System::Sentinel).collect();
        assert_eq!(sentinel.len(), 3 * 3 + 1 + 2);
        assert!(sentinel.iter().all(|(case, runs)| case.fault != BenchFault::CrashWithLeader && *runs == 10));
    }
}
