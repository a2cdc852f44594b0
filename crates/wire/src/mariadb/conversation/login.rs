//! Getting in: the greeting, the proofs that a server asks for, and why somebody is refused.

use super::super::fault::ServerError;
use super::super::handshake::{Greeting, write_answer};
use super::super::packet::{Fields, write_packet};
use super::super::{ConversationError, info, mysql, scramble};
use super::{Conversation, Dialect, Phase};
use backstay_model::Fault;

/// How often a server may ask for a proof.
const LOGIN_ROUNDS_MAX: u8 = 4;

impl Conversation {
    /// A packet before the login is over.
    pub(super) fn greet(&mut self, sequence: u8, payload: &[u8]) -> Result<(), ConversationError> {
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
                Some((1, [4])) => {
                    let why = "it wants the password itself, which is only told over TLS";
                    self.refuse(Fault::NeedsTls, Some(ServerError::own(why)));
                }
                _ => return Err(ConversationError::Garbage),
            },
        }
        Ok(())
    }

    fn introduce(&mut self, greeting: &Greeting, sequence: u8) {
        let known = match self.dialect {
            Dialect::MariaDb => info::version(&greeting.version),
            Dialect::MySql => mysql::version(&greeting.version),
        };
        if let Err(fault) = known {
            let why = format!("its version is '{}'", greeting.version.escape_debug());
            return self.refuse(fault, Some(ServerError::own(why)));
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
                Some(ServerError::own(format!(
                    "the account logs in by '{}', which is not known here",
                    plugin.escape_debug()
                ))),
            ),
        }
        Ok(())
    }

    pub(super) fn refuse(&mut self, fault: Fault, error: Option<ServerError>) {
        self.login = Some(Err(fault));
        self.trouble = error;
        self.phase = Phase::Refused(fault);
    }
}
