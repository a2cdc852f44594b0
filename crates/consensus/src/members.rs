//! Who belongs to the cluster, by the log: an entry that changes it holds the whole list, so that whoever applies it
//! knows everybody, wherever it begins. Each list differs from the one before by at most one voter, so that any
//! majority of one and any majority of the other share a member.

use crate::{Durable, Settings};
use backstay_model::{Generation, NodeId};
use serde::{Deserialize, Serialize};

/// One state folder's number as a member. A controller that comes back with another folder is another member: no vote,
/// promise or confirmation of the one counts for the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberId(pub u64);

impl MemberId {
    /// A founder's: its controller's number.
    pub const fn founder(node: NodeId) -> Self {
        Self(node.0)
    }

    /// That of the controller `node` with a folder that joined later.
    pub const fn joined(node: NodeId, generation: Generation) -> Self {
        let mixed = mix(node.0 ^ mix(generation.0));
        Self(if mixed == 0 { 1 } else { mixed })
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its number in votes.
    pub id: MemberId,
    /// Which controller it is.
    pub node: NodeId,
    /// Its state folder; unknown only of founders, until the first change.
    pub generation: Option<Generation>,
    /// It votes; otherwise it is a learner, which is told everything and counts for nothing.
    pub voter: bool,
}

/// All members, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// What every member understands: nothing that needs a higher one is proposed.
    pub level: u32,
    /// The entry that made it so; zero for the founders.
    pub index: u64,
    /// Empty: a folder that joins and has not heard of anybody yet.
    pub members: Vec<Member>,
}

impl Membership {
    /// The founders, as they were listed at the very first start.
    pub fn founders(voters: &[NodeId]) -> Self {
        let founder = |node: &NodeId| Member {
            id: MemberId::founder(*node),
            node: *node,
            generation: None,
            voter: true,
        };
        let mut members: Vec<Member> = voters.iter().map(founder).collect();
        members.sort_unstable_by_key(|member| member.node);
        Self { level: crate::VERSION_MIN, index: 0, members }
    }

    /// The controller's member.
    pub fn of(&self, node: NodeId) -> Option<&Member> {
        self.members.iter().find(|member| member.node == node)
    }

    /// The member with this number.
    pub fn member(&self, id: MemberId) -> Option<&Member> {
        self.members.iter().find(|member| member.id == id)
    }

    /// Those who vote.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.voter)
    }

    /// How many voters decide.
    pub fn majority(&self) -> usize {
        self.voters().count() / 2 + 1
    }

    /// Whether a correct node can have written it; only founders may be listed without their folders.
    pub(crate) fn is_sound(&self, founders: bool) -> bool {
        let twice = |member: &Member| {
            self.members.iter().filter(|it| it.id == member.id || it.node == member.node).count() > 1
        };
        let broken =
            |member: &Member| member.id.0 == 0 || (member.generation.is_none() && !founders) || twice(member);
        self.level > 0 && self.voters().next().is_some() && !self.members.iter().any(broken)
    }
}

impl Durable {
    /// Who belonged to the cluster after the entry at `index`, which is none before the snapshot.
    pub(crate) fn membership_at(&self, index: u64, settings: &Settings) -> Membership {
        let changed = self.entries.iter().rev().filter(|entry| entry.index <= index);
        let base = self.snapshot_index();
        for entry in changed.take_while(|entry| entry.index > base) {
            if let Some(change) = &entry.change {
                return Membership { index: entry.index, ..change.clone() };
            }
        }
        let stored = self.snapshot.as_ref().map(|snapshot| snapshot.membership.clone());
        stored.unwrap_or_else(|| Membership::founders(&settings.voters))
    }
}

/// The mixer of splitmix64: every bit of the input changes half of the output's.
pub(crate) const fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
