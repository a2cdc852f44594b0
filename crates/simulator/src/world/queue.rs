//! What is to happen, by time, and in the order in which it was planned where times are equal. The events themselves
//! lie still in their slots: sorting moves only their keys.

use super::Event;
use backstay_model::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: BinaryHeap<Reverse<(Time, u64, usize)>>,
    slots: Vec<Option<Event>>,
    free: Vec<usize>,
    planned: u64,
}

impl Queue {
    /// Plans an event, behind those that are planned for the same moment.
    pub(super) fn push(&mut self, at: Time, event: Event) {
        self.planned += 1;
        let slot = self.free.pop().unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(Some(event));
        } else {
            self.slots[slot] = Some(event);
        }
        self.order.push(Reverse((at, self.planned, slot)));
    }

    /// The next event, if it is not after `end`.
    pub(super) fn pop_until(&mut self, end: Time) -> Option<(Time, Event)> {
        let Reverse((at, _, slot)) = *self.order.peek().filter(|next| next.0.0 <= end)?;
        self.order.pop();
        self.free.push(slot);
        self.slots[slot].take().map(|event| (at, event))
    }
}
