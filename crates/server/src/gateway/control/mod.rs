//! A gateway's control socket: a Unix socket for its owner alone, at which it says what goes through it, and hands its
//! listening sockets to the gateway that follows. One word per line is asked, one line of JSON answered.

mod claim;
mod counter;
mod heir;
mod succession;
mod words;

pub(super) use claim::Claim;
pub(super) use counter::{Asked, Desk, one_turn};
pub(super) use heir::{Found, Predecessor, find};
pub(super) use succession::{Succession, Way};
pub(super) use words::State;

use backstay_model::GatewayName;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// What the names of control sockets end with: the admin sockets of controllers may be in the same folder.
pub const CONTROL_SUFFIX: &str = ".gateway.sock";

/// The folders in which a gateway opens its control socket, and in which it is looked for, if none is named; the first
/// that can be used is.
pub fn control_folders() -> Vec<PathBuf> {
    // As systemd sets it: several, with colons between them.
    let own = std::env::var("RUNTIME_DIRECTORY").unwrap_or_default();
    let own = own.split(':').next().filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").map(|folder| Path::new(&folder).join("backstay"));
    own.into_iter().chain([PathBuf::from("/run/backstay")]).chain(of_user).collect()
}

/// An open control socket. Its file goes with it, unless another gateway's has taken its place.
pub(super) struct Control {
    path: PathBuf,
    identity: Option<(u64, u64)>,
    listener: Option<UnixListener>,
}

impl Control {
    /// Opens the control socket of this gateway in the first folder where that can be done. Without one it works, too.
    pub(super) fn open(folders: &[PathBuf], name: &GatewayName) -> Option<Self> {
        let mut reasons = Vec::new();
        for folder in folders {
            match Self::open_in(folder, name) {
                Ok(control) => {
                    tracing::info!("answers `backstay traffic` at {}", control.path.display());
                    return Some(control);
                }
                Err(error) => reasons.push(format!("{}: {error}", folder.display())),
            }
        }
        if !folders.is_empty() {
            tracing::warn!(
                "this gateway has no control socket ({}), so `backstay traffic` cannot ask it and no other one can take \
                 its place without an error. Name a folder that it may write with --control DIR",
                reasons.join("; ")
            );
        }
        None
    }

    /// As `open`, unless a gateway of this name answers in one of the folders already: its socket stays its own.
    pub(super) fn open_beside(folders: &[PathBuf], name: &GatewayName) -> Option<Self> {
        let Some(folder) = folders.iter().find(|folder| heir::is_answered(folder, name)) else {
            return Self::open(folders, name);
        };
        tracing::warn!(
            "another gateway called {name} answers in {}, so this one, in a controller's process, has no control socket. Give \
             one of them another name, or another folder",
            folder.display()
        );
        None
    }

    fn open_in(folder: &Path, name: &GatewayName) -> io::Result<Self> {
        let path = path_in(folder, name)?;
        make(folder)?;
        if std::fs::symlink_metadata(&path).is_ok_and(|found| !found.file_type().is_socket()) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else is there"));
        }
        // Opened under another name and moved once only its owner may use it.
        let fresh = folder.join(format!(".{}.sock", std::process::id()));
        let _ = std::fs::remove_file(&fresh);
        let listener = UnixListener::bind(&fresh)?;
        let opened = std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| listener.set_nonblocking(true))
            .and_then(|()| std::fs::rename(&fresh, &path));
        if let Err(error) = opened {
            let _ = std::fs::remove_file(&fresh);
            return Err(error);
        }
        Ok(Self { identity: identity(&path), path, listener: Some(listener) })
    }

    /// To be served once.
    pub(super) fn listener(&mut self) -> Option<UnixListener> {
        self.listener.take()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)
}

/// Where the control socket of this gateway is in this folder.
fn path_in(folder: &Path, name: &GatewayName) -> io::Result<PathBuf> {
    let name = name.as_str();
    if name.is_empty() || name.contains(['/', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the gateway's name is no name for a file"));
    }
    Ok(folder.join(format!("{name}{CONTROL_SUFFIX}")))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Whether somebody may ask: this user, or root.
fn may_ask(uid: u32) -> bool {
    uid == 0 || std::fs::metadata("/proc/self").is_ok_and(|this| this.uid() == uid)
}

#[cfg(test)]
mod tests;
