//! Doing what was planned, one step at a time. A step counts once it was seen, not once it was answered.

use super::Logins;
use super::connect;
use super::error::AdoptError;
use super::plan::{InstancePlan, Step};
use super::user::User;
use crate::conversation::{Server, ServerError};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

type StepResult = Result<(), String>;

/// Carries out one instance's plan, and marks in it what was done.
pub(super) async fn carry_out(
    plan: &mut InstancePlan,
    logins: &Logins,
    user: Option<&User>,
) -> Result<(), AdoptError> {
    let name = plan.instance.clone();
    let failed = |what: String, why: String| AdoptError::Step { instance: name.clone(), what, why };
    let look = |why: String| failed("looking at it again".to_owned(), why);
    let mut server = again(plan, logins).await.map_err(look)?;
    for change in &mut plan.changes {
        let done = match &change.step {
            Step::Set { name, value } => set(&mut server, name, value).await,
            Step::User => match user {
                Some(user) => set_user(&mut server, user).await,
                None => Ok(()),
            },
            Step::SaveUsers => save_users(&mut server).await,
        };
        done.map_err(|why| failed(change.what.clone(), why))?;
        change.done = true;
    }
    if let (Some(edit), Some(path)) = (&plan.edit, &plan.file.path) {
        let written = replace(path, &plan.original, &edit.text);
        written.map_err(|why| failed(format!("changing {}", path.display()), why))?;
        plan.file.done = true;
    }
    if user.is_some() {
        let proof = log_in(plan, logins).await;
        proof.map_err(|why| failed("logging in as Backstay will".to_owned(), why))?;
    }
    Ok(())
}

/// A new connection to the process that was looked at: the operator may have taken his time.
async fn again(plan: &InstancePlan, logins: &Logins) -> Result<Server, String> {
    let mut server =
        connect(&plan.spec, &logins.admin[plan.login]).await.map_err(|error| format!("it {error}"))?;
    let info = server.text(&["INFO", "server"]).await.map_err(|error| error.to_string())?;
    if info.lines().any(|line| line.strip_prefix("run_id:") == Some(&*plan.run_id)) {
        Ok(server)
    } else {
        Err("it was restarted since it was looked at".to_owned())
    }
}

fn said(error: ServerError) -> String {
    match error {
        ServerError::Unreachable(text)
        | ServerError::NoTls(text)
        | ServerError::Denied(text)
        | ServerError::Refused(text) => format!("the server {text}"),
    }
}

async fn set(server: &mut Server, name: &str, value: &str) -> StepResult {
    server.ask(&["CONFIG", "SET", name, value]).await.map_err(said)?;
    match server.setting(name).await.map_err(said)? {
        Some(now) if now == value => Ok(()),
        now => Err(format!("it was accepted, but is {} now", now.unwrap_or_default())),
    }
}

async fn set_user(server: &mut Server, user: &User) -> StepResult {
    // `reset` takes away everything that it may have had.
    let mut request = vec!["ACL", "SETUSER", &*user.name, "reset"];
    request.extend(user.rules());
    server.ask(&request).await.map_err(said)?;
    let list = server.ask(&["ACL", "LIST"]).await.map_err(said)?;
    let backstay_wire::resp::Value::Array(lines) = list else {
        return Err("the server answers ACL LIST with something that is no list".to_owned());
    };
    let lines = lines.iter().filter_map(backstay_wire::resp::Value::as_text);
    if user.is_in(lines) {
        Ok(())
    } else {
        Err("it was accepted, but the user is another one now".to_owned())
    }
}

async fn save_users(server: &mut Server) -> StepResult {
    server.ask(&["ACL", "SAVE"]).await.map(|_| ()).map_err(said)
}

async fn log_in(plan: &InstancePlan, logins: &Logins) -> StepResult {
    let mut server = connect(&plan.spec, &logins.own).await.map_err(said)?;
    server.text(&["INFO", "replication"]).await.map(|_| ()).map_err(said)
}

/// Puts `text` in the place of a file that must still hold `original`: whole or not at all, with the same owner and
/// mode, and a copy of what was there beside it.
fn replace(path: &Path, original: &str, text: &str) -> StepResult {
    let attempt = || -> io::Result<StepResult> {
        // A link stays one: what it leads to is replaced.
        let path = fs::canonicalize(path)?;
        if fs::read_to_string(&path)? != original {
            return Ok(Err("somebody else changed it meanwhile".to_owned()));
        }
        let like = fs::metadata(&path)?;
        write_beside(&path, ".before-backstay", original, &like)?;
        write_beside(&path, "", text, &like)?;
        Ok(if fs::read_to_string(&path)? == text {
            Ok(())
        } else {
            Err("it reads back otherwise".to_owned())
        })
    };
    attempt().map_err(|error| format!("{error} (the file was not changed)"))?
}

/// Writes a file whose name is `path` with `suffix`, by way of a temporary one.
fn write_beside(path: &Path, suffix: &str, text: &str, like: &fs::Metadata) -> io::Result<()> {
    let named = |suffix: &str| -> PathBuf {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        name.into()
    };
    let temporary = named(".backstay-adopt");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let write = |file: &mut File| -> io::Result<()> {
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
            fchown(&*file, Some(like.uid()), Some(like.gid()))?;
        }
        file.set_permissions(like.permissions())?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, named(suffix))?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    };
    let written = write(&mut file);
    if written.is_err() {
        // Nothing is lost if it stays: the next run removes it.
        let _ = fs::remove_file(&temporary);
    }
    written
}
