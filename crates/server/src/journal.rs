//! What happened on this node, as far back as is remembered, and the way to hear what happens next. Bounded both ways: the
//! oldest are forgotten, and who reads too slowly loses some and is told how many. It dies with the process: what must
//! last is in the history of failovers.

use backstay_model::{Event, UnixMicros};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::{self, Receiver, Sender};

/// How many events are remembered: some dozens of failovers.
const REMEMBERED_MAX: usize = 2048;
/// How many events a slow listener may be behind before it loses some.
const BEHIND_MAX: usize = 1024;

/// Cheap to clone; all clones are one journal.
#[derive(Clone, Debug)]
pub(crate) struct Journal {
    remembered: Arc<Mutex<VecDeque<Arc<Event>>>>,
    listeners: Sender<Arc<Event>>,
}

impl Journal {
    pub(crate) fn new() -> Self {
        let (listeners, _) = broadcast::channel(BEHIND_MAX);
        Self { remembered: Arc::default(), listeners }
    }

    /// Notes an event and tells everybody who listens.
    pub(crate) fn note(&self, event: Event) {
        let event = Arc::new(event);
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.pop_front();
        }
        remembered.push_back(Arc::clone(&event));
        // Nobody listening is fine.
        let _ = self.listeners.send(event);
    }

    /// What happens from now on.
    pub(crate) fn listen(&self) -> Receiver<Arc<Event>> {
        self.listeners.subscribe()
    }

    /// What is remembered since then, oldest first, and what happens after that: nothing twice, nothing left out.
    pub(crate) fn since(&self, since: UnixMicros) -> (Vec<Arc<Event>>, Receiver<Arc<Event>>) {
        let remembered = self.remembered();
        let past = remembered.iter().filter(|event| event.at >= since).cloned().collect();
        (past, self.listeners.subscribe())
    }

    /// Also keeps `note` and `since` from crossing.
    fn remembered(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        // Nothing that panics runs under it.
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_model::EventKind;

    fn event(at: u64) -> Event {
        let kind = EventKind::WokeLate { late_ms: at };
        Event { at: UnixMicros(at), service: None, kind }
    }

    fn moments(events: &[Arc<Event>]) -> Vec<u64> {
        events.iter().map(|event| event.at.0).collect()
    }

    #[test]
    fn past_and_future_meet_without_a_gap() {
        let journal = Journal::new();
        for at in 1..=5 {
            journal.note(event(at));
        }
        let (past, mut future) = journal.since(UnixMicros(4));
        journal.note(event(6));
        assert_eq!(moments(&past), [4, 5]);
        assert_eq!(future.try_recv().unwrap().at, UnixMicros(6));
        assert!(future.try_recv().is_err());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let journal = Journal::new();
        let count = REMEMBERED_MAX as u64 + 10;
        (0..count).for_each(|at| journal.note(event(at)));
        let (past, _) = journal.since(UnixMicros(0));
        assert_eq!(past.len(), REMEMBERED_MAX);
        assert_eq!(past[0].at, UnixMicros(10));
    }
}
