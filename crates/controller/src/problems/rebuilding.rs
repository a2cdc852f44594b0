//! What may be wrong with rebuilds.

use super::{Snapshot, list};
use backstay_model::RebuildOutcome;

pub(super) fn rebuild_running(s: &Snapshot) -> Option<String> {
    let running = s.rebuilds?.running.as_ref()?;
    let (instance, number) = (&running.instance, running.number);
    let saved = running.saved.as_ref().and_then(|saved| Some((saved.file.as_ref()?, saved.transactions)));
    let saved = saved.map_or_else(String::new, |(file, count)| {
        format!("; {} that only it held: {file} on its host", s.scene.spec.engine.kind().unit().count(count))
    });
    let waits =
        s.withheld.as_ref().map_or_else(String::new, |why| format!("; its data stays as long as {why}"));
    Some(format!("{instance} is being rebuilt (rebuild {number}, from {}){saved}{waits}", running.donor))
}

pub(super) fn rebuild_failed(s: &Snapshot) -> Option<String> {
    let rebuilds = s.rebuilds?;
    let failed = rebuilds.ended.iter().filter(|(name, ended)| !ended.in_step && !rebuilds.runs_for(name));
    let sentences = failed.filter_map(|(name, ended)| match &ended.outcome {
        RebuildOutcome::Failed { why } => Some(format!("{name} was not rebuilt: {why}")),
        _ => None,
    });
    let sentences: Vec<String> = sentences.collect();
    (!sentences.is_empty()).then(|| {
        format!("{}; `backstay rebuild {} INSTANCE` tries again", sentences.join("; "), s.scene.spec.name)
    })
}

pub(super) fn agent_missing(s: &Snapshot) -> Option<String> {
    let running = s.rebuilds?.running.as_ref()?;
    let needed = [&running.instance, &running.donor].into_iter().filter(|name| !s.agents.contains(*name));
    list(needed).map(|names| {
        format!(
            "{} is to be rebuilt from {}, and nothing is heard of the agent of {names}: start `backstay agent` on its host, \
             or see why it does not reach the controllers",
            running.instance, running.donor
        )
    })
}
