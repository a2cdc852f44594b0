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
    /// A copy that is being removed: what is half removed is never taken for a whole one.
    trash: PathBuf,
    /// The binary log, if it does not lie in the data folder.
    logs: Option<Logs>,
}

/// A binary log that does not lie in the data folder.
#[derive(Clone, Debug)]
struct Logs {
    layout: Layout,
    /// Where its old files go.
    old: PathBuf,
    /// The same, once nothing of the new ones is left and they come back.
    back: PathBuf,
}

impl Swap {
    pub(super) fn new(layout: &Layout, number: u64) -> Self {
        let beside = |ending: &str| {
            let mut path: OsString = layout.data.clone().into();
            path.push(format!(".{ending}-{number}"));
            PathBuf::from(path)
        };
        let logs = layout.logs_apart().then(|| {
            let within = |ending: &str| layout.logs.join(format!("{}.{ending}-{number}", layout.log_name));
            Logs { layout: layout.clone(), old: within("before"), back: within("back") }
        });
        let (fresh, before, trash) = (beside("rebuild"), beside("before"), beside("trash"));
        Self { data: layout.data.clone(), fresh, before, trash, logs }
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
            if self.before.exists() && self.data.exists() {
                return Ok(());
            }
            return Err(Trouble::Impossible(format!(
                "the copy in {} is gone, and nothing was put in the place of {}",
                self.fresh.display(),
                self.data.display()
            )));
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
        if let Some(Logs { layout, old, .. }) = &self.logs {
            disk::own_folder(old)?;
            move_logs(layout, &layout.logs, old)?;
        }
        disk::rename(&self.fresh, &self.data)
    }

    /// Puts the old data back, or goes on with that. The copy is gone then.
    pub(super) fn undo(&self) -> Result<(), Trouble> {
        if self.before.exists() {
            if self.data.exists() {
                disk::remove(&self.trash)?;
                disk::rename(&self.data, &self.trash)?;
            }
            if let Some(logs) = &self.logs {
                // Before the copy is in place, those that lie there are the old ones.
                logs.put_back(!self.fresh.exists())?;
            }
            disk::rename(&self.before, &self.data)?;
        }
        self.remove_copy()
    }

    /// Removes the copy, whole or not.
    pub(super) fn remove_copy(&self) -> Result<(), Trouble> {
        disk::remove(&self.trash)?;
        if self.fresh.exists() {
            disk::rename(&self.fresh, &self.trash)?;
        }
        disk::remove(&self.trash)
    }

    /// Removes what was replaced.
    pub(super) fn discard(&self) -> Result<(), Trouble> {
        disk::remove(&self.before)?;
        match &self.logs {
            Some(Logs { old, .. }) => disk::remove(old),
            None => Ok(()),
        }
    }
}

impl Logs {
    /// Puts the old files back; `others` says whether those in their place are to go.
    fn put_back(&self, others: bool) -> Result<(), Trouble> {
        let Self { layout, old, back } = self;
        if old.exists() {
            for log in if others { files(layout, &layout.logs)? } else { Vec::new() } {
                fs::remove_file(&log).map_err(Trouble::file("cannot be removed", &log))?;
            }
            // From here on those that lie there are old ones that came back.
            disk::rename(old, back)?;
        }
        if back.exists() {
            move_logs(layout, back, &layout.logs)?;
            disk::remove(back)?;
        }
        Ok(())
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
                if let (2, Some(Logs { old, .. })) = (cut, &swap.logs) {
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
                assert!(swap.swap().is_err());
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
    fn putting_back_that_was_cut_anywhere_goes_on() {
        for logs in ["data", "logs"] {
            for cut in 0..6 {
                let (_folder, layout, swap) = arranged(logs);
                swap.swap().unwrap();
                fs::create_dir_all(&layout.logs).unwrap();
                fs::write(layout.logs.join("binlog.000001"), "new").unwrap();
                if cut > 0 {
                    fs::rename(&layout.data, &swap.trash).unwrap();
                }
                if let Some(Logs { old, back, .. }) = swap.logs.as_ref().filter(|_| cut > 1) {
                    fs::remove_file(layout.logs.join("binlog.000001")).unwrap();
                    if cut > 2 {
                        fs::rename(old, back).unwrap();
                    }
                    if cut > 3 {
                        fs::rename(back.join("binlog.000001"), layout.logs.join("binlog.000001")).unwrap();
                    }
                    if cut > 4 {
                        fs::rename(back.join("binlog.index"), layout.logs.join("binlog.index")).unwrap();
                    }
                }
                if cut == 5 {
                    fs::rename(&swap.before, &layout.data).unwrap();
                    // Half removed.
                    let _ = fs::remove_file(swap.trash.join("rows"));
                }
                swap.undo().unwrap();
                assert_eq!(rows(&layout), "old");
                for log in ["binlog.000001", "binlog.index"] {
                    assert_eq!(fs::read_to_string(layout.logs.join(log)).unwrap(), "old", "{logs} {cut}");
                }
                assert!(!swap.before.exists() && !swap.trash.exists() && !swap.fresh.exists());
            }
        }
    }

    #[test]
    fn without_a_copy_nothing_was_swapped() {
        let (_folder, layout, swap) = arranged("data");
        swap.remove_copy().unwrap();
        let refused = swap.swap().unwrap_err().to_string();
        assert!(refused.contains("is gone") && rows(&layout) == "old", "{refused}");
    }

    #[test]
    fn nothing_is_overwritten_that_somebody_else_made() {
        let (_folder, layout, swap) = arranged("data");
        fs::create_dir_all(&swap.before).unwrap();
        let refused = swap.swap().unwrap_err().to_string();
        assert!(refused.contains("all exist") && rows(&layout) == "old", "{refused}");
    }
}
