//! The Unix socket itself. One that a dead process left behind is replaced, one that somebody serves is not.

use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// The longest path that the kernel takes, without the final zero.
const PATH_BYTES_MAX: usize = 107;

/// Why the admin socket cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The kernel takes no such path.
    #[error(
        "the admin socket {} cannot be opened: its path has {} bytes, and a Unix socket's has at most {PATH_BYTES_MAX}. \
         Choose a shorter `admin` in the file",
        .0.display(),
        .0.as_os_str().len()
    )]
    PathTooLong(PathBuf),
    /// Somebody serves it.
    #[error(
        "the admin socket {} is in use by another process: probably this controller already runs. Stop that one first",
        .0.display()
    )]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{} is not a socket, so it was left alone. Remove it, or choose another `admin` in the file", .0.display())]
    NotASocket(PathBuf),
    /// The system refuses.
    #[error("the admin socket {} cannot be opened: {source}. Check that its folder exists and may be written", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// Opens the socket for its owner alone.
pub(crate) fn bind(path: &Path) -> Result<UnixListener, AdminError> {
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Err(AdminError::PathTooLong(path.to_owned()));
    }
    let failed = |source| AdminError::Io { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o755);
        builder.create(folder).map_err(failed)?;
    }
    clear(path)?;
    // Opened under another name and moved once only its owner may use it.
    let fresh = path.with_extension(format!("{}", std::process::id() % 1000));
    let (fresh, moved) =
        if fresh.as_os_str().len() > PATH_BYTES_MAX { (path.to_owned(), false) } else { (fresh, true) };
    if moved {
        let _ = std::fs::remove_file(&fresh);
    }
    let listener = UnixListener::bind(&fresh).map_err(failed)?;
    std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    if moved {
        std::fs::rename(&fresh, path).map_err(failed)?;
    }
    Ok(listener)
}

/// Removes a socket that nobody serves.
fn clear(path: &Path) -> Result<(), AdminError> {
    let failed = |source| AdminError::Io { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(AdminError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(AdminError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let listener = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(bind(&path), Err(AdminError::InUse(_))));
        drop(listener);
        assert!(bind(&path).is_ok());
    }

    #[test]
    fn what_is_no_socket_stays_and_a_path_too_long_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        assert!(matches!(bind(&path), Err(AdminError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
        let long = folder.path().join("x".repeat(200));
        assert!(bind(&long).unwrap_err().to_string().contains("at most 107"));
    }
}
