//! What long-lived processes share: their log, their files, and when they are asked to stop.

use crate::arguments::{Log, LogFormat};
use crate::failure::{FAILED, Failure, USAGE};
use crate::output::Paint;
use backstay_config::Config;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Files enough for ten thousand clients beside everything else.
const FILES_WANTED: u64 = 32_768;
/// The status of a process that was interrupted (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// Runs `serve` on one thread.
pub(super) fn run(
    config: &Config,
    log: &Log,
    serve: impl AsyncFnOnce(Signals) -> Result<(), Failure>,
) -> Result<(), Failure> {
    begin_log(log)?;
    for warning in &config.warnings {
        let note = warning.note();
        tracing::warn!("{}:{}: {}. {}", config.file_name, note.line, note.message, note.help);
    }
    allow_many_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot("start", &error))?;
    runtime
        .block_on(async { serve(Signals::new().map_err(|error| cannot("wait for signals", &error))?).await })
}

fn cannot(verb: &str, error: &io::Error) -> Failure {
    Failure::new(
        FAILED,
        format!("this process cannot {verb}"),
        error,
        "look at the limits of the process (`ulimit -a`)",
    )
}

fn begin_log(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.level).map_err(|error| {
        Failure::new(
            USAGE,
            format!("'{}' is no --log-level", log.level),
            error,
            "write error, warn, info, debug or trace",
        )
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(Paint::of_stderr() == Paint::Colours);
    match log.format {
        LogFormat::Human => builder.with_target(false).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).init(),
    }
    Ok(())
}

/// Asks for as many files as the system's administrator allows. With fewer, fewer clients are served.
fn allow_many_files() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < FILES_WANTED
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, FILES_WANTED.min(hard), hard)
    {
        tracing::warn!("this process keeps its limit of {soft} files: {error}");
    }
}

/// The signals that ask a process to stop.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Returns at the first signal. At the second the process ends at once: nothing that must last is lost by that.
    pub(super) async fn asked_to_stop(mut self) {
        self.next().await;
        tracing::info!("stopping; a second signal stops at once");
        tokio::spawn(async move {
            self.next().await;
            std::process::exit(INTERRUPTED);
        });
    }
}
