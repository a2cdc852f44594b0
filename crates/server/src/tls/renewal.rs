//! Looks at the files of the certificates again and again, and tells what is wrong with them before it hurts.

use super::error::TlsError;
use super::keyring::Keyring;
use super::pem::Material;
use crate::clock;
use crate::driver::Incoming;
use crate::journal::Journal;
use backstay_model::{Event, EventKind, NodeName, ProblemStatus, Severity};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// How often the files are looked at.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is looked at again and again, and counts once it stands still: a file may be half written, or only one of two.
#[derive(Debug)]
pub(crate) struct Steady<T> {
    seen: Option<T>,
    used: Option<T>,
}

impl<T: Clone + PartialEq> Steady<T> {
    pub(crate) const fn new() -> Self {
        Self { seen: None, used: None }
    }

    /// Nothing has counted yet.
    pub(crate) const fn is_unused(&self) -> bool {
        self.used.is_none()
    }

    /// True: from now on this counts, and something else did before.
    pub(crate) fn changes_to(&mut self, found: &T) -> bool {
        let settled = self.seen.replace(found.clone()).as_ref() == Some(found);
        let changes = settled && self.used.as_ref() != Some(found);
        if changes {
            self.used = Some(found.clone());
        }
        changes
    }
}

/// Puts renewed certificates to use for ever. The driver hears of every change, listeners of every problem.
pub(crate) async fn renew(
    keyring: Arc<Keyring>,
    node: NodeName,
    incoming: mpsc::Sender<Incoming>,
    journal: Journal,
) {
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut steady: Steady<Result<Material, TlsError>> = Steady::new();
    let mut told: Vec<ProblemStatus> = Vec::new();
    loop {
        look.tick().await;
        let found = keyring.look().await;
        let first = steady.is_unused() && found.is_ok();
        if steady.changes_to(&found) {
            match keyring.take(found) {
                Ok(()) if first => {}
                Ok(()) => tracing::info!(
                    "new certificates are in use; this controller's is good until {} UTC",
                    keyring.standing().own.not_after
                ),
                Err(_) => tracing::debug!("the new certificates are of no use"),
            }
            if incoming.send(Incoming::Renewed).await.is_err() {
                return;
            }
        }
        let problems = keyring.standing().problems(&node, clock::now().unix);
        tell(&told, &problems, &journal);
        told = problems;
    }
}

/// Says what is new and what is over.
fn tell(before: &[ProblemStatus], now: &[ProblemStatus], journal: &Journal) {
    let same =
        |one: &ProblemStatus, other: &ProblemStatus| one.code == other.code && one.severity == other.severity;
    for problem in now.iter().filter(|problem| !before.iter().any(|it| same(it, problem))) {
        if problem.severity == Severity::Error {
            tracing::error!("{}: {}", problem.code, problem.sentence);
        } else {
            tracing::warn!("{}: {}", problem.code, problem.sentence);
        }
        let (code, sentence) = (problem.code.clone(), problem.sentence.clone());
        announce(journal, EventKind::ProblemFound { code, sentence });
    }
    for problem in before.iter().filter(|problem| !now.iter().any(|it| it.code == problem.code)) {
        tracing::info!("{} is over", problem.code);
        announce(journal, EventKind::ProblemGone { code: problem.code.clone() });
    }
}

fn announce(journal: &Journal, kind: EventKind) {
    journal.note(Event { at: clock::now().unix, service: None, kind });
}
