//! What controllers tell each other, and what a majority of them says: opinions of instances, digests of the settings.

use crate::Phase;
use crate::effect::{Effect, Report};
use crate::{Controller, KEEPALIVE, OPINION_LIFETIME, WHOLE_REPORT_EVERY};
use backstay_model::{Digest, Health, InstanceName, InstanceReport, NodeId, Now, ServiceName, Time};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of another controller.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    pub(crate) connected: bool,
    pub(crate) heard: Time,
    pub(crate) digests: BTreeMap<ServiceName, Digest>,
    pub(crate) opinions: BTreeMap<ServiceName, BTreeMap<InstanceName, InstanceReport>>,
}

impl Controller {
    pub(crate) fn hear(&mut self, now: Now, from: NodeId, report: Report, out: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&from) else {
            return;
        };
        peer.heard = now.time;
        if !report.digests.is_empty() {
            peer.digests = report.digests;
        }
        let mut touched: Vec<ServiceName> = Vec::new();
        for (service, instance, opinion) in report.opinions {
            let known = self.scenes.get(&service).is_some_and(|scene| scene.views.contains_key(&instance));
            if known {
                let before =
                    peer.opinions.entry(service.clone()).or_default().insert(instance, opinion.clone());
                if before != Some(opinion) && touched.last() != Some(&service) {
                    touched.push(service);
                }
            }
        }
        for service in touched {
            self.look_at(now, &service, out);
        }
    }

    pub(crate) fn peer(&mut self, now: Now, node: NodeId, connected: bool, out: &mut Vec<Effect>) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.connected = connected;
        }
        if connected {
            out.push(Effect::Tell { to: Some(node), report: self.whole_report() });
        } else {
            self.wake_services(now, out);
        }
    }

    /// Every controller's opinion of the service's recorded primary, those of silent peers left out.
    pub(crate) fn opinions_of_primary(
        &self,
        now: Time,
        service: &ServiceName,
    ) -> Vec<(NodeId, InstanceReport)> {
        let Some(reign) = &self.state.service(service).reign else {
            return Vec::new();
        };
        let own = self.scenes.get(service).and_then(|scene| scene.views.get(&reign.instance));
        let own = own.filter(|_| self.voters.contains(&self.me));
        let mut opinions: Vec<_> = own.map(|view| (self.me, view.report())).into_iter().collect();
        for (node, peer) in &self.peers {
            if self.voters.contains(node)
                && peer.connected
                && now.since(peer.heard) < OPINION_LIFETIME
                && let Some(report) = peer.opinions.get(service).and_then(|of| of.get(&reign.instance))
            {
                opinions.push((*node, report.clone()));
            }
        }
        opinions
    }

    /// Which instances of the service, but the primary that a majority holds to be lost, every other controller that was
    /// heard of lately finds up.
    pub(crate) fn reached_elsewhere(
        &self,
        now: Time,
        service: &ServiceName,
    ) -> Vec<(NodeId, BTreeSet<InstanceName>)> {
        let state = self.state.service(service);
        // A planned move needs it.
        let lost = state.reign.as_ref().map(|reign| &reign.instance);
        let lost = lost.filter(|_| !matches!(state.phase, Phase::Moving { .. }));
        let fresh = self.peers.iter().filter(|(node, _)| self.is_fresh(now, **node));
        let reached = fresh.filter_map(|(node, peer)| {
            let up = peer
                .opinions
                .get(service)?
                .iter()
                .filter(|(name, report)| report.health == Health::Up && Some(*name) != lost);
            Some((*node, up.map(|(name, _)| name.clone()).collect()))
        });
        reached.collect()
    }

    /// Why nothing automatic may happen to the service, apart from what `Work` knows itself.
    pub(crate) fn hindrance(&self, service: &ServiceName) -> Option<String> {
        let mine = self.scenes.get(service).map(|scene| &scene.spec.digest)?;
        let agrees = |node: &&NodeId| {
            **node == self.me || self.peers.get(node).is_some_and(|it| it.digests.get(service) == Some(mine))
        };
        let agree = self.voters.iter().filter(agrees).count();
        (agree < self.majority() as usize).then(|| {
            format!(
                "only {agree} of {} controllers hold the same settings for {service}: give all nodes the same file and \
                 restart those that differ",
                self.voters.len()
            )
        })
    }

    pub(crate) fn majority(&self) -> u32 {
        self.voters.len() as u32 / 2 + 1
    }

    pub(crate) fn keep_reporting(&mut self, now: Now, out: &mut Vec<Effect>) {
        if now.time < self.next_report {
            return;
        }
        self.next_report = now.time + KEEPALIVE;
        self.tend_gateways(now, out);
        let report = if self.reports.is_multiple_of(WHOLE_REPORT_EVERY) {
            self.whole_report()
        } else {
            Report::default()
        };
        self.reports = self.reports.wrapping_add(1);
        out.push(Effect::Tell { to: None, report });
    }

    pub(crate) fn whole_report(&self) -> Report {
        let mut report = Report::default();
        for (service, scene) in &self.scenes {
            report.digests.insert(service.clone(), scene.spec.digest.clone());
            for (instance, view) in &scene.views {
                report.opinions.push((service.clone(), instance.clone(), view.report()));
            }
        }
        report
    }
}
