//! What only this instance holds: found in its binary log by comparing with what the donor has had, and saved before
//! anything is discarded, as text for people and as it lies in the log for programs.

use super::binlog::{self, Found, Run};
use super::disk;
use super::gtid::GtidState;
use super::layout::Layout;
use super::tools::Tool;
use super::trouble::Trouble;
use backstay_model::{InstanceName, UnixMicros};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

/// What people read.
const TEXT: &str = "surplus.sql";
const ABOUT: &str = "about.json";
const LOGS: &str = "binlogs";

/// What only this instance holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Surplus {
    /// Of the binary log, the oldest first, each with something in it.
    files: Vec<Found>,
    /// The files that end within a transaction, which nobody was told of as done.
    torn: Vec<PathBuf>,
    /// What it had had before the first one.
    pub(super) before: GtidState,
    /// Part of it is not in the log any more.
    pub(super) is_cut: bool,
    /// Something that is known elsewhere stands behind it.
    is_mixed: bool,
}

/// Where it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Saved {
    pub(super) file: Option<PathBuf>,
    pub(super) transactions: u64,
}

impl Surplus {
    /// Reads the log from its end, as far back as there can be something.
    pub(super) fn find(layout: &Layout, known: &GtidState) -> Result<Self, Trouble> {
        let mut surplus = Self::default();
        let mut has_later_known = false;
        let logs = layout.log_files()?;
        for (index, path) in logs.iter().enumerate().rev() {
            let found = binlog::scan(path, known)?;
            let is_all = found.base.iter().all(|gtid| known.has(gtid));
            if found.torn {
                surplus.torn.push(path.clone());
            }
            let before = found.before.clone();
            let has_known = before.as_ref().unwrap_or(&found.after) != &found.base;
            if let Some(before) = before {
                surplus.is_mixed |= found.mixed || has_later_known;
                surplus.before = before;
                surplus.files.insert(0, found);
            }
            has_later_known |= has_known;
            if is_all {
                return Ok(surplus);
            }
            surplus.is_cut = index == 0;
        }
        Ok(surplus)
    }

    /// How many transactions.
    pub(super) fn transactions(&self) -> u64 {
        self.files.iter().map(|file| file.transactions).sum()
    }

    /// How long they are in the log.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().flat_map(|file| &file.runs).map(|run| run.end - run.start).sum()
    }

    /// The tables that they change.
    pub(super) fn tables(&self) -> BTreeSet<(String, String)> {
        self.files.iter().flat_map(|file| file.tables.iter().cloned()).collect()
    }

    /// Why it cannot be taken back, if so.
    pub(super) fn lasting(&self) -> Option<&'static str> {
        if self.is_cut {
            return Some("a part of what only it held is no longer in its binary log");
        }
        if self.is_mixed {
            return Some("what others have, too, was written behind what only it has");
        }
        self.files.iter().find_map(|file| file.lasting)
    }

    /// The files that hold it, the first and the last place in them.
    pub(super) fn span(&self) -> Option<(Vec<&Path>, u64, u64)> {
        let start = self.files.first()?.runs.first()?.start;
        let end = self.files.last()?.runs.last()?.end;
        Some((self.files.iter().map(|file| file.path.as_path()).collect(), start, end))
    }

    /// Writes it into `folder`, which is new.
    pub(super) async fn save(
        &self,
        folder: &Path,
        instance: &InstanceName,
        known: &GtidState,
    ) -> Result<Saved, Trouble> {
        let transactions = self.transactions();
        if transactions == 0 && !self.is_cut {
            return Ok(Saved { file: None, transactions: 0 });
        }
        disk::own_folder(folder)?;
        let text = folder.join(TEXT);
        fs::write(&text, self.heading(instance)).map_err(Trouble::file("cannot be written", &text))?;
        for file in &self.files {
            for run in &file.runs {
                print(&file.path, *run, &text, folder).await?;
            }
        }
        disk::sync_file(&text)?;
        self.copy_logs(&folder.join(LOGS))?;
        let about = serde_json::to_string_pretty(&self.about(instance, known))
            .map_err(|error| Trouble::Impossible(error.to_string()))?;
        disk::write(&folder.join(ABOUT), &about)?;
        disk::sync_folder(folder)?;
        Ok(Saved { file: Some(text), transactions })
    }

    fn heading(&self, instance: &InstanceName) -> String {
        let cut = if self.is_cut { "-- Older ones were no longer in its binary log.\n" } else { "" };
        format!(
            "-- What only {instance} held: {} transactions. Lines that begin with ### show the rows.\n\
             -- Nothing of this is in the service's data now. Look at it before you put any of it back.\n{cut}",
            self.transactions()
        )
    }

    fn about(&self, instance: &InstanceName, known: &GtidState) -> About {
        let times = || self.files.iter().filter_map(|file| file.times);
        let time = |seconds: u32| UnixMicros(u64::from(seconds) * 1_000_000).to_string();
        About {
            instance: instance.to_string(),
            transactions: self.transactions(),
            first: times().next().map(|times| time(times.0)),
            last: times().next_back().map(|times| time(times.1)),
            tables: self
                .tables()
                .into_iter()
                .map(|(database, table)| format!("{database}.{table}"))
                .collect(),
            is_complete: !self.is_cut,
            common_history: self.before.to_string(),
            donor_history: known.to_string(),
            sql: TEXT,
            binary_logs: LOGS,
        }
    }

    fn copy_logs(&self, folder: &Path) -> Result<(), Trouble> {
        disk::own_folder(folder)?;
        let logs: BTreeSet<&PathBuf> = self.files.iter().map(|file| &file.path).chain(&self.torn).collect();
        for log in logs {
            let copy = folder.join(log.file_name().unwrap_or_default());
            fs::copy(log, &copy).map_err(Trouble::file("cannot be copied", log))?;
            disk::sync_file(&copy)?;
        }
        disk::sync_folder(folder)
    }
}

/// What lies there, for programs.
#[derive(Serialize)]
struct About {
    instance: String,
    transactions: u64,
    first: Option<String>,
    last: Option<String>,
    tables: Vec<String>,
    /// False: there was more, which the binary log did not hold any more.
    is_complete: bool,
    /// What it had had before the first of them.
    common_history: String,
    /// What the one that was compared with had had.
    donor_history: String,
    sql: &'static str,
    binary_logs: &'static str,
}

/// Appends some transactions as text.
async fn print(log: &Path, run: Run, text: &Path, work: &Path) -> Result<(), Trouble> {
    let out = OpenOptions::new().append(true).open(text).map_err(Trouble::file("cannot be written", text))?;
    let mut tool = Tool::new("mariadb-binlog", work);
    tool.command.args(["--no-defaults", "--verbose", "--force-if-open"]);
    tool.command.arg(format!("--start-position={}", run.start)).arg(format!("--stop-position={}", run.end));
    tool.command.arg(log).stdout(out);
    tool.run().await
}
