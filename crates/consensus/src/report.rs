//! The end of every step: what changed about the lead and the lease.

use crate::{Consensus, Effect, MemberId};
use backstay_model::{NodeId, Term, Time};

/// Who leads, as `Effect::Leadership` tells it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leadership {
    pub(crate) leader: Option<NodeId>,
    pub(crate) term: Term,
    pub(crate) me_leading: bool,
}

impl Consensus {
    /// Reports changes of leadership and lease, losses first: the successor may act as soon as the other effects of
    /// this step have run.
    pub(crate) fn finish(&mut self) -> Vec<Effect> {
        self.tend();
        let raft = &self.raft.raft;
        let me_leading = !self.halted && self.leads() && raft.commit_to_current_term();
        let leadership =
            Leadership { leader: self.node_of(MemberId(raft.leader_id)), term: Term(raft.term), me_leading };
        let lease = if me_leading { self.lease_end() } else { Time::ZERO };
        let mut effects = Vec::new();
        let mut gains = Vec::new();
        if leadership != self.reported {
            let lost = self.reported.me_leading;
            let list = if lost { &mut effects } else { &mut gains };
            list.push(Effect::Leadership { leader: leadership.leader, term: leadership.term, me_leading });
        }
        if lease != self.reported_lease {
            let list = if lease < self.reported_lease { &mut effects } else { &mut gains };
            list.push(Effect::LeaseUntil(lease));
        }
        self.reported = leadership;
        self.reported_lease = lease;
        self.wakeup = self.plan_wakeup();
        self.pace.expect(self.wakeup);
        effects.append(&mut self.effects);
        effects.append(&mut gains);
        effects
    }

    /// Who decides alone needs no lease; but once there is a learner it may get company, so what it begins must end.
    fn lease_end(&self) -> Time {
        let end = self.lease.end();
        let alone = self.membership.members.len() <= 1;
        if end == Time::MAX && !alone { self.now + self.settings.lease_max() } else { end }
    }
}
