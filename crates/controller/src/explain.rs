//! What operators are told: `status`, and `explain`, which says why there is or is not a failover and who would win.

use crate::entry::Cause;
use crate::problems::{Snapshot, problems};
use crate::rebuilds::Agreed;
use crate::scene::{Scene, View};
use crate::state::{Phase, ServiceState};
use crate::surplus::surplus;
use crate::verdict::Tally;
use crate::work::follows;
use crate::{Controller, OPINION_LIFETIME, failover};
use backstay_model::{
    CandidateStatus, ClusterStatus, ControllerStatus, Explanation, FailoverStatus, Health, InstanceSpec,
    InstanceStatus, MemberRole, NodeId, NodeName, Now, PauseStatus, ReplOffset, Replication, Role,
    ServiceName, ServiceStatus, Time,
};

impl Controller {
    /// The whole picture as this node sees it.
    pub fn status(&self, now: Now) -> ClusterStatus {
        let controllers = self.spec.controllers.iter().map(|controller| {
            let id = controller.id();
            ControllerStatus {
                name: controller.name.clone(),
                address: controller.address.clone(),
                connected: id == self.me || self.is_fresh(now.time, id),
                leader: self.leader == Some(id),
                certificate_expires: None,
                member: if self.voters.contains(&id) { MemberRole::Voter } else { MemberRole::Outside },
                protocol: None,
            }
        });
        ClusterStatus {
            cluster: self.spec.cluster.as_str().to_owned(),
            node: self.name.clone(),
            leader: self.leader.and_then(|leader| self.name_of(leader)),
            term: self.term,
            quorum: self.has_quorum(now.time),
            controllers: controllers.collect(),
            level: 0,
            problems: Vec::new(),
            services: self.scenes.values().map(|scene| self.service_status(now, scene)).collect(),
            gateways: self.gateway_statuses(now.time),
            // Of controllers' own troubles the one who runs this knows.
        }
    }

    /// Every remembered failover, oldest first, of one service or of all. Those of one service stay in the order of
    /// their epochs, whatever the clocks showed.
    pub fn history(&self, service: Option<&ServiceName>) -> Vec<FailoverStatus> {
        let services =
            self.state.services.iter().filter(|(name, _)| service.is_none_or(|wanted| wanted == *name));
        let mut records = Vec::new();
        for (name, state) in services {
            let engine = self.engine(name);
            let mut latest = None;
            for record in &state.history {
                latest = latest.max(record.moments.suspected);
                records
                    .push((latest, FailoverStatus { record: record.clone(), engine, unit: engine.unit() }));
            }
        }
        records.sort_by_key(|(latest, _)| *latest);
        records.into_iter().map(|(_, record)| record).collect()
    }

    /// Why there is or is not a failover of the service now, and who would win; nothing if there is no such service.
    pub fn explain(&self, now: Now, service: &ServiceName) -> Option<Explanation> {
        let scene = self.scenes.get(service)?;
        let state = self.state.service(service);
        let reports = self.opinions_of_primary(now.time, service);
        let opinions = reports.iter().map(|(node, report)| {
            let name = self.name_of(*node).unwrap_or_else(|| NodeName::from("?"));
            (name, report.health.to_string())
        });
        let tally = state.reign.as_ref().map(|reign| {
            let controllers = self.voters.len() as u32;
            Tally::of(reports.iter().map(|(node, report)| (*node, report)), &reign.run_id, controllers)
        });
        let candidates = candidates(state, scene);
        let winner = candidates.iter().find(|candidate| candidate.eligible);
        Some(Explanation {
            service: service.clone(),
            engine: scene.spec.engine.kind(),
            unit: scene.spec.engine.kind().unit(),
            node: self.name.clone(),
            verdict: self.verdict_sentence(now, service, tally),
            opinions: opinions.collect(),
            winner: winner.map(|candidate| candidate.instance.clone()),
            would_lose_bytes: winner.and_then(|candidate| candidate.lag_bytes),
            candidates,
            problems: self.problems_of(now, scene),
        })
    }

