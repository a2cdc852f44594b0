//! How data moves from a primary to a replica, and what remains of a history when that changes.

use super::{BACKLOG_MAX, Copy, Deed, Item, Redis, Sync};
use backstay_model::{Address, Fault, ReplId};
use std::collections::VecDeque;

impl Redis {
    /// It takes part in replication: neither stopped, nor loading, nor busy.
    pub(crate) fn replicates(&self) -> bool {
        !self.stopped && !matches!(self.ailment, Some(Fault::Loading | Fault::Busy))
    }

    /// A primary with replicas tells them every second that it lives.
    pub(crate) fn replication_ping(&mut self) -> Option<Deed> {
        if !self.replicates() || self.follows.is_some() || self.replicas == 0 {
            return None;
        }
        self.append(Item::Ping);
        Some(Deed::Stream(Item::Ping))
    }

    pub(super) fn append(&mut self, item: Item) {
        self.offset += 1;
        if let Some(backlog) = &mut self.backlog {
            backlog.push_back(item);
            if backlog.len() > BACKLOG_MAX {
                backlog.pop_front();
            }
        }
    }

    pub(super) fn replicate(&mut self, address: Address, deeds: &mut Vec<Deed>) {
        if self.follows.as_ref() == Some(&address) {
            return; // Already so: Redis says OK and does nothing.
        }
        self.follows = Some(address.clone());
        self.link_up = false;
        self.syncing = false;
        deeds.push(Deed::DropReplicas);
        deeds.push(Deed::Unfollow);
        deeds.push(Deed::Follow(address));
    }

    pub(super) fn replicate_no_one(&mut self, deeds: &mut Vec<Deed>) {
        if self.follows.take().is_none() {
            return;
        }
        self.promotions += 1;
        let next = ReplId::from(format!("{}.{}", self.run_id, self.promotions));
        self.previous = Some((std::mem::replace(&mut self.replid, next), self.offset));
        self.link_up = false;
        self.syncing = false;
        deeds.push(Deed::DropReplicas);
        deeds.push(Deed::Unfollow);
        deeds.push(Deed::Promoted { closed: self.guard > u64::from(self.replicas) });
    }

    /// A replica asks to go on from `offset` in history `replid`.
    pub(crate) fn synchronise(&mut self, replid: &ReplId, offset: u64) -> Sync {
        if self.backlog.is_none() && self.follows.is_none() {
            self.backlog = Some(VecDeque::new());
            self.promotions += 1;
            self.replid = ReplId::from(format!("{}.{}", self.run_id, self.promotions));
            self.previous = None;
        }
        let mine = *replid == self.replid && offset <= self.offset;
        let before = self.previous.as_ref().is_some_and(|(old, ended)| old == replid && offset <= *ended);
        let missed = self.offset.saturating_sub(offset) as usize;
        if let Some(backlog) =
            self.backlog.as_ref().filter(|backlog| missed <= backlog.len() && (mine || before))
        {
            let items = backlog.iter().skip(backlog.len() - missed).copied().collect();
            return Sync::Continue { replid: self.replid.clone(), items };
        }
        Sync::Full(Box::new(Copy {
            replid: self.replid.clone(),
            offset: self.offset,
            data: self.data.clone(),
        }))
    }

    /// The primary's answer arrived.
    pub(crate) fn synchronised(&mut self, sync: Sync) -> Vec<Deed> {
        self.link_up = true;
        self.syncing = false;
        self.backlog.get_or_insert_default();
        match sync {
            Sync::Continue { replid, items } => {
                if replid != self.replid {
                    self.previous = Some((std::mem::replace(&mut self.replid, replid), self.offset));
                }
                items.into_iter().flat_map(|item| self.receive(item)).collect()
            }
            Sync::Full(copy) => {
                self.replid = copy.replid;
                self.previous = None;
                self.offset = copy.offset;
                self.data = copy.data;
                self.backlog = Some(VecDeque::new());
                vec![Deed::DropReplicas]
            }
        }
    }

    /// The next item of the stream arrived; it is passed on to this one's own replicas.
    pub(crate) fn receive(&mut self, item: Item) -> Vec<Deed> {
        self.append(item);
        if let Item::Write(id) = item {
            self.data.push(id);
        }
        vec![Deed::Stream(item)]
    }
}
