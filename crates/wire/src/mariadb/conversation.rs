//! One connection's talk: commands in, bytes out, bytes in, replies out.

mod login;

use super::fault::ServerError;
use super::packet::{Packet, Packets, write_packet};
use super::results::{Outcome, Results, Table};
use super::statements::{self, Following};
use super::{ConversationError, Settings, Unfit, info, mysql};
use backstay_model::{ClientKind, Command, Fault, Reply, Sql};
use std::collections::VecDeque;

/// `COM_QUERY` and `COM_PING`.
const QUERY: u8 = 3;
const PING: u8 = 14;
/// How many commands may be unanswered. A link does not come near.
const UNANSWERED_MAX: usize = 1024;

/// See the module's head. After `feed` and `send`, write what `unsent` holds, and take replies until there is none.
#[derive(Debug)]
pub struct Conversation {
    settings: Settings,
    dialect: Dialect,
    phase: Phase,
    /// What became of the login.
    login: Option<Result<(), Fault>>,
    /// How often the server asked.
    login_rounds: u8,
    packets: Packets,
    results: Results,
    /// What was sent or waits for the login, and is not answered yet.
    asked: VecDeque<Asked>,
    /// An order of several packets that is under way, and what waits for its end.
    script: Option<mysql::Script>,
    held: VecDeque<Command>,
    /// Packets that wait for the login.
    waiting: Vec<u8>,
    unsent: Vec<u8>,
    /// What the last `Info` said.
    following: Following,
    /// The last error of the server, and nothing secret.
    trouble: Option<ServerError>,
    /// What the last question was answered with.
    answer: Option<Result<Vec<Table>, ServerError>>,
}

/// Whose words are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    MariaDb,
    MySql,
}

#[derive(Debug)]
enum Phase {
    Greeting,
    /// The server decides, having asked in this way with this nonce.
    Login,
    Open,
    /// Whoever asked first is told this. No more answers will come: it is for everything.
    Refused(Fault),
    Over(ConversationError),
}

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Setup,
    Ping,
    Identity,
    Info,
    Order {
        /// A password was in it: the server may quote it in an error.
        secret: bool,
    },
    /// Somebody's own words: what they are answered with is kept for `take_answer`.
    Question {
        /// As with `Order`.
        secret: bool,
    },
    /// One packet of the script.
    Step,
    /// Answered with this, whatever the server says.
    Never(Fault),
}

impl Conversation {
    /// With a MariaDB. Nothing was received yet.
    pub fn new(settings: Settings) -> Self {
        Self::with(Dialect::MariaDb, settings)
    }

    /// With a MySQL. Nothing was received yet.
    pub fn with_mysql(settings: Settings) -> Self {
        Self::with(Dialect::MySql, settings)
    }

    fn with(dialect: Dialect, settings: Settings) -> Self {
        Self {
            settings,
            dialect,
            phase: Phase::Greeting,
            login: None,
            login_rounds: 0,
            packets: Packets::default(),
            results: Results::default(),
            asked: VecDeque::new(),
            script: None,
            held: VecDeque::new(),
            waiting: Vec::new(),
            unsent: Vec::new(),
            following: Following::default(),
            trouble: None,
            answer: None,
        }
    }

    /// Asks. Before the login is over it waits inside.
    pub fn send(&mut self, command: &Command) {
        if self.asked.len() + self.held.len() >= UNANSWERED_MAX {
            return self.end(ConversationError::TooLong);
        }
        if self.script.is_some() {
            return self.held.push_back(command.clone());
        }
        self.begin(command);
    }

    /// As `send`, in the asker's own words. The reply to it says only that there is an answer: see `take_answer`.
    pub(super) fn question(&mut self, text: &str, secret: bool) {
        if self.asked.len() >= UNANSWERED_MAX {
            return self.end(ConversationError::TooLong);
        }
        self.ask(Asked::Question { secret }, Some(text));
    }

    /// What the question that was replied to last was answered with.
    pub(super) const fn take_answer(&mut self) -> Option<Result<Vec<Table>, ServerError>> {
        self.answer.take()
    }

