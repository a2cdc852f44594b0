//! Who belongs to the cluster, in the operator's words: orders to the consensus and its answers as sentences, and the
//! part of `status` that only the consensus knows.

use crate::Node;
use backstay_consensus::{Change, ChangeRefusal, Changed, GATEWAYS, Status, VERSION};
use backstay_controller::{Refusal, Wish};
use backstay_model::{ClusterStatus, MemberRole, NodeId, NodeName, Now, ProblemStatus, Severity};

/// A wish that is the consensus' business.
pub(crate) fn change(wish: &Wish) -> Option<Change> {
    match wish {
        Wish::AddController { name, .. } => Some(Change::Add(NodeId::of(name))),
        Wish::RemoveController { name, forced, .. } => {
            Some(Change::Remove { node: NodeId::of(name), forced: *forced })
        }
        _ => None,
    }
}

impl Node {
    /// The whole picture as this node sees it.
    pub fn status(&self, now: Now) -> ClusterStatus {
        let members = self.consensus.status();
        let mut status = self.brain.status(now);
        status.level = members.membership.level;
        for controller in &mut status.controllers {
            let id = NodeId::of(&controller.name);
            controller.member = role(&members, id);
            controller.protocol = members.versions.get(&id).copied();
        }
        status.problems.extend(self.problems(now, &members, &status));
        status
    }

    fn problems(&self, now: Now, members: &Status, status: &ClusterStatus) -> Vec<ProblemStatus> {
        let warning = |code: &str, sentence: String| ProblemStatus {
            code: code.to_owned(),
            severity: Severity::Warning,
            sentence,
        };
        let mut found = Vec::new();
        let unlisted = members.membership.members.iter().filter(|member| self.name(member.node).is_none());
        for member in unlisted {
            let role = if member.voter { "votes" } else { "is a learner" };
            found.push(warning(
                "MemberNotInFile",
                format!(
                    "controller number {} {role}, but this controller's file does not list it: give all nodes the same \
                     file and restart those that differ, or remove it with `backstay controller remove NAME`",
                    member.node
                ),
            ));
        }
        for controller in &status.controllers {
            let name = &controller.name;
            let known = members.membership.of(NodeId::of(name)).is_some();
            let sentence = match controller.member {
                MemberRole::Waiting if known => format!(
                    "controller {name} lost its state folder and has no vote: `backstay controller add {name}` gives it \
                     one again"
                ),
                MemberRole::Waiting => format!(
                    "controller {name} runs but is no member: `backstay controller add {name}` makes it one"
                ),
                MemberRole::Outside => format!(
                    "controller {name} is in the file but no member: start it and run `backstay controller add {name}`, \
                     or take it out of the file"
                ),
                MemberRole::Voter | MemberRole::Learner => continue,
            };
            found.push(warning("ControllerNotMember", sentence));
        }
        found.extend(gateways_wait(status).map(|sentence| warning("GatewaysWait", sentence)));
        let (level, leads) = (members.membership.level, self.brain.leads());
        if level < VERSION && leads && self.brain.has_quorum(now.time) {
            let older =
                members.membership.members.iter().filter(|member| {
                    members.versions.get(&member.node).is_none_or(|version| *version < VERSION)
                });
            let older: Vec<NodeId> = older.map(|member| member.node).collect();
            if !older.is_empty() {
                let sentence = format!(
                    "the controllers work at level {level} of {VERSION}, because {} was not seen to run this version: \
                     upgrade and start it",
                    self.names(&older)
                );
                found.push(warning("OlderVersion", sentence));
            }
        }
        found
    }

    pub(crate) fn sentence(&self, result: Result<Changed, ChangeRefusal>) -> Result<String, Refusal> {
        match result {
            Ok(Changed::Added(node)) => Ok(format!(
                "{0} is a learner now; it gets its vote as soon as it holds everything (see `backstay controller list`)",
                self.called(node)
            )),
            Ok(Changed::Replaced(node)) => Ok(format!(
                "{0} is a learner with its new state folder, and its old vote is gone; it gets a vote again as soon as it \
                 holds everything (see `backstay controller list`)",
                self.called(node)
            )),
            Ok(Changed::Removed { node, voters }) => Ok(format!(
                "{} is no member any more. {}Take it out of every node's file",
                self.called(node),
                remaining(voters)
            )),
            Err(refusal) => Err(self.refused(refusal)),
        }
    }

