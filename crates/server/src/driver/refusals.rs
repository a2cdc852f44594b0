//! What the consensus refused, in the operator's words.

use backstay_consensus::Refusal;
use backstay_model::{ClusterSpec, NodeId};
use std::collections::BTreeMap;

/// The controllers' names by their numbers.
#[derive(Debug)]
pub(crate) struct Names(BTreeMap<NodeId, String>);

impl Names {
    pub(crate) fn of(spec: &ClusterSpec) -> Self {
        let names = spec.controllers.iter().map(|controller| (controller.id(), controller.name.to_string()));
        Self(names.collect())
    }

    /// What happened, why, and what to do next.
    pub(super) fn sentence(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::OtherCluster { peer, cluster } => format!(
                "controller {} belongs to the cluster {cluster}, so it is not listened to: two clusters use the same \
                 address; correct one of the files",
                self.name(*peer)
            ),
            Refusal::UnknownPeer { peer } => format!(
                "a controller that the file does not list talks to this one ({}) and is not listened to: give all \
                 nodes the same file and restart those that differ",
                self.name(*peer)
            ),
            Refusal::LostState { peer } => format!(
                "controller {} comes with another state folder than before, so its votes do not count: restore its \
                 folder, or start it without --bootstrap on an empty one and give it its vote back with `backstay \
                 controller add {0}`",
                self.name(*peer)
            ),
            Refusal::Malformed { peer, why } => format!(
                "controller {} said what no correct controller says ({why}); it is not listened to. If it runs \
                 another version, give both the same",
                self.name(*peer)
            ),
            Refusal::IAmStranger { told_by } => format!(
                "this controller stops: {} remembers it with another state folder, so this one was lost or replaced, \
                 and a vote given with it could contradict an older one. Restore the old folder; or remove this one, \
                 start again without --bootstrap, and run `backstay controller add` with this controller's name",
                self.name(*told_by)
            ),
            Refusal::LogLost { leader, confirmed, last } => format!(
                "this controller stops: the leader {} knows that it had stored entry {confirmed}, but its state folder \
                 ends at {last}, so it is an old copy. Restore the newest folder; or remove this one, start again \
                 without --bootstrap, and run `backstay controller add` with this controller's name",
                self.name(*leader)
            ),
            Refusal::Outdated { peer, version, level } => format!(
                "controller {} speaks version {version} at most, and the cluster works at level {level}, so it is not \
                 listened to: start the newer version there",
                self.name(*peer)
            ),
            Refusal::TooNew { level } => format!(
                "this controller stops: the cluster works at level {level}, which this version does not know: start the \
                 newer version here"
            ),
            Refusal::Removed => "this controller stops: it is no member of the cluster any more. Take it out of every \
                 node's file; or, to bring it back, remove its state folder, start it again, and run `backstay controller \
                 add` with its name"
                .to_owned(),
        }
    }

    fn name(&self, node: NodeId) -> String {
        self.0.get(&node).cloned().unwrap_or_else(|| format!("number {node}"))
    }
}
