//! From what there is to what would change, and why. Pure.

use super::file::{self, Edit, Line};
use super::look::{BACKLOG, PING_PERIOD, SYNC_DELAY, Seen, TextFile};
use super::user::User;
use backstay_model::{Address, InstanceName};
use serde::Serialize;
use std::path::PathBuf;

const PING_WHY: &str =
    "an idle primary's stream then moves every second, so its replicas can tell that it lives";
const SYNC_WHY: &str = "replicas come one at a time, so to wait for others only delays a copy";
const BOOT_WHY: &str =
    "protected boot: a restarted server takes no write, and wipes no replica, before Backstay opens it";
const USER_WHY: &str = "a user of its own for Backstay, with the rights that it needs and no others";
const SAVE_WHY: &str =
    "users in the ACL file outlive a restart; every user that the server has now is written";
/// What closes an instance; in a file it is what was left of a fence.
const FENCE: u64 = backstay_model::CLOSED;

/// What is wanted of every instance.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) backlog_bytes_min: u64,
    /// Whether a full copy may begin at once.
    pub(super) sync_at_once: bool,
    pub(super) min_replicas_to_write: u64,
    pub(super) user: Option<&'a User>,
}

/// What would change, or has changed, at one instance.
#[derive(Debug, Serialize)]
pub struct InstancePlan {
    /// Its name.
    pub instance: InstanceName,
    /// Its address.
    pub address: Address,
    /// The server's version.
    pub version: String,
    /// `primary` or `replica`.
    pub role: &'static str,
    /// What changes in the running server.
    pub changes: Vec<Change>,
    /// What changes in its configuration file.
    pub file: FilePlan,
    /// What to think about.
    pub doubts: Vec<String>,
    #[serde(skip)]
    pub(super) login: usize,
    #[serde(skip)]
    pub(super) run_id: String,
    #[serde(skip)]
    pub(super) edit: Option<Edit>,
    /// The text that the edit was made from.
    #[serde(skip)]
    pub(super) original: String,
    #[serde(skip)]
    pub(super) spec: backstay_model::InstanceSpec,
}

/// One change in a running server.
#[derive(Debug, Serialize)]
pub struct Change {
    /// The setting, or the user, or the ACL file.
    pub what: String,
    /// What it is now, if that says something.
    pub from: Option<String>,
    /// What it will be.
    pub to: String,
    /// The reason.
    pub why: &'static str,
    /// Whether it was done, and seen to be.
    pub done: bool,
    #[serde(skip)]
    pub(super) step: Step,
}

/// What is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Set { name: &'static str, value: String },
    User,
    SaveUsers,
}

/// What is to be in an instance's configuration file.
#[derive(Debug, Serialize)]
pub struct FilePlan {
    /// Whether it can be changed from here.
    pub place: Place,
    /// Where it is, on the instance's host.
    pub path: Option<PathBuf>,
    /// Why it cannot be changed from here.
    pub hindrance: Option<String>,
    /// Lines that say otherwise and will be commented out.
    pub removed: Vec<String>,
    /// Lines that must be there.
    pub added: Vec<String>,
    /// The reason.
    pub why: &'static str,
    /// Whether it was done, and read back.
    pub done: bool,
}

/// Whether a file can be changed from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The server runs on this machine, and its file can be read.
    Here,
    /// Somewhere else, or not for this user: what the file says is not known.
    Elsewhere,
    /// The server was started without one.
    None,
}

impl InstancePlan {
    /// Whether there is nothing to do or to say.
    pub fn is_nothing(&self) -> bool {
        !self.has_steps() && self.file.place == Place::Here && self.doubts.is_empty()
    }

    /// Whether something would be done from here.
    pub fn has_steps(&self) -> bool {
        !self.changes.is_empty() || self.edit.is_some()
    }

    /// Whether its file is somebody else's to change.
    pub fn is_left_by_hand(&self) -> bool {
        self.file.place != Place::Here
    }
}

pub(super) fn plan(seen: &Seen, wanted: &Wanted<'_>) -> InstancePlan {
    let backlog_now = seen.setting(BACKLOG).parse::<u64>().unwrap_or(0);
    let backlog = if backlog_now >= wanted.backlog_bytes_min {
        backlog_now
    } else {
        // A power of two, for the writes that were not seen.
        wanted.backlog_bytes_min.checked_next_power_of_two().unwrap_or(wanted.backlog_bytes_min)
    };
    let lines = file_lines(seen, wanted, backlog);
    let (edit, original) = match &seen.config_file {
        Some(TextFile { text: Ok(text), .. }) => (file::edit(text, &lines), text.clone()),
        _ => (None, String::new()),
    };
    InstancePlan {
        instance: seen.spec.name.clone(),
        address: seen.spec.address.clone(),
        version: seen.version.clone(),
        role: if seen.follows.is_none() { "primary" } else { "replica" },
        changes: changes(seen, wanted, backlog),
        file: file_plan(seen, edit.as_ref(), &lines),
        doubts: doubts(seen),
        login: seen.login,
        run_id: seen.run_id.clone(),
        edit,
        original,
        spec: seen.spec.clone(),
    }
}

