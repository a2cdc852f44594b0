//! A certificate and its key as two files: the key for its owner alone, and nothing lost if writing fails half-way.

use crate::failure::{FAILED, Failure};
use backstay_server::tls::issue::Issued;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Where a certificate and its key are.
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.certificate.display(), self.key.display())
    }
}

impl Pair {
    pub(super) fn of(folder: &Path, name: &str) -> Self {
        Self { certificate: folder.join(format!("{name}.pem")), key: folder.join(format!("{name}.key")) }
    }

    /// Fails if one of the files is there.
    pub(super) fn refuse_existing(&self, what: &str) -> Result<(), Failure> {
        let existing =
            [&self.certificate, &self.key].into_iter().find(|path| path.symlink_metadata().is_ok());
        existing.map_or(Ok(()), |path| {
            Err(Failure::new(
                FAILED,
                format!("{} exists already, so nothing was written", path.display()),
                format!("{what} is never overwritten unasked"),
                if what == "an authority" {
                    "keep it, or choose another folder with --dir; certificates of the old authority are of no use with a new one"
                } else {
                    "renew it with --replace, or choose another folder with --dir"
                },
            ))
        })
    }

    /// Writes both, each whole or not at all; the key first, because a certificate without its key is of no use.
    pub(super) fn write(&self, issued: &Issued) -> Result<(), Failure> {
        if let Some(folder) = self.key.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
        }
        write(&self.key, &issued.key, 0o600).map_err(|error| cannot_write(&self.key, &error))?;
        write(&self.certificate, &issued.certificate, 0o644)
            .map_err(|error| cannot_write(&self.certificate, &error))
    }
}

/// The authority in `folder`, with its key.
pub(super) fn read_authority(folder: &Path) -> Result<Issued, Failure> {
    let pair = Pair::of(folder, "authority");
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|error| {
            Failure::new(
                FAILED,
                format!("the authority's file {} cannot be read", path.display()),
                error,
                "make an authority with `backstay cert authority`, or name its folder with --dir",
            )
        })
    };
    Ok(Issued { certificate: read(&pair.certificate)?, key: read(&pair.key)? })
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let written =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&fresh).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, path)
        });
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        FAILED,
        format!("{} cannot be written", path.display()),
        error,
        "make its folder writable, or choose another with --dir",
    )
}
