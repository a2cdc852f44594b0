//! The words of one connection, whichever engine is at its other end: commands in, bytes out, bytes in, replies out. It
//! knows that a login comes before everything else, and nothing of what the commands are for.

use super::socket::Ended;
use crate::secret::Login;
use backstay_model::{Command, Engine, Fault, Reply};
use backstay_wire::mariadb::{Conversation, ConversationError, ServerError};
use backstay_wire::redis::{decode_auth, decode_reply, encode_auth, encode_command};
use backstay_wire::resp::{Decoder, Limits};

/// See the module's head. What `unsent` holds is to be written.
#[derive(Debug)]
pub(super) enum Talk {
    Redis(RedisTalk),
    MariaDb(Box<Conversation>),
}

#[derive(Debug)]
pub(super) struct RedisTalk {
    decoder: Decoder,
    unsent: Vec<u8>,
    login: LoginState,
}

/// How far the login on a connection to a Redis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LoginState {
    Answered,
    Awaited,
    /// The instance refused it. Whether that matters, the next replies say.
    Refused(Fault),
}

impl Talk {
    /// On a new connection. Logs in; to a Redis, if there is a password.
    pub(super) fn new(engine: &Engine, login: &Login) -> Self {
        match engine {
            Engine::Redis(_) => Self::Redis(RedisTalk::new(login)),
            Engine::MariaDb(spec) => {
                Self::MariaDb(Box::new(Conversation::new(login.mariadb_settings(spec.clone()))))
            }
            Engine::MySql(spec) => {
                Self::MariaDb(Box::new(Conversation::with_mysql(login.mariadb_settings(spec.clone()))))
            }
        }
    }

    /// What waits to be written; take from its front what was.
    pub(super) fn unsent(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Redis(redis) => &mut redis.unsent,
            Self::MariaDb(conversation) => conversation.unsent(),
        }
    }

    pub(super) fn send(&mut self, commands: &[Command]) {
        for command in commands {
            match self {
                Self::Redis(redis) => encode_command(&mut redis.unsent, command),
                Self::MariaDb(conversation) => conversation.send(command),
            }
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), Ended> {
        match self {
            Self::Redis(redis) => redis.decoder.feed(bytes).map_err(|_| Ended::Garbage),
            Self::MariaDb(conversation) => conversation.feed(bytes).map_err(Ended::from),
        }
    }

    /// The next reply of those that were read, understood as one to `awaited`. A reply that nobody waits for is garbage.
    pub(super) fn next_reply(&mut self, awaited: Option<&Command>) -> Result<Option<Reply>, Ended> {
        match self {
            Self::Redis(redis) => redis.next_reply(awaited),
            Self::MariaDb(conversation) => conversation.next_reply().map_err(Ended::from),
        }
    }

    /// What became of the login, once that is known.
    pub(super) fn login_outcome(&self) -> Option<Result<(), Fault>> {
        match self {
            Self::Redis(redis) => match redis.login {
                LoginState::Awaited => None,
                LoginState::Answered => Some(Ok(())),
                LoginState::Refused(fault) => Some(Err(fault)),
            },
            Self::MariaDb(conversation) => conversation.login_outcome(),
        }
    }

    /// The server's own words about the last thing that it refused, if it has any that are no secret.
    pub(super) fn trouble(&self) -> Option<&ServerError> {
        match self {
            Self::Redis(_) => None,
            Self::MariaDb(conversation) => conversation.trouble(),
        }
    }
}

impl RedisTalk {
    fn new(login: &Login) -> Self {
        let mut talk = Self {
            decoder: Decoder::new(Limits::default()),
            unsent: Vec::new(),
            login: LoginState::Answered,
        };
        if let Some(password) = login.password() {
            encode_auth(&mut talk.unsent, login.username(), password.reveal());
            talk.login = LoginState::Awaited;
        }
        talk
    }

    fn next_reply(&mut self, awaited: Option<&Command>) -> Result<Option<Reply>, Ended> {
        let Some(value) = self.decoder.next().map_err(|_| Ended::Garbage)? else {
            return Ok(None);
        };
        if self.login != LoginState::Awaited {
            let command = awaited.ok_or(Ended::Garbage)?;
            return Ok(Some(decode_reply(command, &value)));
        }
        match decode_auth(&value) {
            Ok(()) => self.login = LoginState::Answered,
            // No more answers will come: this one is for everything.
            Err(fault @ Fault::TooManyClients) => return Ok(Some(Reply::Refused(fault))),
            Err(fault) => self.login = LoginState::Refused(fault),
        }
        self.next_reply(awaited)
    }
}

impl From<ConversationError> for Ended {
    fn from(error: ConversationError) -> Self {
        match error {
            ConversationError::Ended => Self::Closed,
            ConversationError::Garbage | ConversationError::TooLong => Self::Garbage,
        }
    }
}
