//! Free ports, without collisions between labs that start at the same moment. A port is claimed by a lock on its byte
//! of one file (an open-file-description lock: it ends with the process, and leaves nothing behind), then tried.

use crate::error::{LabError, Result, file_error};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

/// Below the range from which the kernel takes ports for outgoing connections: a dead server's port must not be taken
/// by somebody's client, nor a client connect to itself.
const LOW: u16 = 12_000;
const HIGH: u16 = 31_999;
const TRIES: u32 = 2_000;

/// Claimed ports. Nobody else's lab takes them as long as this lives.
#[derive(Debug)]
pub struct Ports {
    locks: File,
    /// A lock of our own does not stop us from locking again.
    claimed: BTreeSet<u16>,
}

impl Ports {
    /// No port yet.
    pub fn open() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("backstay-lab-ports-{}", user_id()));
        let locks = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .map_err(file_error("open", &path))?;
        Ok(Self { locks, claimed: BTreeSet::new() })
    }

    /// One more free port.
    pub fn claim(&mut self) -> Result<u16> {
        for _ in 0..TRIES {
            let port = LOW + random_u16() % (HIGH - LOW + 1);
            if self.claimed.contains(&port) || !lock_byte(&self.locks, port) {
                continue;
            }
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
                self.claimed.insert(port);
                return Ok(port);
            }
        }
        Err(LabError::NoPort { low: LOW, high: HIGH, tries: TRIES })
    }
}

fn lock_byte(file: &File, port: u16) -> bool {
    let range = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: libc::off_t::from(port),
        l_len: 1,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&range)).is_ok()
}

fn random_u16() -> u16 {
    getrandom::u32().map_or_else(
        |_| std::process::id() as u16 ^ crate::servers::process::Moment::now().unix_ns as u16,
        |random| random as u16,
    )
}

/// The number of the user that runs this program.
pub fn user_id() -> u32 {
    std::fs::metadata("/proc/self").map_or(0, |metadata| metadata.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_labs_that_start_together_never_share_a_port() {
        let (mut one, mut two) = (Ports::open().unwrap(), Ports::open().unwrap());
        let mut seen = BTreeSet::new();
        for _ in 0..200 {
            assert!(seen.insert(one.claim().unwrap()));
            assert!(seen.insert(two.claim().unwrap()));
        }
    }
}
