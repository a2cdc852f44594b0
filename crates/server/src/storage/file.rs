//! The database file itself: its tables, and opening it so that whatever is in it becomes a value or an error.

use super::CACHE_BYTES;
use super::error::{Inner, StorageError};
use redb::{Builder, Database, DatabaseError, TableDefinition};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The file's name in the state folder.
pub(super) const FILE: &str = "backstay.redb";
/// Its name until it is complete.
pub(super) const NEW_FILE: &str = "backstay.redb.new";

/// Whose folder it is.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Term, vote and commit index.
pub(super) const HARD: TableDefinition<'_, (), &[u8]> = TableDefinition::new("hard");
/// The latest snapshot.
pub(super) const SNAPSHOT: TableDefinition<'_, (), &[u8]> = TableDefinition::new("snapshot");
/// The log, by index.
pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
/// The peers' generations.
pub(super) const KNOWN: TableDefinition<'_, u64, u64> = TableDefinition::new("known");

/// Opens or makes the file, as `open` says.
pub(super) fn open(
    path: &Path,
    open: impl FnOnce(&mut Builder) -> Result<Database, DatabaseError>,
) -> Result<Database, StorageError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    guarded(path, || {
        let mut database = open(&mut builder)?;
        // Every page against its checksum: a vote that a disk changed must not be read as if it had been given. The
        // file is small, and what a crash left behind was mended when it was opened.
        if database.check_integrity()? {
            Ok(database)
        } else {
            Err(Inner::Damaged("its checksums do not fit"))
        }
    })
    .map_err(|error| error.at(path))
}

/// The library asserts what it believes about its own file; with a damaged one that can fail. An error then, not a
/// panic.
pub(super) fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, Inner>) -> Result<T, Inner> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!(path = %path.display(), "the database library gave up on the state file");
        Err(Inner::Damaged("the database library found it inconsistent"))
    })
}
