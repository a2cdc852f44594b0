//! One group of fake instances and what they know of each other: roles, histories, offsets. Replication is a rule
//! instead of a stream: a linked replica has received exactly what its primary wrote.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

/// One primary, two replicas.
pub const INSTANCES_PER_GROUP: usize = 3;
/// What applications write to a primary.
const BYTES_PER_MS: u64 = 1;
/// What one write of a client adds.
const WRITE_BYTES: u64 = 60;
const NO_HISTORY: &str = "0000000000000000000000000000000000000000";

/// A group.
#[derive(Debug)]
pub struct Group {
    members: Vec<Member>,
    /// Who was lost, and who acknowledged the first write after that, and when.
    lost: Option<usize>,
    successor: Option<(usize, Instant)>,
    histories: u32,
    number: usize,
}

/// One instance.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) address: SocketAddr,
    pub(super) run_id: String,
    pub(super) alive: bool,
    pub(super) role: Role,
    pub(super) replid: String,
    /// The history before, and its first offset that is not in it; as `INFO` says it.
    pub(super) previous: (String, i64),
    pub(super) min_replicas_to_write: u64,
    pub(super) min_replicas_max_lag: u64,
    /// Where it stands as long as nothing moves it.
    offset: u64,
}

/// What an instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Written to since then.
    Primary { since: Instant },
    /// Told to follow `host:port`; linked to a member of the group, or not.
    Replica { host: String, port: u16, link: Option<usize> },
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteRefused {
    ReadOnly,
    TooFewReplicas,
}

impl Group {
    /// The group with this number: its first instance is the primary and the others follow it, all on `port` of loopback
    /// addresses of their own.
    pub(super) fn new(number: usize, port: u16, now: Instant) -> Self {
        let replid = history(number, 0);
        let members = (0..INSTANCES_PER_GROUP).map(|index| Member {
            address: address(number, index, port),
            run_id: format!("{:08x}{:032x}", number, index + 1),
            alive: true,
            role: if index == 0 {
                Role::Primary { since: now }
            } else {
                Role::Replica { host: address(number, 0, port).ip().to_string(), port, link: Some(0) }
            },
            replid: replid.clone(),
            previous: (NO_HISTORY.to_owned(), -1),
            min_replicas_to_write: 0,
            min_replicas_max_lag: 10,
            offset: 1000,
        });
        Self { members: members.collect(), lost: None, successor: None, histories: 1, number }
    }