fn changes(seen: &Seen, wanted: &Wanted<'_>, backlog: u64) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(user) = wanted.user {
        changes.extend(user_changes(seen, user));
    }
    let mut set = |name: &'static str, value: String, why: &'static str| {
        let now = seen.setting(name);
        if now != value {
            let (from, to) = (Some(now.to_owned()), value.clone());
            let step = Step::Set { name, value };
            changes.push(Change { what: name.to_owned(), from, to, why, done: false, step });
        }
    };
    set(PING_PERIOD, "1".to_owned(), PING_WHY);
    set(
        BACKLOG,
        backlog.to_string(),
        "at least 30 s of writes, so that a frozen replica goes on without a full copy",
    );
    if wanted.sync_at_once {
        set(SYNC_DELAY, "0".to_owned(), SYNC_WHY);
    }
    changes
}

fn user_changes(seen: &Seen, user: &User) -> Vec<Change> {
    let users = seen.users.as_deref().unwrap_or_default();
    let mut changes = Vec::new();
    let change =
        |what: String, to: String, why, step| Change { what, from: None, to, why, done: false, step };
    let is_right = user.is_in(users.lines());
    if !is_right {
        changes.push(change(format!("user {}", user.name), user.shown(), USER_WHY, Step::User));
    }
    if let Some(file) = &seen.acl_file {
        // Where it cannot be read it is written whenever there is a doubt: that costs nothing.
        let saved = file.text.as_ref().is_ok_and(|text| user.is_in(text.lines()));
        if !is_right || !saved {
            changes.push(change(
                file.path.display().to_string(),
                "ACL SAVE".to_owned(),
                SAVE_WHY,
                Step::SaveUsers,
            ));
        }
    }
    changes
}

fn file_lines<'a>(seen: &Seen, wanted: &Wanted<'a>, backlog: u64) -> Vec<Line<'a>> {
    let mut lines = vec![
        Line::Is { names: &["replicaof", "slaveof"], value: "127.0.0.1 1" },
        Line::Is { names: &[PING_PERIOD, "repl-ping-slave-period"], value: "1" },
        Line::AtLeast { names: &[BACKLOG], bytes: backlog },
    ];
    if wanted.sync_at_once {
        lines.push(Line::Is { names: &[SYNC_DELAY], value: "0" });
    }
    lines.push(Line::Below {
        names: &["min-replicas-to-write", "min-slaves-to-write"],
        limit: FENCE,
        value: wanted.min_replicas_to_write,
    });
    // With an ACL file Redis does not start if its configuration holds users, too.
    if let Some(user) = wanted.user.filter(|_| seen.acl_file.is_none()) {
        lines.push(Line::User(user));
    }
    lines
}

fn file_plan(seen: &Seen, edit: Option<&Edit>, lines: &[Line<'_>]) -> FilePlan {
    let path = seen.config_file.as_ref().map(|file| file.path.clone());
    let by_hand =
        || lines.iter().filter(|line| !matches!(line, Line::Below { .. })).map(Line::shown).collect();
    let (place, hindrance, removed, added) = match &seen.config_file {
        None => {
            let why = "the server was started without a configuration file: restart it with one, or with these as options";
            (Place::None, Some(why.to_owned()), Vec::new(), by_hand())
        }
        Some(TextFile { text: Err(why), .. }) => (Place::Elsewhere, Some(why.clone()), Vec::new(), by_hand()),
        Some(_) => {
            let (removed, added) =
                edit.map_or_else(Default::default, |it| (it.removed.clone(), it.added.clone()));
            (Place::Here, None, removed, added)
        }
    };
    FilePlan { place, path, hindrance, removed, added, why: BOOT_WHY, done: false }
}

fn doubts(seen: &Seen) -> Vec<String> {
    let mut doubts = Vec::new();
    if !seen.setting("requirepass").is_empty() && seen.setting("masterauth").is_empty() {
        doubts.push(
            "it demands a password but has no masterauth: if its primary demands the same, it cannot follow it; set \
             masterauth (and masteruser) at run time and in the file"
                .to_owned(),
        );
    }
    doubts
}
