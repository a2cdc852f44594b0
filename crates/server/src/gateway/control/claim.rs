//! Of two gateways of one name that start together neither would find the other: both look before either can be found. So
//! who looks holds a claim until it can be found itself, or follows somebody.

use super::path_in;
use backstay_model::GatewayName;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is tried. A claim is held for milliseconds.
const PAUSE: Duration = Duration::from_millis(20);
/// Who holds one for longer is stopped, or waits for a name server: better two gateways than none.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module's head. It ends with this value, or with the process.
#[derive(Debug)]
pub(crate) struct Claim {
    /// `None`: nobody else can be found either.
    _lock: Option<File>,
}

impl Claim {
    /// Waits until nobody else has it.
    pub(crate) async fn lay(folders: &[PathBuf], name: &GatewayName) -> Self {
        // The same on every way to the same folder.
        let Some(lock) = folders.iter().find_map(|folder| open(folder, name).ok()) else {
            return Self { _lock: None };
        };
        let begun = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Self { _lock: Some(lock) },
                Err(TryLockError::WouldBlock) if begun.elapsed() < PATIENCE => sleep(PAUSE).await,
                Err(TryLockError::WouldBlock) => {
                    tracing::warn!(
                        "another gateway called {name} has been starting for {PATIENCE:?}: this one does not wait for it. If \
                         both run then, end one of them"
                    );
                    return Self { _lock: None };
                }
                Err(TryLockError::Error(error)) => {
                    tracing::warn!("no lock for the start of gateway {name}: {error}");
                    return Self { _lock: None };
                }
            }
        }
    }
}

/// It is never removed: who removes it cannot know who has just opened it.
fn open(folder: &Path, name: &GatewayName) -> io::Result<File> {
    let socket = path_in(folder, name)?;
    super::make(folder)?;
    // Not through a link: this may be root, and the folder somebody else's.
    let no_follow = nix::fcntl::OFlag::O_NOFOLLOW.bits();
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600).custom_flags(no_follow).open(socket.with_extension("lock"))
}
