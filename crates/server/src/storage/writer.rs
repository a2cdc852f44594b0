//! The thread that writes. Its own, so that neither a slow disk holds up the network nor a hanging name server, which
//! occupies the runtime's threads, holds up the disk.

use super::{Storage, StorageError};
use backstay_consensus::Persist;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

type Job = (Vec<Persist>, oneshot::Sender<Result<(), StorageError>>);

/// The way to the thread. Dropping it waits until the folder is closed.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Hands the storage to a thread of its own.
    pub(crate) fn start(storage: Storage) -> io::Result<Self> {
        let path = storage.path.clone();
        let (jobs, waiting) = mpsc::channel::<Job>();
        let work = move || {
            for (persists, written) in waiting {
                // Nobody waits for it if the driver is gone.
                let _ = written.send(storage.apply_all(&persists));
            }
        };
        let thread = std::thread::Builder::new().name("storage".to_owned()).spawn(work)?;
        Ok(Self { path, jobs: Some(jobs), thread: Some(thread) })
    }

    /// As `Storage::apply_all`: durable when it returns.
    pub(crate) async fn apply(&self, persists: Vec<Persist>) -> Result<(), StorageError> {
        let (written, outcome) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // If the thread has ended, the job is dropped, and `outcome` tells.
            let _ = jobs.send((persists, written));
        }
        outcome.await.unwrap_or_else(|_| Err(self.broken()))
    }

    fn broken(&self) -> StorageError {
        StorageError::Io {
            path: self.path.clone(),
            source: io::Error::other("the thread that writes it has ended"),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic there was told to whoever waited.
            let _ = thread.join();
        }
    }
}
