//! An order that takes several packets, each sent once the one before was answered. It ends at its first failure, and
//! nothing that comes behind it on the connection is sent before its end.

use super::super::results::{Outcome, Row, Table};
use super::super::{ServerError, Unfit};
use super::gtids::Gtids;
use super::info::received;
use super::statements::{LIST, LISTED_MAX};
use backstay_model::{Fault, ReplId, ReplOffset};
use std::collections::VecDeque;
use std::fmt;

/// How often whoever is connected is asked for again: each time there were more than one list holds.
const LISTS_MAX: u8 = 64;
/// No such connection: it ended by itself.
const GONE: u16 = 1094;
/// A guard's: more than one row where one is wanted.
const STOPPED: u16 = 1242;
/// No such database, no such table.
pub(super) const MISSING: [u16; 2] = [1049, 1146];

/// One step.
pub(super) enum Step {
    Say(String),
    /// A guard may stop it: then it is this fault.
    Guarded {
        text: String,
        stopped: Fault,
    },
    /// Ends every connection but this one, and those without which nobody replicates. Never only their statements.
    Disconnect,
    /// Goes on if everything that was received is applied, and is at least this place.
    Applied {
        text: String,
        writer: String,
        replid: ReplId,
        offset: ReplOffset,
    },
    /// Creates what it writes to, if that is missing, and writes again.
    Write {
        write: String,
        create: String,
    },
}

/// What is under way.
enum At {
    Step(Step),
    List,
    Kill,
}

/// See the module's head. Shows nothing of its words.
pub(in super::super) struct Script {
    steps: VecDeque<Step>,
    at: Option<At>,
    /// Packets that are not answered yet.
    unanswered: usize,
    /// Whom to disconnect next, and whether there are more.
    listed: Vec<u64>,
    more: bool,
    lists: u8,
    failed: Option<Unfit>,
    /// A password is in it: the server may quote it in an error.
    pub(in super::super) secret: bool,
}

/// What to do next.
pub(in super::super) enum Next {
    /// Send these.
    Send(Vec<String>),
    /// Wait for more answers.
    Wait,
    /// It is over.
    Done(Result<(), Unfit>),
}

impl Script {
    pub(super) fn new(steps: Vec<Step>, secret: bool) -> Self {
        Self {
            steps: steps.into(),
            at: None,
            unanswered: 0,
            listed: Vec::new(),
            more: false,
            lists: 0,
            failed: None,
            secret,
        }
    }

    /// Call it first, and after each answer.
    pub(in super::super) fn next(&mut self) -> Next {
        if self.unanswered > 0 {
            return Next::Wait;
        }
        if let Some(failed) = self.failed.take() {
            return Next::Done(Err(failed));
        }
        if !self.listed.is_empty() {
            self.at = Some(At::Kill);
            let kills = self.listed.drain(..).map(|id| format!("KILL {id}")).collect();
            return self.send(kills);
        }
        if std::mem::take(&mut self.more) && self.lists < LISTS_MAX {
            return self.list();
        }
        let Some(step) = self.steps.pop_front() else {
            return Next::Done(Ok(()));
        };
        let text = match &step {
            Step::Disconnect => {
                self.lists = 0;
                return self.list();
            }
            Step::Say(text) | Step::Guarded { text, .. } | Step::Applied { text, .. } => text.clone(),
            Step::Write { write, .. } => write.clone(),
        };
        self.at = Some(At::Step(step));
        self.send(vec![text])
    }

    /// Takes the answer to the oldest packet that has none.
    pub(in super::super) fn answered(&mut self, outcome: Outcome) {
        self.unanswered = self.unanswered.saturating_sub(1);
        let failed = match (&self.at, outcome) {
            (Some(At::List), Ok(tables)) => return self.listed(&tables),
            (Some(At::Step(Step::Applied { writer, replid, offset, .. })), Ok(tables)) => {
                applied(&tables, writer, replid, *offset).err()
            }
            (Some(At::Step(Step::Write { write, create })), Err(error)) if MISSING.contains(&error.code) => {
                let again = Step::Guarded { text: write.clone(), stopped: Fault::OtherError };
                let create = Step::Guarded { text: create.clone(), stopped: Fault::OtherError };
                self.steps.push_front(again);
                self.steps.push_front(create);
                None
            }
            (Some(At::Step(Step::Guarded { stopped, .. })), Err(error)) if error.code == STOPPED => {
                Some(Unfit { fault: *stopped, error: None })
            }
            (Some(At::Kill), Err(error)) if error.code == GONE => None,
            (_, Ok(_)) => None,
            (_, Err(error)) => Some(error.into()),
        };
        self.failed = self.failed.take().or(failed);
    }

    fn list(&mut self) -> Next {
        self.lists += 1;
        self.at = Some(At::List);
        self.send(vec![LIST.to_owned()])
    }

    fn listed(&mut self, tables: &[Table]) {
        let clients = tables.first().and_then(Table::only).and_then(|row| row.get("clients"));
        self.listed = clients.unwrap_or_default().split(',').filter_map(|id| id.parse().ok()).collect();
        self.listed.truncate(LISTED_MAX);
        self.more = self.listed.len() == LISTED_MAX;
    }

    fn send(&mut self, texts: Vec<String>) -> Next {
        self.unanswered = texts.len();
        Next::Send(texts)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}

/// Whether what was received is applied, and no less than what the promotion was decided for.
fn applied(tables: &[Table], writer: &str, replid: &ReplId, offset: ReplOffset) -> Result<(), Unfit> {
    let row = tables.get(1).and_then(Table::only).ok_or(Fault::NotTheEngine)?;
    let text = |row: Row<'_>, name| row.get(name).unwrap_or_default().to_owned();
    let executed = Gtids::read(&text(row, "executed"));
    let all = received(&text(row, "executed"), &text(row, "received"))?;
    let waiting = if row.get("applies") == Some("ON") { Fault::Draining } else { Fault::Stalled };
    // One that is applied out of order has gaps until it is applied.
    let Ok(executed) = executed else {
        return Err(waiting.into());
    };
    if !all.within(&executed) || executed.count() < offset.0 {
        return Err(waiting.into());
    }
    if executed.history(writer) != *replid {
        return Err(Unfit::saying(
            Fault::Unsuitable,
            "it holds other transactions than those for which it was chosen",
        ));
    }
    Ok(())
}

impl From<ServerError> for Unfit {
    fn from(error: ServerError) -> Self {
        let is_missing_plugin = error.code == 1193 && error.text.contains("rpl_semi_sync");
        let fault = if is_missing_plugin { Fault::Unsuitable } else { error.fault() };
        Self { fault, error: Some(error) }
    }
}
