//! Each event's sentence: what happened, why, and what to do next where there is something to do.

use super::EventKind;
use crate::{Epoch, FailsafeRun, GatewayId, InstanceName, Method, RebuildOutcome, SavedSurplus, Unit};
use std::collections::BTreeSet;
use std::fmt;

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SuspectedHere { instance, address, hard, .. } => {
                let how = if *hard { "refuses connections" } else { "does not answer" };
                write!(f, "{instance} ({address}) {how}, as seen from here")
            }
            Self::AnsweringHere { instance, address, .. } => {
                write!(f, "{instance} ({address}) answers here again")
            }
            Self::VerdictDown { instance, address, votes, controllers } => {
                write!(f, "{instance} ({address}) is down: {votes} of {controllers} controllers say so")
            }
            Self::VerdictUp { instance, address } => {
                write!(f, "{instance} ({address}) is no longer held to be down")
            }
            Self::Faulty { instance, fault } => write!(f, "{instance} {fault}"),
            Self::FailoverBegun { epoch, from: Some(from), cause } => {
                write!(f, "epoch {epoch}: failing over from {from}, because {cause}")
            }
            Self::FailoverBegun { epoch, from: None, cause } => {
                write!(f, "epoch {epoch}: choosing a first primary, because {cause}")
            }
            Self::SwitchoverBegun { epoch, from, to, by } => {
                let from = from.as_ref().map_or("nobody", InstanceName::as_str);
                write!(f, "epoch {epoch}: switching over from {from} to {to}, because {by} asked for it")
            }
            Self::CandidateChosen { epoch, candidate, offset, reason } => {
                write!(f, "epoch {epoch}: {candidate} at offset {offset} will be the primary: {reason}")
            }
            Self::Promoted { epoch, from, to, to_address, .. } => {
                write!(f, "epoch {epoch}: {to} ({to_address}) is the primary")?;
                from.as_ref().map_or(Ok(()), |from| write!(f, " instead of {from}"))
            }
            Self::FailoverEnded { record } => write!(f, "{record}"),
            Self::FailoverAbandoned { epoch, reason } => write!(f, "epoch {epoch}: plan given up: {reason}"),
            Self::Stuck { reason } => f.write_str(reason),
            Self::Repointed { instance, primary } => write!(f, "{instance} was told to follow {primary}"),
            Self::InSync { instance, full_copy } => {
                let after = if *full_copy { " after a full copy" } else { "" };
                write!(f, "{instance} is in step with the primary{after}")
            }
            Self::GatewayJoined { gateway } => write!(f, "gateway {gateway} is registered"),
            Self::GatewayLeft { gateway } => write!(f, "gateway {gateway} is registered no more"),
            Self::GatewaysHeld { epoch, how } => write!(f, "epoch {epoch}: every gateway holds: {how}"),
            Self::ServedWithoutLease { gateway, run } => write!(f, "gateway {gateway} {run}"),
            Self::AckersAgreed { epoch, ackers } => acknowledge(f, *epoch, ackers),
            Self::ExposedReplicaClosed { instance } => {
                write!(f, "{instance} is a replica and took clients' writes; it was closed (read_only)")
            }
            Self::ServedWithoutLeaseAgain { gateway, times, run } => served_again(f, gateway, *times, run),
            Self::StrayPrimaryClosed { instance } => {
                write!(f, "{instance} took itself for a primary and was closed")
            }
            Self::SurplusGivenUp { instance, bytes, unit } => given_up(f, instance, *bytes, *unit),
            Self::RebuildAgreed { .. }
            | Self::SurplusSaved { .. }
            | Self::DataDiscarded { .. }
            | Self::RebuildGoesOn { .. }
            | Self::RebuildEnded { .. } => self.of_rebuild(f),
            Self::ProblemFound { sentence, .. } => f.write_str(sentence),
            Self::ProblemGone { code } => write!(f, "{code} is over"),
            Self::Paused { until, by } => write!(f, "automatic action is paused until {until} UTC by {by}"),
            Self::Resumed { by } => write!(f, "automatic action was resumed by {by}"),
            Self::LeaderElected { node, term } => write!(f, "{node} leads the controllers (term {term})"),
            Self::LeaderLost { node } => write!(f, "{node} no longer leads the controllers"),
            Self::WokeLate { late_ms: ms } => {
                write!(f, "this controller stood still for {ms} ms; silence in that time counts for nothing")
            }
        }
    }
}

fn acknowledge(f: &mut fmt::Formatter<'_>, epoch: Epoch, ackers: &BTreeSet<InstanceName>) -> fmt::Result {
    let names: Vec<&str> = ackers.iter().map(InstanceName::as_str).collect();
    match names.as_slice() {
        [] => write!(f, "epoch {epoch}: nobody acknowledges commits; they wait"),
        names => write!(f, "epoch {epoch}: commits are acknowledged by {}", names.join(" or ")),
    }
}

impl EventKind {
    /// The sentences about rebuilds.
    fn of_rebuild(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RebuildAgreed { instance, number, donor, because, by } => write!(
                f,
                "{instance} will be rebuilt (rebuild {number}), because {by} asked for it; {donor} gives its data: {because}"
            ),
            Self::SurplusSaved { instance, saved: SavedSurplus { file: Some(file), transactions } } => {
                write!(
                    f,
                    "{instance} is stopped; {}, which only it held, {} in {file} on its host",
                    Unit::Transactions.count(*transactions),
                    if *transactions == 1 { "is" } else { "are" }
                )
            }
            Self::SurplusSaved { instance, .. } => {
                write!(f, "{instance} is stopped; it held nothing that the primary lacks")
            }
            Self::DataDiscarded { instance } => write!(f, "the data of {instance} is discarded from now on"),
            Self::RebuildGoesOn { instance, clause } => write!(f, "{instance} {clause}"),
            Self::RebuildEnded { instance, outcome } => rebuild_ended(f, instance, outcome),
            _ => Ok(()),
        }
    }
}

fn served_again(
    f: &mut fmt::Formatter<'_>,
    gateway: &GatewayId,
    times: u32,
    run: &FailsafeRun,
) -> fmt::Result {
    let times = if times == 1 { "once".to_owned() } else { format!("{times} times") };
    write!(f, "gateway {gateway} {run}; it began to do so {times} more within the last minute")
}

fn rebuild_ended(
    f: &mut fmt::Formatter<'_>,
    instance: &InstanceName,
    outcome: &RebuildOutcome,
) -> fmt::Result {
    match outcome {
        RebuildOutcome::Done { method: Method::Flashback, because } => {
            write!(f, "{instance} is rebuilt: what only it held was taken back, because {because}")
        }
        RebuildOutcome::Done { because, .. } => {
            write!(f, "{instance} is rebuilt from a copy, because {because}")
        }
        RebuildOutcome::Failed { why } => write!(f, "{instance} was not rebuilt: {why}"),
        RebuildOutcome::CalledOff { why } => write!(f, "the rebuild of {instance} was called off: {why}"),
    }
}

fn given_up(
    f: &mut fmt::Formatter<'_>,
    instance: &InstanceName,
    held: Option<u64>,
    unit: Unit,
) -> fmt::Result {
    match held {
        Some(held) => write!(
            f,
            "{instance} held {} that the new primary never received; they are given up",
            unit.written(held)
        ),
        None => write!(
            f,
            "{instance} held data of which nothing tells whether the new primary received all of it, as its history is \
             not known: how many acknowledged writes are lost with it cannot be told; it is given up"
        ),
    }
}
