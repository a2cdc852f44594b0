//! A service's first primary: taken over if the group already has one that everyone follows, chosen if nobody is one.
//! Whatever else is found waits for the operator: nothing is overwritten by a guess.

use crate::entry::{Cause, Decided};
use crate::work::{Work, follows};
use backstay_model::{Address, Health, InstanceName, Replication, RunId};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) fn form(work: &mut Work) {
    work.look_again(Duration::from_millis(100));
    if let Some(hindrance) = work.automatic_hindrance(&Cause::FirstStart) {
        return work.stuck(format!("{}: no first primary yet: {hindrance}", work.scene.spec.name));
    }
    let mut seen: Vec<(InstanceName, Address, Replication, u64)> = Vec::new();
    for instance in work.instances() {
        let view = work.view(&instance.name);
        let identity = view.and_then(|view| view.identity.as_ref()).filter(|identity| !identity.loading);
        let (Some(identity), Some(replication)) = (identity, work.current(&instance.name)) else {
            let health = view.map(|view| view.health.clone()).unwrap_or_default();
            if health != Health::Unknown {
                let name = &work.scene.spec.name;
                let reason = format!("{name}: no first primary yet: waiting for {}: {health}", instance.name);
                work.stuck(reason);
            }
            return;
        };
        seen.push((instance.name, instance.address, replication.clone(), identity.keys));
    }
    let primaries: Vec<_> = seen.iter().filter(|(_, _, replication, _)| replication.is_primary()).collect();
    let nowhere = Address::nowhere();
    let stray = seen.iter().find_map(|(name, _, replication, _)| {
        let (of, ..) = follows(replication)?;
        let known = *of == nowhere || primaries.iter().any(|(_, address, ..)| address == of);
        (!known && !work.is_member(of))
            .then(|| format!("{name} is a replica of {of}, which is not in the file"))
    });
    let all_empty = seen.iter().all(|(.., keys)| *keys == 0);
    match (stray, primaries.as_slice()) {
        (Some(stray), _) => stuck_on(work, &stray),
        // Restarted, it came back closed, and may lack what its replicas hold.
        (None, [(_, _, replication, _)]) if replication.closed && is_behind(replication, &seen) => {
            begin(work);
        }
        (None, [(primary, address, replication, _)]) => {
            adopt(work, primary, replication, replicas_of(&seen, address, replication));
        }
        (None, []) => begin(work),
        (None, _) if all_empty => begin(work),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|(name, ..)| name.as_str()).collect();
            stuck_on(
                work,
                &format!("{} all take themselves for the primary and hold data", names.join(", ")),
            );
        }
    }
}

fn is_behind(primary: &Replication, seen: &[(InstanceName, Address, Replication, u64)]) -> bool {
    seen.iter().any(|(_, _, other, _)| other.replid == primary.replid && other.offset > primary.offset)
}

fn adopt(
    work: &mut Work,
    primary: &InstanceName,
    seen: &Replication,
    replicas: BTreeMap<InstanceName, RunId>,
) {
    work.propose(Decided::Adopt {
        primary: primary.clone(),
        run_id: seen.run_id.clone(),
        replid: seen.replid.clone(),
        replicas,
    });
}

fn replicas_of(
    seen: &[(InstanceName, Address, Replication, u64)],
    address: &Address,
    primary: &Replication,
) -> BTreeMap<InstanceName, RunId> {
    let in_step = |replication: &Replication| {
        follows(replication).is_some_and(|(of, link_up, syncing)| {
            of == address && link_up && !syncing && replication.replid == primary.replid
        })
    };
    let found = seen.iter().filter(|(_, _, replication, _)| in_step(replication));
    found.map(|(name, _, replication, _)| (name.clone(), replication.run_id.clone())).collect()
}

fn begin(work: &mut Work) {
    let unix = work.now.unix;
    let epoch = work.state.epoch.next();
    work.propose(Decided::Begin { epoch, cause: Cause::FirstStart, suspected: unix, verdict: unix });
}

fn stuck_on(work: &mut Work, what: &str) {
    let name = &work.scene.spec.name;
    let reason = format!(
        "{name}: no first primary yet: {what}; make one of them the primary by hand, or mend the file"
    );
    work.stuck(reason);
}
