//! Doing what was planned, one step at a time: a step counts once it was seen. Passwords go into statements here, and
//! nowhere else.

use super::plan::{Action, OWN_HASH, REPLICATION_HASH, REPLICATION_PASSWORD};
use super::{AdoptError, MariaDbAdoption, OWN_USER, REPLICATION_USER, Work};
use crate::doctor::finding::literal;
use crate::doctor::look::grants;
use crate::doctor::reach::sentence;
use crate::link::line::{Line, LineError};
use crate::secret::read;
use backstay_config::SecretSource;
use backstay_model::{Address, InstanceName};
use backstay_wire::mariadb::{Account, REPLICATION_RIGHTS, RIGHTS, Settings, Table, password_hash};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long something may take until it is seen.
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
/// The bytes of a new password.
const PASSWORD_BYTES: usize = 20;

/// The two passwords, once they are there.
#[derive(Default)]
struct Passwords {
    own: String,
    replication: String,
}

pub(super) async fn carry_out(adoption: &mut MariaDbAdoption) -> Result<(), AdoptError> {
    let mut lines = BTreeMap::new();
    let mut passwords = Passwords::default();
    let addresses: BTreeMap<_, _> =
        adoption.members.iter().map(|it| (it.instance.clone(), it.address.clone())).collect();
    for step in &mut adoption.steps {
        let here = InstanceName::from("this machine");
        let instance = step.instance.clone().unwrap_or(here);
        let address = addresses.get(&instance);
        let done = match (&step.action, address) {
            (Action::Secret(path), _) => {
                secret(path).map(|password| keep(&mut passwords, &adoption.work, path, password))
            }
            (Action::Write { path, text, again }, _) => {
                let earlier = if *again { remove(path) } else { Ok(()) };
                let written = earlier.and_then(|()| create(path, text, 0o644));
                written.map_err(|error| format!("{}: {error}", path.display()))
            }
            (Action::Statements(statements), Some(address)) => {
                say(&mut lines, &adoption.work, &instance, address, statements, &passwords).await
            }
            (Action::AwaitUsers, Some(address)) => users(&adoption.work, address, &passwords).await,
            (Action::AwaitFollowing, Some(address)) => {
                following(&mut lines, &adoption.work, &instance, address).await
            }
            (Action::AwaitAcknowledgement, Some(address)) => {
                acknowledged(&mut lines, &adoption.work, &instance, address).await
            }
            (_, None) => Err("it has no address".to_owned()),
        };
        done.map_err(|why| AdoptError::Step { instance: instance.clone(), what: step.what.clone(), why })?;
        step.done = true;
    }
    Ok(())
}

fn keep(passwords: &mut Passwords, work: &Work, path: &Path, password: String) {
    if *path == *work.own_secret {
        passwords.own = password;
    } else {
        passwords.replication = password;
    }
}

/// The password in the file; a new one in a new file if there is none.
fn secret(path: &Path) -> Result<String, String> {
    if !path.exists() {
        let mut bytes = [0; PASSWORD_BYTES];
        getrandom::fill(&mut bytes).map_err(|error| format!("there is no randomness: {error}"))?;
        let mut password = String::new();
        for byte in bytes {
            // Writing to a string cannot fail.
            let _ = write!(password, "{byte:02x}");
        }
        password.push('\n');
        create(path, &password, 0o600).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let secret = read(&SecretSource::File(path.to_owned())).map_err(|error| error.to_string())?;
    Ok(secret.reveal().to_owned())
}

/// A file that was not there before; whole, or not at all.
fn create(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // A full disk, say. Half of a file is worse than none.
        let _ = std::fs::remove_file(path);
    }
    written
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

type Lines = BTreeMap<InstanceName, Line>;

/// The administrator's connection there.
async fn line<'a>(
    lines: &'a mut Lines,
    work: &Work,
    instance: &InstanceName,
    address: &Address,
) -> Result<&'a mut Line, String> {
    if !lines.contains_key(instance) {
        let settings = work.admin.mariadb_settings(work.spec.clone());
        let line =
            Line::open(address, work.admin.tls().cloned(), settings).await.map_err(|error| said(&error))?;
        lines.insert(instance.clone(), line);
    }
    lines.get_mut(instance).ok_or_else(|| "it has no connection".to_owned())
}

