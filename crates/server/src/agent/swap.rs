//! Putting a copy in the place of the data, by renaming: at any instant either is whole under a name that tells what it
//! is, so that whoever comes back after a crash goes on from what lies there.

use super::disk;
use super::layout::Layout;
use super::trouble::Trouble;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folders of one rebuild.
#[derive(Clone, Debug)]
pub(super) struct Swap {
    data: PathBuf,
    /// The copy, until it is the data.
    pub(super) fresh: PathBuf,
    /// The data that was replaced.
    pub(super) before: PathBuf,
    /// The binary log, if it does not lie in the data folder, and where its old files go.
    logs: Option<(Layout, PathBuf)>,
}

impl Swap {
    pub(super) fn new(layout: &Layout, number: u64) -> Self {
        let beside = |ending: &str| {
            let mut path: OsString = layout.data.clone().into();
            path.push(format!(".{ending}-{number}"));
            PathBuf::from(path)
        };
        let logs = layout.logs_apart().then(|| {
            let old = layout.logs.join(format!("{}.before-{number}", layout.log_name));
            (layout.clone(), old)
        });
        Self { data: layout.data.clone(), fresh: beside("rebuild"), before: beside("before"), logs }
    }

    /// Whether the data folder can be renamed at all.
    pub(super) fn check(&self) -> Result<(), Trouble> {
        use std::os::unix::fs::MetadataExt;
        let look =
            |path: &Path| fs::symlink_metadata(path).map_err(Trouble::file("cannot be looked at", path));
        let (data, beside) = (look(&self.data)?, look(self.data.parent().unwrap_or(Path::new("/")))?);
        let why = if !data.is_dir() {
            "is no folder of its own: name with --data the folder that it leads to"
        } else if data.dev() != beside.dev() {
            "is a file system of its own, and a copy beside it would be on another one: move the data into a folder below \
             it (datadir=...), or rebuild by hand"
        } else {
            return Ok(());
        };
        Err(Trouble::Impossible(format!("{} {why}", self.data.display())))
    }

    /// Swaps, or goes on with a swap that was begun.
    pub(super) fn swap(&self) -> Result<(), Trouble> {
        if !self.fresh.exists() {
            return Ok(());
        }
        if self.data.exists() {
            if self.before.exists() {
                return Err(Trouble::Impossible(format!(
                    "{}, {} and {} all exist, and only somebody else can have made one of them: remove what is not wanted",
                    self.data.display(),
                    self.before.display(),
                    self.fresh.display()
                )));
            }
            disk::rename(&self.data, &self.before)?;
        }
        if let Some((layout, old)) = &self.logs {
            disk::own_folder(old)?;
            move_logs(layout, &layout.logs, old)?;
        }
        disk::rename(&self.fresh, &self.data)
    }

    /// Puts the old data back. The copy is gone then.
    pub(super) fn undo(&self) -> Result<(), Trouble> {
        if !self.before.exists() {
            return Ok(());
        }
        if self.data.exists() {
            disk::remove(&self.fresh)?;
            disk::rename(&self.data, &self.fresh)?;
        }
        if let Some((layout, old)) = self.logs.as_ref().filter(|(_, old)| old.exists()) {
            for log in files(layout, &layout.logs)? {
                fs::remove_file(&log).map_err(Trouble::file("cannot be removed", &log))?;
            }
            move_logs(layout, old, &layout.logs)?;
        }
        disk::rename(&self.before, &self.data)?;
        disk::remove(&self.fresh)
    }

    /// Removes what was replaced.
    pub(super) fn discard(&self) -> Result<(), Trouble> {
        disk::remove(&self.before)?;
        match &self.logs {
            Some((_, old)) => disk::remove(old),
            None => Ok(()),
        }
    }
}

/// The files of a binary log, its index and its state among them.
fn files(layout: &Layout, folder: &Path) -> Result<Vec<PathBuf>, Trouble> {
    let listed = || -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let rest = name.to_str().and_then(|name| name.strip_prefix(&layout.log_name)?.strip_prefix('.'));
            let is_log =
                rest.is_some_and(|rest| ["index", "state"].contains(&rest) || rest.parse::<u64>().is_ok());
            if is_log && entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        Ok(files)
    };
    listed().map_err(Trouble::file("cannot be listed", folder))
}

fn move_logs(layout: &Layout, from: &Path, to: &Path) -> Result<(), Trouble> {
    for log in files(layout, from)? {
        disk::rename(&log, &to.join(log.file_name().unwrap_or_default()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(folder: &Path, logs: &str) -> Layout {
        Layout {
            data: folder.join("data"),
            logs: folder.join(logs),
            log_name: "binlog".to_owned(),
            version: "10.11.1".to_owned(),
            elsewhere: None,
        }
    }

    /// Old data, its log, and a copy.
    fn arranged(logs: &str) -> (tempfile::TempDir, Layout, Swap) {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path(), logs);
        let swap = Swap::new(&layout, 7);
        for (at, text) in [(&layout.data, "old"), (&swap.fresh, "new")] {
            fs::create_dir_all(at).unwrap();
            fs::write(at.join("rows"), text).unwrap();
        }
        fs::create_dir_all(&layout.logs).unwrap();
        fs::write(layout.logs.join("binlog.000001"), "old").unwrap();
        fs::write(layout.logs.join("binlog.index"), "old").unwrap();
        fs::write(layout.logs.join("other.000001"), "stays").unwrap();
        (folder, layout, swap)
    }

    fn rows(layout: &Layout) -> String {
        fs::read_to_string(layout.data.join("rows")).unwrap()
    }

    #[test]
    fn a_swap_that_was_cut_anywhere_goes_on() {
        for logs in ["data", "logs"] {
            for cut in 0..3 {
                let (_folder, layout, swap) = arranged(logs);
                swap.check().unwrap();
                if cut > 0 {
                    fs::rename(&layout.data, &swap.before).unwrap();
                }
                if let (2, Some((_, old))) = (cut, &swap.logs) {
                    fs::create_dir_all(old).unwrap();
                    fs::rename(layout.logs.join("binlog.000001"), old.join("binlog.000001")).unwrap();
                }
                swap.swap().unwrap();
                assert_eq!(rows(&layout), "new");
                assert!(swap.before.join("rows").exists() && !swap.fresh.exists());
                assert!(
                    !layout.logs.join("binlog.000001").exists() && !layout.logs.join("binlog.index").exists()
                );
                swap.swap().unwrap();
                swap.discard().unwrap();
                assert!(!swap.before.exists() && rows(&layout) == "new");
            }
        }
    }

    #[test]
    fn what_was_swapped_can_be_put_back_with_its_log() {
        for logs in ["data", "logs"] {
            let (_folder, layout, swap) = arranged(logs);
            swap.swap().unwrap();
            fs::create_dir_all(&layout.logs).unwrap();
            fs::write(layout.logs.join("binlog.000001"), "new").unwrap();
            swap.undo().unwrap();
            swap.undo().unwrap();
            assert_eq!(rows(&layout), "old");
            assert_eq!(fs::read_to_string(layout.logs.join("binlog.000001")).unwrap(), "old");
            assert!(
                layout.logs.join("other.000001").exists() && !swap.before.exists() && !swap.fresh.exists()
            );
        }
    }

    #[test]
    fn nothing_is_overwritten_that_somebody_else_made() {
        let (_folder, layout, swap) = arranged("data");
        fs::create_dir_all(&swap.before).unwrap();
        let refused = swap.swap().unwrap_err().to_string();
        assert!(refused.contains("all exist") && rows(&layout) == "old", "{refused}");
    }
}