    fn refused(&self, refusal: ChangeRefusal) -> Refusal {
        let sentence = match refusal {
            ChangeRefusal::NotLeader => return Refusal::NotLeader,
            ChangeRefusal::Unknown => return Refusal::Unknown,
            ChangeRefusal::Unheard => {
                return Refusal::NoSuch(
                    "no controller with a new state folder asks under this name, so it cannot be made a member: put it \
                     into every node's file, restart them one after the other, start it with `backstay run` (without \
                     --bootstrap), and ask again"
                        .into(),
                );
            }
            ChangeRefusal::NotMember => {
                return Refusal::NoSuch(
                    "no member has this name; `backstay controller list` shows them all".into(),
                );
            }
            ChangeRefusal::Busy => {
                "another change of the members is under way: ask again in a moment".to_owned()
            }
            ChangeRefusal::Outdated(nodes) => format!(
                "members cannot change while {} does not run this version or was not heard of: upgrade and start it \
                 first",
                self.names(&nodes)
            ),
            ChangeRefusal::AlreadyMember { voter: true } => "it is a member already, and votes".to_owned(),
            ChangeRefusal::AlreadyMember { voter: false } => {
                "it is a learner already, and gets its vote as soon as it holds everything".to_owned()
            }
            ChangeRefusal::Alive => {
                "a controller with this name is a member and alive, and a second one runs with another state folder: \
                 stop one of the two"
                    .to_owned()
            }
            ChangeRefusal::Last => "the last voter cannot be removed: nobody would be left".to_owned(),
            ChangeRefusal::Single => {
                "that would leave a single voter: if it stopped, nothing would fail over. If you mean it, add --force"
                    .to_owned()
            }
            ChangeRefusal::NoQuorum { live, needed } => format!(
                "that would leave {live} live voters where {needed} are needed, so nothing could be decided any more: \
                 start the others first. If you mean it, add --force"
            ),
        };
        Refusal::Unfit(sentence)
    }

    fn names(&self, nodes: &[NodeId]) -> String {
        nodes.iter().map(|node| self.called(*node)).collect::<Vec<_>>().join(", ")
    }

    fn called(&self, node: NodeId) -> String {
        self.name(node)
            .map_or_else(|| format!("controller number {node}"), |name| format!("controller {name}"))
    }

    fn name(&self, node: NodeId) -> Option<&NodeName> {
        self.controllers.get(&node)
    }
}

/// Gateways that are not registered, because not every controller would understand that.
fn gateways_wait(status: &ClusterStatus) -> Option<String> {
    let waiting = status.gateways.iter().filter(|gateway| !gateway.registered);
    let waiting: Vec<&str> = waiting.map(|gateway| gateway.name.as_str()).collect();
    (status.level < GATEWAYS && !waiting.is_empty()).then(|| {
        format!(
            "gateway {} gets no lease, so its clients wait: the controllers work at level {}, and gateways need level \
             {GATEWAYS}; upgrade and start every controller (`backstay controller list` shows their versions)",
            waiting.join(", "),
            status.level
        )
    })
}

fn role(members: &Status, node: NodeId) -> MemberRole {
    let waits = node == members.me && members.membership.of(node).is_none();
    if waits || members.applicants.contains(&node) {
        return MemberRole::Waiting;
    }
    match members.membership.of(node) {
        Some(member) if member.voter => MemberRole::Voter,
        Some(_) => MemberRole::Learner,
        None => MemberRole::Outside,
    }
}

fn remaining(voters: usize) -> String {
    match voters {
        1 => "One voter is left: if it stops, nothing fails over. ".to_owned(),
        2 => "Two voters are left, and both are needed. ".to_owned(),
        _ => format!("{voters} voters are left. "),
    }
}
