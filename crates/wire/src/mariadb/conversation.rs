//! One connection's talk: commands in, bytes out, bytes in, replies out.

use super::fault::ServerError;
use super::handshake::{Greeting, write_answer};
use super::packet::{Fields, Packet, Packets, write_packet};
use super::results::{Outcome, Results, Table};
use super::statements::{self, Following};
use super::{ConversationError, Settings, info, scramble};
use backstay_model::{ClientKind, Command, Fault, Reply, Sql};
use std::collections::VecDeque;

/// `COM_QUERY` and `COM_PING`.
const QUERY: u8 = 3;
const PING: u8 = 14;
/// How many commands may be unanswered. A link does not come near.
const UNANSWERED_MAX: usize = 1024;
/// How often a server may ask for a proof.
const LOGIN_ROUNDS_MAX: u8 = 4;

/// See the module's head. After `feed` and `send`, write what `unsent` holds, and take replies until there is none.
#[derive(Debug)]
pub struct Conversation {
    settings: Settings,
    phase: Phase,
    /// What became of the login.
    login: Option<Result<(), Fault>>,
    /// How often the server asked.
    login_rounds: u8,
    packets: Packets,
    results: Results,
    /// What was sent or waits for the login, and is not answered yet.
    asked: VecDeque<Asked>,
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
    /// Answered with this, whatever the server says.
    Never(Fault),
}

impl Conversation {
    /// Nothing was received yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            phase: Phase::Greeting,
            login: None,
            login_rounds: 0,
            packets: Packets::default(),
            results: Results::default(),
            asked: VecDeque::new(),
            waiting: Vec::new(),
            unsent: Vec::new(),
            following: Following::default(),
            trouble: None,
            answer: None,
        }
    }

    /// Asks. Before the login is over it waits inside.
    pub fn send(&mut self, command: &Command) {
        if self.asked.len() >= UNANSWERED_MAX {
            return self.end(ConversationError::TooLong);
        }
        let (asked, query) = self.translate(command);
        self.ask(asked, query.as_deref());
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
        let keeps = matches!(asked, Asked::Identity | Asked::Info | Asked::Question { .. });
        let Some(outcome) = self.results.take(payload, keeps)? else {
            return Ok(Step::On);
        };
        self.results = Results::default();
        self.asked.pop_front();
        self.answered(asked, outcome)
    }

    /// A packet before the login is over.
    fn greet(&mut self, sequence: u8, payload: &[u8]) -> Result<(), ConversationError> {
        match self.phase {
            Phase::Greeting => match Greeting::read(payload)? {
                Ok(greeting) => self.introduce(&greeting, sequence),
                Err(error) => self.refuse(error.fault(), Some(error)),
            },
            _ => match payload.split_first() {
                Some((0, _)) => self.open(),
                Some((0xff, _)) => {
                    let error = ServerError::read(payload).ok_or(ConversationError::Garbage)?;
                    self.refuse(error.fault(), Some(error));
                }
                Some((0xfe, question)) => self.prove(question, sequence)?,
                // In MySQL's own way: what is remembered there suffices, or the password itself is wanted.
                Some((1, [3])) => {}
                Some((1, [4])) if self.settings.encrypted => {
                    let password = [self.settings.login.password.as_bytes(), &[0]].concat();
                    write_packet(&mut self.unsent, sequence.wrapping_add(1), &password);
                }
                Some((1, [4])) => self.refuse(Fault::WrongPassword, None),
                _ => return Err(ConversationError::Garbage),
            },
        }
        Ok(())
    }

    fn introduce(&mut self, greeting: &Greeting, sequence: u8) {
        if let Err(fault) = info::version(&greeting.version) {
            return self.refuse(fault, None);
        }
        // Between the two there was a request for TLS.
        let encrypted = self.settings.encrypted;
        let sequence = sequence.wrapping_add(1 + u8::from(encrypted));
        write_answer(&mut self.unsent, greeting, &self.settings.login, sequence, encrypted);
        self.phase = Phase::Login;
    }

    /// The account has another way to log in than the greeting said.
    fn prove(&mut self, question: &[u8], sequence: u8) -> Result<(), ConversationError> {
        self.login_rounds += 1;
        if self.login_rounds > LOGIN_ROUNDS_MAX {
            return Err(ConversationError::Garbage);
        }
        let mut fields = Fields(question);
        let plugin = String::from_utf8_lossy(fields.text().unwrap_or_default()).into_owned();
        let nonce = fields.0.strip_suffix(&[0]).unwrap_or(fields.0);
        match scramble::answer(&plugin, &self.settings.login.password, nonce) {
            Some(proof) => write_packet(&mut self.unsent, sequence.wrapping_add(1), &proof),
            None => self.refuse(
                Fault::WrongPassword,
                Some(ServerError {
                    code: 0,
                    state: String::new(),
                    text: format!(
                        "the account logs in by '{}', which is not known here",
                        plugin.escape_debug()
                    ),
                }),
            ),
        }
        Ok(())
    }

    /// The login is over: everything that waited goes out.
    fn open(&mut self) {
        self.phase = Phase::Open;
        let waiting = std::mem::take(&mut self.waiting);
        let others = std::mem::take(&mut self.asked);
        self.ask(Asked::Setup, Some(statements::SETUP));
        self.asked.extend(others);
        self.unsent.extend(waiting);
    }

    fn refuse(&mut self, fault: Fault, error: Option<ServerError>) {
        self.login = Some(Err(fault));
        self.trouble = error;
        self.phase = Phase::Refused(fault);
    }

    fn answered(&mut self, asked: Asked, outcome: Outcome) -> Result<Step, ConversationError> {
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
            Asked::Identity => info::identity(&tables).map(Reply::Identity),
            Asked::Info => info::replication(&tables).map(|(info, following)| {
                self.following = following;
                Reply::Info(info)
            }),
            Asked::Order { .. } => Ok(Reply::Done),
            Asked::Question { .. } => {
                self.answer = Some(Ok(tables));
                Ok(Reply::Done)
            }
            Asked::Never(fault) => Err(fault),
        };
        Ok(Step::Reply(told.unwrap_or_else(Reply::Refused)))
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
