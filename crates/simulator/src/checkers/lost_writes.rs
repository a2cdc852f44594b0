//! Writes are lost only where the mode allows. In `async` an acknowledged write may be lost if it had not reached the
//! promoted replica; but what a replica holds that nothing disturbs survives the choice, and what the new primary
//! holds when its reign begins, or acknowledges in it, survives its reign.

use super::writes::Writes;
use crate::instance::Instance;
use crate::redis::WriteId;
use crate::world::{Place, World};
use backstay_controller::{Cause, Phase, ServiceState};
use backstay_model::{Epoch, InstanceName, RunId, Time};
use std::collections::BTreeMap;
use std::time::Duration;

/// A server that nothing happened to for so long counts as steady.
const STEADY: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub(super) struct Memory {
    writes: WriteId,
    pub(super) acknowledged: u64,
    pub(super) lost: u64,
    acked: Writes,
    /// What each server held in processes that are gone.
    held_before: BTreeMap<usize, Writes>,
    begun: Option<Begun>,
    reign: Option<ReignMemory>,
}

/// What steady servers held when a failover began.
#[derive(Debug)]
struct Begun {
    epoch: Epoch,
    at: Time,
    held: Vec<(usize, Writes)>,
    /// The processes that counted then.
    trusted: BTreeMap<InstanceName, RunId>,
}

/// What must survive the current reign.
#[derive(Debug)]
struct ReignMemory {
    epoch: Epoch,
    server: usize,
    must: Writes,
}

impl Memory {
    pub(super) const fn next_write(&mut self) -> WriteId {
        self.writes += 1;
        self.writes
    }

    pub(super) fn acknowledged_before(&mut self, writes: &[WriteId]) {
        self.acked.extend(writes);
    }

    /// Nothing is asked any more for what is not in here.
    pub(super) fn forget_without(&mut self, data: &Writes) {
        self.acked = std::mem::take(&mut self.acked).intersection(data);
    }

    /// A write that clients were told of and that is not in here.
    pub(super) fn acknowledged_without(&self, data: &Writes) -> Option<WriteId> {
        self.acked.without(data).first()
    }
}

/// The state's epoch began with a planned move.
fn is_planned(state: &ServiceState) -> bool {
    state.history.back().is_some_and(|record| record.planned && record.epoch == state.epoch)
}

const fn name(cause: &Cause) -> &'static str {
    match cause {
        Cause::FirstStart => "first primary",
        Cause::Crashed { .. } => "failover after a crash",
        Cause::Silent { .. } => "failover after silence",
        Cause::Restarted { .. } => "failover after a restart",
        Cause::Demoted { .. } => "failover after a demotion",
        Cause::CandidateLost { .. } => "next candidate",
        Cause::Ordered { .. } => "failover on an operator's order",
        Cause::SwitchoverFailed { .. } => "failover because a switchover failed",
    }
}

impl World {
    pub(crate) fn check_acknowledged(&mut self, write: WriteId, server: usize) {
        self.checkers.times.acknowledged(self.now, self.primary() == Some(server));
        let memory = &mut self.checkers.writes;
        memory.acknowledged += 1;
        memory.acked.insert(write);
        // It was accepted a moment ago: near the end.
        let process = self.servers[server].process.as_ref();
        let holds = process.is_some_and(|process| process.holds_lately(write));
        if let Some(reign) = memory.reign.as_mut().filter(|reign| reign.server == server && holds) {
            reign.must.insert(write);
        }
    }

    pub(crate) fn note_begin(&mut self, state: &ServiceState) {
        let Phase::Fencing { cause } = &state.phase else {
            return;
        };
        if self.checkers.writes.begun.as_ref().is_some_and(|begun| begun.epoch >= state.epoch) {
            return;
        }
        // One that the operator wants replaced is not waited for.
        let ordered = matches!(&state.phase, Phase::Fencing { cause: Cause::Ordered { .. } });
        let unwanted = state.reign.as_ref().map(|reign| &reign.instance).filter(|_| ordered);
        self.coverage.decision(name(cause));
        let steady = (0..self.servers.len())
            .filter(|server| unwanted != Some(&self.servers[*server].name))
            .filter(|server| self.is_steady(*server) && self.is_trusted(*server, state));
        let held = steady.map(|server| {
            let data = self.servers[server].process.as_ref().map(|it| it.data().iter().collect());
            (server, data.unwrap_or_default())
        });
        let begun =
            Begun { epoch: state.epoch, at: self.now, held: held.collect(), trusted: state.trusted.clone() };
        self.checkers.writes.begun = Some(begun);
    }

    fn is_steady(&self, server: usize) -> bool {
        let it = &self.servers[server];
        let place = Place::Server(server);
        let blocked = self.network.blocked.iter().any(|(from, to)| *from == place || *to == place);
        let runs = it.process.as_ref().is_some_and(|process| !process.is_stopped());
        runs && !blocked && self.now.since(it.disturbed) > STEADY
    }

    fn is_trusted(&self, server: usize, state: &ServiceState) -> bool {
        let it = &self.servers[server];
        let run = it.process.as_ref().map(Instance::run_id);
        let history = it.process.as_ref().map(Instance::replid);
        state.trusted.get(&it.name) == run
            && state.reign.as_ref().map(|reign| &reign.replid) == history.as_ref()
    }

