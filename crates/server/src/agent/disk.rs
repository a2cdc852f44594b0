//! Files that are there after a power cut, or not at all, and how much room there is.

use super::trouble::Trouble;
use nix::libc;
use nix::sys::statvfs::statvfs;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

/// No link is followed, and a pipe without a writer is not waited for.
const OPEN_PLAIN: i32 = libc::O_NOFOLLOW | libc::O_NONBLOCK;

/// Sees to it that what a folder lists is on disk.
pub(super) fn sync_folder(folder: &Path) -> Result<(), Trouble> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Trouble::file("cannot be written", folder))
}

/// Sees to it that what a file holds is on disk.
pub(super) fn sync_file(path: &Path) -> Result<(), Trouble> {
    File::open(path).and_then(|file| file.sync_all()).map_err(Trouble::file("cannot be written", path))
}

/// Writes a file as a whole.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Trouble> {
    let failed = || Trouble::file("cannot be written", path);
    let next = path.with_extension("new");
    let written = || -> io::Result<()> {
        let mut file = File::create(&next)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&next, path)
    };
    written().map_err(failed())?;
    sync_folder(path.parent().unwrap_or(Path::new("/")))
}

/// Renames, for good: both folders are on disk then.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Trouble> {
    fs::rename(from, to).map_err(Trouble::file("cannot be renamed", from))?;
    for folder in [from, to] {
        sync_folder(folder.parent().unwrap_or(Path::new("/")))?;
    }
    Ok(())
}

/// Removes a folder with all that is in it, if it is there.
pub(super) fn remove(folder: &Path) -> Result<(), Trouble> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Trouble::file("cannot be removed", folder)(error))
        }
        _ => Ok(()),
    }
}

/// Removes a file for good, if it is there.
pub(super) fn remove_file(path: &Path) -> Result<(), Trouble> {
    match fs::remove_file(path) {
        Ok(()) => sync_folder(path.parent().unwrap_or(Path::new("/"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Trouble::file("cannot be removed", path)(error)),
    }
}

/// A folder that only its owner can look into.
pub(super) fn own_folder(folder: &Path) -> Result<(), Trouble> {
    let made = fs::create_dir_all(folder)
        .and_then(|()| fs::set_permissions(folder, fs::Permissions::from_mode(0o700)));
    made.map_err(Trouble::file("cannot be created", folder))?;
    sync_folder(folder.parent().unwrap_or(Path::new("/")))
}

/// Copies a file that another user may have put there: never what a link leads to.
pub(super) fn copy_plain(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = OpenOptions::new().read(true).custom_flags(OPEN_PLAIN).open(from)?;
    if !from.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    io::copy(&mut from, &mut File::create(to)?).map(drop)
}

/// Gives `folder` and all that is in it to whom `like` belongs, and to the folder the same permissions.
pub(super) fn give_as(folder: &Path, like: &Path) -> Result<(), Trouble> {
    let like = fs::metadata(like).map_err(Trouble::file("cannot be looked at", like))?;
    let given = || -> io::Result<()> {
        give(folder, like.uid(), like.gid())?;
        fs::set_permissions(folder, like.permissions())
    };
    given().map_err(Trouble::file("cannot be given to the server's user", folder))
}

fn give(path: &Path, user: u32, group: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if (found.uid(), found.gid()) != (user, group) {
        if found.is_symlink() {
            std::os::unix::fs::lchown(path, Some(user), Some(group))?;
        } else {
            chown(path, Some(user), Some(group))?;
        }
    }
    if found.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user, group)?;
        }
    }
    Ok(())
}

/// How many bytes there is room for beside `path`.
pub(super) fn free_bytes(path: &Path) -> Result<u64, Trouble> {
    let found = statvfs(path).map_err(|errno| Trouble::file("cannot be looked at", path)(errno.into()))?;
    Ok(found.blocks_available() * found.fragment_size())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_not_copied() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("plain"), "said").unwrap();
        std::os::unix::fs::symlink(path("plain"), path("link")).unwrap();
        copy_plain(&path("plain"), &path("copy")).unwrap();
        assert_eq!(fs::read_to_string(path("copy")).unwrap(), "said");
        assert!(copy_plain(&path("link"), &path("other")).is_err() && !path("other").exists());
    }
}