fn said(error: &LineError) -> String {
    format!("the server {}", sentence(error))
}

async fn say(
    lines: &mut Lines,
    work: &Work,
    instance: &InstanceName,
    address: &Address,
    statements: &[String],
    passwords: &Passwords,
) -> Result<(), String> {
    let line = line(lines, work, instance, address).await?;
    for statement in statements {
        let text = statement
            .replace(OWN_HASH, &literal(&password_hash(&passwords.own)))
            .replace(REPLICATION_HASH, &literal(&password_hash(&passwords.replication)))
            .replace(REPLICATION_PASSWORD, &literal(&passwords.replication));
        let told = if text == *statement { line.ask(&text).await } else { line.ask_secretly(&text).await };
        told.map_err(|error| said(&error))?;
    }
    Ok(())
}

/// Until both users are let in. What the primary was told reaches a replica a moment later.
async fn users(work: &Work, address: &Address, passwords: &Passwords) -> Result<(), String> {
    let of =
        [(OWN_USER, &passwords.own, RIGHTS), (REPLICATION_USER, &passwords.replication, REPLICATION_RIGHTS)];
    for (user, password, rights) in of {
        let account = Account { username: user.to_owned(), password: password.clone() };
        let own = work.admin.mariadb_settings(work.spec.clone());
        let settings = Settings { login: account, ..own };
        let began = Instant::now();
        loop {
            let tried = try_login(work, address, settings.clone(), rights).await;
            match tried {
                Ok(()) => break,
                Err(why) if began.elapsed() > PATIENCE => return Err(format!("{user} is not let in: {why}")),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
    Ok(())
}

async fn try_login(
    work: &Work,
    address: &Address,
    settings: Settings,
    rights: &[&str],
) -> Result<(), String> {
    let mut line =
        Line::open(address, work.admin.tls().cloned(), settings).await.map_err(|error| said(&error))?;
    let has = grants(&mut line).await.map_err(|error| said(&error))?;
    // No version is known here: nothing is taken for contained in another right.
    match rights.iter().find(|right| !has.has(right, 11)) {
        None => Ok(()),
        Some(right) => Err(format!("it lacks {right}")),
    }
}

async fn following(
    lines: &mut Lines,
    work: &Work,
    instance: &InstanceName,
    address: &Address,
) -> Result<(), String> {
    let line = line(lines, work, instance, address).await?;
    let began = Instant::now();
    loop {
        let tables = line.ask("SHOW ALL SLAVES STATUS").await.map_err(|error| said(&error))?;
        let row = tables.first().and_then(Table::only);
        let field = |name: &str| row.and_then(|row| row.get(name)).unwrap_or_default().to_owned();
        if field("Slave_IO_Running") == "Yes" && field("Slave_SQL_Running") == "Yes" {
            return Ok(());
        }
        if began.elapsed() > PATIENCE {
            return Err(format!(
                "it does not follow: {} {}",
                field("Last_IO_Error"),
                field("Last_SQL_Error")
            ));
        }
        sleep(PAUSE).await;
    }
}

/// Until a replica acknowledges. If none does, commits must not wait for it.
async fn acknowledged(
    lines: &mut Lines,
    work: &Work,
    instance: &InstanceName,
    address: &Address,
) -> Result<(), String> {
    let line = line(lines, work, instance, address).await?;
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let tables = line
            .ask("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_clients'")
            .await
            .map_err(|error| said(&error))?;
        let row = tables.first().and_then(Table::only);
        if row.and_then(|row| row.get("Value")).is_some_and(|count| count != "0") {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    // Only while nobody acknowledges, and so nobody was told that somebody did.
    let undone =
        line.ask("SET GLOBAL rpl_semi_sync_master_enabled = OFF").await.map_err(|error| said(&error));
    let undone = undone.err().unwrap_or_else(|| "it was switched off again".to_owned());
    Err(format!("no replica acknowledges within {PATIENCE:?}; {undone}"))
}