    fn verdict_sentence(&self, now: Now, service: &ServiceName, tally: Option<Tally>) -> String {
        let state = self.state.service(service);
        let Some((tally, reign)) = tally.zip(state.reign.as_ref()) else {
            return format!("{service} has no primary yet");
        };
        if self.scenes.get(service).is_some_and(|scene| scene.spec.instance(&reign.instance).is_none()) {
            return format!(
                "nothing is done: the primary {} is not in this controller's file",
                reign.instance
            );
        }
        match (&state.phase, tally.cause()) {
            (Phase::Fencing { cause }, _) => {
                format!("a failover from {} is running (fencing), because {cause}", reign.instance)
            }
            (Phase::Promoting { candidate, .. }, _) => {
                format!("a failover from {} to {candidate} is running (promoting)", reign.instance)
            }
            (Phase::Moving { to, .. }, _) => {
                format!("a switchover from {} to {to} is running", reign.instance)
            }
            (_, Some(cause)) => match self.hindrance_of(now, service, &cause) {
                Some(hindrance) => format!("no failover although {cause}: {hindrance}"),
                None => format!("a failover is about to begin, because {cause}"),
            },
            (_, None) => format!(
                "no failover: {} of {} controllers hold the primary {} to be down, {} would be needed",
                tally.down(),
                tally.controllers,
                reign.instance,
                tally.majority()
            ),
        }
    }

    fn hindrance_of(&self, now: Now, service: &ServiceName, cause: &Cause) -> Option<String> {
        let scene = self.scenes.get(service)?;
        failover::automatic_hindrance(now, self.state.service(service), scene, self.hindrance(service), cause)
    }

    fn service_status(&self, now: Now, scene: &Scene) -> ServiceStatus {
        let name = &scene.spec.name;
        let state = self.state.service(name);
        let newest = state
            .reign
            .as_ref()
            .and_then(|reign| scene.views.get(&reign.instance))
            .and_then(View::replication);
        let pause = state.pause.as_ref().filter(|pause| now.unix < pause.until);
        ServiceStatus {
            name: name.clone(),
            engine: scene.spec.engine.kind(),
            unit: scene.spec.engine.kind().unit(),
            durability: scene.spec.engine.mariadb().map(|own| own.durability.word().to_owned()),
            epoch: state.epoch,
            phase: state.phase.name().to_owned(),
            primary: state.primary().map(|reign| reign.instance.clone()),
            address: self.address(name).cloned(),
            paused: pause.map(|pause| PauseStatus { until: pause.until, by: pause.by.clone() }),
            instances: scene
                .spec
                .instances
                .iter()
                .map(|spec| instance_status(state, scene, spec, newest))
                .collect(),
            rebuilds: self.rebuild_statuses(scene),
            problems: self.problems_of(now, scene),
        }
    }

    pub(crate) fn problems_of(&self, now: Now, scene: &Scene) -> Vec<backstay_model::ProblemStatus> {
        let rebuilds = self.state.rebuilds.get(&scene.spec.name);
        let running = rebuilds.and_then(|rebuilds| rebuilds.running.as_ref());
        let unsaved = |it: &&Agreed| (it.saved.is_some() || self.still_counts(scene, it)) && !it.discards;
        problems(&Snapshot {
            rebuilds,
            agents: self.agents_heard(now.time),
            withheld: running.filter(unsaved).and_then(|running| self.withheld(scene, running)),
            state: self.state.service(&scene.spec.name),
            scene,
            unix: now.unix,
            counted: self.state.counted.get(&scene.spec.name),
            disagreement: self.hindrance(&scene.spec.name).filter(|_| self.has_quorum(now.time)),
            quorum: self.has_quorum(now.time),
            failsafe: self.failsafe_runs(&scene.spec.name),
        })
    }

    /// This node hears from a majority and somebody leads.
    pub fn has_quorum(&self, now: Time) -> bool {
        let heard = |node: &&NodeId| **node == self.me || self.is_fresh(now, **node);
        let heard = self.voters.iter().filter(heard).count();
        heard >= self.majority() as usize && self.leader.is_some()
    }

    /// The node was heard of lately.
    pub fn is_fresh(&self, now: Time, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.connected && now.since(peer.heard) < OPINION_LIFETIME)
    }
}

