//! Why a state folder cannot be used, in the operator's words.

use redb::{CommitError, DatabaseError, TableError, TransactionError};
use std::io;
use std::path::{Path, PathBuf};

/// Why a state folder cannot be used. Unless it says otherwise nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// There is none.
    #[error(
        "the state folder {} holds no state. If this is the very first start of the cluster, start every controller \
         once with --bootstrap. Otherwise start this one without: it then joins with an empty folder",
        folder.display()
    )]
    Missing {
        /// Where it should be.
        folder: PathBuf,
    },
    /// `create` found one.
    #[error("{} exists already, so this is not the first start: leave --bootstrap away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// It belongs to somebody else.
    #[error(
        "{} is the state of {found}, not of {wanted}. Nothing was changed. Check the name of the cluster, --node and \
         the controller's `state` in the file",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// Another process uses it.
    #[error(
        "{} is in use by another process: probably this controller already runs. Stop that one first",
        path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It was written by another version.
    #[error("{} has format {found}, which this version does not know. Start the version that wrote it", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
    /// It cannot be read as what it was written.
    #[error(
        "{} is damaged: {why}. This controller must not vote with half a memory, so it does not start. Keep the file, \
         look at the disk, move the folder away, start this controller again and give it its vote back with \
         `backstay controller add NAME`",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The operating system refuses. If it happened while writing, it is not known what is on the disk.
    #[error("{} cannot be read or written: {source}. Check the disk and the rights, then start again", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
    /// The folder cannot be made.
    #[error("the state folder {} cannot be made: {source}. Make it, or choose another `state` in the file", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// No random numbers, so no generation.
    #[error("the operating system gives no random numbers, so no state folder can be made")]
    NoEntropy,
}

/// As `StorageError`, before it is known of which file.
#[derive(Debug)]
pub(super) enum Inner {
    Damaged(&'static str),
    Undecodable(postcard::Error),
    Table(String),
    InUse,
    Io(io::Error),
}

impl Inner {
    pub(super) fn at(self, path: &Path) -> StorageError {
        let path = path.to_owned();
        match self {
            Self::InUse => StorageError::InUse { path },
            Self::Io(source) => StorageError::Io { path, source },
            Self::Damaged(why) => StorageError::Damaged { path, why: why.to_owned() },
            Self::Undecodable(error) => StorageError::Damaged { path, why: error.to_string() },
            Self::Table(why) => StorageError::Damaged { path, why },
        }
    }
}

impl From<postcard::Error> for Inner {
    fn from(error: postcard::Error) -> Self {
        Self::Undecodable(error)
    }
}

impl From<redb::StorageError> for Inner {
    fn from(error: redb::StorageError) -> Self {
        match error {
            // What the library calls a file that is not its own.
            redb::StorageError::Io(source)
                if matches!(source.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
            {
                Self::Table(source.to_string())
            }
            redb::StorageError::Io(source) => Self::Io(source),
            error => Self::Table(error.to_string()),
        }
    }
}

impl From<DatabaseError> for Inner {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse,
            DatabaseError::Storage(error) => error.into(),
            error => Self::Table(error.to_string()),
        }
    }
}

impl From<TableError> for Inner {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Storage(error) => error.into(),
            error => Self::Table(error.to_string()),
        }
    }
}

impl From<TransactionError> for Inner {
    fn from(error: TransactionError) -> Self {
        match error {
            TransactionError::Storage(error) => error.into(),
            error => Self::Table(error.to_string()),
        }
    }
}

impl From<CommitError> for Inner {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Storage(error) => error.into(),
            error => Self::Table(error.to_string()),
        }
    }
}
