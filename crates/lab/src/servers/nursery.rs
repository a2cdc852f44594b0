//! Every process that this program starts is noted here, so that Ctrl-C leaves nothing running: a thread waits for the
//! signal, kills what was noted, removes the noted files and folders and ends the program. `lab up` calls `release` once the lab
//! is complete, and from then on it outlives us.

use crate::servers::process::Process;
use nix::sys::signal::Signal;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::thread;
use std::time::Duration;

struct Nursery {
    processes: Vec<Process>,
    paths: Vec<PathBuf>,
}

static NURSERY: Mutex<Nursery> = Mutex::new(Nursery { processes: Vec::new(), paths: Vec::new() });
static WATCH: Once = Once::new();

/// The status of a program that was interrupted (128 + SIGINT).
const INTERRUPTED: i32 = 130;

fn nursery() -> MutexGuard<'static, Nursery> {
    NURSERY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a process and notes it, in one step as the interrupt sees it.
pub(crate) fn start(command: &mut Command) -> io::Result<Process> {
    let mut nursery = nursery();
    let pid = command.spawn()?.id() as i32;
    let process = Process::of_pid(pid).ok_or_else(|| io::Error::other("it was gone at once"))?;
    nursery.processes.push(process);
    Ok(process)
}

/// Notes files and folders that are of no use once the servers are gone.
pub(crate) fn note_paths(paths: Vec<PathBuf>) {
    nursery().paths.extend(paths);
}

/// Forgets everything noted so far: it outlives this program.
pub fn release() {
    let mut nursery = nursery();
    nursery.processes.clear();
    nursery.paths.clear();
}

/// From now on SIGINT, SIGTERM and SIGHUP end every noted process, remove the noted paths and end this program with
/// status 130. Can be called more than once.
pub fn end_all_on_interrupt() {
    WATCH.call_once(|| {
        thread::spawn(|| {
            if wait_for_interrupt().is_ok() {
                eprintln!("\ninterrupted: ending every server that was started");
                // Held until the end: nothing is started any more.
                let nursery = nursery();
                end_all(&nursery);
                std::process::exit(INTERRUPTED);
            }
        });
    });
}

fn end_all(nursery: &Nursery) {
    for process in &nursery.processes {
        let _ = process.signal(Signal::SIGKILL);
    }
    for process in &nursery.processes {
        process.ends_within(Duration::from_secs(2));
    }
    for path in &nursery.paths {
        // Whatever cannot be removed now stays: this program ends.
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    }
}

/// Signal handlers need `unsafe` or a runtime that has it; tokio's stays in this thread.
fn wait_for_interrupt() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        Ok(())
    })
}
