//! From opinions to a verdict: counts what a majority of all controllers says of one instance.

use crate::entry::Cause;
use backstay_model::{Health, InstanceReport, NodeId, RunId, Suspicion};

/// Opinions of a primary, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Connections are refused.
    pub(crate) hard: u32,
    /// No answer for `down_after`.
    pub(crate) soft: u32,
    /// Another process answers.
    pub(crate) restarted: u32,
    /// The recorded process answers as a replica.
    pub(crate) demoted: u32,
    /// The recorded process answers as the primary that it is.
    pub(crate) alive: u32,
    /// All controllers there are, heard of or not.
    pub(crate) controllers: u32,
}

impl Tally {
    /// Counts the opinions of the process `run_id`.
    pub(crate) fn of<'a>(
        opinions: impl IntoIterator<Item = (NodeId, &'a InstanceReport)>,
        run_id: &RunId,
        controllers: u32,
    ) -> Self {
        let mut tally = Self { controllers, ..Self::default() };
        for (_, report) in opinions {
            match (report.health.suspicion(), &report.run_id) {
                (Suspicion::Hard, _) => tally.hard += 1,
                (Suspicion::Soft, _) => tally.soft += 1,
                (Suspicion::None, Some(seen)) if seen != run_id => tally.restarted += 1,
                (Suspicion::None, Some(_)) if !report.primary => tally.demoted += 1,
                (Suspicion::None, Some(_)) if report.health == Health::Up => tally.alive += 1,
                (Suspicion::None, _) => {}
            }
        }
        tally
    }

    /// More than half of all controllers.
    pub(crate) const fn majority(&self) -> u32 {
        self.controllers / 2 + 1
    }

    /// How many hold it to be down.
    pub(crate) const fn down(&self) -> u32 {
        self.hard + self.soft
    }

    /// Why a failover is due because the primary's process became a replica. Peers learn of a promotion up to a second
    /// late, so this counts only if the one who asks sees it too.
    pub(crate) fn demotion(&self) -> Option<Cause> {
        (self.demoted >= self.majority()).then_some(Cause::Demoted { votes: self.demoted })
    }

    /// Why a failover is due, if a majority agrees that one is. Hard evidence and a changed process count together:
    /// both say that the recorded process is gone.
    pub(crate) fn cause(&self) -> Option<Cause> {
        let majority = self.majority();
        if self.restarted >= majority {
            Some(Cause::Restarted { votes: self.restarted })
        } else if self.hard + self.restarted >= majority {
            Some(Cause::Crashed { votes: self.hard + self.restarted })
        } else if self.hard + self.restarted + self.soft >= majority {
            Some(Cause::Silent { votes: self.hard + self.restarted + self.soft })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_model::{Evidence, Fault};

    fn report(health: Health, run_id: &str, primary: bool) -> InstanceReport {
        InstanceReport { health, run_id: Some(run_id.into()), primary }
    }

    fn cause(reports: &[InstanceReport]) -> Option<Cause> {
        let opinions = reports.iter().enumerate().map(|(index, report)| (NodeId(index as u64), report));
        Tally::of(opinions, &"run".into(), 3).cause()
    }

    #[test]
    fn one_controller_alone_decides_nothing() {
        let refused = report(Health::Down(Evidence::Refused), "run", true);
        assert_eq!(cause(&[refused, report(Health::Up, "run", true)]), None);
    }

    #[test]
    fn two_of_three_refused_is_a_crash_even_if_the_third_is_unheard() {
        let refused = report(Health::Down(Evidence::Refused), "run", true);
        assert_eq!(cause(&[refused.clone(), refused]), Some(Cause::Crashed { votes: 2 }));
    }

    #[test]
    fn one_refused_and_one_silent_is_only_soft() {
        let refused = report(Health::Down(Evidence::Refused), "run", true);
        let silent = report(Health::Down(Evidence::Silent), "run", true);
        assert_eq!(cause(&[refused, silent]), Some(Cause::Silent { votes: 2 }));
    }

    #[test]
    fn another_process_in_its_place_is_a_restart() {
        let restarted = report(Health::Up, "other", false);
        assert_eq!(cause(&[restarted.clone(), restarted]), Some(Cause::Restarted { votes: 2 }));
    }

    #[test]
    fn a_wrong_password_is_no_death() {
        let useless = report(Health::Useless(Fault::WrongPassword), "run", true);
        assert_eq!(cause(&[useless.clone(), useless.clone(), useless]), None);
    }
}
