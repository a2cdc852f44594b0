//! An empty data folder, made by `mariadb-install-db` once per user and version of the server and copied from then on:
//! a copy takes a twentieth of the time. Two programs that start together make it once.

use super::{install_program, program};
use crate::error::{LabError, Result, file_error};
use crate::servers::ports::user_id;
use crate::servers::redis::log_tail;
use crate::wait::poll_every;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The size of the redo log, here and in every server: another size would be made anew at the first start.
pub(super) const REDO_LOG: &str = "16M";

const LOCK_LIMIT: Duration = Duration::from_secs(60);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Copies the empty data folder to `target`, which must not exist.
pub(super) fn copy_to(target: &Path) -> Result<()> {
    copy_folder(&prepared()?, target)
}

/// The template, made if it is not there yet.
fn prepared() -> Result<PathBuf> {
    let home = std::env::temp_dir().join(format!("backstay-lab-mariadb-{}", user_id()));
    own_folder(&home)?;
    let template = home.join(version()?);
    if template.exists() {
        return Ok(template);
    }
    let _lock = lock(&home.join("lock"))?;
    if !template.exists() {
        install(&home, &template)?;
    }
    Ok(template)
}

/// A folder that nobody else can write to. Its name can be guessed, so whose it is is looked at.
fn own_folder(folder: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file_error("create", folder)(error)),
    }
    let found = fs::symlink_metadata(folder).map_err(file_error("look at", folder))?;
    if found.is_dir() && found.uid() == user_id() && found.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(LabError::Refused(format!(
        "{} is not a folder that only this user can write to: remove it, or set TMPDIR to another folder",
        folder.display()
    )))
}

fn lock(path: &Path) -> Result<Flock<File>> {
    let open = || OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let try_lock =
        || match Flock::lock(open().map_err(file_error("open", path)).ok()?, FlockArg::LockExclusiveNonblock)
        {
            Ok(lock) => Some(Ok(lock)),
            Err((_, Errno::EWOULDBLOCK | Errno::EINTR)) => None,
            Err((_, errno)) => Some(Err(file_error("lock", path)(errno.into()))),
        };
    poll_every(LOCK_PAUSE, LOCK_LIMIT, try_lock).unwrap_or_else(|| {
        Err(LabError::Deadline {
            what: format!("the lock on {}", path.display()),
            waited: LOCK_LIMIT,
            hint: "Another program that makes an empty MariaDB data folder hangs; end it.".to_owned(),
        })
    })
}

/// Makes the data folder under another name first: a template is complete or not there.
fn install(home: &Path, template: &Path) -> Result<()> {
    let raw = home.join("unfinished");
    if raw.exists() {
        fs::remove_dir_all(&raw).map_err(file_error("remove", &raw))?;
    }
    let log = home.join("install.log");
    let output = File::create(&log).map_err(file_error("create", &log))?;
    let errors = output.try_clone().map_err(file_error("open", &log))?;
    let mut command = Command::new(install_program()?);
    command
        .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"])
        .arg(format!("--datadir={}", raw.display()))
        // Who starts removes the temporary tables of everybody in this folder.
        .arg(format!("--tmpdir={}", home.display()))
        .arg(format!("--innodb-log-file-size={REDO_LOG}"))
        .args(["--skip-name-resolve", "--innodb-use-native-aio=OFF", "--innodb-buffer-pool-size=16M"])
        .stdout(output)
        .stderr(errors);
    if user_id() == 0 {
        command.arg("--user=root");
    }
    let status = command.status().map_err(|source| LabError::Process {
        verb: "start",
        name: "mariadb-install-db".to_owned(),
        source,
    })?;
    if !status.success() {
        let what = format!("it ended with {status}. {}", log_tail(&log));
        return Err(LabError::Answer { from: "mariadb-install-db".to_owned(), what });
    }
    fs::rename(&raw, template).map_err(file_error("rename", &raw))
}

/// As a file name, for instance `10.11.19-MariaDB`.
fn version() -> Result<String> {
    let run = Command::new(program()?).arg("--version").output();
    let output =
        run.map_err(|source| LabError::Process { verb: "run", name: "mariadbd".to_owned(), source })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    // mariadbd  Ver 10.11.19-MariaDB-deb12 for debian-linux-gnu on x86_64 (Debian 12)
    let version = text.split_whitespace().skip_while(|word| *word != "Ver").nth(1);
    let is_name =
        |name: &&str| name.chars().all(|char| char.is_ascii_alphanumeric() || "-._+".contains(char));
    version
        .filter(is_name)
        .map(str::to_owned)
        .ok_or_else(|| LabError::Answer { from: "mariadbd --version".to_owned(), what: text.clone() })
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    DirBuilder::new().mode(0o700).create(to).map_err(file_error("create", to))?;
    for entry in fs::read_dir(from).map_err(file_error("list", from))? {
        let path = entry.map_err(file_error("list", from))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target).map_err(file_error("copy", &path))?;
        }
    }
    Ok(())
}
