//! Canaries on a connection of their own: a MariaDB's commit may wait for an acknowledgement for as long as it likes, and
//! nothing else may wait behind it. The connection is kept, and so is a write that is still unanswered on it: a server
//! that hangs does not collect a pile of them.

use super::Connector;
use super::socket::{Ended, Socket};
use super::talk::Talk;
use crate::secret::Login;
use backstay_model::{Command, Engine, Fault, InstanceName, Reply, RunId, Sql};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::timeout;

/// How long a write may take until it is asked what it waits for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long that may take.
const ASKED_WITHIN: Duration = Duration::from_secs(1);

/// The process that it was tried with, and what it said. None: there was no such process.
pub(super) type Wrote = Option<(RunId, Result<(), Fault>)>;

pub(super) struct Writer {
    connector: Connector,
    engine: Engine,
    login: Login,
    instance: InstanceName,
    line: Option<Line>,
}

/// A connection, and what is unanswered on it.
struct Line {
    socket: Socket,
    process: Option<RunId>,
    asked: VecDeque<Command>,
}

impl Writer {
    pub(super) fn new(connector: Connector, engine: Engine, login: Login, instance: InstanceName) -> Self {
        Self { connector, engine, login, instance, line: None }
    }

    /// Writes once, and comes back with what became of it.
    pub(super) async fn write(mut self: Box<Self>) -> (Box<Self>, Wrote) {
        let kept = self.line.is_some();
        let wrote = match timeout(PATIENCE, self.attempt()).await {
            // A connection that was kept may have ended meanwhile; a write of one row can be tried again.
            Ok(Err(_)) if kept => timeout(PATIENCE, self.attempt()).await,
            other => other,
        };
        let wrote = match wrote {
            Ok(Ok(wrote)) => wrote,
            Ok(Err(process)) => process.map(|process| (process, Err(Fault::OtherError))),
            Err(_) => match self.line.as_ref().and_then(|line| line.process.clone()) {
                Some(process) => Some((process, Err(self.cause_of_delay().await))),
                None => None,
            },
        };
        (self, wrote)
    }

    /// Why a write does not come back, as the server says on another connection.
    async fn cause_of_delay(&mut self) -> Fault {
        let asked = timeout(ASKED_WITHIN, async {
            let mut line = self.open().await?;
            line.ask(Command::Sql(Sql::Delay));
            let _ = line.answer().await.ok()?;
            line.answer().await.ok()?.err()
        });
        asked.await.ok().flatten().unwrap_or(Fault::OtherError)
    }

    /// A connection on which it was asked who it is.
    async fn open(&mut self) -> Option<Line> {
        let opened = self.connector.connect().await.ok()?;
        self.login.refresh();
        let socket = Socket::new(opened, Talk::new(&self.engine, &self.login)).ok()?;
        let mut line = Line { socket, process: None, asked: VecDeque::new() };
        line.ask(Command::Identify);
        Some(line)
    }

    /// One write. The error is the process whose connection ended. Cancel-safe: what is unanswered then is waited for the
    /// next time, and then written anew.
    async fn attempt(&mut self) -> Result<Wrote, Option<RunId>> {
        if self.line.is_none() {
            self.line = self.open().await;
        }
        let Some(line) = &mut self.line else {
            return Ok(None);
        };
        let Ok(result) = line.write().await else {
            let process = line.process.take();
            self.line = None;
            return Err(process);
        };
        if let (Err(fault), Some(error)) = (&result, line.socket.trouble()) {
            let (code, text) = (error.code, &error.text);
            tracing::debug!(instance = %self.instance, %fault, code, %text, "a write was refused");
        }
        Ok(line.process.clone().map(|process| (process, result)))
    }
}

impl Line {
    fn ask(&mut self, command: Command) {
        // A connection that is clogged shows when it is read.
        let _ = self.socket.send(std::slice::from_ref(&command));
        self.asked.push_back(command);
    }

    /// Waits for what is unanswered, then writes.
    async fn write(&mut self) -> Result<Result<(), Fault>, Ended> {
        while !self.asked.is_empty() {
            // Who is not let in, or does not know whom it talks to, writes nothing.
            if self.answer().await?.is_err() && self.process.is_none() {
                return Err(Ended::Closed);
            }
        }
        self.ask(Command::Canary(String::new()));
        self.answer().await
    }

    /// The answer to what was asked first.
    async fn answer(&mut self) -> Result<Result<(), Fault>, Ended> {
        loop {
            if let Some(reply) = self.socket.next_reply(self.asked.front())? {
                self.asked.pop_front();
                return Ok(match reply {
                    Reply::Identity(identity) => {
                        self.process = Some(identity.run_id);
                        Ok(())
                    }
                    Reply::Refused(fault) => Err(fault),
                    _ => Ok(()),
                });
            }
            self.socket.flush()?;
            if !self.socket.read()? {
                self.socket.ready().await.map_err(|_| Ended::Closed)?;
            }
        }
    }
}
