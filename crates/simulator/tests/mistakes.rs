//! The test of the checkers: each mistake of safety, section 10, that belongs to this path is planted, and some seed
//! must show it.

use backstay_model::Durability;
use backstay_simulator::{FaultKind, Founding, Mistake, Scenario, run};

/// The first seeds that show the mistake.
fn shows(mistake: Mistake, seeds: u64) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| {
        let mut scenario = Scenario::of(seed);
        scenario.mistake = Some(mistake);
        provoke(mistake, &mut scenario);
        run(scenario).violation.map(|(property, _)| (seed, property))
    })
}

/// Some mistakes show only when rare things meet: then every seed draws from those.
fn provoke(mistake: Mistake, scenario: &mut Scenario) {
    match mistake {
        Mistake::RestartedReplicaCounted => {
            scenario.kinds = vec![FaultKind::Crash];
            scenario.instances = 2;
            scenario.founding = Founding::Empty;
            scenario.protected = true;
            scenario.loads = false;
            scenario.priorities.clear();
            scenario.preferred_zone = None;
            scenario.faults = 12;
        }
        Mistake::WipedVoter => {
            scenario.kinds = vec![FaultKind::Wipe];
            scenario.controllers = 3;
            scenario.faults = 3;
        }
        Mistake::PromoteUncompared => scenario.kinds = vec![FaultKind::Switchover],
        Mistake::LeaseCheckedOnlyBefore
        | Mistake::ReadSentAgainBehindWrite
        | Mistake::ReaderWithoutBound
        | Mistake::ReaderForwardsWrites => {
            scenario.gateways = 2;
            scenario.kinds = vec![FaultKind::Gateway];
        }
        Mistake::FailsafeTrustsLinks | Mistake::FailsafeWithoutAlarm | Mistake::FailsafeUnasked => {
            scenario.gateways = 2;
            scenario.failsafe = mistake != Mistake::FailsafeUnasked;
            scenario.kinds = vec![FaultKind::Silence, FaultKind::Hang];
            scenario.faults = 12;
        }
        Mistake::NoInheritedLeases => {
            scenario.gateways = 2;
            scenario.controllers = 3;
            scenario.kinds = vec![FaultKind::Inheritance];
        }
        Mistake::SemiSyncOff
        | Mistake::PromoteUnread
        | Mistake::RestartReopened
        | Mistake::ApplyAfterBothStopped => {
            scenario.kinds =
                vec![FaultKind::Crash, FaultKind::Hang, FaultKind::Partition, FaultKind::Applier];
            scenario.become_mariadb(Durability::Majority);
            if mistake == Mistake::PromoteUnread {
                scenario.kinds = vec![FaultKind::OneAck];
            }
            scenario.faults = 12;
        }
        Mistake::DiscardCounted => {
            scenario.kinds = vec![FaultKind::Crash, FaultKind::Hang];
            scenario.become_mariadb(Durability::Majority);
            scenario.kinds = vec![FaultKind::Rebuild, FaultKind::OneAck];
            scenario.faults = 16;
        }
        _ => {}
    }
}

#[track_caller]
fn is_caught(mistake: Mistake) {
    let found = shows(mistake, 600);
    assert!(found.is_some(), "{mistake:?} went unnoticed in 600 seeds: a checker is blind");
    println!("{mistake:?}: {found:?}");
}

#[test]
fn a_promotion_that_does_not_close_first_is_caught() {
    is_caught(Mistake::PromoteOpen);
}

#[test]
fn freezing_onto_another_replica_is_caught() {
    is_caught(Mistake::FreezeOntoReplica);
}

#[test]
fn a_next_candidate_in_the_same_epoch_is_caught() {
    is_caught(Mistake::NextCandidateInSameEpoch);
}

#[test]
fn a_switchover_that_does_not_compare_is_caught() {
    is_caught(Mistake::PromoteUncompared);
}

#[test]
fn a_lease_that_is_checked_only_before_forwarding_is_caught() {
    is_caught(Mistake::LeaseCheckedOnlyBefore);
}

#[test]
fn a_new_leader_that_forgets_inherited_leases_is_caught() {
    is_caught(Mistake::NoInheritedLeases);
}

#[test]
fn a_read_that_is_sent_again_behind_a_later_write_is_caught() {
    is_caught(Mistake::ReadSentAgainBehindWrite);
}

#[test]
fn semi_sync_switched_off_while_commits_wait_is_caught() {
    is_caught(Mistake::SemiSyncOff);
}

#[test]
fn promoting_while_an_acknowledging_replica_is_unread_is_caught() {
    is_caught(Mistake::PromoteUnread);
}

#[test]
fn opening_a_restarted_primary_in_place_is_caught() {
    is_caught(Mistake::RestartReopened);
}

#[test]
fn starting_to_apply_after_both_threads_were_stopped_is_caught() {
    is_caught(Mistake::ApplyAfterBothStopped);
}

#[test]
fn a_reader_that_knows_no_bound_is_caught() {
    is_caught(Mistake::ReaderWithoutBound);
}

#[test]
fn a_reader_that_sends_writes_on_is_caught() {
    is_caught(Mistake::ReaderForwardsWrites);
}

#[test]
fn a_failsafe_that_goes_by_the_replicas_that_the_primary_shows_is_caught() {
    is_caught(Mistake::FailsafeTrustsLinks);
}

#[test]
fn a_failsafe_without_an_alarm_is_caught() {
    is_caught(Mistake::FailsafeWithoutAlarm);
}

#[test]
fn a_failsafe_that_nobody_asked_for_is_caught() {
    is_caught(Mistake::FailsafeUnasked);
}

#[test]
fn a_wiped_voter_is_caught() {
    is_caught(Mistake::WipedVoter);
}

#[test]
fn a_restarted_replica_that_counts_is_caught() {
    is_caught(Mistake::RestartedReplicaCounted);
}

#[test]
fn promoting_before_the_commit_is_caught() {
    is_caught(Mistake::PromoteBeforeCommit);
}

#[test]
fn deciding_alone_is_caught() {
    is_caught(Mistake::DecideAlone);
}

#[test]
fn discarding_the_data_of_one_whose_acknowledgements_count_is_caught() {
    is_caught(Mistake::DiscardCounted);
}
