//! The scale benchmark: three real controllers watch many groups of fake instances. What a controller takes of the
//! machine once everything is in step, and how long it takes until all are failed over when a third of the primaries
//! vanish at once.

mod cluster;
mod report;

pub use report::{ControllerFigures, ScaleReport, Stage};

use crate::error::{LabError, Result};
use crate::fakes::{Fakes, INSTANCES_PER_GROUP};
use crate::servers::controller::find_backstay;
use crate::servers::ports::Ports;
use crate::servers::process::Moment;
use crate::wait::poll_every;
use backstay_model::UnixMicros;
use cluster::Cluster;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use report::stages;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the groups may take to get in step.
const SETTLE_LIMIT: Duration = Duration::from_secs(120);
/// How long failovers may take before they count as failed.
const FAILOVER_LIMIT: Duration = Duration::from_secs(60);
/// Far more than anybody needs.
const FAKE_CONNECTIONS_MAX: u64 = 1_000_000;
/// Files of this process beside the fakes' connections.
const OTHER_FILES: u64 = 128;

/// What to measure.
#[derive(Clone, Debug)]
pub struct ScaleOptions {
    /// How many groups.
    pub groups: usize,
    /// How long nothing happens before the measurement.
    pub calm: Duration,
    /// For how long processor time is counted.
    pub measured: Duration,
    /// The `backstay` program; none: it is looked for.
    pub backstay: Option<PathBuf>,
}

/// Measures; `say` is told what is being done.
pub fn scale(options: &ScaleOptions, mut say: impl FnMut(&str)) -> Result<ScaleReport> {
    let backstay = find_backstay(options.backstay.clone())?;
    let files = allow_files(options.groups)?;
    let mut ports = Ports::open()?;
    say(&format!("starting {} fake instances", options.groups * INSTANCES_PER_GROUP));
    let fakes = Fakes::start(options.groups, ports.claim()?, files)?;
    say("starting three controllers");
    let began = Instant::now();
    let cluster = Cluster::start(&backstay, &fakes, &mut ports)?;
    cluster.await_calm(SETTLE_LIMIT)?;
    let ready = began.elapsed();
    say(&format!(
        "in step after {:.1} s; measuring for {} s",
        ready.as_secs_f64(),
        options.measured.as_secs()
    ));
    sleep(options.calm);
    let before = cluster.usage()?;
    sleep(options.measured);
    let idle = cluster.usage()?;
    let lost: Vec<usize> = (0..options.groups).step_by(3).collect();
    say(&format!("{} primaries vanish", lost.len()));
    let began = Moment::now();
    let times = fail_over(&fakes, &lost, began.at)?;
    let after = cluster.usage()?;
    say("checking what became of every group");
    let history = cluster.check(&fakes, &lost)?;
    let stages = stages(&history, UnixMicros(began.unix_ns / 1000));
    let controllers = (0..before.len()).map(|index| {
        let ((name, before), (_, idle), (_, after)) = (&before[index], &idle[index], &after[index]);
        ControllerFigures {
            name: name.clone(),
            cpu_percent: idle.percent_since(before),
            rss_mib: idle.rss_mib,
            failover_cpu_percent: after.percent_since(idle),
            peak_rss_mib: after.peak_mib,
        }
    });
    let controllers = controllers.collect();
    Ok(ScaleReport::of(options.groups, lost.len(), ready, &times, stages, controllers))
}

/// When each of them was failed over, in milliseconds from the loss, ascending.
fn fail_over(fakes: &Fakes, lost: &[usize], began: Instant) -> Result<Vec<f64>> {
    fakes.lose_primaries(lost.to_vec());
    let recovered = || -> Vec<Instant> { fakes.groups().filter_map(|group| group.recovered()).collect() };
    // A look locks every group for a moment, so not too often.
    let done = poll_every(Duration::from_millis(50), FAILOVER_LIMIT, || {
        (recovered().len() == lost.len()).then_some(())
    });
    let mut times: Vec<f64> = recovered()
        .into_iter()
        .map(|at| at.saturating_duration_since(began).as_secs_f64() * 1000.0)
        .collect();
    times.sort_by(f64::total_cmp);
    done.map(|()| times.clone()).ok_or_else(|| LabError::Deadline {
        what: format!("that {} groups have a new primary", lost.len()),
        waited: FAILOVER_LIMIT,
        hint: format!("{} have one.", times.len()),
    })
}

/// Takes all files that this process may have. Each fake instance is a listener, and may have one connection waiting;
/// the controllers have one each. Returns how many connections the fakes may have.
fn allow_files(groups: usize) -> Result<usize> {
    let instances = (groups * INSTANCES_PER_GROUP) as u64;
    let wanted = instances * 5 + OTHER_FILES;
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap_or((0, 0));
    if hard < wanted || setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_err() {
        return Err(LabError::Options(format!(
            "{groups} groups need {wanted} open files, and this process may have {hard}. \
             Raise the limit (`ulimit -n`), or measure fewer groups."
        )));
    }
    Ok((hard - OTHER_FILES - instances * 2).min(FAKE_CONNECTIONS_MAX) as usize)
}
