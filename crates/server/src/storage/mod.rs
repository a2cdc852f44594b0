//! What must survive a crash, in one file: `Durable::apply` on a disk. Each `Persist` is one transaction and is on the
//! disk when `apply` returns. Blocking; whoever calls it decides on which thread.
//!
//! A folder belongs to one cluster and one node for ever, and its generation tells it from one that was made anew.

mod error;
mod file;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod rows;
mod writer;

pub use error::StorageError;
pub(crate) use writer::Writer;

use backstay_consensus::{Durable, HardState, Membership, Persist, Snapshot};
use backstay_model::{ClusterName, Generation, NodeId, NodeName};
use file::{FILE, HARD, KNOWN, LOG, META, NEW_FILE, SNAPSHOT};
use redb::{Database, ReadableDatabase, ReadableTable, WriteTransaction};
use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The layout of the file. A file of a later one is refused, and one of format 1, which knew no founders, is taken over.
const FORMAT: u64 = 2;
const FORMAT_WITHOUT_FOUNDERS: u64 = 1;
/// Pages that are kept in memory. Everything is read once, at the start.
const CACHE_BYTES: usize = 1024 * 1024;

/// An open state folder.
#[derive(Debug)]
pub struct Storage {
    path: PathBuf,
    database: Database,
    generation: Generation,
    /// `None`: a file of format 1 that was not taken over yet.
    founders: Option<Vec<NodeId>>,
}

impl Storage {
    /// Makes a node's state folder: with the cluster's founders at its very first start, with none to join a cluster.
    /// Refused if there is one already. A crash half-way leaves nothing that `open` would take for a folder.
    pub fn create(
        folder: &Path,
        cluster: &ClusterName,
        node: &NodeName,
        founders: &[NodeId],
    ) -> Result<Self, StorageError> {
        let path = folder.join(FILE);
        if is_there(&path)? {
            return Err(StorageError::Exists { path });
        }
        let failed = |source| StorageError::Folder { folder: folder.to_owned(), source };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(failed)?;
        let unfinished = folder.join(NEW_FILE);
        if unfinished.exists() {
            std::fs::remove_file(&unfinished).map_err(failed)?;
        }
        let generation = Generation(getrandom::u64().map_err(|_| StorageError::NoEntropy)?.max(1));
        let database = file::open(&unfinished, |builder| builder.create(&unfinished))?;
        write_identity(&database, cluster, node, generation, founders)
            .map_err(|error| error.at(&unfinished))?;
        drop(database);
        std::fs::rename(&unfinished, &path).map_err(failed)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Self::open(folder, cluster, node)
    }

    /// Opens the folder that `create` made. It must be this cluster's and this node's.
    pub fn open(folder: &Path, cluster: &ClusterName, node: &NodeName) -> Result<Self, StorageError> {
        let path = folder.join(FILE);
        if !is_there(&path)? {
            return Err(StorageError::Missing { folder: folder.to_owned() });
        }
        let database = file::open(&path, |builder| builder.open(&path))?;
        let (generation, founders) = check_identity(&database, &path, cluster, node)?;
        Ok(Self { path, database, generation, founders })
    }

    /// Takes over a file of format 1, whose cluster's members were those of the configuration. Does nothing to any other.
    pub fn take_over(&mut self, founders: &[NodeId]) -> Result<(), StorageError> {
        if self.founders.is_some() {
            return Ok(());
        }
        file::guarded(&self.path, || write_founders(&self.database, founders))
            .map_err(|error| error.at(&self.path))?;
        tracing::info!("{} was written by an earlier version and is taken over", self.path.display());
        self.founders = Some(founders.to_vec());
        Ok(())
    }

    /// Makes a folder that would join a founder's, if nothing was ever written to it. Whether it did.
    pub fn found(&mut self, founders: &[NodeId]) -> Result<bool, StorageError> {
        if !self.founders().is_empty() || self.load()? != Durable::default() {
            return Ok(false);
        }
        file::guarded(&self.path, || write_founders(&self.database, founders))
            .map_err(|error| error.at(&self.path))?;
        self.founders = Some(founders.to_vec());
        Ok(true)
    }

    /// Those who were there at the cluster's very first start; none if this folder joined later.
    pub fn founders(&self) -> &[NodeId] {
        self.founders.as_deref().unwrap_or_default()
    }

    /// Whether `folder` holds a state folder, of whomever. One that may not be looked into counts as one that does:
    /// `open` tells why it cannot be used.
    pub fn exists(folder: &Path) -> bool {
        is_there(&folder.join(FILE)).unwrap_or(true)
    }

    /// The number that was drawn when the folder was made.
    pub const fn generation(&self) -> Generation {
        self.generation
    }

    /// Everything that was stored.
    pub fn load(&self) -> Result<Durable, StorageError> {
        file::guarded(&self.path, || read(&self.database)).map_err(|error| error.at(&self.path))
    }

    /// Carries out one write, all of it or nothing. After an error the process must stop: what is on the disk is not
    /// known.
    pub fn apply(&self, persist: &Persist) -> Result<(), StorageError> {
        self.apply_all(std::slice::from_ref(persist))
    }

    /// As `apply`, several at once, in their order: the disk is waited for once.
    pub fn apply_all(&self, persists: &[Persist]) -> Result<(), StorageError> {
        file::guarded(&self.path, || write_all(&self.database, persists))
            .map_err(|error| error.at(&self.path))
    }
}

/// Whether there is such a file. Not to be allowed to look is no answer.
fn is_there(path: &Path) -> Result<bool, StorageError> {
    path.try_exists().map_err(|source| StorageError::Io { path: path.to_owned(), source })
}