    /// A reign begins: its primary must hold every acknowledged write that a steady server held when the failover
    /// began. What it holds now must survive.
    pub(crate) fn note_reign(&mut self, state: &ServiceState) {
        let Some(reign) = state.primary().filter(|reign| reign.epoch == state.epoch) else {
            return;
        };
        if self.checkers.writes.reign.as_ref().is_some_and(|known| known.epoch >= reign.epoch) {
            return;
        }
        let Some(server) = self.servers.iter().position(|server| server.name == reign.instance) else {
            return;
        };
        let process = self.servers[server].process.as_ref().filter(|it| *it.run_id() == reign.run_id);
        let Some(data) = process.map(|it| it.data().iter().collect::<Writes>()) else {
            return; // Died since; the next reign is judged.
        };
        let begun = self.checkers.writes.begun.take();
        let counted = begun.as_ref().is_some_and(|it| it.trusted.get(&reign.instance) == Some(&reign.run_id));
        // An operator may choose whom he likes, and who starts unprotected may wipe all others.
        let promised = self.scenario.protected && state.decided.is_none();
        if let Some(write) = self.forgotten(server, &data).filter(|_| counted && promised) {
            let what = format!("{} is promoted without write {write}, which had reached it", reign.instance);
            return self.violate("what reached the promoted replica survives", what);
        }
        self.check_majority(reign.instance.as_str(), &data, begun.is_some() && !counted);
        if is_planned(state) {
            self.coverage.decision("switchover completed");
        }
        if let Some(write) = self.left_behind(state, &data).filter(|_| promised) {
            let what = format!("{} took over by a planned move without write {write}", reign.instance);
            return self.violate("a switchover loses nothing", what);
        }
        if let Some(begun) = begun.filter(|begun| begun.epoch == reign.epoch && promised) {
            for (holder, held) in &begun.held {
                let undisturbed = self.servers[*holder].disturbed <= begun.at && self.is_steady(*holder);
                let missing = held.without(&data).intersection(&self.checkers.writes.acked);
                let missing = missing.without(&self.written_anew(*holder, server));
                let given_up = self.spec.services[0].preference.max_lag_bytes;
                if let (true, Some(write)) = (undisturbed && missing.count() > given_up, missing.first()) {
                    let (holder, chosen) = (&self.servers[*holder].name, &reign.instance);
                    let what = format!(
                        "{holder} held acknowledged write {write}, but {chosen} was promoted without it"
                    );
                    return self.violate("what a steady replica holds survives", what);
                }
            }
        }
        let acked = &self.checkers.writes.acked;
        let must = data.intersection(acked);
        self.checkers.writes.reign = Some(ReignMemory { epoch: reign.epoch, server, must });
    }

    /// What a MariaDB holds under names that the chosen one has for other writes. An operator chose one whose binary log
    /// was cut, though another held more; it gave those numbers out again, and nobody can tell: server and number are
    /// all that a replica is asked for. Where no operator ever chose, that is no excuse.
    fn written_anew(&self, holder: usize, chosen: usize) -> Writes {
        let both = self.servers[holder].mariadb().zip(self.servers[chosen].mariadb());
        match both.filter(|_| !self.checkers.decided.is_empty()) {
            Some((holder, chosen)) => holder.named_otherwise(chosen).iter().collect(),
            None => Writes::default(),
        }
    }

    /// After a planned move: an acknowledged write of the reign before that is not here.
    fn left_behind(&self, state: &ServiceState, data: &Writes) -> Option<WriteId> {
        let before = self.checkers.writes.reign.as_ref().filter(|_| is_planned(state))?;
        before.must.without(data).first()
    }

    /// A process ends, and with it what it held.
    pub(crate) fn note_death(&mut self, server: usize) {
        if let Some(process) = &self.servers[server].process {
            self.checkers.writes.held_before.entry(server).or_default().extend(&process.data());
        }
    }

    /// An acknowledged write that the reign before still had and that had reached this server, but is not there now.
    fn forgotten(&self, server: usize, data: &Writes) -> Option<WriteId> {
        let memory = &self.checkers.writes;
        let before = memory.reign.as_ref()?;
        let held = memory.held_before.get(&server)?;
        before.must.without(data).intersection(held).first()
    }

    /// In the end: everything that had to survive the last reign is there. Counts what `async` lost before.
    pub(crate) fn check_surviving_writes(&mut self) {
        let Some(primary) = self.primary() else {
            return;
        };
        let process = self.servers[primary].process.as_ref();
        let data: Writes = process.map(|it| it.data().iter().collect()).unwrap_or_default();
        let name = self.servers[primary].name.to_string();
        self.check_majority(&name, &data, false);
        let memory = &mut self.checkers.writes;
        memory.lost = memory.acked.without(&data).count();
        let Some(reign) = &memory.reign else {
            return;
        };
        let missing = reign.must.without(&data).first();
        if let Some(write) = missing.filter(|_| reign.server == primary) {
            let (epoch, name) = (reign.epoch, self.servers[primary].name.clone());
            let what = format!("write {write} was lost in the middle of {name}'s reign (epoch {epoch})");
            self.violate("a reign loses nothing", what);
        }
    }
}