    /// The addresses of its instances.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.members.iter().map(|member| member.address)
    }

    /// When another instance than the lost one acknowledged a write first.
    pub fn recovered(&self) -> Option<Instant> {
        self.successor.map(|(_, at)| at)
    }

    /// How many instances take writes now.
    pub fn open_primaries(&self) -> usize {
        let open = |index: &usize| self.members[*index].alive && self.may_write(*index).is_ok();
        (0..self.members.len()).filter(open).count()
    }

    pub(super) fn member(&self, index: usize) -> &Member {
        &self.members[index]
    }

    pub(super) fn member_mut(&mut self, index: usize) -> &mut Member {
        &mut self.members[index]
    }

    /// The primary's place, if one is alive.
    pub(super) fn primary(&self) -> Option<usize> {
        self.members.iter().position(|member| member.alive && matches!(member.role, Role::Primary { .. }))
    }

    /// How far an instance is.
    pub(super) fn offset(&self, index: usize, now: Instant) -> u64 {
        let member = &self.members[index];
        match &member.role {
            Role::Primary { since } => {
                member.offset + now.saturating_duration_since(*since).as_millis() as u64 * BYTES_PER_MS
            }
            Role::Replica { link: Some(primary), .. } => self.offset(*primary, now),
            Role::Replica { link: None, .. } => member.offset,
        }
    }

    /// The replicas that are linked to an instance.
    pub(super) fn replicas(&self, primary: usize) -> Vec<usize> {
        let linked = |index: &usize| matches!(self.members[*index].role, Role::Replica { link, .. } if link == Some(primary));
        (0..self.members.len()).filter(linked).collect()
    }

    /// The process is gone. Its replicas lose their link and stand still.
    pub(super) fn lose(&mut self, index: usize, now: Instant) {
        self.cut_replicas(index, now);
        self.members[index].alive = false;
        self.lost = Some(index);
    }

    /// `REPLICAOF host port`.
    pub(super) fn follow(&mut self, index: usize, host: &str, port: u16, now: Instant) {
        self.cut_replicas(index, now);
        self.members[index].offset = self.offset(index, now);
        let address = host.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
        let primary = self.members.iter().position(|member| {
            member.alive && Some(member.address) == address && matches!(member.role, Role::Primary { .. })
        });
        self.members[index].role = Role::Replica { host: host.to_owned(), port, link: None };
        if let Some(primary) = primary.filter(|primary| *primary != index) {
            self.link(index, primary);
        }
    }

    /// `REPLICAOF NO ONE`.
    pub(super) fn promote(&mut self, index: usize, now: Instant) {
        if matches!(self.members[index].role, Role::Primary { .. }) {
            return;
        }
        let offset = self.offset(index, now);
        let replid = history(self.number, self.histories);
        self.histories += 1;
        let member = &mut self.members[index];
        member.previous = (std::mem::replace(&mut member.replid, replid), offset as i64 + 1);
        member.offset = offset;
        member.role = Role::Primary { since: now };
        let address = member.address;
        let waits = |member: &Member| {
            matches!(&member.role, Role::Replica { host, port, link: None }
                if member.alive && *port == address.port() && *host == address.ip().to_string())
        };
        let waiting: Vec<usize> =
            (0..self.members.len()).filter(|other| waits(&self.members[*other])).collect();
        for replica in waiting {
            self.link(replica, index);
        }
    }

    /// A client's write.
    pub(super) fn write(&mut self, index: usize, now: Instant) -> Result<(), WriteRefused> {
        self.may_write(index)?;
        self.members[index].offset += WRITE_BYTES;
        if self.lost.is_some_and(|lost| lost != index) {
            self.successor.get_or_insert((index, now));
        }
        Ok(())
    }

    fn may_write(&self, index: usize) -> Result<(), WriteRefused> {
        let member = &self.members[index];
        if !matches!(member.role, Role::Primary { .. }) {
            return Err(WriteRefused::ReadOnly);
        }
        let wanted = if member.min_replicas_max_lag == 0 { 0 } else { member.min_replicas_to_write };
        if (self.replicas(index).len() as u64) < wanted {
            return Err(WriteRefused::TooFewReplicas);
        }
        Ok(())
    }

    fn link(&mut self, replica: usize, primary: usize) {
        let (replid, previous) = {
            let primary = &self.members[primary];
            (primary.replid.clone(), primary.previous.clone())
        };
        let replica = &mut self.members[replica];
        (replica.replid, replica.previous) = (replid, previous);
        if let Role::Replica { link, .. } = &mut replica.role {
            *link = Some(primary);
        }
    }

    fn cut_replicas(&mut self, primary: usize, now: Instant) {
        for replica in self.replicas(primary) {
            let offset = self.offset(replica, now);
            let replica = &mut self.members[replica];
            replica.offset = offset;
            if let Role::Replica { link, .. } = &mut replica.role {
                *link = None;
            }
        }
    }
}

fn history(group: usize, number: u32) -> String {
    format!("{group:08x}{:032x}", number + 1)
}

/// Groups have a block of four addresses each in 127.64.0.0/10, far from what people use by hand.
fn address(group: usize, index: usize, port: u16) -> SocketAddr {
    let host = (group * 4 + index + 1) as u32;
    SocketAddr::from((Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 64, 0, 0)) + host), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_replica_has_what_its_primary_wrote_until_that_is_lost() {
        let start = Instant::now();
        let mut group = Group::new(0, 1, start);
        let later = start + Duration::from_millis(500);
        assert_eq!(group.offset(1, later), group.offset(0, later));
        group.lose(0, later);
        assert_eq!(group.offset(1, later + Duration::from_secs(1)), 1500);
        assert_eq!(group.member(1).role, Role::Replica { host: "127.64.0.1".into(), port: 1, link: None });
    }

    #[test]
    fn a_promoted_replica_writes_a_new_history_and_the_other_can_follow_it() {
        let start = Instant::now();
        let mut group = Group::new(0, 1, start);
        group.lose(0, start);
        group.follow(1, "127.0.0.1", 1, start);
        group.member_mut(1).min_replicas_to_write = 1_000_000;
        group.promote(1, start);
        assert_eq!(group.write(1, start), Err(WriteRefused::TooFewReplicas));
        group.member_mut(1).min_replicas_to_write = 0;
        assert_eq!(group.recovered(), None);
        assert_eq!(group.write(1, start), Ok(()));
        assert_eq!(group.recovered(), Some(start));
        group.follow(2, "127.64.0.2", 1, start);
        assert_eq!(group.member(2).replid, group.member(1).replid);
        assert_eq!(group.member(1).previous.1, 1001);
        assert_eq!(group.write(2, start), Err(WriteRefused::ReadOnly));
    }
}