fn write_identity(
    database: &Database,
    cluster: &ClusterName,
    node: &NodeName,
    generation: Generation,
    founders: &[NodeId],
) -> Result<(), error::Inner> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
        meta.insert("cluster", cluster.as_str().as_bytes())?;
        meta.insert("node", node.as_str().as_bytes())?;
        meta.insert("generation", generation.0.to_le_bytes().as_slice())?;
        meta.insert("founders", postcard::to_stdvec(founders)?.as_slice())?;
        // Made now, so that a missing one is damage.
        transaction.open_table(HARD)?;
        transaction.open_table(SNAPSHOT)?;
        transaction.open_table(LOG)?;
        transaction.open_table(KNOWN)?;
    }
    transaction.commit()?;
    Ok(())
}

fn check_identity(
    database: &Database,
    path: &Path,
    cluster: &ClusterName,
    node: &NodeName,
) -> Result<(Generation, Option<Vec<NodeId>>), StorageError> {
    let meta = |key: &str| {
        file::guarded(path, || {
            let table = database.begin_read()?.open_table(META)?;
            let value = table.get(key)?.map(|value| value.value().to_vec());
            value.ok_or(error::Inner::Damaged("a part of its identity is missing"))
        })
        .map_err(|error| error.at(path))
    };
    let number = |key: &str| {
        let bytes = meta(key)?.try_into();
        let bytes = bytes.map_err(|_| error::Inner::Damaged("a number of its identity has a wrong length"));
        bytes.map(u64::from_le_bytes).map_err(|error| error.at(path))
    };
    let format = number("format")?;
    if format != FORMAT && format != FORMAT_WITHOUT_FOUNDERS {
        return Err(StorageError::Format { path: path.to_owned(), found: format });
    }
    let text = |key: &str| Ok(String::from_utf8_lossy(&meta(key)?).into_owned());
    let (found_cluster, found_node) = (text("cluster")?, text("node")?);
    if found_cluster != cluster.as_str() || found_node != node.as_str() {
        return Err(StorageError::Foreign {
            path: path.to_owned(),
            found: format!("node {found_node} of cluster {found_cluster}"),
            wanted: format!("node {node} of cluster {cluster}"),
        });
    }
    let generation = Generation(number("generation")?);
    if format == FORMAT_WITHOUT_FOUNDERS {
        return Ok((generation, None));
    }
    let founders = postcard::from_bytes(&meta("founders")?);
    let founders = founders.map_err(|error| error::Inner::from(error).at(path))?;
    Ok((generation, Some(founders)))
}

/// From format 1 to this one, in one transaction.
fn write_founders(database: &Database, founders: &[NodeId]) -> Result<(), error::Inner> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", FORMAT.to_le_bytes().as_slice())?;
        meta.insert("founders", postcard::to_stdvec(founders)?.as_slice())?;
        let mut snapshots = transaction.open_table(SNAPSHOT)?;
        let plain = snapshots.get(())?.map(|row| row.value().to_vec());
        if let Some(plain) = plain {
            let members = Membership::founders(founders);
            let snapshot = rows::read_snapshot_of_format_1(&plain, members)?;
            snapshots.insert((), postcard::to_stdvec(&snapshot)?.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

fn read(database: &Database) -> Result<Durable, error::Inner> {
    let transaction = database.begin_read()?;
    let mut durable = Durable::default();
    if let Some(value) = transaction.open_table(HARD)?.get(())? {
        durable.hard = postcard::from_bytes::<HardState>(value.value())?;
    }
    if let Some(value) = transaction.open_table(SNAPSHOT)?.get(())? {
        durable.snapshot = Some(postcard::from_bytes::<Snapshot>(value.value())?);
    }
    for row in transaction.open_table(LOG)?.iter()? {
        let (index, value) = row?;
        let entry = rows::read_entry(value.value())?;
        if entry.index != index.value() {
            return Err(error::Inner::Damaged("an entry of the log is not where it belongs"));
        }
        durable.entries.push(entry);
    }
    for row in transaction.open_table(KNOWN)?.iter()? {
        let (peer, generation) = row?;
        durable.known.insert(NodeId(peer.value()), Generation(generation.value()));
    }
    Ok(durable)
}

fn write_all(database: &Database, persists: &[Persist]) -> Result<(), error::Inner> {
    let transaction = database.begin_write()?;
    for persist in persists {
        write(&transaction, persist)?;
    }
    transaction.commit()?;
    Ok(())
}

/// The same steps in the same order as `Durable::apply`.
fn write(transaction: &WriteTransaction, persist: &Persist) -> Result<(), error::Inner> {
    if let Some((peer, generation)) = persist.known {
        transaction.open_table(KNOWN)?.insert(peer.0, generation.0)?;
    }
    if let Some(hard) = &persist.hard {
        let bytes = postcard::to_stdvec(hard)?;
        transaction.open_table(HARD)?.insert((), bytes.as_slice())?;
    }
    if let Some(snapshot) = &persist.snapshot {
        let bytes = postcard::to_stdvec(snapshot)?;
        transaction.open_table(SNAPSHOT)?.insert((), bytes.as_slice())?;
    }
    if persist.drop_before.is_some() || persist.truncate_from.is_some() || !persist.entries.is_empty() {
        let mut log = transaction.open_table(LOG)?;
        if let Some(index) = persist.drop_before {
            log.retain_in(..index, |_, _| false)?;
        }
        if let Some(index) = persist.truncate_from {
            log.retain_in(index.., |_, _| false)?;
        }
        for entry in &persist.entries {
            let bytes = rows::write_entry(entry)?;
            log.insert(entry.index, bytes.as_slice())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