    /// Takes bytes as they arrive.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ConversationError> {
        if let Phase::Over(error) = self.phase {
            return Err(error);
        }
        self.packets.feed(bytes).inspect_err(|error| self.end(*error))
    }

    /// The next reply, in the order of the commands.
    pub fn next_reply(&mut self) -> Result<Option<Reply>, ConversationError> {
        loop {
            if let Phase::Over(error) = self.phase {
                return Err(error);
            }
            if let Phase::Refused(fault) = self.phase {
                if self.asked.is_empty() {
                    return Ok(None);
                }
                self.end(ConversationError::Ended);
                return Ok(Some(Reply::Refused(fault)));
            }
            let step = self.step().inspect_err(|error| self.end(*error))?;
            match step {
                Step::Reply(reply) => return Ok(Some(reply)),
                Step::Nothing => return Ok(None),
                Step::On => {}
            }
        }
    }

    /// What is to be written; take from its front what was.
    pub const fn unsent(&mut self) -> &mut Vec<u8> {
        &mut self.unsent
    }

    /// What became of the login, once that is known.
    pub const fn login_outcome(&self) -> Option<Result<(), Fault>> {
        self.login
    }

    /// The last error of the server, for a log. Never quotes a password.
    pub const fn trouble(&self) -> Option<&ServerError> {
        self.trouble.as_ref()
    }

    /// At most how many bytes of the server's are held.
    pub fn held_bytes(&self) -> usize {
        self.packets.held_bytes() + self.results.held_bytes()
    }

    fn end(&mut self, error: ConversationError) {
        self.phase = Phase::Over(error);
        self.packets = Packets::default();
        self.results = Results::default();
        self.asked.clear();
        self.waiting.clear();
        self.script = None;
        self.held.clear();
    }

    /// Says a command, or the first part of it.
    fn begin(&mut self, command: &Command) {
        let (asked, query) = match (self.dialect, command) {
            (Dialect::MariaDb, _) => self.translate(command),
            (Dialect::MySql, Command::Ping) => (Asked::Ping, None),
            (Dialect::MySql, Command::Identify) => (Asked::Identity, Some(mysql::IDENTITY.to_owned())),
            (Dialect::MySql, Command::Info) => (Asked::Info, Some(mysql::info(&self.settings))),
            (Dialect::MySql, _) => match mysql::script(&self.settings, command, &self.following) {
                Ok(script) => {
                    self.script = Some(script);
                    self.go_on();
                    return;
                }
                Err(fault) => (Asked::Never(fault), None),
            },
        };
        self.ask(asked, query.as_deref());
    }

    /// The script's next packets; the reply to its order once it is over, and then what waited for that.
    fn go_on(&mut self) -> Option<Reply> {
        let script = self.script.as_mut()?;
        let secret = script.secret;
        let result = match script.next() {
            mysql::Next::Wait => return None,
            mysql::Next::Send(texts) => {
                for text in texts {
                    self.ask(Asked::Step, Some(&text));
                }
                return None;
            }
            mysql::Next::Done(result) => result,
        };
        self.script = None;
        while self.script.is_none()
            && let Some(command) = self.held.pop_front()
        {
            self.begin(&command);
        }
        Some(match result {
            Ok(()) => Reply::Done,
            Err(unfit) => self.unfit(unfit, secret),
        })
    }

    /// What is refused, and why, unless that could quote a password.
    fn unfit(&mut self, unfit: Unfit, secret: bool) -> Reply {
        if let Some(mut error) = unfit.error {
            if secret {
                error.text.clear();
            }
            self.trouble = Some(error);
        }
        Reply::Refused(unfit.fault)
    }

    fn ask(&mut self, asked: Asked, query: Option<&str>) {
        self.asked.push_back(asked);
        let (kind, text) = query.map_or((PING, ""), |query| (QUERY, query));
        let mut payload = Vec::with_capacity(1 + text.len());
        payload.push(kind);
        payload.extend_from_slice(text.as_bytes());
        let out = if matches!(self.phase, Phase::Open) { &mut self.unsent } else { &mut self.waiting };
        write_packet(out, 0, &payload);
    }

    /// What a command is told as; without a text it is a `COM_PING`.
    fn translate(&self, command: &Command) -> (Asked, Option<String>) {
        let plain = |text: &str| (Asked::Order { secret: false }, Some(text.to_owned()));
        let order = |text| (Asked::Order { secret: false }, Some(text));
        let secret = |text| (Asked::Order { secret: true }, Some(text));
        let settings = &self.settings;
        match command {
            Command::Ping => (Asked::Ping, None),
            Command::Identify => (Asked::Identity, Some(statements::IDENTITY.to_owned())),
            Command::Info => (Asked::Info, Some(statements::info(settings))),
            Command::DisconnectClients(ClientKind::Normal) => plain(statements::DISCONNECT),
            Command::Canary(_) => plain(statements::CANARY),
            Command::Sql(Sql::Close) => order(statements::close(settings)),
            Command::Sql(Sql::Open) => order(statements::open(settings)),
            Command::Sql(Sql::Delay) => plain(statements::DELAY),
            Command::Sql(Sql::StopReceiving) => plain(statements::STOP_RECEIVING),
            Command::Sql(Sql::Follow { primary, acker }) => {
                secret(statements::follow(settings, primary, *acker, &self.following))
            }
            Command::Sql(Sql::Demote { primary, acker }) => {
                secret(statements::demote(settings, primary, *acker))
            }
            Command::Sql(Sql::Ascend { replid, offset }) => match statements::ascend(replid, *offset) {
                Some(text) => order(text),
                None => (Asked::Never(Fault::Unsuitable), None),
            },
            // What only a Redis is told is never sent to a MariaDB; if it were, it would change nothing.
            Command::DisconnectClients(ClientKind::PubSub)
            | Command::WriteGuard
            | Command::Sentinels
            | Command::SetWriteGuard(_)
            | Command::EnableWriteGuard
            | Command::Begin
            | Command::Commit
            | Command::Replicate(_)
            | Command::ReplicateNoOne
            | Command::PauseWrites(_)
            | Command::ResumeWrites => (Asked::Never(Fault::OtherError), None),
        }
    }

    /// Uses one packet.
    fn step(&mut self) -> Result<Step, ConversationError> {
        let Some(Packet { sequence, payload }) = self.packets.next()? else {
            return Ok(Step::Nothing);
        };
        if !matches!(self.phase, Phase::Open) {
            let payload = payload.to_vec();
            self.greet(sequence, &payload)?;
            return Ok(Step::On);
        }
        let asked = *self.asked.front().ok_or(ConversationError::Garbage)?;
        let keeps = matches!(asked, Asked::Identity | Asked::Info | Asked::Question { .. } | Asked::Step);
        let Some(mut outcome) = self.results.take(payload, keeps)? else {
            return Ok(Step::On);
        };
        let results = std::mem::take(&mut self.results);
        if let (Dialect::MySql, Asked::Info, Err(error)) = (self.dialect, asked, &outcome)
            && mysql::is_missing_canary(error.code)
        {
            outcome = Ok(results.into_tables());
        }
        self.asked.pop_front();
        self.answered(asked, outcome)
    }

    /// The login is over: everything that waited goes out.
    fn open(&mut self) {
        self.phase = Phase::Open;
        let waiting = std::mem::take(&mut self.waiting);
        let others = std::mem::take(&mut self.asked);
        let setup = match self.dialect {
            Dialect::MariaDb => statements::SETUP,
            Dialect::MySql => mysql::SETUP,
        };
        self.ask(Asked::Setup, Some(setup));
        self.asked.extend(others);
        self.unsent.extend(waiting);
    }

    fn answered(&mut self, asked: Asked, outcome: Outcome) -> Result<Step, ConversationError> {
        if asked == Asked::Step {
            return self.stepped(outcome);
        }
        let tables = match outcome {
            Ok(tables) => tables,
            Err(error) => return self.failed(asked, error),
        };
        let told = match asked {
            Asked::Setup => {
                self.login = Some(Ok(()));
                return Ok(Step::On);
            }
            Asked::Ping => Ok(Reply::Pong),
            Asked::Identity => match self.dialect {
                Dialect::MariaDb => info::identity(&tables).map_err(Unfit::from),
                Dialect::MySql => mysql::identity(&tables),
            }
            .map(Reply::Identity),
            Asked::Info => match self.dialect {
                Dialect::MariaDb => info::replication(&tables).map_err(Unfit::from),
                Dialect::MySql => mysql::replication(&self.settings, &tables, &self.following),
            }
            .map(|(info, following)| {
                self.following = following;
                Reply::Info(info)
            }),
            Asked::Order { .. } | Asked::Step => Ok(Reply::Done),
            Asked::Question { .. } => {
                self.answer = Some(Ok(tables));
                Ok(Reply::Done)
            }
            Asked::Never(fault) => Err(fault.into()),
        };
        Ok(Step::Reply(told.unwrap_or_else(|unfit| self.unfit(unfit, false))))
    }

    /// One packet of the script was answered.
    fn stepped(&mut self, outcome: Outcome) -> Result<Step, ConversationError> {
        if let Err(error) = &outcome
            && error.ends_connection()
        {
            self.trouble = Some(error.clone());
            return Err(ConversationError::Ended);
        }
        let script = self.script.as_mut().ok_or(ConversationError::Garbage)?;
        script.answered(outcome);
        Ok(self.go_on().map_or(Step::On, Step::Reply))
    }

    fn failed(&mut self, asked: Asked, mut error: ServerError) -> Result<Step, ConversationError> {
        if error.ends_connection() {
            self.trouble = Some(error);
            return Err(ConversationError::Ended);
        }
        let fault = match (asked, error.code) {
            // No such word, no such variable: it only calls itself a MariaDB.
            (Asked::Identity | Asked::Info, 1064 | 1193) => Fault::NotTheEngine,
            _ => error.fault(),
        };
        if matches!(asked, Asked::Order { secret: true } | Asked::Question { secret: true }) {
            error.text.clear();
        }
        if matches!(asked, Asked::Question { .. }) {
            self.answer = Some(Err(error));
            return Ok(Step::Reply(Reply::Done));
        }
        if asked == Asked::Setup {
            self.refuse(fault, Some(error));
            return Ok(Step::On);
        }
        self.trouble = Some(error);
        Ok(Step::Reply(Reply::Refused(fault)))
    }
}

/// What a packet led to.
enum Step {
    Nothing,
    On,
    Reply(Reply),
}