fn instance_status(
    state: &ServiceState,
    scene: &Scene,
    spec: &InstanceSpec,
    primary: Option<&Replication>,
) -> InstanceStatus {
    let unseen = View::default();
    let view = scene.views.get(&spec.name).unwrap_or(&unseen);
    let seen = view.replication();
    let role = match seen.map(|seen| &seen.role) {
        Some(Role::Primary { .. }) => "primary",
        Some(Role::Replica { .. }) => "replica",
        None => "unknown",
    };
    InstanceStatus {
        name: spec.name.clone(),
        address: spec.address.clone(),
        site: spec.site.clone(),
        zone: spec.zone.clone(),
        priority: spec.priority,
        role: role.to_owned(),
        health: view.health.to_string(),
        suspected: matches!(view.health, Health::Down(_)),
        run_id: view.run_id().map(ToString::to_string),
        version: view.identity.as_ref().map(|identity| identity.version.clone()),
        offset: seen.map(|seen| seen.offset),
        lag_bytes: seen.zip(primary).and_then(|(seen, primary)| lag(seen, primary)),
        link_up: seen.and_then(follows).map(|(_, link_up, _)| link_up),
        in_sync: view.run_id().is_some()
            && state.trusted.get(&spec.name) == view.run_id()
            && seen.is_none_or(|seen| !seen.sql.stalled && !seen.sql.diverged),
        closed: seen.is_some_and(|seen| seen.closed),
    }
}

fn lag(seen: &Replication, primary: &Replication) -> Option<u64> {
    (seen.replid == primary.replid).then(|| seen.lag_behind(primary.offset))
}

/// Every instance but the primary, by what was last seen of it: the best first. An estimate, since nothing is frozen.
pub(crate) fn candidates(state: &ServiceState, scene: &Scene) -> Vec<CandidateStatus> {
    let Some(reign) = &state.reign else {
        return Vec::new();
    };
    let newest =
        scene.views.values().filter_map(View::replication).filter(|seen| seen.replid == reign.replid);
    let newest = newest.map(|seen| seen.offset).max().unwrap_or(ReplOffset(0));
    let unit = scene.spec.engine.kind().unit();
    let others = scene.spec.instances.iter().filter(|spec| spec.name != reign.instance);
    let mut ranked: Vec<_> = others
        .map(|spec| {
            let seen = scene.views.get(&spec.name).and_then(View::replication);
            let lag_bytes =
                seen.filter(|seen| seen.replid == reign.replid).map(|seen| newest.ahead_of(seen.offset));
            let fault = ineligible(state, scene, spec, lag_bytes);
            let reason = match (&fault, lag_bytes) {
                (Some(fault), _) => fault.clone(),
                (None, Some(0)) => "has everything the primary was seen to have".to_owned(),
                (None, lag) => format!("is {} behind", unit.count(lag.unwrap_or(0))),
            };
            let reason = match surplus(state, scene, &spec.name) {
                Some(surplus) => format!("{reason}; {}", surplus.clause(unit)),
                None => reason,
            };
            let eligible = fault.is_none();
            let rank = (!eligible, lag_bytes.unwrap_or(u64::MAX), spec.priority, spec.name.clone());
            (rank, CandidateStatus { instance: spec.name.clone(), eligible, lag_bytes, reason })
        })
        .collect();
    ranked.sort_by(|(a, _), (b, _)| a.cmp(b));
    ranked.into_iter().map(|(_, candidate)| candidate).collect()
}

fn ineligible(
    state: &ServiceState,
    scene: &Scene,
    spec: &InstanceSpec,
    lag_bytes: Option<u64>,
) -> Option<String> {
    let view = scene.views.get(&spec.name)?;
    if view.health != Health::Up {
        return Some(format!("cannot be chosen: {}", view.health));
    }
    if spec.priority == 0 {
        return Some("is never chosen: its priority is 0".into());
    }
    if state.trusted.get(&spec.name) != view.run_id() {
        return Some("cannot be chosen: it has no full copy since it was started".into());
    }
    lag_bytes.is_none().then(|| "cannot be chosen: it is in another history than the primary".into())
}
