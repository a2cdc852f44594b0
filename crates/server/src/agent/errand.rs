//! Between an agent's desk and the controllers: its reports go to all of them, again and again, and what the one that
//! leads answers becomes its orders, for a moment.

use super::Desk;
use super::worker::Standing;
use crate::clock;
use crate::peers::{AgentLetter, Mesh, consult_all};
use backstay_model::{AgentOrders, AgentReport, Term, Time};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

/// How often it reports, whether there is anything new or not.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// How old a report may be that is answered: whoever answers an older one may lead no more.
const ANSWER_PATIENCE: Duration = Duration::from_millis(1500);
/// How long an answer is in force, counted from its report.
const IN_FORCE: Duration = Duration::from_secs(2);
/// How long a term is remembered in which nobody says anything any more: a cluster that was formed anew counts from 1.
const TERM_REMEMBERED: Duration = Duration::from_secs(10);

/// Carries words until the agent or the process ends.
pub(super) async fn run(mesh: Mesh, process: u64, desk: Desk) {
    let Desk { orders, mut reports } = desk;
    let mut ear = Ear::new(process);
    let first = ear.letter(clock::time(), &reports.borrow_and_update());
    let letters = watch::Sender::new(first);
    let mut tasks = JoinSet::new();
    let mut told = consult_all(&mesh, &letters, &mut tasks);
    let mut tick = interval(REPORT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = reports.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some(said) = told.recv() => {
                let now = clock::time();
                if let Some(wanted) = ear.hear(now, said) {
                    take_up(now, &orders, wanted);
                }
                continue;
            }
            _ = tick.tick() => {}
        }
        letters.send_replace(ear.letter(clock::time(), &reports.borrow_and_update()));
    }
}

/// Wakes the worker only if there is something new for it.
fn take_up(now: Time, orders: &watch::Sender<AgentOrders>, wanted: AgentOrders) {
    orders.send_if_modified(|orders| {
        let other = !orders.wants_the_same(&wanted) || !orders.in_force(now);
        *orders = wanted;
        other
    });
}

/// Knows which answers are in force: those to reports made a moment ago, on this machine's clock, and in no earlier term
/// than the latest that was heard of.
#[derive(Debug)]
struct Ear {
    process: u64,
    number: u64,
    /// When each of the last reports was made, oldest first.
    asked: VecDeque<(u64, Time)>,
    term: Term,
    /// When something was said in that term.
    heard: Time,
}

impl Ear {
    const fn new(process: u64) -> Self {
        Self { process, number: 0, asked: VecDeque::new(), term: Term(0), heard: Time::ZERO }
    }

    /// The next report to every controller.
    fn letter(&mut self, now: Time, standing: &Standing) -> AgentLetter {
        self.number += 1;
        self.asked.retain(|(_, at)| now.since(*at) < ANSWER_PATIENCE);
        self.asked.push_back((self.number, now));
        AgentLetter {
            process: self.process,
            report: AgentReport { number: self.number, rebuild: standing.clone() },
        }
    }

    /// What a controller said, if that counts, with its end.
    fn hear(&mut self, now: Time, said: AgentOrders) -> Option<AgentOrders> {
        let asked = self.asked.iter().find(|(number, _)| *number == said.answers).map(|(_, at)| *at);
        let asked = asked.filter(|at| said.process == self.process && now.since(*at) < ANSWER_PATIENCE)?;
        if said.term < self.term && now.since(self.heard) < TERM_REMEMBERED {
            tracing::warn!("orders of a controller that leads no more are not obeyed");
            return None;
        }
        (self.term, self.heard) = (said.term, now);
        Some(AgentOrders { until: Some(asked + IN_FORCE), ..said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    fn said(term: u64, process: u64, answers: u64) -> AgentOrders {
        AgentOrders { term: Term(term), process, answers, discard: true, ..AgentOrders::default() }
    }

    /// Two reports, at 10 s and at 10.5 s.
    fn ear() -> Ear {
        let mut ear = Ear::new(7);
        assert_eq!(ear.letter(at(10_000), &None).report.number, 1);
        assert_eq!(ear.letter(at(10_500), &None).report.number, 2);
        ear
    }

    #[test]
    fn an_answer_counts_for_two_seconds_from_the_report_that_it_answers() {
        let orders = ear().hear(at(10_600), said(3, 7, 1)).unwrap();
        assert!(orders.in_force(at(11_999)) && !orders.in_force(at(12_000)));
        assert_eq!(ear().hear(at(11_500), said(3, 7, 1)), None, "its leader may have slept");
        assert!(ear().hear(at(11_500), said(3, 7, 2)).is_some());
        assert_eq!(ear().hear(at(10_600), said(3, 8, 1)), None, "to the agent that ran before this one");
        assert_eq!(ear().hear(at(10_600), said(3, 7, 3)), None, "nothing was asked");
    }

    #[test]
    fn a_leader_of_before_is_not_obeyed_once_another_one_was_heard() {
        let mut ear = ear();
        assert!(ear.hear(at(10_600), said(4, 7, 2)).is_some());
        assert_eq!(ear.hear(at(10_700), said(3, 7, 2)), None);
        assert!(ear.hear(at(10_700), said(4, 7, 2)).is_some());
        // A cluster that was formed anew begins at the first term.
        ear.letter(at(21_000), &None);
        assert!(ear.hear(at(21_000), said(1, 7, 3)).is_some());
    }

    #[test]
    fn what_is_only_renewed_wakes_nobody() {
        let orders = watch::Sender::new(AgentOrders::default());
        let mut told = orders.subscribe();
        let until = |ms| AgentOrders { until: Some(at(ms)), ..said(1, 7, 1) };
        for (now, until, wakes) in [(1, until(100), true), (50, until(150), false), (200, until(300), true)] {
            take_up(at(now), &orders, until.clone());
            assert_eq!(told.has_changed().unwrap(), wakes, "{now}");
            assert_eq!(*told.borrow_and_update(), until);
        }
    }
}
