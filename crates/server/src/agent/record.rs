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
        disk::write(&Self::folder(rescue, &self.rebuild).join(RECORD), &text)
    }

    /// As if it had never been begun; what was saved stays.
    pub(super) fn forget(&self, rescue: &Path) {
        let _ = fs::remove_file(Self::folder(rescue, &self.rebuild).join(RECORD));
    }
}
