//! How far a rebuild is, on disk: whoever comes back after a crash goes on from there.

use super::disk;
use super::trouble::Trouble;
use backstay_model::{Method, Rebuild};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

const RECORD: &str = "record.json";

/// One rebuild.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) rebuild: Rebuild,
    pub(super) stage: Stage,
    /// The instance was told to stop.
    pub(super) stopped: bool,
    /// What the donor had had when what only this instance holds was saved.
    pub(super) known: String,
    /// Where that is, if there was any.
    pub(super) file: Option<String>,
    pub(super) transactions: u64,
}

/// What is being done, or was being done when the record was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stage {
    Saving,
    /// Waiting for the word.
    Saved,
    TakingBack,
    Copying {
        because: String,
        /// The data was partly taken back before.
        broken: bool,
    },
    /// The copy is ready, and is put in the data's place.
    Swapping {
        history: String,
        because: String,
    },
    /// The copy does not run, and the old data comes back; why, as a sentence.
    PuttingBack {
        why: String,
    },
    Starting {
        method: Method,
        because: String,
    },
    Done {
        method: Method,
        because: String,
    },
    Failed {
        why: String,
    },
}

impl Stage {
    /// Nothing is left to do.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::Done { .. } | Self::Failed { .. })
    }

    /// There is no way back to the data as it was.
    pub(super) const fn is_beyond_return(&self) -> bool {
        matches!(self, Self::Swapping { .. } | Self::PuttingBack { .. } | Self::Starting { .. })
    }
}

impl Record {
    pub(super) const fn new(rebuild: Rebuild) -> Self {
        Self {
            rebuild,
            stage: Stage::Saving,
            stopped: false,
            known: String::new(),
            file: None,
            transactions: 0,
        }
    }

    /// Where a rebuild's files are.
    pub(super) fn folder(rescue: &Path, rebuild: &Rebuild) -> PathBuf {
        rescue.join(format!("{}-{}-{}", rebuild.service, rebuild.instance, rebuild.number))
    }

    /// Says of the data, for any rebuild, that it may be partly taken back: neither what it was nor what it should be.
    pub(super) fn half(rescue: &Path, rebuild: &Rebuild) -> PathBuf {
        rescue.join(format!("{}-{}.partly-taken-back", rebuild.service, rebuild.instance))
    }

    /// What is known of a rebuild: nothing, the first time. Another one of that number, of a cluster that began anew, is
    /// put aside.
    pub(super) fn open(rescue: &Path, rebuild: &Rebuild) -> Result<Self, Trouble> {
        let folder = Self::folder(rescue, rebuild);
        match Self::read(&folder) {
            Some(record) if record.rebuild == *rebuild => return Ok(record),
            _ if rebuild.number <= Self::last_ended(rescue, rebuild) => {
                return Err(Trouble::Impossible(format!(
                    "rebuild {} was ended on this host before, and is not begun again: order another one. If the \
                     controllers began anew and count from 1, remove {} first",
                    rebuild.number,
                    Self::tombstone(rescue, rebuild).display()
                )));
            }
            Some(_) => {
                let aside = (1..).map(|count| folder.with_extension(format!("before-{count}")));
                if let Some(aside) = aside.into_iter().find(|aside| !aside.exists()) {
                    disk::rename(&folder, &aside)?;
                }
            }
            None => {}
        }
        disk::own_folder(&folder)?;
        Ok(Self::new(rebuild.clone()))
    }

    /// Those that have not come to their end, the oldest first.
    pub(super) fn unfinished(rescue: &Path) -> Vec<Self> {
        let entries = fs::read_dir(rescue).into_iter().flatten();
        let records = entries.filter_map(|entry| Self::read(&entry.ok()?.path()));
        let mut records: Vec<_> = records.filter(|record| !record.stage.is_over()).collect();
        records.sort_by_key(|record| record.rebuild.number);
        records
    }

    fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(folder.join(RECORD)).ok()?;
        // One that cannot be read is of a version that is not known here.
        serde_json::from_str(&text).ok()
    }

    pub(super) fn write(&self, rescue: &Path) -> Result<(), Trouble> {
        let text =
            serde_json::to_string_pretty(self).map_err(|error| Trouble::Impossible(error.to_string()))?;
        disk::write(&Self::folder(rescue, &self.rebuild).join(RECORD), &text)?;
        if self.stage.is_over() { self.bury(rescue) } else { Ok(()) }
    }

    /// Nothing is left to do; what was saved stays. It is not begun again: orders may come late.
    pub(super) fn forget(&self, rescue: &Path) -> Result<(), Trouble> {
        self.bury(rescue)?;
        disk::remove_file(&Self::folder(rescue, &self.rebuild).join(RECORD))
    }

    /// Keeps its number, as one that ended.
    fn bury(&self, rescue: &Path) -> Result<(), Trouble> {
        let number = self.rebuild.number.max(Self::last_ended(rescue, &self.rebuild));
        disk::write(&Self::tombstone(rescue, &self.rebuild), &number.to_string())
    }

    /// The highest number of those that ended here, 0 without one.
    fn last_ended(rescue: &Path, rebuild: &Rebuild) -> u64 {
        let number = fs::read_to_string(Self::tombstone(rescue, rebuild));
        number.ok().and_then(|number| number.trim().parse().ok()).unwrap_or_default()
    }

    fn tombstone(rescue: &Path, rebuild: &Rebuild) -> PathBuf {
        rescue.join(format!("{}-{}.ended", rebuild.service, rebuild.instance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backstay_model::{Address, Epoch, UnixMicros};

    #[test]
    fn what_ended_or_was_withdrawn_is_not_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let rescue = folder.path();
        let rebuild = |number| Rebuild {
            number,
            at: UnixMicros(1),
            service: "orders".into(),
            instance: "m1".into(),
            epoch: Epoch(2),
            donor: "m3".into(),
            donor_agent: Address { host: "127.0.0.1".into(), port: 1 },
            method: Method::Auto,
        };
        let begun = |number| {
            let record = Record::open(rescue, &rebuild(number)).unwrap();
            record.write(rescue).unwrap();
            record
        };
        let (first, second) = (begun(1), begun(2));
        assert_eq!(Record::unfinished(rescue), [first.clone(), second.clone()]);
        second.forget(rescue).unwrap();
        let refused = Record::open(rescue, &rebuild(2)).unwrap_err().to_string();
        assert!(refused.contains("rebuild 2 was ended on this host before"), "{refused}");
        let failed = Record { stage: Stage::Failed { why: "because".to_owned() }, ..first };
        failed.write(rescue).unwrap();
        // How it ended can be told again.
        assert_eq!(Record::open(rescue, &rebuild(1)).unwrap(), failed);
        assert!(Record::open(rescue, &rebuild(2)).is_err());
        assert_eq!(Record::unfinished(rescue), []);
        assert_eq!(begun(3).stage, Stage::Saving);
    }
}
